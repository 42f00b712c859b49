"""The two attention operators of the Dual-Attention block, as functions on NHWC maps."""

from dualattn.ops.reference import factorized_channel_attention, separable_dilated_attention

__all__ = ['factorized_channel_attention', 'separable_dilated_attention']
