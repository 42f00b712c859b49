"""Whole photographs without PyTorch: two ONNX files from pixels to pixels, so that nobody else has to know Lab.

`colors.onnx` maps the pixels of a photograph to the colours that the network predicts for its shape, `join.onnx` joins
them with the luminance, some rows of the photograph at a time. Together they are `Colorizer` for 8 bits.
`dualattn-light` and the page for browsers run them.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from colorization.color import lab_to_rgb_keeping_l, look_up_luminance
from colorization.pipeline import MAX_ASPECT, STRIDE, Colorizer
from dualattn.io.files import write_whole
from dualattn.onnx import open_session, open_sizes, trace_onnx

__all__ = ['COLORS', 'JOIN', 'NUMBERS', 'colorize_pixels', 'export_photo_files', 'open_photo_files']

COLORS, JOIN = 'colors.onnx', 'join.onnx'
NUMBERS = ('float32', 'float16')  # in which the weights are stored; both compute in float32
BAND_PIXELS = 1 << 18  # that are joined at a time
_OPSET = 18  # the first whose Resize knows antialiasing
_LEAST_HALVED = 1024  # numbers of a tensor; smaller ones are biases and the like, which lose most
# height and width of photographs at which files are compared with the Colorizer: reduced, enlarged, a strip
_CHECKED_SHAPES = ((333, 500), (90, 61), (40, 400))


class PhotoColors(nn.Module):
    """Pixels (H, W, 3) uint8 to the colours of their rows (H, 2, w), float32 in Lab units; w is the network's width."""

    def __init__(self, network: nn.Module, size: int):
        super().__init__()
        self.network = network
        self.size = size

    def forward(self, pixels: Tensor) -> Tensor:
        """Predict as `Colorizer.predict_ab` does; enlarged to rows as `join_luminance` does."""
        l = look_up_luminance(pixels)[None, None]
        # `network_size` in tensors, since a trace keeps nothing else open; both round halves to even
        height, width = torch._shape_as_tensor(pixels)[:2].double().unbind()
        root = (height / width).clamp(1 / MAX_ASPECT, MAX_ASPECT).sqrt()
        sides = torch.stack([self.size * root, self.size / root]) / STRIDE
        rows, columns = (sides.round().clamp(min=1) * STRIDE).long().unbind()
        size: Any = (rows, columns)  # tensors, where its types know numbers alone
        small = F.interpolate(l, size, mode='bicubic', antialias=True, align_corners=False).clamp(0, 100)
        ab = self.network(small)
        tall = F.interpolate(ab, (pixels.shape[0], ab.shape[3]), mode='bicubic', align_corners=False)
        return tall[0].permute(1, 0, 2)


class PhotoJoin(nn.Module):
    """Rows of pixels (B, W, 3) uint8 and their colours (B, 2, w) in Lab units to sRGB (B, W, 3) uint8."""

    def forward(self, pixels: Tensor, ab: Tensor) -> Tensor:
        """Join as `join_luminance` does."""
        l = look_up_luminance(pixels)[None, None]
        ab = ab.permute(1, 0, 2)[None]
        wide = F.interpolate(ab, (ab.shape[2], pixels.shape[1]), mode='bicubic', align_corners=False)
        rgb = lab_to_rgb_keeping_l(l, wide)[0].permute(1, 2, 0)
        return (rgb * 255).round().to(torch.uint8)


def export_photo_files(
    network: nn.Module, folder: str | os.PathLike, numbers: str = 'float32', overwrite: bool = False
) -> tuple[float, float]:
    """Write the two files for a colorization network, and compare their pictures with those of the `Colorizer`.

    Args:
        network: maps l (B, 1, H, W) in [0, 100] to ab (B, 2, H, W) in Lab units, and has a `config`.
        folder: where `COLORS` and `JOIN` go; it is made if it is missing.
        numbers: one of `NUMBERS`. 'float16' halves the file; the picture then differs by what is returned.
        overwrite: replace files that exist.

    Returns:
        The mean and the largest difference to pictures of the `Colorizer`, in levels of 8 bits.

    Raises:
        ImportError: onnx or onnxruntime is missing.
        FileExistsError: a file exists and `overwrite` is False.
        ValueError: there are no such numbers, or files of float32 are not exact; nothing is written then.
        OSError: a file cannot be written.
    """
    if numbers not in NUMBERS:
        raise ValueError(f'numbers are {" or ".join(NUMBERS)}, got {numbers!r}')
    try:
        import onnx  # noqa: F401  needed below
        import onnxruntime  # noqa: F401
    except ImportError as error:
        raise ImportError(f"{error}; ONNX files need: pip install 'dualattn[export]'") from error
    size = getattr(network, 'inference_size', 256)
    description: Any = network.config
    notes = dict(config=description, inference_size=size, numbers=numbers)
    Path(folder).mkdir(parents=True, exist_ok=True)
    pixels = torch.randint(256, (96, 80, 3), dtype=torch.uint8)
    sides = {0: 'height', 1: 'width'}
    colors, join = (Path(folder, name) for name in (COLORS, JOIN))
    with write_whole(colors, overwrite) as colors_aside, write_whole(join, overwrite) as join_aside:
        _register_resizing()
        trace_onnx(
            PhotoColors(open_sizes(network), size),
            colors_aside,
            dict(pixels=pixels),
            ['ab'],
            dict(pixels=sides, ab={0: 'height', 2: 'columns'}),
            dict(notes, kind='colors of photographs'),
            _OPSET,
        )
        if numbers == 'float16':
            _halve(colors_aside)
        trace_onnx(
            PhotoJoin(),
            join_aside,
            dict(pixels=pixels, ab=torch.rand(96, 2, 64) * 100 - 50),
            ['rgb'],
            dict(pixels=sides, ab={0: 'height', 2: 'columns'}, rgb=sides),
            dict(kind='join of photographs'),
            _OPSET,
        )
        sessions = open_session(colors_aside), open_session(join_aside)
        mean, largest = _compare(Colorizer(network), sessions)
        if numbers == 'float32' and not (largest <= 1 and mean <= 1e-3):
            raise ValueError(f'{colors}: pictures would differ by {mean:.2g} levels on average, {largest:.0f} at most')
    return mean, largest


