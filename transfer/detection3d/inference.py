"""Boxes in a point cloud, from a config and a checkpoint, and the picture of them from above."""

import json
from collections import OrderedDict
from pathlib import Path

import numpy as np
import torch
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from mmdet3d.apis import inference_detector
from mmdet3d.registry import MODELS
from mmdet3d.structures import Det3DDataSample, LiDARInstance3DBoxes
from mmengine.config import Config
from mmengine.model import revert_sync_batchnorm
from mmengine.registry import TRANSFORMS, init_default_scope
from mmengine.structures import InstanceData

from engine import check_weights, write_aside
from transfer.weights import read_weights

__all__ = ['PointCloudDetector', 'draw_bird_eye_view']


class PointCloudDetector:
    """A trained detector of mmdet3d, ready for point clouds.

    Args:
        config: config file of the training.
        checkpoint: weights of that training, .pth or .safetensors.
        device: where the network runs.
        score_threshold: less certain objects are left out of picture and JSON.

    Raises:
        FileNotFoundError: there is no such config or checkpoint.
        CheckpointError: the checkpoint is broken or not of this config.
    """

    def __init__(self, config: str, checkpoint: str, device: str = 'cpu', score_threshold: float = 0.3):
        cfg = Config.fromfile(config)
        init_default_scope(cfg.default_scope)
        weights, meta = read_weights(checkpoint)
        self.model = revert_sync_batchnorm(MODELS.build(cfg.model))
        expected = self.model.state_dict()
        check_weights(checkpoint, weights, expected)
        # spconv turns weights round that do not tell its version, as those of a .safetensors file
        weights = OrderedDict(weights)
        weights._metadata = expected._metadata
        self.model.load_state_dict(weights)
        self.model.to(device).eval()
        self.model.cfg = cfg
        self.classes = meta.get('dataset_meta', {}).get('classes') or cfg.test_dataloader.dataset.metainfo.classes
        self.range = list(cfg.model.data_preprocessor.voxel_layer.point_cloud_range)
        self.score_threshold = score_threshold
        self.reader = TRANSFORMS.build(cfg.test_dataloader.dataset.pipeline[0])

    def read_points(self, path: str | Path) -> np.ndarray:
        """Read the points of a file that are in the detector's range, (N, C) float32, x, y, z in metres first.

        Raises:
            FileNotFoundError: there is no such file.
            DataError: it is truncated, or has values that are NaN or infinite.
        """
        if not Path(path).is_file():
            raise FileNotFoundError(f'no point cloud at {path}')
        points = self.reader(dict(lidar_points=dict(lidar_path=str(path))))['points'].numpy()
        low, high = np.array(self.range[:3]), np.array(self.range[3:])
        return points[np.all((points[:, :3] >= low) & (points[:, :3] < high), axis=1)]

    def predict(self, path: str | Path) -> Det3DDataSample:
        """Find the objects of a point cloud; a cloud without points in range has none.

        Returns:
            mmdet3d's result; `pred_instances_3d` holds `scores_3d` (N,), `labels_3d` (N,) and `bboxes_3d`, N boxes in
            the sensor's frame, in metres and radians.

        Raises:
            FileNotFoundError: there is no such file.
            DataError: it is truncated, or has values that are NaN or infinite.
        """
        if len(self.read_points(path)):
            result = inference_detector(self.model, str(path))[0].cpu()
        else:
            result = Det3DDataSample(pred_instances_3d=InstanceData(
                bboxes_3d=LiDARInstance3DBoxes(torch.zeros(0, 7)), scores_3d=torch.zeros(0),
                labels_3d=torch.zeros(0, dtype=torch.long)))
        result.set_metainfo(dict(lidar_path=str(path)))
        return result

    def save(self, result: Det3DDataSample, picture: str | Path, text: str | Path) -> int:
        """Write the bird's-eye view with its boxes, and their description as JSON; whole or not at all.

        Args:
            result: from `predict`.
            picture: the file of the picture, with a suffix such as .jpg or .png.
            text: the file of the JSON: `point_cloud` and `objects`, most certain first, each with `name`, `label`,
                `score`, `center` (x, y, z in metres), `size` (along the heading, across, up), `yaw` (radians from the
                x axis) and, where the detector tells it, `velocity` (x, y in metres per second).

        Returns:
            The number of objects.
        """
        found = result.pred_instances_3d
        found = found[found.scores_3d >= self.score_threshold]
        found = found[found.scores_3d.argsort(descending=True)]
        boxes = found.bboxes_3d
        objects = []
        for score, label, center, box in zip(
                found.scores_3d, found.labels_3d, boxes.gravity_center, boxes.tensor, strict=True):
            item = dict(name=self.classes[label], label=int(label), score=float(score), center=center.tolist(),
                        size=box[3:6].tolist(), yaw=float(box[6]))
            if len(box) > 7:
                item['velocity'] = box[7:9].tolist()
            objects.append(item)
        draw_bird_eye_view(
            picture, self.read_points(result.lidar_path), self.range, boxes, [item['name'] for item in objects])
        with write_aside(text) as aside:
            aside.write_text(
                json.dumps(dict(point_cloud=result.lidar_path, objects=objects), indent=1) + '\n', encoding='utf-8')
        return len(objects)


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
    figure = Figure(figsize=(10, max(2., 10 * (y1 - y0) / (x1 - x0))), dpi=120, layout='tight')
    FigureCanvasAgg(figure)
    axes = figure.add_subplot(aspect='equal', xlim=(x0, x1), ylim=(y0, y1), xlabel='x [m]', ylabel='y [m]')
    axes.set_facecolor('black')
    axes.scatter(points[:, 0], points[:, 1], s=.4, c=points[:, 2], cmap='viridis', vmin=z0, vmax=z1, linewidths=0)
    for group, color, labels in ((truth, 'lime', None), (boxes, 'red', names)):
        if group is None or not len(group):
            continue
        for i, corners in enumerate(group.corners.numpy()[:, [0, 3, 7, 4], :2]):
            axes.plot(*np.vstack([corners, corners[:1]]).T, color=color, linewidth=1)
            center, front = corners.mean(axis=0), corners[2:].mean(axis=0)
            axes.plot(*np.stack([center, front]).T, color=color, linewidth=1)
            if labels is not None:
                axes.annotate(labels[i], corners[0], color=color, fontsize=6, annotation_clip=True)
    with write_aside(path) as aside:
        figure.savefig(aside)
