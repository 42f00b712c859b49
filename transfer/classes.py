"""One meaning of every class number: in the data, in the model, and in the checkpoint it begins with."""

import os
from collections.abc import Sequence

from mmengine.hooks import Hook
from mmengine.registry import DATASETS, HOOKS
from mmengine.runner import BaseLoop, Runner
from torch import nn

from dualattn.engine import DataError, unwrap
from transfer.class_layers import begin_class_layers, find_heads

__all__ = ['ClassCheckHook', 'check_heads', 'find_heads', 'read_stored_classes']


@HOOKS.register_module()
class ClassCheckHook(Hook):
    """Refuse to run when model, training, validation and test data and checkpoint do not mean the same classes.

    A class that is missing on one side, or has another place there, would otherwise shift the numbers of all that
    follow it. The checkpoint is that of a resumed or tested run, or of `load_from`. A training may begin with weights
    of another number of classes: of the layers that tell classes apart, the rows of equally named classes are carried
    over, the others begin anew, and the log names both.

    Args:
        new_classes: let a training begin with weights of as many, but other classes or in another order, and treat them
            alike.

    Raises:
        DataError: names the two sides and the first classes that differ; or data and evaluator read other annotations.
    """

    priority = 'ABOVE_NORMAL'  # before EMAHook takes over what was loaded

    def __init__(self, new_classes: bool = False):
        self.new_classes = new_classes
        self._stored = None

    def before_train(self, runner: Runner) -> None:
        """Compare training data with the model, with the other data and with the checkpoint, if there is one."""
        classes = _read_classes(runner.train_dataloader.dataset)
        check_heads(unwrap(runner.model), classes, 'training data')
        if self._stored is not None:
            _compare(self._stored, "the checkpoint's training", classes, 'training')
        if runner.val_loop is not None:
            _compare(classes, 'training', _read_classes(runner.val_dataloader.dataset), 'validation')
            _check_evaluator(runner, 'val')
        tested = _find_test_classes(runner)
        if tested is not None:
            _compare(classes, 'training', tested, 'test')

    def after_load_checkpoint(self, runner: Runner, checkpoint: dict) -> None:
        """Remember the classes of the checkpoint; carry over what a training with other ones can begin with."""
        self._stored = read_stored_classes(checkpoint.get('meta'))
        if not isinstance(runner._train_loop, BaseLoop) or runner._resume:  # mmengine has no public name for them
            return
        model = unwrap(runner.model)
        classes = _read_classes(runner.train_dataloader.dataset)
        number_differs = self._stored is None or len(self._stored) != len(classes)
        names_differ = self._stored is not None and self._stored != classes
        if not (number_differs or self.new_classes and names_differ):
            return
        weights = checkpoint.get('state_dict', checkpoint)
        report = begin_class_layers(model, weights, self._stored, classes, names_differ, runner.seed)
        if report is None:
            return
        before = f'{len(self._stored)} classes' if self._stored is not None else 'other classes'
        self._stored = None
        runner.logger.warning(
            f'load_from: {runner._load_from} was trained on {before}, and this data has {len(classes)}. {report}. All '
            'other weights are loaded'
        )

    def before_test(self, runner: Runner) -> None:
        """Compare test data with the model and with the checkpoint."""
        classes = _read_classes(runner.test_dataloader.dataset)
        check_heads(unwrap(runner.model), classes, 'test data')
        if self._stored is not None:
            _compare(self._stored, "the checkpoint's training", classes, 'test')
        _check_evaluator(runner, 'test')


def read_stored_classes(meta: dict | None) -> list[str] | None:
    """Read the classes that a checkpoint's `meta` tells, of this or of a former version of mmdet, or None."""
    if not isinstance(meta, dict):
        return None
    for part in (meta.get('dataset_meta'), meta):
        if isinstance(part, dict):
            found = part.get('classes', part.get('CLASSES'))
            if found is not None:
                return [found] if isinstance(found, str) else list(found)
    return None


# --- comparisons


def _read_classes(dataset) -> list[str]:
    classes = dataset.metainfo.get('classes')
    if classes is None:
        raise DataError(f'{type(dataset).__name__} does not name its classes: set metainfo.classes')
    if isinstance(classes, str):
        raise DataError(f'metainfo.classes is a text, {classes!r}, not a list of names: write ({classes!r},) for one')
    return list(classes)


