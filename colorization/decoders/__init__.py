"""Decoders: from a feature pyramid to a fine map, and from that map to colours."""

from colorization.decoders.color_attention import ColorAttentionDecoder
from colorization.decoders.color_memory import ColorMemoryDecoder
from colorization.decoders.color_query import ColorQueryDecoder
from colorization.decoders.ddcolor_pixel import BlurredShuffleDecoder
from colorization.decoders.encoder_blocks import EncoderBlockDecoder
from colorization.decoders.palette import PaletteHead
from colorization.decoders.pixel import PixelShuffleDecoder

__all__ = [
    'BlurredShuffleDecoder',
    'ColorAttentionDecoder',
    'ColorMemoryDecoder',
    'ColorQueryDecoder',
    'EncoderBlockDecoder',
    'PaletteHead',
    'PixelShuffleDecoder',
]
