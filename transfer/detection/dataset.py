"""mmdet's COCO data set, which names what cannot be trained on, and its metric, which says what it was measured on."""

from mmdet.datasets import CocoDataset
from mmdet.evaluation import CocoMetric
from mmdet.registry import DATASETS, METRICS

from dualattn.engine.protocol import ProtocolMetric
from transfer.detection.annotations import check_annotations
from transfer.main_process import check_once
from transfer.protocol import StatedProtocol

__all__ = ['CheckedCocoDataset', 'CheckedCocoMetric', 'check_annotations']


@DATASETS.register_module()
class CheckedCocoDataset(StatedProtocol, CocoDataset):
    """mmdet's CocoDataset, which refuses annotations that mmdet would skip in silence or stumble over hours later.

    Takes the arguments of `mmdet.datasets.CocoDataset`, for local files. Where several processes train, the first one
    checks for all.

    Args:
        with_mask: every object needs an outline.

    Raises:
        FileNotFoundError: see `check_annotations`.
        DataError: see `check_annotations`.
    """

    def __init__(self, *args, with_mask: bool = True, **kwargs):
        self.with_mask = with_mask
        super().__init__(*args, **kwargs)

    def load_data_list(self) -> list[dict]:
        """Check the annotations, then read them as mmdet does."""
        check_once(
            check_annotations,
            self.ann_file,
            self.data_prefix['img'],
            self.metainfo['classes'],
            self.with_mask,
            self.test_mode,
        )
        return super().load_data_list()


@METRICS.register_module(name='CocoMetric', force=True)
class CheckedCocoMetric(ProtocolMetric, CocoMetric):
    """mmdet's CocoMetric, which says in the log what it was measured on; takes the arguments of mmdet's."""
