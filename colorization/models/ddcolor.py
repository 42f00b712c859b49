"""DDColor: dual decoders, one for the image and one for its colours (DDColor 3, Fig. 2)."""

from collections.abc import Sequence
from typing import Any

import torch
import torch.nn as nn
import torch.nn.functional as F
from timm.data import IMAGENET_DEFAULT_MEAN, IMAGENET_DEFAULT_STD
from torch import Tensor
from torch.nn.utils.parametrizations import spectral_norm

from colorization.color import gray_rgb_from_l
from colorization.decoders import BlurredShuffleDecoder, ColorQueryDecoder
from colorization.encoders import PYRAMID_STRIDES, PyramidEncoder

__all__ = ['DDColor']

MAP_STRIDES = (16, 8, 4)  # of the pixel decoder's maps


class DDColor(nn.Module):
    """Encoder, pixel decoder, color decoder and fusion, with the structure of the released network.

    The defaults are DDColor-large; `encoder='convnext_tiny'` gives DDColor-tiny.

    Args:
        encoder: timm name of the backbone; a tag behind a dot names weights alone.
        encoder_weights: a file of classification weights for it, or `package:NAME`; needed for training alone.
        encoder_kwargs: keyword arguments of the encoder's timm model.
        decoder_dims: channels after each of the four upsampling steps; the last is C of image and colour embeddings.
        use_color_decoder: False leaves out the color decoder, so that the convolution behind the fusion reads the
            image embedding itself (DDColor Table 2a).
        scales: strides of the maps that the color decoder reads in turn, of 16, 8 and 4 (DDColor Table 2b).
        num_queries: number of colour queries, K.
        depth: blocks of the color decoder, 3M in the paper.
        num_heads: heads of its attentions.
        mlp_ratio: hidden channels of its MLPs over C.
        attn_types: the attentions of each of its blocks, in their order (DDColor Table 2c).
        learn_query_features: the colour embeddings start from learned values, as in the released network, instead of
            the zeros of the paper.
        inference_size: side in pixels of the square whose area a pipeline shows the network, 512 in the public one;
            nothing in the network itself depends on it.

    Attributes:
        config: the description from which `build_network` makes an equal network, without `encoder_weights`.

    Raises:
        ValueError: `scales` holds another stride, or a keyword does not suit the decoders.
    """

    def __init__(
        self,
        encoder: str = 'convnext_large',
        encoder_weights: str | None = None,
        encoder_kwargs: dict[str, Any] | None = None,
        decoder_dims: Sequence[int] = (512, 512, 256, 256),
        use_color_decoder: bool = True,
        scales: Sequence[int] = MAP_STRIDES,
        num_queries: int = 100,
        depth: int = 9,
        num_heads: int = 8,
        mlp_ratio: float = 8.0,
        attn_types: Sequence[str] = ('cross', 'self'),
        learn_query_features: bool = True,
        inference_size: int = 512,
    ):
        super().__init__()
        self.inference_size = inference_size
        self.config = dict(
            type='DDColor',
            encoder=encoder.partition('.')[0],
            encoder_kwargs=dict(encoder_kwargs or {}),
            decoder_dims=list(decoder_dims),
            use_color_decoder=use_color_decoder,
            scales=list(scales),
            num_queries=num_queries,
            depth=depth,
            num_heads=num_heads,
            mlp_ratio=mlp_ratio,
            attn_types=list(attn_types),
            learn_query_features=learn_query_features,
            inference_size=inference_size,
        )
        unknown = [scale for scale in scales if scale not in MAP_STRIDES]
        if unknown or not scales:
            raise ValueError(f'scales takes the strides {", ".join(map(str, MAP_STRIDES))}, got {list(scales)}')
        self.encoder = PyramidEncoder(encoder, in_chans=3, weights=encoder_weights, trunk_kwargs=encoder_kwargs)
        self.pixel_decoder = BlurredShuffleDecoder(self.encoder.chans, decoder_dims)
        self.color_decoder = None
        self.map_indices = [MAP_STRIDES.index(scale) for scale in scales]
        if use_color_decoder:
            self.color_decoder = ColorQueryDecoder(
                [decoder_dims[i] for i in self.map_indices],
                decoder_dims[-1],
                num_queries,
                depth,
                num_heads,
                mlp_ratio,
                attn_types,
                learn_query_features,
            )
        self.num_maps = num_queries if use_color_decoder else decoder_dims[-1]
        to_ab = nn.Conv2d(self.num_maps + 3, 2, kernel_size=1)
        nn.init.kaiming_normal_(to_ab.weight)
        nn.init.zeros_(to_ab.bias)
        self.to_ab = spectral_norm(to_ab)

    def _prepare(self, l: Tensor) -> Tensor:
        """Show l: (B, 1, H, W) in [0, 100] as the gray image that ImageNet encoders take.

        Returns:
            (B, 3, H', W') with H' and W' the next multiples of 32; the last row and column are repeated.
        """
        height, width = l.shape[-2:]
        stride = PYRAMID_STRIDES[-1]
        if torch.jit.is_tracing() or height % stride or width % stride:  # a traced graph is to take any size
            # positive terms alone: ONNX rounds a negative quotient the other way
            right, below = ((stride - side % stride) % stride for side in (width, height))
            l = F.pad(l, (0, right, 0, below), mode='replicate')
        gray = gray_rgb_from_l(l)
        mean, std = (gray.new_tensor(value).view(3, 1, 1) for value in (IMAGENET_DEFAULT_MEAN, IMAGENET_DEFAULT_STD))
        return ((gray - mean) / std).to(self.to_ab.bias.dtype)

    def _decode(self, gray: Tensor) -> tuple[Tensor, Tensor | None]:
        """Return the finest map of the pixel decoder and the colour embeddings E_c (B, K, C)."""
        maps = self.pixel_decoder(self.encoder(gray))
        if self.color_decoder is None:
            return maps[-1], None
        return maps[-1], self.color_decoder([maps[i] for i in self.map_indices])

    def forward_color_maps(self, l: Tensor) -> Tensor:
        """Show where each colour query responds: the products of DDColor Eq. 6, whose sigmoid is in Fig. 7.

        Args:
            l: (B, 1, H, W) float in [0, 100].

        Returns:
            (B, K, H, W).

        Raises:
            ValueError: the network has no color decoder.
        """
        if self.color_decoder is None:
            raise ValueError('a network without color decoder has no colour queries')
        finest, embeddings = self._decode(self._prepare(l))
        return self.pixel_decoder.last_up.mix(finest, embeddings)[..., : l.shape[-2], : l.shape[-1]]

    def forward(self, l: Tensor) -> Tensor:
        """Predict colour from lightness.

        Args:
            l: (B, 1, H, W) float in [0, 100].

        Returns:
            ab: (B, 2, H, W) in Lab units (DDColor Eq. 7).
        """
        gray = self._prepare(l)
        finest, embeddings = self._decode(gray)
        # The fusion is a product with the embeddings and a 1x1 convolution follows: joined, they make two mixtures of
        # the image embedding instead of K. The convolution reads the gray image as well.
        weight, bias = self.to_ab.weight, self.to_ab.bias
        mixture = weight[:, : self.num_maps, 0, 0].expand(len(gray), -1, -1)  # (B, 2, K), or (B, 2, C)
        if embeddings is not None:
            mixture = mixture @ embeddings  # (B, 2, K) x (B, K, C)
        ab = self.pixel_decoder.last_up.mix(finest, mixture) + F.conv2d(gray, weight[:, self.num_maps :], bias)
        return ab[..., : l.shape[-2], : l.shape[-1]]
