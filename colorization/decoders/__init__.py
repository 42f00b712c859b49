"""Decoders: from a feature pyramid to a fine map, and from that map to colours."""

from colorization.decoders.color_attention import ColorAttentionDecoder
from colorization.decoders.pixel import PixelShuffleDecoder

__all__ = ['ColorAttentionDecoder', 'PixelShuffleDecoder']
