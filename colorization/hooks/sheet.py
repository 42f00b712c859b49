"""Contact sheets: what the network makes of some validation images, beside the truth, for the eye."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from mmengine.dist import is_main_process
from mmengine.hooks import Hook
from mmengine.registry import HOOKS
from mmengine.visualization import LocalVisBackend
from PIL import Image

from colorization.sheet import draw_sheet, save_sheet, to_picture


@HOOKS.register_module()
class SheetHook(Hook):
    """Write gray, prediction and truth of a few validation images to `work_dir/sheets` at each validation and test.

    The images are spread evenly over the validation set, the same ones each time: `sheets/iter_N.png` after N
    iterations, `sheets/test.png` from a test. A TensorBoard that the run has gets them too. In a run of several
    processes the first one draws, from its own share of the images.

    Args:
        num_images: rows of the sheet.
        tile: pixels of the longer side of each picture.

    Raises:
        ValueError: `num_images` or `tile` is not positive.
    """

    priority = 'LOW'

    def __init__(self, num_images: int = 8, tile: int = 192):
        if num_images < 1 or tile < 1:
            raise ValueError(f'SheetHook needs num_images >= 1 and tile >= 1, got {num_images} and {tile}.')
        self.num_images = num_images
        self.tile = tile
        self._rows: list[list[Image.Image]] = []
        self._captions: list[str] = []
        self._wanted: set[int] = set()
        self._seen = 0

    def _begin(self, dataloader) -> None:
        self._rows, self._captions, self._seen = [], [], 0
        count = len(dataloader.sampler) if is_main_process() else 0
        self._wanted = {int(index) for index in np.linspace(0, count - 1, min(self.num_images, count))}

    def _collect(self, outputs: Sequence[dict]) -> None:
        for position, sample in enumerate(outputs, start=self._seen):
            if position in self._wanted:
                self._rows.append([to_picture(sample[key]) for key in ('gray_rgb', 'pred_rgb', 'gt_rgb')])
                self._captions.append(Path(sample['path']).name)
        self._seen += len(outputs)

    def _finish(self, runner, name: str, step: int) -> None:
        if not self._rows:
            return
        sheet = draw_sheet(self._rows, ('gray', 'prediction', 'truth'), self._captions, self.tile)
        path = Path(runner.work_dir, 'sheets', f'{name}.png')
        save_sheet(sheet, path)
        runner.logger.info(f'Sheet of gray, prediction and truth: {path}')
        for backend in runner.visualizer._vis_backends.values():  # mmengine has no public way to list them
            if not isinstance(backend, LocalVisBackend):  # the file is on the disk already
                backend.add_image('sheet', np.asarray(sheet), step)
        self._rows, self._captions = [], []

    def before_val_epoch(self, runner) -> None:
        """Forget the sheet of the last validation."""
        self._begin(runner.val_dataloader)

    def after_val_iter(self, runner, batch_idx: int, data_batch=None, outputs: Sequence[dict] | None = None) -> None:
        """Keep the chosen images of a batch."""
        self._collect(outputs)

    def after_val_epoch(self, runner, metrics: dict | None = None) -> None:
        """Write the sheet."""
        self._finish(runner, f'iter_{runner.iter}', runner.iter)

    def before_test_epoch(self, runner) -> None:
        """Forget what was collected before."""
        self._begin(runner.test_dataloader)

    def after_test_iter(self, runner, batch_idx: int, data_batch=None, outputs: Sequence[dict] | None = None) -> None:
        """Keep the chosen images of a batch."""
        self._collect(outputs)

    def after_test_epoch(self, runner, metrics: dict | None = None) -> None:
        """Write the sheet."""
        self._finish(runner, 'test', 0)
