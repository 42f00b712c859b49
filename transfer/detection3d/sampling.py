"""The database of objects that training pastes into its frames, which may lack some of the classes."""

import copy
import pickle
from pathlib import Path

from mmdet3d.datasets.transforms import DataBaseSampler
from mmdet3d.registry import TRANSFORMS
from mmengine.logging import MMLogger

from dualattn.engine import DataError

__all__ = ['CheckedDataBaseSampler']


@TRANSFORMS.register_module(name='DataBaseSampler', force=True)
class CheckedDataBaseSampler(DataBaseSampler):
    """mmdet3d's DataBaseSampler, which samples from what is there and says which classes are not.

    Takes the arguments of mmdet3d's.

    Raises:
        FileNotFoundError: there is no database.
        DataError: the file is none, or `sample_groups` names what is none of the classes.
    """

    sample_classes: list[str]
    sample_max_nums: list[int]

    def __init__(self, info_path: str, *args, prepare: dict, sample_groups: dict, classes: list[str], **kwargs):
        database = _read_database(info_path)
        unknown = sorted(set(sample_groups) - set(classes))
        if unknown:
            raise DataError(f'sample_groups names {", ".join(unknown)}, and the classes are {", ".join(classes)}')
        prepare = copy.deepcopy(dict(prepare))
        minimum = prepare.get('filter_by_min_points')
        if minimum is not None:
            prepare['filter_by_min_points'] = {name: count for name, count in minimum.items() if name in database}
        there = {name: count for name, count in sample_groups.items() if name in database}
        if kwargs.get('points_loader') is not None:  # a few points tell no layout, and what wrote them had checked it
            kwargs['points_loader'] = {'check_layout': False, **kwargs['points_loader']}
        super().__init__(info_path, *args, prepare=prepare, sample_groups=there, classes=classes, **kwargs)
        kept = [
            (name, count)
            for name, count in zip(self.sample_classes, self.sample_max_nums, strict=True)
            if self.db_infos.get(name)
        ]
        self.sample_classes, self.sample_max_nums = [name for name, _ in kept], [count for _, count in kept]
        lacking = [name for name in sample_groups if name not in self.sample_classes]
        if lacking:
            MMLogger.get_current_instance().warning(
                f'{info_path} has no objects of {", ".join(lacking)} (with enough points): only '
                f'{", ".join(self.sample_classes) or "nothing"} will be pasted into the frames'
            )


def _read_database(path: str) -> dict[str, list]:
    make = 'make it with `dualattn create-data`'
    if not Path(path).is_file():
        raise FileNotFoundError(f'no database of objects at {path}: {make}')
    try:
        database = pickle.loads(Path(path).read_bytes())  # written by mmdet3d, which reads it in this way as well
    except (pickle.UnpicklingError, EOFError, AttributeError, ImportError, IndexError) as error:
        raise DataError(f'{path} is no database of objects: {make} ({error})') from error
    if not isinstance(database, dict):
        raise DataError(f'{path} is no database of objects: {make}')
    return {name: objects for name, objects in database.items() if objects}