def _find_test_classes(runner: Runner) -> list[str] | None:
    """Read the classes of test data that is not built while training, from its config; None if it does not tell."""
    loader = runner._test_dataloader
    if not isinstance(loader, dict):
        return None if loader is None else _read_classes(loader.dataset)
    dataset = loader['dataset']
    while isinstance(dataset, dict) and 'dataset' in dataset:
        dataset = dataset['dataset']
    if not isinstance(dataset, dict):
        return None
    classes = (dataset.get('metainfo') or {}).get('classes', dataset.get('classes'))
    if isinstance(classes, (list, tuple)):
        return list(classes)
    with DATASETS.switch_scope_and_registry(None) as registry:  # as Runner builds it
        kind = registry.get(dataset['type']) if isinstance(dataset.get('type'), str) else dataset.get('type')
    if hasattr(kind, 'find_classes'):
        return kind.find_classes(dataset.get('data_root'), classes)
    return list(getattr(kind, 'METAINFO', {}).get('classes', ())) or None


def check_heads(model: nn.Module, classes: Sequence[str], side: str) -> None:
    """Check that every head of a model tells as many classes apart as there are, and in their order if it names them.

    Args:
        model: a classifier or detector.
        classes: their names, in order.
        side: what names them, for the message, such as 'training data'.

    Raises:
        DataError: names the heads, the numbers, and the entries to set.
    """
    wrong: dict[str, int] = {}
    for name, head in find_heads(model).items():
        if isinstance(head.num_classes, list):
            _check_tasks(name, [one for task in head.class_names for one in task], classes, side)
        elif head.num_classes != len(classes):
            wrong[name] = head.num_classes
        else:
            _check_anchors(name, head)
    if wrong:
        numbers = ' and '.join(map(str, sorted(set(wrong.values()))))
        options = ' '.join(f'model.{name}.num_classes={len(classes)}' for name in wrong)
        raise DataError(
            f'{side} has {len(classes)} classes, the model has {numbers}: set {options}, or name other classes in '
            'the data sets'
        )


def _check_tasks(name: str, named: list[str], classes: Sequence[str], side: str) -> None:
    if named != list(classes):
        raise DataError(
            f'the tasks of model.{name} name {", ".join(named)}, but {side} {", ".join(classes)}: CenterPoint '
            'needs the same names in the same order'
        )


def _check_anchors(name: str, head: nn.Module) -> None:
    sizes = getattr(getattr(head, 'prior_generator', None), 'sizes', None)
    assigners = getattr(head, 'bbox_assigner', None)
    if sizes is None or not isinstance(assigners, list):  # one for all classes, or not for training
        return
    if not len(sizes) == len(assigners) == head.num_classes:
        raise DataError(
            f'model.{name} has {head.num_classes} classes, {len(sizes)} sizes of anchors and {len(assigners)} assigners'
            f': list one for each class, in order, in model.{name}.anchor_generator.sizes and .ranges and in '
            'model.train_cfg.assigner'
        )


def _compare(one: Sequence[str], one_side: str, other: Sequence[str], other_side: str) -> None:
    if list(one) != list(other):
        differing = sorted(set(one) ^ set(other))
        raise DataError(
            f'{one_side} data and {other_side} data have different classes ({len(one)} and {len(other)}): '
            f'{", ".join(differing[:5]) or "their order differs"}; list them in `classes` of each data set'
        )


def _check_evaluator(runner: Runner, split: str) -> None:
    """Compare the annotations that predictions are measured by with those of the images they are made for."""
    dataset = runner.cfg.get(f'{split}_dataloader', {}).get('dataset', {})
    evaluators = runner.cfg.get(f'{split}_evaluator') or []
    if not isinstance(dataset.get('ann_file'), str) or not dataset['ann_file']:
        return
    read = os.path.abspath(os.path.join(dataset.get('data_root') or '', dataset['ann_file']))
    for evaluator in evaluators if isinstance(evaluators, (list, tuple)) else [evaluators]:
        measured = evaluator.get('ann_file') if isinstance(evaluator, dict) else None
        if isinstance(measured, str) and '://' not in measured and os.path.realpath(measured) != os.path.realpath(read):
            raise DataError(
                f'{split}_dataloader reads {read}, but {split}_evaluator measures by {os.path.abspath(measured)}: set '
                f'{split}_evaluator.ann_file to the former'
            )
