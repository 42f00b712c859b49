"""KITTI's average precision, at 11 and at 40 recall positions, for any classes, and nuScenes' own measures."""

import numpy as np
from mmdet3d.evaluation import kitti_eval
from mmdet3d.evaluation.metrics import KittiMetric, NuScenesMetric
from mmdet3d.registry import METRICS
from mmengine.logging import MMLogger, print_log

from dualattn.engine.protocol import ProtocolMetric

__all__ = ['CheckedKittiMetric', 'CheckedNuScenesMetric']

_RATED = ('Car', 'Pedestrian', 'Cyclist')  # those whose overlaps KITTI lays down


@METRICS.register_module(name='KittiMetric', force=True)
class CheckedKittiMetric(ProtocolMetric, KittiMetric):
    """mmdet3d's KittiMetric: AP11 and AP40 of each class, also where the first frame is empty, and for any class.

    KITTI lays down overlaps for cars (0.7), pedestrians and cyclists (0.5) alone. Any other class is measured as cars
    are, by itself: an object of another class is neither a hit nor passed over. mmdet3d's own ends in an error there,
    and returns nothing at all when the first frame has no predictions.

    Takes the arguments of mmdet3d's.
    """

    def compute_metrics(self, results: list[dict]) -> dict[str, float]:
        """Measure all frames, see mmdet3d; `.../KITTI/CLASS_3D_AP40_moderate_strict` and so on, in percent."""
        name = 'pred_instances_3d'
        found = [i for i, result in enumerate(results) if len(result[name])]
        if not found and not self.format_only:
            MMLogger.get_current_instance().warning('nothing was found in any frame: there is no AP')
        # mmdet3d asks the first frame whether there is anything to measure
        results = [*results[found[0] :], *results[: found[0]]] if found else results
        return super().compute_metrics(results)

    def kitti_evaluate(self, results_dict: dict, gt_annos: list[dict], metric=None, classes=None, logger=None) -> dict:
        """Measure predictions against labels in KITTI's protocol; takes and returns what mmdet3d's method does."""
        gt_annos = [_fill(annos) for annos in gt_annos]
        rated = [name for name in classes if name in _RATED]
        if len(rated) == len(classes):
            return super().kitti_evaluate(results_dict, gt_annos, metric=metric, classes=classes, logger=logger)
        values = (
            super().kitti_evaluate(results_dict, gt_annos, metric=metric, classes=rated, logger=logger) if rated else {}
        )
        values = {key: value for key, value in values.items() if '/Overall_' not in key}
        for part, found in results_dict.items():
            types = ['bbox'] if part == 'pred_instances' or metric == 'img_bbox' else ['bbox', 'bev', '3d']
            for name in (name for name in classes if name not in _RATED):
                as_car = [_rename(annos, name) for annos in gt_annos], [_rename(annos, name) for annos in found]
                text, precision = kitti_eval(*as_car, ['Car'], eval_types=types)
                print_log(f'Results of {part}, {name} measured as a car:\n' + text.replace('Car', name), logger=logger)
                values.update(
                    {
                        f'{part}/{key.replace("KITTI/Car_", f"KITTI/{name}_")}': float(f'{value:.4f}')
                        for key, value in precision.items()
                    }
                )
        return values


@METRICS.register_module(name='NuScenesMetric', force=True)
class CheckedNuScenesMetric(ProtocolMetric, NuScenesMetric):
    """mmdet3d's NuScenesMetric, which says in the log what it was measured on; takes the arguments of mmdet3d's."""


def _fill(annos: dict) -> dict:
    """Give a frame without labels an area of no size that nobody labelled: mmdet3d looks at each frame's first."""
    if len(annos['name']):
        return annos
    return dict(
        name=np.array(['DontCare']),
        truncated=np.array([-1.0]),
        occluded=np.array([-1]),
        alpha=np.array([-10.0]),
        bbox=np.zeros((1, 4)),
        dimensions=-np.ones((1, 3)),
        location=np.full((1, 3), -1000.0),
        rotation_y=np.array([-10.0]),
        score=np.zeros(1),
    )


def _rename(annos: dict, name: str) -> dict:
    """Call the objects of one class cars, and all others something that no protocol knows."""
    names = [('Car' if one == name else one if one == 'DontCare' else 'Other') for one in annos['name']]
    return {**annos, 'name': np.array(names, dtype=str)}
