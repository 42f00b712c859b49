"""Old photographs made from new ones: what a network is to see while it learns the colours of the new one."""

import math

import torch
import torch.nn.functional as F
from mmengine.registry import TRANSFORMS
from torch import Tensor
from torchvision.transforms.v2 import functional

__all__ = ['OldPhoto']

# Concentrations of the shares of linear red, green and blue in the gray of a film. Orthochromatic film is blind to red,
# early plates see little but blue; panchromatic film comes near the eye's 0.21, 0.72, 0.07.
_FILM = (0.8, 2.0, 1.2)


@TRANSFORMS.register_module()
class OldPhoto(torch.nn.Module):
    """Take a colour photograph in gray, as old film, paper and scanners would show it.

    In turn: film of random sensitivity to the three colours, contrast, fading, blur, vignette, grain, scratches and
    dust, JPEG. Each has its own chance, and `prob` that of the whole; otherwise gray is what the eye sees (Rec. 709).
    All numbers come from torch's random state.

    Args:
        prob: probability that an image is degraded at all.
        contrast: deviation of the logarithm of gamma.
        fading: largest share of the range by which black is lifted and white lowered.
        blur: probability of a blur of 0.4 to 1.2 pixels.
        vignette: probability that the corners are darker by up to 40 %.
        grain: largest deviation of the grain, as a share of the range; half of the images have some.
        scratches: probability of a few bright or dark lines and spots.
        jpeg: probability of a JPEG of quality 30 to 90.

    Raises:
        ValueError: a probability or share outside of [0, 1], or a negative contrast.
    """

    def __init__(
        self,
        prob: float = 0.6,
        contrast: float = 0.25,
        fading: float = 0.15,
        blur: float = 0.4,
        vignette: float = 0.2,
        grain: float = 0.05,
        scratches: float = 0.1,
        jpeg: float = 0.3,
    ):
        super().__init__()
        shares = dict(
            prob=prob, fading=fading, blur=blur, vignette=vignette, grain=grain, scratches=scratches, jpeg=jpeg
        )
        for name, value in shares.items():
            if not 0 <= value <= 1:
                raise ValueError(f'OldPhoto needs {name} in [0, 1], got {value}.')
        if not contrast >= 0:
            raise ValueError(f'OldPhoto needs contrast >= 0, got {contrast}.')
        self.prob, self.contrast, self.fading, self.blur = prob, contrast, fading, blur
        self.vignette, self.grain, self.scratches, self.jpeg = vignette, grain, scratches, jpeg

    def forward(self, rgb: Tensor) -> Tensor:
        """Map rgb (3, H, W) uint8 in [0, 255], sRGB, to gray (1, H, W) uint8 in [0, 255], in sRGB's transfer curve."""
        is_old = _chance(self.prob)
        shares = rgb.new_tensor((0.2126, 0.7152, 0.0722), dtype=torch.float32)
        if is_old:
            shares = torch.distributions.Dirichlet(torch.tensor(_FILM)).sample()
        gray = _encode((_LINEAR[rgb.long()] * shares[:, None, None]).sum(dim=0, keepdim=True))
        if is_old:
            gray = self._print(gray)
        return (gray * 255).round().clamp(0, 255).to(torch.uint8)

    def _print(self, gray: Tensor) -> Tensor:
        """Age gray (1, H, W) in [0, 1]."""
        gray = gray ** math.exp(self.contrast * float(torch.randn(())))
        black, white = self.fading * torch.rand(2)
        gray = black + gray * (1 - black - white)
        if _chance(self.blur):
            gray = functional.gaussian_blur(gray, [5, 5], [float(0.4 + 0.8 * torch.rand(()))])
        if _chance(self.vignette):
            y, x = (torch.linspace(-1, 1, side) for side in gray.shape[-2:])
            gray = gray * (1 - 0.4 * torch.rand(()) * (y[:, None] ** 2 + x**2) / 2)
        if _chance(0.5):
            gray = gray + self._draw_grain(gray.shape)
        if _chance(self.scratches):
            gray = _scratch(gray)
        if _chance(self.jpeg):
            levels = (gray * 255).round().clamp(0, 255).to(torch.uint8)
            gray = functional.jpeg(levels, int(torch.randint(30, 91, ()))).float() / 255
        return gray.clamp(0, 1)

    def _draw_grain(self, shape: torch.Size) -> Tensor:
        """Return noise (1, H, W), fine or in clumps of two pixels."""
        height, width = shape[-2:]
        step = int(torch.randint(1, 3, ()))
        noise = torch.randn(1, 1, -(-height // step), -(-width // step)) * self.grain * torch.rand(())
        if step > 1:
            noise = F.interpolate(noise, scale_factor=step, mode='bilinear', align_corners=False)
        return noise[0, :, :height, :width]


def _chance(probability: float) -> bool:
    # A number is drawn in any case, so that later draws do not depend on the probability.
    return float(torch.rand(())) < probability


# sRGB level -> linear light
_LEVELS = torch.arange(256) / 255
_LINEAR = torch.where(_LEVELS <= 0.04045, _LEVELS / 12.92, ((_LEVELS + 0.055) / 1.055) ** 2.4)


def _encode(linear: Tensor) -> Tensor:
    """Apply the transfer curve of sRGB to linear light in [0, 1]."""
    return torch.where(linear <= 0.0031308, linear * 12.92, 1.055 * linear.clamp(min=0.0031308) ** (1 / 2.4) - 0.055)


def _scratch(gray: Tensor) -> Tensor:
    """Return gray (1, H, W) with one to three nearly vertical scratches and as many spots of dust."""
    gray = gray.clone()
    height, width = gray.shape[-2:]
    rows, columns = torch.arange(height)[:, None], torch.arange(width)
    for _ in range(int(torch.randint(1, 4, ()))):
        tone, start, slope, y, x, radius = torch.rand(6)
        line = start * width + (slope - 0.5) * 0.2 * rows
        gray[0, (columns - line).abs() < 0.6] = tone
        gray[0, (rows - y * height) ** 2 + (columns - x * width) ** 2 < (0.5 + 2 * radius) ** 2] = 1 - tone
    return gray