def open_photo_files(folder: str | os.PathLike, threads: int = 0) -> tuple[Any, Any]:
    """Open both files in onnxruntime, for `colorize_pixels`; raises as `open_session` does."""
    return open_session(Path(folder, COLORS), threads), open_session(Path(folder, JOIN), threads)


def colorize_pixels(sessions: tuple[Any, Any], pixels: np.ndarray) -> np.ndarray:
    """Colorize sRGB pixels (H, W, 3) uint8, to the same."""
    colors, join = sessions
    (ab,) = colors.run(['ab'], {'pixels': pixels})
    out = np.empty_like(pixels)
    step = max(1, BAND_PIXELS // pixels.shape[1])
    for top in range(0, len(pixels), step):
        band = slice(top, top + step)
        (out[band],) = join.run(['rgb'], {'pixels': pixels[band], 'ab': ab[band]})
    return out


def _compare(colorizer: Colorizer, sessions: tuple[Any, Any]) -> tuple[float, float]:
    differences = []
    for index, (height, width) in enumerate(_CHECKED_SHAPES):
        coarse = torch.rand(1, 3, 5, 7, generator=torch.Generator().manual_seed(index))
        smooth = F.interpolate(coarse, (height, width), mode='bicubic')[0].permute(1, 2, 0)
        pixels = (smooth.clamp(0, 1) * 255).round().byte().numpy()
        given, expected = colorize_pixels(sessions, pixels), colorizer(pixels)
        differences.append(np.abs(given.astype(int) - expected).ravel())
    together = np.concatenate(differences)
    return float(together.mean()), float(together.max())


def _register_resizing() -> None:
    """Tell the tracing exporter what it lacks: reduction with antialiasing, which ONNX has since opset 18."""
    from torch.onnx import register_custom_op_symbolic, symbolic_helper

    def resize(graph: Any, image: Any, sides: Any, align_corners: Any, *scales: Any) -> Any:
        def constant(value: Tensor) -> Any:
            return graph.op('Constant', value_t=value)

        axes = [
            graph.op('Unsqueeze', side, constant(torch.tensor([0]))) for side in symbolic_helper._unpack_list(sides)
        ]
        shape = graph.op('Concat', constant(torch.tensor([1, 1])), *axes, axis_i=0)
        # torch's kernel with antialiasing is Pillow's: a = -0.5, and weights beyond the edge are left out
        return graph.op(
            'Resize',
            image,
            constant(torch.tensor([])),
            constant(torch.tensor([])),
            shape,
            mode_s='cubic',
            antialias_i=1,
            cubic_coeff_a_f=-0.5,
            exclude_outside_i=1,
            coordinate_transformation_mode_s='half_pixel',
        )

    register_custom_op_symbolic('aten::_upsample_bicubic2d_aa', resize, _OPSET)


def _halve(path: Path) -> None:
    """Store large tensors of a file as float16, each with a cast, which runtimes do once when they open the file."""
    import onnx

    model = onnx.load(path)
    casts = []
    for tensor in model.graph.initializer:
        values = onnx.numpy_helper.to_array(tensor)
        if values.dtype == np.float32 and values.size >= _LEAST_HALVED:
            name = tensor.name
            tensor.CopyFrom(onnx.numpy_helper.from_array(values.astype(np.float16), f'{name}.half'))
            casts.append(onnx.helper.make_node('Cast', [tensor.name], [name], to=onnx.TensorProto.FLOAT))
    nodes = list(model.graph.node)
    del model.graph.node[:]
    model.graph.node.extend(casts + nodes)
    onnx.checker.check_model(model)
    onnx.save(model, path)
