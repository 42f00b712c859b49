"""The upsampling stage: pixel shuffle with shortcuts from the encoder."""

from collections.abc import Sequence

import torch
import torch.nn as nn
from timm.layers import LayerNorm2d
from torch import Tensor

__all__ = ['PixelShuffleDecoder', 'PixelShuffleUp', 'init_shuffle']


@torch.no_grad()
def init_shuffle(conv: nn.Conv2d, scale: int) -> None:
    """Start all sub-pixels of a shuffle equal, which avoids checkerboards (ICNR, Aitken et al. 2017)."""
    coarse = torch.empty_like(conv.weight[:: scale**2])
    nn.init.kaiming_normal_(coarse)
    conv.weight.copy_(coarse.repeat_interleave(scale**2, dim=0))
    if conv.bias is not None:
        nn.init.zeros_(conv.bias)


class PixelShuffleUp(nn.Module):
    """Double the resolution by pixel shuffle, then fuse with the encoder's map of that resolution (MPT III-C.1).

    Args:
        in_chans: channels of the coarse map.
        skip_chans: channels of the encoder's map.
        out_chans: channels of the result.
    """

    def __init__(self, in_chans: int, skip_chans: int, out_chans: int):
        super().__init__()
        self.expand = nn.Conv2d(in_chans, 4 * out_chans, kernel_size=3, padding=1)
        self.shuffle = nn.PixelShuffle(2)
        self.fuse = nn.Sequential(
            nn.Conv2d(out_chans + skip_chans, out_chans, kernel_size=3, padding=1),
            LayerNorm2d(out_chans),
            nn.GELU(),
        )
        init_shuffle(self.expand, 2)

    def forward(self, x: Tensor, skip: Tensor) -> Tensor:
        """Map x: (B, in_chans, h, w) and skip: (B, skip_chans, H, W) float to (B, out_chans, H, W).

        H and W are 2h and 2w, or one less where the encoder had to pad an odd side.
        """
        x = self.shuffle(self.expand(x))[..., : skip.shape[-2], : skip.shape[-1]]
        return self.fuse(torch.cat([x, skip], dim=1))


class PixelShuffleDecoder(nn.Module):
    """Raise the coarsest of four maps to the resolution of the finest in three steps (MPT Eq. 7).

    Args:
        encoder_chans: channels of the encoder's four maps, finest first.
        decoder_dims: channels after each of the three steps; the last is the width of the memory.
    """

    def __init__(self, encoder_chans: Sequence[int], decoder_dims: Sequence[int]):
        super().__init__()
        if len(decoder_dims) != len(encoder_chans) - 1:
            raise ValueError(
                f'{len(encoder_chans)} maps take {len(encoder_chans) - 1} steps, '
                f'but decoder_dims has {len(decoder_dims)} entries'
            )
        skips = list(encoder_chans[:-1])[::-1]
        chans = encoder_chans[-1]
        self.steps = nn.ModuleList()
        for skip_chans, dim in zip(skips, decoder_dims, strict=True):
            self.steps.append(PixelShuffleUp(chans, skip_chans, dim))
            chans = dim

    def forward(self, features: list[Tensor]) -> Tensor:
        """Map the encoder's maps (B, C_i, H / stride, W / stride), finest first, to the memory (B, C, H/4, W/4)."""
        x = features[-1]
        for step, skip in zip(self.steps, features[-2::-1], strict=True):
            x = step(x, skip)
        return x
