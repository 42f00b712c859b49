"""The curves of a run as one picture, for those who have no TensorBoard at hand."""

import json
import math
from collections.abc import Iterable
from pathlib import Path

from mmengine.dist import master_only
from mmengine.hooks import Hook
from mmengine.registry import HOOKS

from dualattn.io.files import write_whole

# Bookkeeping that mmengine writes beside the losses; with several optimizers as `generator.lr`.
_NOT_CURVES = ('iter', 'epoch', 'step', 'time', 'data_time', 'memory', 'lr', 'base_lr', 'momentum')

# The runs of a training, each by the name of its folder in the work dir, oldest first; an entry of the message hub.
_RUNS = 'curve_runs'


def read_scalars(files: Iterable[Path]) -> dict[str, dict[int, float]]:
    """Read name -> step -> value from the `scalars.json` files of a run and of those that it resumed, oldest first.

    Where an interrupted run had come further than the checkpoint from which the next one went on, the later values win.
    """
    curves: dict[str, dict[int, float]] = {}
    for file in files:
        lines = file.read_text(encoding='utf-8').splitlines()
        for number, line in enumerate(lines, start=1):
            try:
                scalars = json.loads(line)
            except json.JSONDecodeError as error:
                if number == len(lines):  # a killed process leaves half a line
                    continue
                raise ValueError(f'{file}, line {number}: not the JSON that mmengine writes: {error}') from error
            for name, value in scalars.items():
                if name.rsplit('.', 1)[-1] not in _NOT_CURVES and isinstance(value, (int, float)):
                    curves.setdefault(name, {})[scalars['step']] = value
    return curves


def draw_curves(curves: dict[str, dict[int, float]], path: str | Path) -> None:
    """Draw one panel per quantity to a PNG; `X_gray`, `X_truth` share the panel of `X`.

    Raises:
        ValueError: there is no curve.
    """
    # matplotlib's object interface, because pyplot would keep figures alive and choose a window system.
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    if not curves:
        raise ValueError('there are no curves to draw.')
    panels: dict[str, list[str]] = {}
    for name in sorted(curves, key=lambda name: ('/' in name, name)):  # the losses first, then `color/...`
        stem = name.removesuffix('_gray').removesuffix('_truth')
        panels.setdefault(stem if stem in curves else name, []).append(name)
    columns = min(3, len(panels))
    rows = math.ceil(len(panels) / columns)
    figure = Figure(figsize=(4.5 * columns, 3 * rows), layout='constrained')
    axes = figure.subplots(rows, columns, squeeze=False).ravel()
    for axis, (title, names) in zip(axes, panels.items(), strict=False):
        for name in names:
            steps = sorted(curves[name])
            axis.plot(steps, [curves[name][step] for step in steps], marker='.', markersize=3, label=name)
        axis.set_title(title, fontsize='medium')
        axis.set_xlabel('iteration')
        axis.grid(alpha=0.3)
        if len(names) > 1:
            axis.legend(fontsize='small')
    for axis in axes[len(panels) :]:
        axis.set_visible(False)
    with write_whole(path) as aside:
        FigureCanvasAgg(figure).print_png(aside)


@HOOKS.register_module()
class LossCurveHook(Hook):
    """Draw losses and validation metrics to `work_dir/curve.png` after each validation and at the end of training.

    Reads what mmengine's `LocalVisBackend` has written (the default visualizer has one), of this run and of the runs in
    the same work dir that it continues; their names travel in the checkpoints. Other runs in the work dir are not read.

    Args:
        filename: name inside the work dir.
    """

    # After LoggerHook, which writes the numbers.
    priority = 'VERY_LOW'

    def __init__(self, filename: str = 'curve.png'):
        self.filename = filename

    @master_only
    def _draw(self, runner) -> None:
        runs = runner.message_hub.get_info(_RUNS, [runner.timestamp])  # without a training there is this run alone
        files = [Path(runner.work_dir, run, 'vis_data', 'scalars.json') for run in runs]
        curves = read_scalars(file for file in files if file.is_file())
        if not curves:
            runner.logger.warning(
                f'LossCurveHook found no scalars at {files[-1]}: nothing was logged yet, or the visualizer has no '
                "dict(type='LocalVisBackend')"
            )
            return
        path = Path(runner.work_dir, self.filename)
        draw_curves(curves, path)
        runner.logger.info(f'Curves of this training: {path}')

    def before_train(self, runner) -> None:
        """Add this run to those that it continues, which a checkpoint has brought by now."""
        runs = runner.message_hub.get_info(_RUNS, [])
        runner.message_hub.update_info(_RUNS, [*(run for run in runs if run != runner.timestamp), runner.timestamp])

    def after_val_epoch(self, runner, metrics: dict | None = None) -> None:
        """Draw what there is so far."""
        self._draw(runner)

    def after_train(self, runner) -> None:
        """Draw the whole run."""
        self._draw(runner)
