"""How strongly each loss pulls at the colours: the measure of whether a term matters."""

import torch

from colorization.color import lab_to_rgb, rgb_to_lab
from colorization.systems.gan_colorizer import GANColorizer, see_l

__all__ = ['measure_pulls']


def measure_pulls(system: GANColorizer, data: dict) -> dict[str, float]:
    """Return the mean of |dL / d ab| over images, channels and pixels, for each weighted loss of the generator.

    Args:
        system: a colorizer in training; its weights stay as they are.
        data: a batch as the data loader collates it.
    """
    batch = system.data_preprocessor(data, training=True)
    rgb = batch['inputs']
    l, ab = rgb_to_lab(rgb)
    with torch.no_grad():
        pred_ab, scores = system._predict(see_l(l, batch.get('gray')))
    pred_ab = pred_ab.detach().requires_grad_()
    losses = system._generator_losses(pred_ab, scores, ab, lab_to_rgb(l, pred_ab), rgb)
    pulls = {}
    for name, loss in losses.items():
        if loss.requires_grad:  # that of a palette acts on scores, not on ab
            (gradient,) = torch.autograd.grad(loss, pred_ab, retain_graph=True)
            pulls[name] = gradient.abs().mean().item()
    return pulls
