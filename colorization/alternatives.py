"""What a palette head knows beyond its best guess: other plausible versions of a photograph, and its doubt."""

import math

import torch
import torch.nn.functional as F
from torch import Tensor

__all__ = ['draw_variants', 'measure_doubt']

ANCHORS = 12  # at most so many places stand for what there is in a picture: things, ground, sky
APART = 0.25  # squared distance of features, which have length 1, from which two places are different things
REACH = 18.0  # Lab units around a chosen colour whose neighbours are raised with it
PULL = 6.0  # by how much the scores of a chosen colour are raised
POSITION = 0.1  # weight of the place in the picture against what is seen there


def measure_doubt(scores: Tensor) -> Tensor:
    """Tell where a network is unsure of its colours.

    Args:
        scores: (B, K, h, w) float, z of `PaletteHead`.

    Returns:
        (B, h, w) float in [0, 1]: the entropy of the distribution over log K. 0 is a colour without any doubt, 1 that
        all colours of the palette are as likely as each other.
    """
    log_p = scores.log_softmax(dim=1)
    return -(log_p.exp() * log_p).sum(dim=1) / math.log(scores.shape[1])


def draw_variants(scores: Tensor, colors: Tensor, count: int, seed: int = 0) -> Tensor:
    """Draw other distributions that the network finds plausible, each coherent by region.

    A few anchors, places as unlike each other as possible in what the network sees there, part the picture into soft
    regions. In each version each region draws one colour from its own distribution, and the scores of that colour and
    of those near it are raised in the whole region: a coat is red or blue, and never both. What is certain, such as
    skin or sky, has one colour to draw and stays as it is.

    Args:
        scores: (1, K, h, w) float, z of `PaletteHead`.
        colors: (K, 2) float, the palette in Lab units.
        count: number of versions.
        seed: of the draws; the same seed gives the same versions, and the first ones do not depend on `count`.

    Returns:
        (count, K, h, w) float, scores to be mixed as the network's own are.

    Raises:
        ValueError: scores of more than one picture, or count is below 1.
    """
    if len(scores) != 1:
        raise ValueError(f'variants are drawn for one picture at a time, got {len(scores)}')
    if count < 1:
        raise ValueError(f'the number of variants has to be at least 1, got {count}')
    membership = _find_regions(scores[0])  # (R, h, w)
    shares = scores[0].softmax(dim=0)
    regions = torch.einsum('rhw,khw->rk', membership, shares) / membership.sum(dim=(1, 2))[:, None]
    nearness = (-torch.cdist(colors.float(), colors.float()).square() / (2 * REACH**2)).exp()  # (K, K)
    generator = torch.Generator().manual_seed(seed)
    variants = []
    for _ in range(count):
        chosen = torch.multinomial(regions.cpu(), 1, generator=generator)[:, 0]
        pull = torch.einsum('rhw,rk->khw', membership, nearness[chosen.to(nearness.device)])
        variants.append(scores[0] + PULL * pull)
    return torch.stack(variants)


def _find_regions(scores: Tensor) -> Tensor:
    """Return the share of R soft regions in each place, (R, h, w), for scores (K, h, w)."""
    height, width = scores.shape[1:]
    features = F.normalize(scores - scores.mean(dim=0), dim=0)
    y, x = torch.linspace(-1, 1, height, device=scores.device), torch.linspace(-1, 1, width, device=scores.device)
    grid = torch.stack(torch.meshgrid(y, x, indexing='ij')) * POSITION
    features = torch.cat([features, grid]).flatten(1).T  # (K + 2, h, w) -> (h * w, K + 2)
    # the first anchor is the most common place, each next one the place that is least like those before
    distance = (features - features.mean(dim=0)).square().sum(dim=1)
    anchors = [int(distance.argmin())]
    nearest = (features - features[anchors[0]]).square().sum(dim=1)
    while len(anchors) < ANCHORS and float(nearest.max()) > APART:
        anchors.append(int(nearest.argmax()))
        nearest = torch.minimum(nearest, (features - features[anchors[-1]]).square().sum(dim=1))
    distances = torch.cdist(features[anchors], features).square()  # (R, h * w)
    return (-distances / (APART / 4)).softmax(dim=0).view(-1, height, width)
