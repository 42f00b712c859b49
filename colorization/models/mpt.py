"""Multiscale Pyramid Transformer: lightness in, colour out (MPT III, Fig. 2)."""

from collections.abc import Sequence
from typing import Any, Literal

import torch
import torch.nn as nn
import torch.nn.functional as F
from timm.layers import trunc_normal_
from torch import Tensor

from colorization.color import normalize_l
from colorization.decoders import (
    ColorAttentionDecoder,
    ColorMemoryDecoder,
    EncoderBlockDecoder,
    PaletteHead,
    PixelShuffleDecoder,
)
from colorization.encoders import PyramidEncoder
from colorization.memory import read_memory
from colorization.palette import read_palette

__all__ = ['MPT']


class MPT(nn.Module):
    """Encoder, pixel-shuffle decoder and Color-Attention, end to end.

    Args:
        encoder: timm name of the semantic encoder.
        encoder_weights: a file of classification weights for it, or `package:NAME`; needed for training alone.
        encoder_kwargs: keyword arguments of the encoder's timm model.
        norm_eval: keep the encoder's batch norms, if it has any, at their running statistics while training.
        frozen_modules: parts of the encoder's trunk that are not trained, by timm's names.
        decoder_dims: channels after each upsampling step; the last is C of the memory and of the kernels.
        num_queries: number of colour kernels, K (150 is the best row of MPT Table IV).
        depth: Color-Attention layers, L5.
        num_heads: heads in Color-Attention.
        mlp_ratio: hidden channels of the MLPs in Color-Attention over C.
        inference_size: side in pixels of the square whose area a pipeline shows the network, about what it was
            trained on; nothing in the network itself depends on it.
        head: 'linear' mixes the K colour maps by a 1x1 convolution (Eq. 11); 'palette' reads them as a distribution
            over K fixed colours, see `PaletteHead`.
        palette: file of the K colours from which the palette head starts; needed for training alone.
        temperature: T of the palette head.
        gain: factor on the colours of the palette head.
        recovery: share of the chroma that averaging over the palette loses which is given back.
        color_decoder: 'attention' is Color-Attention; 'blocks' has as many blocks of the encoder's kind in its place
            (MPT Table II, "w/o Color-Attention"), with no queries; 'memory' is ColorFormer's CM (MPT Table II).
        memory: file of the colour memory, see `dualattn memory`; needed for training alone. Without it the memory of
            'memory' is random.
        num_meanings: entries of that memory.
        meaning_dim: numbers that describe an entry.

    Attributes:
        config: the description from which `build_network` makes an equal network, without what matters
            in training alone (`encoder_weights`, `norm_eval`, `frozen_modules`, `palette`, `memory`).

    Raises:
        FileNotFoundError: there is no such palette or memory.
        ValueError: an unknown head or colour decoder, a palette that is broken or not of K colours, one without the
            palette head, a temperature, gain or recovery that cannot be, a memory that is broken, of other sizes,
            or without the colour decoder that reads it.
    """

    def __init__(
        self,
        encoder: str = 'dualattn_mpt',
        encoder_weights: str | None = None,
        encoder_kwargs: dict[str, Any] | None = None,
        norm_eval: bool = False,
        frozen_modules: Sequence[str] = (),
        decoder_dims: Sequence[int] = (384, 192, 256),
        num_queries: int = 150,
        depth: int = 6,
        num_heads: int = 8,
        mlp_ratio: float = 4.0,
        inference_size: int = 256,
        head: Literal['linear', 'palette'] = 'linear',
        palette: str | None = None,
        temperature: float = 1.0,
        gain: float = 1.0,
        recovery: float = 0.0,
        color_decoder: Literal['attention', 'blocks', 'memory'] = 'attention',
        memory: str | None = None,
        num_meanings: int = 512,
        meaning_dim: int = 64,
    ):
        super().__init__()
        self.inference_size = inference_size
        self.config = dict(
            type='MPT',
            encoder=encoder,
            encoder_kwargs=dict(encoder_kwargs or {}),
            decoder_dims=list(decoder_dims),
            num_queries=num_queries,
            depth=depth,
            num_heads=num_heads,
            mlp_ratio=mlp_ratio,
            inference_size=inference_size,
        )
        if head not in ('linear', 'palette'):
            raise ValueError(f"head has to be 'linear' or 'palette', got {head!r}")
        if head == 'palette':
            self.config.update(head=head, temperature=temperature, gain=gain, recovery=recovery)
        elif palette is not None or temperature != 1 or gain != 1 or recovery != 0:
            raise ValueError("palette, temperature, gain and recovery belong to head='palette'")
        if color_decoder not in ('attention', 'blocks', 'memory'):
            raise ValueError(f"color_decoder has to be 'attention', 'blocks' or 'memory', got {color_decoder!r}")
        if color_decoder != 'attention':
            if head == 'palette':
                raise ValueError(
                    f'color_decoder={color_decoder!r} has no queries that could stand for the colours of a palette'
                )
            self.config.update(color_decoder=color_decoder)
        if color_decoder == 'memory':
            self.config.update(num_meanings=num_meanings, meaning_dim=meaning_dim)
        elif memory is not None:
            raise ValueError("a memory belongs to color_decoder='memory'")
        self.encoder = PyramidEncoder(
            encoder,
            in_chans=1,
            weights=encoder_weights,
            norm_eval=norm_eval,
            frozen_modules=frozen_modules,
            trunk_kwargs=encoder_kwargs,
        )
        self.pixel_decoder = PixelShuffleDecoder(self.encoder.chans, decoder_dims)
        if color_decoder == 'blocks':
            own = {
                name: value for name, value in (encoder_kwargs or {}).items() if name in ('attn_types', 'window_size')
            }
            self.color_decoder = EncoderBlockDecoder(encoder, decoder_dims[-1], depth, **own)
            num_maps = decoder_dims[-1]
        elif color_decoder == 'memory':
            self.color_decoder = ColorMemoryDecoder(decoder_dims[-1], self.encoder.chans[-1], num_meanings, meaning_dim)
            if memory is not None:
                self.color_decoder.set_memory(*read_memory(memory))
            num_maps = decoder_dims[-1]
        else:
            self.color_decoder = ColorAttentionDecoder(decoder_dims[-1], num_queries, depth, num_heads, mlp_ratio)
            num_maps = num_queries
        if head == 'palette':
            self.to_ab = PaletteHead(decoder_dims[-1], num_queries, temperature, gain, recovery)
            if palette is not None:
                self.to_ab.set_palette(*read_palette(palette))
        else:
            self.to_ab = nn.Conv2d(num_maps, 2, kernel_size=1)
            # an untrained network is to answer gray rather than noise
            trunc_normal_(self.to_ab.weight, std=0.001)
            nn.init.zeros_(self.to_ab.bias)

    def forward_color_maps(self, l: Tensor) -> Tensor:
        """Show where each colour kernel responds: the heat maps of MPT Fig. 9.

        Args:
            l: (B, 1, H, W) float in [0, 100].

        Returns:
            (B, K, ceil(H / 4), ceil(W / 4)), Z_Coloredmap of Eq. 10. Without Color-Attention, C refined maps instead.
        """
        pyramid = self.encoder(normalize_l(l))
        memory = self.pixel_decoder(pyramid)
        if isinstance(self.color_decoder, ColorMemoryDecoder):
            return self.color_decoder(memory, pyramid[-1])
        decoded = self.color_decoder(memory)
        if decoded.ndim == 4:  # blocks refine the memory itself
            return decoded
        return torch.einsum('bkc,bchw->bkhw', decoded, memory)

    def forward_scores(self, l: Tensor) -> Tensor:
        """Score the colours of the palette at each place: z of `PaletteHead`.

        Args:
            l: (B, 1, H, W) float in [0, 100].

        Returns:
            (B, K, ceil(H / 4), ceil(W / 4)) float32.

        Raises:
            TypeError: the network has the linear head.
        """
        return self._palette_head().score(self.forward_color_maps(l))

    def forward(
        self, l: Tensor, return_scores: bool = False, temperature: float | None = None
    ) -> Tensor | tuple[Tensor, Tensor]:
        """Predict colour from lightness.

        Args:
            l: (B, 1, H, W) float in [0, 100].
            return_scores: return what `forward_scores` gives as well, from the same pass.
            temperature: T of the palette head; None takes its own.

        Returns:
            ab: (B, 2, H, W) in Lab units (Eq. 11), and with `return_scores` the scores.

        Raises:
            TypeError: scores or a temperature are asked of the linear head.
            ValueError: the temperature is not a number above 0.
        """
        if return_scores or temperature is not None:
            z = self.forward_scores(l)
            ab = self.mix_scores(z, temperature)[..., : l.shape[-2], : l.shape[-1]]
            return (ab, z) if return_scores else ab
        # The linear head commutes with the upsampling of Eq. 11: both are linear and bilinear weights sum to one. So
        # two maps are enlarged instead of K.
        return _enlarge(self.to_ab(self.forward_color_maps(l)))[..., : l.shape[-2], : l.shape[-1]]

    def mix_scores(self, z: Tensor, temperature: float | None = None) -> Tensor:
        """Return the colours of scores, as `forward` does.

        Args:
            z: (B, K, h, w) float, what `forward_scores` gives, changed or not.
            temperature: T of the palette head; None takes its own.

        Returns:
            ab: (B, 2, 4 h, 4 w) in Lab units.

        Raises:
            TypeError: the network has the linear head.
            ValueError: the temperature is not a number above 0.
        """
        return _enlarge(self._palette_head().mix(z, temperature))

    def _palette_head(self) -> PaletteHead:
        if not isinstance(self.to_ab, PaletteHead):
            raise TypeError("this network has the linear head, which scores no colours; head='palette' does")
        return self.to_ab


def _enlarge(ab: Tensor) -> Tensor:
    return F.interpolate(ab, scale_factor=4, mode='bilinear', align_corners=False)
