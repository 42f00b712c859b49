"""DDColor's colourfulness loss."""

import numpy as np
import pytest
import torch

from colorization.losses import ColorfulnessLoss


def pictures(*shape):
    return torch.rand(shape, generator=torch.Generator().manual_seed(0))


@pytest.mark.parametrize('absolute', [True, False])
def test_value_by_its_equation(absolute):
    """Eq. 8 with Hasler and Suesstrunk's numbers on RGB in [0, 255], picture by picture."""
    rgb = pictures(3, 3, 16, 20)
    terms = []
    for r, g, b in 255 * rgb.double().numpy():
        rg, yb = r - g, (r + g) / 2 - b
        if absolute:
            rg, yb = np.abs(rg), np.abs(yb)
        terms.append(1 - (np.hypot(rg.std(), yb.std()) + 0.3 * np.hypot(rg.mean(), yb.mean())) / 100)
    loss = ColorfulnessLoss(loss_weight=0.5, absolute=absolute)(rgb)
    assert loss.shape == () and loss.item() == pytest.approx(0.5 * np.mean(terms), rel=1e-5)


def test_less_for_more_colour():
    rgb = pictures(2, 3, 16, 16)
    gray = rgb.mean(dim=1, keepdim=True)
    losses = [ColorfulnessLoss()(gray + strength * (rgb - gray)).item() for strength in (1, 0.5, 0.1, 0)]
    assert losses == sorted(losses) and losses[-1] == pytest.approx(0.5)


def test_descent_makes_a_picture_more_colourful():
    rgb = (0.5 + 0.01 * (pictures(1, 3, 8, 8) - 0.5)).requires_grad_()
    loss = ColorfulnessLoss()(rgb)
    loss.backward()
    assert rgb.grad.isfinite().all() and ColorfulnessLoss()(rgb - 0.1 * rgb.grad) < loss


def test_gray_and_flat_pictures_have_finite_gradients():
    """The square roots are at zero there."""
    for rgb in (torch.full((1, 3, 4, 4), 0.5), pictures(1, 1, 4, 4).repeat(1, 3, 1, 1)):
        rgb.requires_grad_()
        ColorfulnessLoss()(rgb).backward()
        assert rgb.grad.isfinite().all()


def test_half_precision_is_computed_in_full():
    rgb = pictures(2, 3, 32, 32)
    with torch.autocast('cpu', dtype=torch.bfloat16):
        loss = ColorfulnessLoss()(rgb)
    assert loss.dtype == torch.float32 and loss.item() == pytest.approx(ColorfulnessLoss()(rgb).item(), rel=1e-6)
