"""Point clouds with boxes, seen from above: the picture, and the hook that draws what is tested."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from mmdet3d.structures import Det3DDataSample, LiDARInstance3DBoxes
from mmengine.hooks import Hook
from mmengine.registry import HOOKS
from mmengine.runner import Runner

from dualattn.io.files import write_whole

__all__ = ['BirdEyeViewHook', 'draw_bird_eye_view']


@HOOKS.register_module()
class BirdEyeViewHook(Hook):
    """Draw each tested point cloud from above, with its labels in green and what was found in red.

    It takes the place of mmdet3d's hook, which draws a scene in a window and needs a screen; `dualattn test --show-dir`
    switches it on.

    Args:
        draw: whether to draw at all.
        test_out_dir: folder of the pictures, below that of the run; one for each cloud, named as its file.
        score_threshold: less certain objects are left out.
    """

    def __init__(self, draw: bool = False, test_out_dir: str = 'bird_eye_view', score_threshold: float = 0.3):
        self.draw = draw
        self.test_out_dir = test_out_dir
        self.score_threshold = score_threshold

    def after_test_iter(
        self,
        runner: Runner,
        batch_idx: int,
        data_batch: dict,
        outputs: Sequence[Det3DDataSample],
    ) -> None:
        """Write the pictures of a batch, see `mmengine.hooks.Hook`."""
        if not self.draw:
            return
        folder = Path(runner.work_dir, runner.timestamp, self.test_out_dir)
        folder.mkdir(parents=True, exist_ok=True)
        classes = runner.test_dataloader.dataset.metainfo['classes']
        point_cloud_range = runner.cfg.model.data_preprocessor.voxel_layer.point_cloud_range
        for points, sample in zip(data_batch['inputs']['points'], outputs, strict=True):
            found = sample.pred_instances_3d.cpu()
            found = found[found.scores_3d >= self.score_threshold]
            names = [
                f'{classes[label]} {score:.2f}'
                for label, score in zip(found.labels_3d.tolist(), found.scores_3d.tolist(), strict=True)
            ]
            truth = (sample.eval_ann_info or {}).get('gt_bboxes_3d')
            draw_bird_eye_view(
                folder / f'{Path(sample.lidar_path).stem}.png',
                points.cpu().numpy(),
                list(point_cloud_range),
                found.bboxes_3d,
                names,
                truth,
            )


def draw_bird_eye_view(
    path: str | Path,
    points: np.ndarray,
    point_cloud_range: list[float],
    boxes: LiDARInstance3DBoxes,
    names: list[str],
    truth: LiDARInstance3DBoxes | None = None,
) -> None:
    """Draw a point cloud from above, with boxes whose front is marked and named.

    Args:
        path: the file of the picture, with a suffix such as .jpg or .png.
        points: (N, C) float, x, y, z in metres first; z gives the colour.
        point_cloud_range: x, y, z of the lower and of the upper corner, in metres.
        boxes: N boxes, drawn in red.
        names: N names.
        truth: boxes to draw in green.
    """
    x0, y0, z0, x1, y1, z1 = point_cloud_range
    figure = Figure(figsize=(10, max(2.0, 10 * (y1 - y0) / (x1 - x0))), dpi=120, layout='tight')
    FigureCanvasAgg(figure)
    axes = figure.add_subplot(aspect='equal', xlim=(x0, x1), ylim=(y0, y1), xlabel='x [m]', ylabel='y [m]')
    axes.set_facecolor('black')
    axes.scatter(points[:, 0], points[:, 1], s=0.4, c=points[:, 2], cmap='viridis', vmin=z0, vmax=z1, linewidths=0)
    # a wide line below a narrow one: both can be seen where they agree
    for group, color, width, labels in ((truth, 'lime', 3, None), (boxes, 'red', 1, names)):
        if group is None or not len(group):
            continue
        for i, corners in enumerate(group.corners.numpy()[:, [0, 3, 7, 4], :2]):
            axes.plot(*np.vstack([corners, corners[:1]]).T, color=color, linewidth=width)
            center, front = corners.mean(axis=0), corners[2:].mean(axis=0)
            axes.plot(*np.stack([center, front]).T, color=color, linewidth=width)
            if labels is not None:
                axes.annotate(labels[i], corners[0], color=color, fontsize=6, annotation_clip=True)
    with write_whole(path) as aside:
        figure.savefig(aside)
