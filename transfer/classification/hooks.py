"""One order of classes everywhere."""

from mmengine.hooks import Hook
from mmengine.registry import HOOKS

from dualattn.engine import DataError, unwrap

__all__ = ['ClassCheckHook']


@HOOKS.register_module()
class ClassCheckHook(Hook):
    """Refuse to run when model, training data, validation data and checkpoint do not mean the same classes.

    A class folder that is missing on one side would otherwise shift the numbers of all that follow it. The checkpoint
    is that of a resumed or tested run, or of `load_from`, whose last layer is kept; weights of other classes are a
    start by the model's `init_cfg`.

    Raises:
        DataError: names the two sides and the first classes that differ.
    """

    def __init__(self):
        self._stored = None

    def before_train(self, runner) -> None:
        """Compare training data with the model, with the validation data and with the checkpoint, if there is one."""
        classes = runner.train_dataloader.dataset.metainfo['classes']
        _check_number(runner, classes, 'training')
        if self._stored is not None:
            _compare(self._stored, "the checkpoint's training", classes, 'training')
        if runner.val_loop is not None:
            _compare(classes, 'training', runner.val_dataloader.dataset.metainfo['classes'], 'validation')

    def after_load_checkpoint(self, runner, checkpoint: dict) -> None:
        """Remember the classes of the checkpoint."""
        self._stored = checkpoint.get('meta', {}).get('dataset_meta', {}).get('classes')

    def before_test(self, runner) -> None:
        """Compare test data with the model and with the checkpoint."""
        classes = runner.test_dataloader.dataset.metainfo['classes']
        _check_number(runner, classes, 'test')
        if self._stored is not None:
            _compare(self._stored, "the checkpoint's training", classes, 'test')


def _check_number(runner, classes: list[str], side: str) -> None:
    model = unwrap(runner.model)
    if len(classes) != model.num_classes:
        raise DataError(
            f'{side} data has {len(classes)} classes, the model has {model.num_classes}: set '
            f'model.backbone.num_classes={len(classes)}'
        )


def _compare(one: list[str], one_side: str, other: list[str], other_side: str) -> None:
    if list(one) != list(other):
        differing = sorted(set(one) ^ set(other))
        raise DataError(
            f'{one_side} data and {other_side} data have different classes ({len(one)} and {len(other)}): '
            f'{", ".join(differing[:5]) or "their order differs"}; list them in `classes` of each data set'
        )
