"""Reading the images that detectors are trained on and measured on."""

import numpy as np
from mmcv.transforms import LoadImageFromFile
from mmdet.registry import TRANSFORMS

from dualattn.engine import DataError
from transfer.photographs import read_photograph

__all__ = ['CheckedLoadImageFromFile']


@TRANSFORMS.register_module(name='LoadImageFromFile', force=True)
class CheckedLoadImageFromFile(LoadImageFromFile):
    """mmcv's LoadImageFromFile, which reads a file as `dualattn infer` reads it, and names one that it cannot read.

    Takes the arguments of mmcv's. Colour images of local files come through `dualattn.io.photos`; all others are read
    by mmcv.
    """

    def transform(self, results: dict) -> dict | None:
        """Read `img_path`, see mmcv.

        Raises:
            DataError: there is no such file, or it is no image, or broken.
        """
        path = results['img_path']
        if self.color_type != 'color' or self.backend_args or self.file_client_args or '://' in path:
            return super().transform(results)
        try:
            image = np.ascontiguousarray(read_photograph(path)[..., ::-1])
        except (DataError, FileNotFoundError) as error:
            if self.ignore_empty:
                return None
            raise DataError(
                f'image {results.get("img_id", "")} cannot be used: {error}; repair it, or take it out of '
                'the annotations'
            ) from error
        results['img'] = image.astype(np.float32) if self.to_float32 else image
        results['img_shape'] = results['ori_shape'] = image.shape[:2]
        return results
