"""Boxes and masks on photographs, from a config and a checkpoint."""

from pathlib import Path

import numpy as np
from mmdet.apis import inference_detector
from mmdet.structures import DetDataSample
from mmdet.structures.mask import encode_mask_results
from mmengine.registry import VISUALIZERS

from dualattn.engine import DataError
from dualattn.io.files import write_json, write_whole
from transfer.classes import check_heads, read_stored_classes
from transfer.photographs import read_photograph
from transfer.weights import load_trained

__all__ = ['ImageDetector']


class ImageDetector:
    """A trained detector of mmdet, ready for photographs.

    Args:
        config: config file of the training.
        checkpoint: weights of that training, .pth or .safetensors.
        device: where the network runs.
        score_threshold: less certain objects are left out of picture and JSON.

    Raises:
        FileNotFoundError: there is no such config or checkpoint.
        CheckpointError: the checkpoint is broken or not of this config.
        DataError: the checkpoint does not tell the names of its classes, or names another number of them.
    """

    def __init__(self, config: str, checkpoint: str, device: str = 'cpu', score_threshold: float = 0.3):
        self.model, cfg, meta = load_trained(config, checkpoint, device)
        self.model.cfg = cfg
        self.score_threshold = score_threshold
        self.classes = read_stored_classes(meta)
        if self.classes is None:
            raise DataError(f'{checkpoint} does not tell the names of its classes, as those of `dualattn train` do')
        check_heads(self.model, self.classes, str(checkpoint))
        dataset_meta = {**meta.get('dataset_meta', {}), 'classes': self.classes}
        visualizer = {**cfg.visualizer, 'vis_backends': [], 'name': f'detector{id(self)}'}
        self.visualizer = VISUALIZERS.build(visualizer)
        self.visualizer.dataset_meta = {'palette': 'random', **dataset_meta}

    def predict(self, path: str | Path) -> DetDataSample:
        """Find the objects of a photograph.

        Returns:
            mmdet's result; `pred_instances` holds `scores` (N,), `labels` (N,), `bboxes` (N, 4), x and y of two
            corners in pixels, and `masks` (N, H, W) where the model makes them.

        Raises:
            FileNotFoundError: there is no such file.
            DataError: it is no image, or broken.
        """
        image = np.ascontiguousarray(read_photograph(path)[..., ::-1])
        result = inference_detector(self.model, image)
        result.set_metainfo(dict(img_path=str(path)))
        return result

    def save(self, result: DetDataSample, picture: str | Path, text: str | Path) -> int:
        """Write the photograph with its objects drawn, and their description as JSON; whole or not at all.

        Args:
            result: from `predict`.
            picture: the file of the picture, with a suffix such as .jpg or .png.
            text: the file of the JSON: `image` and `objects`, most certain first, each with `name`, `label`, `score`,
                `bbox` (x, y, width, height in pixels) and `segmentation` (COCO's run-length code) if there are masks.

        Returns:
            The number of objects.
        """
        found = result.cpu().pred_instances
        found = found[found.scores >= self.score_threshold]
        found = found[found.scores.argsort(descending=True)]
        objects = []
        codes = encode_mask_results(found.masks.numpy()) if 'masks' in found else None
        for i, (score, label, box) in enumerate(zip(found.scores, found.labels, found.bboxes, strict=True)):
            x1, y1, x2, y2 = box.tolist()
            item = dict(name=self.classes[label], label=int(label), score=float(score), bbox=[x1, y1, x2 - x1, y2 - y1])
            if codes is not None:
                item['segmentation'] = dict(size=codes[i]['size'], counts=codes[i]['counts'].decode('ascii'))
            objects.append(item)
        image = read_photograph(result.img_path)
        with write_whole(picture) as aside:
            self.visualizer.add_datasample(
                'image', image, result, draw_gt=False, out_file=str(aside), pred_score_thr=self.score_threshold
            )
        write_json(text, dict(image=result.img_path, objects=objects))
        return len(objects)
