"""Boxes in a point cloud, from a config and a checkpoint."""

import logging
from pathlib import Path

import numpy as np
import torch
from mmdet3d.apis import inference_detector
from mmdet3d.structures import Det3DDataSample, LiDARInstance3DBoxes
from mmengine.registry import TRANSFORMS
from mmengine.structures import InstanceData

from dualattn.io.files import write_json
from transfer.classes import check_heads, read_stored_classes
from transfer.detection3d.visualization import draw_bird_eye_view
from transfer.weights import load_trained

__all__ = ['PointCloudDetector']

logger = logging.getLogger(__name__)
_LARGEST_INTENSITY = dict(KittiDataset=1.0, NuScenesDataset=255.0)


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
        DataError: checkpoint or config name other classes than the model has.
    """

    def __init__(self, config: str, checkpoint: str, device: str = 'cpu', score_threshold: float = 0.3):
        self.model, cfg, meta = load_trained(config, checkpoint, device)
        self.model.cfg = cfg
        dataset = cfg.test_dataloader.dataset
        self.classes = read_stored_classes(meta) or list(dataset.metainfo.classes)
        check_heads(self.model, self.classes, str(checkpoint))
        self.largest_intensity = _LARGEST_INTENSITY.get(dataset.type)
        self.range = list(cfg.model.data_preprocessor.voxel_layer.point_cloud_range)
        self.score_threshold = score_threshold
        self.reader = TRANSFORMS.build(dataset.pipeline[0])

    def read_points(self, path: str | Path) -> np.ndarray:
        """Read the points of a file that are in the detector's range, (N, C) float32, x, y, z in metres first.

        Raises:
            FileNotFoundError: there is no such file.
            DataError: it is broken, laid out in another way, or has values that are NaN or infinite.
        """
        points = self._read_all(path)
        return points[self._find_inside(points)]

    def _read_all(self, path: str | Path) -> np.ndarray:
        if not Path(path).is_file():
            raise FileNotFoundError(f'no point cloud at {path}')
        return self.reader(dict(lidar_points=dict(lidar_path=str(path))))['points'].numpy()

    def _find_inside(self, points: np.ndarray) -> np.ndarray:
        low, high = np.array(self.range[:3]), np.array(self.range[3:])
        return np.all((points[:, :3] >= low) & (points[:, :3] < high), axis=1)

    def find_doubts(self, points: np.ndarray) -> list[str]:
        """Tell what speaks against points, (N, C) float32, being those of the sensor that the detector learned from."""
        if not len(points):
            return ['it has no points']
        doubts = []
        inside = int(self._find_inside(points).sum())
        if inside < 0.1 * len(points):
            spans = [
                f'{axis} {low:.4g} to {high:.4g} (range {self.range[i]:g} to {self.range[i + 3]:g})'
                for i, (axis, low, high) in enumerate(zip('xyz', points.min(0), points.max(0), strict=False))
            ]
            doubts.append(
                f'{inside} of {len(points)} points are in the range of the detector, in metres with x ahead, y to the '
                f'left and z up from the sensor: {", ".join(spans)}'
            )
        if self.largest_intensity is not None and points.shape[1] > 3:
            largest = float(points[:, 3].max())
            if largest > 1.5 * self.largest_intensity or 0 < largest < self.largest_intensity / 50:
                doubts.append(
                    f'intensities reach {largest:.4g}; the detector learned from ones up to {self.largest_intensity}'
                )
        return doubts

    def predict(self, path: str | Path) -> Det3DDataSample:
        """Find the objects of a point cloud; a cloud without points in range has none.

        Where a cloud does not look like those that the detector learned from, a warning says so.

        Returns:
            mmdet3d's result; `pred_instances_3d` holds `scores_3d` (N,), `labels_3d` (N,) and `bboxes_3d`, N boxes in
            the sensor's frame, in metres and radians; its metainfo `warnings`, a list of texts.

        Raises:
            FileNotFoundError: there is no such file.
            DataError: it is broken, laid out in another way, or has values that are NaN or infinite.
        """
        points = self._read_all(path)
        doubts = self.find_doubts(points)
        for doubt in doubts:
            logger.warning('%s: %s', path, doubt)
        if self._find_inside(points).any():
            result = inference_detector(self.model, str(path))[0].cpu()
        else:
            result = Det3DDataSample(
                pred_instances_3d=InstanceData(
                    bboxes_3d=LiDARInstance3DBoxes(torch.zeros(0, 7)),
                    scores_3d=torch.zeros(0),
                    labels_3d=torch.zeros(0, dtype=torch.long),
                )
            )
        result.set_metainfo(dict(warnings=doubts))
        result.set_metainfo(dict(lidar_path=str(path)))
        return result

    def save(self, result: Det3DDataSample, picture: str | Path, text: str | Path) -> int:
        """Write the bird's-eye view with its boxes, and their description as JSON; whole or not at all.

        Args:
            result: from `predict`.
            picture: the file of the picture, with a suffix such as .jpg or .png.
            text: the file of the JSON: `point_cloud`, `warnings` and `objects`, most certain first, each with `name`,
                `label`, `score`, `center` (x, y, z in metres), `size` (along the heading, across, up), `yaw` (radians
                from the x axis) and, where the detector tells it, `velocity` (x, y in metres per second).

        Returns:
            The number of objects.
        """
        found = result.pred_instances_3d
        found = found[found.scores_3d >= self.score_threshold]
        found = found[found.scores_3d.argsort(descending=True)]
        boxes = found.bboxes_3d
        objects = []
        for score, label, center, box in zip(
            found.scores_3d, found.labels_3d, boxes.gravity_center, boxes.tensor, strict=True
        ):
            item = dict(
                name=self.classes[label],
                label=int(label),
                score=float(score),
                center=center.tolist(),
                size=box[3:6].tolist(),
                yaw=float(box[6]),
            )
            if len(box) > 7:
                item['velocity'] = box[7:9].tolist()
            objects.append(item)
        draw_bird_eye_view(
            picture, self.read_points(result.lidar_path), self.range, boxes, [item['name'] for item in objects]
        )
        write_json(
            text, dict(point_cloud=result.lidar_path, warnings=result.metainfo.get('warnings', []), objects=objects)
        )
        return len(objects)
