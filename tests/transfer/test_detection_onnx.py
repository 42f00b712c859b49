"""The detection backbone in ONNX Runtime."""

import numpy as np
import onnxruntime
import pytest
import torch

from transfer import DualAttn

pytestmark = pytest.mark.mm


def test_backbone_in_onnx_runtime(tmp_path):
    """All four maps, at a size that no window divides."""
    torch.manual_seed(0)
    model = DualAttn(depths=(1, 1, 1, 1), embed_dims=(16, 16, 32, 32), stem_dim=8, head_dim=16, window_size=4).eval()
    image = torch.randn(1, 3, 72, 104)
    path = tmp_path / 'backbone.onnx'
    torch.onnx.export(model, (image,), path, dynamo=True)
    session = onnxruntime.InferenceSession(path)
    outputs = session.run(None, {session.get_inputs()[0].name: image.numpy()})
    with torch.inference_mode():
        expected = model(image)
    assert len(outputs) == len(expected) == 4
    for output, map_ in zip(outputs, expected, strict=True):
        np.testing.assert_allclose(output, map_.numpy(), atol=1e-4)
