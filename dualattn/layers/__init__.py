"""Building blocks of the Dual-Attention backbone; every map between them is NHWC."""

from dualattn.layers.attention import FactorizedChannelAttention, SeparableDilatedAttention, SeparableProjection
from dualattn.layers.blocks import ATTENTION_TYPES, DualAttnBlock, DualAttnStage, ResidualAttention
from dualattn.layers.stem import ConvStem, Downsample

__all__ = [
    'ATTENTION_TYPES',
    'ConvStem',
    'Downsample',
    'DualAttnBlock',
    'DualAttnStage',
    'FactorizedChannelAttention',
    'ResidualAttention',
    'SeparableDilatedAttention',
    'SeparableProjection',
]
