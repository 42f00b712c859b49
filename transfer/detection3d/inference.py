"""Boxes in a point cloud, from a config and a checkpoint."""

from pathlib import Path

import numpy as np
import torch
from mmdet3d.apis import inference_detector
from mmdet3d.structures import Det3DDataSample, LiDARInstance3DBoxes
from mmengine.registry import TRANSFORMS
from mmengine.structures import InstanceData

from dualattn.io.files import write_json
from transfer.detection3d.visualization import draw_bird_eye_view
from transfer.weights import load_trained

__all__ = ['PointCloudDetector']


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
        self.model, cfg, meta = load_trained(config, checkpoint, device)
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
            result = Det3DDataSample(
                pred_instances_3d=InstanceData(
                    bboxes_3d=LiDARInstance3DBoxes(torch.zeros(0, 7)),
                    scores_3d=torch.zeros(0),
                    labels_3d=torch.zeros(0, dtype=torch.long),
                )
            )
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
        write_json(text, dict(point_cloud=result.lidar_path, objects=objects))
        return len(objects)
