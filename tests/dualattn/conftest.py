"""Small members of the family: each variant's own order of attentions and windows, but few blocks and channels."""

import pytest
import timm
import torch

import dualattn  # noqa: F401  registers dualattn_* with timm

SMALL = dict(depths=(1, 1, 2, 1), embed_dims=(32, 64, 32, 64), stem_dim=16, head_dim=16, num_classes=10)


@pytest.fixture
def build():
    """`timm.create_model` with small arguments unless told otherwise; the same weights at every call."""

    def create(name, **kwargs):
        torch.manual_seed(0)
        return timm.create_model(name, **{**SMALL, **kwargs}).eval()

    return create


@pytest.fixture
def image():
    """A batch of two images that leave 2 x 2 tokens at stride 32, so that windows need padding."""
    return torch.randn(2, 3, 64, 64, generator=torch.Generator().manual_seed(1))
