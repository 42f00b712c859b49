"""DDColor's pixel decoder: a U-Net of blurred pixel shuffles under spectral norm."""

from collections.abc import Sequence

import torch
import torch.nn as nn
import torch.nn.functional as F
from torch import Tensor
from torch.nn.utils.parametrizations import spectral_norm

from colorization.decoders.pixel import init_shuffle

__all__ = ['BlurredShuffle', 'BlurredShuffleDecoder', 'BlurredShuffleStep']

BAND_PIXELS = 2048  # pixels of the coarse map that are mixed at a time


class BlurredShuffle(nn.Module):
    """Enlarge a map by pixel shuffle, then smooth it with a 2 x 2 mean that takes out checkerboards (DDColor 3.2.1).

    Args:
        in_chans: channels of the coarse map.
        out_chans: channels of the fine map.
        scale: enlargement.
        use_norm: a batch norm between convolution and ReLU, instead of a bias.
    """

    def __init__(self, in_chans: int, out_chans: int, scale: int, use_norm: bool):
        super().__init__()
        self.scale = scale
        conv = nn.Conv2d(in_chans, out_chans * scale**2, kernel_size=1, bias=not use_norm)
        init_shuffle(conv, scale)
        self.conv = spectral_norm(conv)
        self.norm = nn.BatchNorm2d(out_chans * scale**2) if use_norm else nn.Identity()

    def _enlarge(self, x: Tensor) -> Tensor:
        x = F.pixel_shuffle(x, self.scale)
        return F.avg_pool2d(F.pad(x, (1, 0, 1, 0), mode='replicate'), kernel_size=2, stride=1)

    def forward(self, x: Tensor) -> Tensor:
        """Map x: (B, in_chans, h, w) float to (B, out_chans, scale * h, scale * w)."""
        return self._enlarge(F.relu(self.norm(self.conv(x)), inplace=True))

    def mix(self, x: Tensor, weights: Tensor) -> Tensor:
        """Mix the channels of `forward(x)`, without making it.

        Shuffle and blur act on each channel alone and are linear, so the few mixtures are enlarged instead of all
        channels. What the convolution makes of a band of rows is mixed while it is in the cache.

        Args:
            x: (B, in_chans, h, w) float.
            weights: (B, K, out_chans) float, the share of each channel in each mixture.

        Returns:
            (B, K, scale * h, scale * w), `einsum('bkc,bchw->bkhw', weights, forward(x))`.
        """
        weight, bias = self.conv.weight, self.conv.bias  # read once: spectral norm works at each reading
        x = x.contiguous()
        # a compiler fuses by itself, and an exported network is to take any size
        whole = torch.compiler.is_compiling() or torch.jit.is_tracing()
        bands = []
        for band in [x] if whole else x.split(max(1, BAND_PIXELS // x.shape[3]), dim=2):
            band = F.relu(self.norm(F.conv2d(band, weight, bias)), inplace=True)
            batch, _, height, width = band.shape
            # (B, C * scale^2, h, w) -> (B, K, scale^2 * h * w) -> (B, K * scale^2, h, w)
            bands.append((weights @ band.reshape(batch, weights.shape[2], -1)).reshape(batch, -1, height, width))
        return self._enlarge(torch.cat(bands, dim=2))


class BlurredShuffleStep(nn.Module):
    """Double the resolution and merge with the encoder's map of that resolution.

    Args:
        in_chans: channels of the coarse map.
        skip_chans: channels of the encoder's map.
        out_chans: channels of the result.
    """

    def __init__(self, in_chans: int, skip_chans: int, out_chans: int):
        super().__init__()
        self.up = BlurredShuffle(in_chans, out_chans, scale=2, use_norm=True)
        self.skip_norm = nn.BatchNorm2d(skip_chans)
        nn.init.constant_(self.skip_norm.bias, 1e-3)
        conv = nn.Conv2d(out_chans + skip_chans, out_chans, kernel_size=3, padding=1, bias=False)
        nn.init.kaiming_normal_(conv.weight)
        self.conv = spectral_norm(conv)
        self.norm = nn.BatchNorm2d(out_chans)

    def forward(self, x: Tensor, skip: Tensor) -> Tensor:
        """Map x: (B, in_chans, h, w) and skip: (B, skip_chans, 2h, 2w) float to (B, out_chans, 2h, 2w)."""
        x = F.relu(torch.cat([self.up(x), self.skip_norm(skip)], dim=1))
        return self.norm(F.relu(self.conv(x)))


class BlurredShuffleDecoder(nn.Module):
    """Raise the coarsest of four maps to the resolution of the finest in three steps, and to the image in a fourth.

    Args:
        encoder_chans: channels of the encoder's four maps, finest first.
        decoder_dims: channels after each of the four steps; the last is C of the image embedding.

    Attributes:
        last_up: the fourth step, from stride 4 to stride 1; `last_up(maps[-1])` is the image embedding E_i.

    Raises:
        ValueError: `decoder_dims` has another number of entries.
    """

    def __init__(self, encoder_chans: Sequence[int], decoder_dims: Sequence[int]):
        super().__init__()
        if len(decoder_dims) != len(encoder_chans):
            raise ValueError(
                f'{len(encoder_chans)} maps take {len(encoder_chans)} steps, '
                f'but decoder_dims has {len(decoder_dims)} entries'
            )
        *dims, embed_dim = decoder_dims
        skips = list(encoder_chans[:-1])[::-1]
        self.steps = nn.ModuleList(
            BlurredShuffleStep(in_chans, skip_chans, dim)
            for in_chans, skip_chans, dim in zip([encoder_chans[-1], *dims[:-1]], skips, dims, strict=True)
        )
        self.last_up = BlurredShuffle(dims[-1], embed_dim, scale=4, use_norm=False)

    def forward(self, features: list[Tensor]) -> list[Tensor]:
        """Map the encoder's maps, finest first, to the maps (B, decoder_dims[i], H / s, W / s) at strides 16, 8, 4."""
        maps = [features[-1]]
        for step, skip in zip(self.steps, features[-2::-1], strict=True):
            maps.append(step(maps[-1], skip))
        return maps[1:]
