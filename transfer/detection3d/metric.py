"""KITTI's precision and orientation, at 11 and at 40 recall positions, for any classes; nuScenes' own measures."""

from collections.abc import Sequence

import numpy as np
from mmdet3d.evaluation import kitti_eval
from mmdet3d.evaluation.functional.kitti_utils.eval import do_eval
from mmdet3d.evaluation.metrics import KittiMetric, NuScenesMetric
from mmdet3d.registry import METRICS
from mmengine.logging import MMLogger, print_log

from dualattn.engine.protocol import ProtocolMetric

__all__ = ['CheckedKittiMetric', 'CheckedNuScenesMetric', 'measure_orientation']

_DIFFICULTIES = ('easy', 'moderate', 'hard')
_NO_ANGLE = -10  # KITTI's alpha where nobody told it
_RATED = dict(Car=0.7, Pedestrian=0.5, Cyclist=0.5)  # overlaps of boxes in the image, for whom KITTI lays them down
_NUMBERS = dict(Car=0, Pedestrian=1, Cyclist=2)  # in mmdet3d's measure


@METRICS.register_module(name='KittiMetric', force=True)
class CheckedKittiMetric(ProtocolMetric, KittiMetric):
    """mmdet3d's KittiMetric: AP11 and AP40 of each class, also where the first frame is empty, and for any class.

    The similarity of orientation, AOS, which mmdet3d prints alone, is among the figures, with 11 and with 40 positions.

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
        """Measure predictions against labels in KITTI's protocol, see mmdet3d and `measure_orientation`."""
        gt_annos = [_fill(annos) for annos in gt_annos]
        values = self._evaluate_precision(results_dict, gt_annos, metric, classes, logger)
        for part, found in results_dict.items():
            if part == 'pred_instances' or metric == 'img_bbox':  # boxes in the image alone have no orientation
                continue
            values.update(
                {f'{part}/{key}': value for key, value in measure_orientation(gt_annos, found, classes).items()}
            )
        return values

    def _evaluate_precision(self, results_dict: dict, gt_annos: list[dict], metric, classes, logger) -> dict:
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


def measure_orientation(gt_annos: list[dict], dt_annos: list[dict], classes: Sequence[str]) -> dict[str, float]:
    """Measure KITTI's average orientation similarity: precision times (1 + cos of the angle's error) / 2.

    Args:
        gt_annos: labels, for each frame what `get_label_anno` of mmdet3d's converter gives.
        dt_annos: predictions, likewise.
        classes: names; those that KITTI does not rate are measured as cars are.

    Returns:
        `KITTI/CLASS_AOS_AP11_easy_strict` and so on, in percent, and for several classes that KITTI rates
        `KITTI/Overall_AOS_AP11_easy`; nothing where no label, or no prediction, tells `alpha`.
    """
    if not all(any((annos['alpha'] != _NO_ANGLE).any() for annos in side) for side in (gt_annos, dt_annos)):
        return {}
    values = {}
    means: dict[tuple[str, int], list[float]] = {}
    for name in classes:
        sides = gt_annos, dt_annos
        if name not in _RATED:
            sides = [_rename(annos, name) for annos in gt_annos], [_rename(annos, name) for annos in dt_annos]
        known = name if name in _RATED else 'Car'
        overlaps = np.full((1, 3, 1), _RATED[known])
        measured = do_eval(*sides, [_NUMBERS[known]], overlaps, ['bbox', 'aos'])
        for positions, found in (('AP11', measured[3]), ('AP40', measured[7])):
            for i, difficulty in enumerate(_DIFFICULTIES):
                value = float(found[0, i, 0])
                values[f'KITTI/{name}_AOS_{positions}_{difficulty}_strict'] = float(f'{value:.4f}')
                means.setdefault((positions, i), []).append(value)
    if len(classes) > 1 and all(name in _RATED for name in classes):
        for (positions, i), found in means.items():
            values[f'KITTI/Overall_AOS_{positions}_{_DIFFICULTIES[i]}'] = float(f'{np.mean(found):.4f}')
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
