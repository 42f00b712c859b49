"""The layers that tell classes apart, when a training begins with the weights of one with other classes.

What the head has learned about a class is carried over to the class of the same name, whatever its number is there and
here; the rest of these layers begins anew.
"""

import copy
import re
from collections.abc import Sequence

import torch
from mmengine.model import BaseModule
from torch import Tensor, nn

from dualattn.engine import mix_seed

__all__ = ['begin_class_layers', 'find_heads']

# what tells classes apart in the heads of mmdet and mmdet3d, one output, or four, for each of them: the last layers
_CLASS_LAYER = re.compile(r'(\w*_cls|cls_(?!convs|fcs)\w+|fc_reg|conv_logits|task_heads\.\d+)\.')
_TASK = re.compile(r'(.*\.task_heads)\.(\d+)\.(.*)')


def find_heads(model: nn.Module) -> dict[str, nn.Module]:
    """Find the parts of a model that tell classes apart, with their names; region proposals know none."""
    heads: dict[str, nn.Module] = {}
    for name, module in model.named_modules():
        number = getattr(module, 'num_classes', None)
        if isinstance(number, int) and number <= 0 or not isinstance(number, (int, list)):
            continue
        is_proposal = any(part.startswith('rpn') for part in name.split('.'))
        is_agnostic = getattr(module, 'class_agnostic', False)
        is_part = any(name.startswith(f'{head}.') for head in heads)
        if name and not (is_proposal or is_agnostic or is_part):
            heads[name] = module
    return heads


def begin_class_layers(
    model: nn.Module,
    weights: dict[str, Tensor],
    before: Sequence[str] | None,
    classes: Sequence[str],
    anew: bool,
    seed: int,
) -> str | None:
    """Change the weights of a training so that they fit a model of other classes.

    Args:
        model: has heads for `classes`.
        weights: of the file, by their names, which are changed.
        before: classes of the file, in order; None if it does not tell them, so that nothing can be carried over.
        classes: those of the model, in order.
        anew: layers whose shapes fit mean other classes, too.
        seed: of new values, which are the same in every process.

    Returns:
        Which classes were carried over in which tensors, and what begins anew; None where every layer fits.
    """
    left_out, dropped = _find_class_layers(model, weights, anew)
    if not (left_out or dropped):
        return None
    fresh = _initialize(model, left_out, seed)
    shared = [name for name in classes if name in (before or ())]
    carried, whole = [], []
    for name in sorted(left_out):
        if shared and _carry(model, name, fresh[name], weights, list(before or ()), list(classes)):
            carried.append(name)
        else:
            whole.append(name)
    for name in dropped:
        del weights[name]
    weights.update(fresh)
    new = [name for name in classes if name not in shared]
    parts = []
    if carried:
        parts.append(
            f'Carried over for the classes of the same name ({", ".join(shared)}), in: {", ".join(carried)}; '
            + (f'{", ".join(new)} begin{"s" if len(new) == 1 else ""} anew there' if new else 'no class begins anew')
        )
    gone = sorted({*whole, *(name for name in dropped if name not in fresh)})
    if gone:
        parts.append(f'Left out, to begin anew: {", ".join(gone)}')
    return '. '.join(parts)


def _find_class_layers(model: nn.Module, weights: dict[str, Tensor], anew: bool) -> tuple[list[str], list[str]]:
    """List the names of the model's class layers to begin anew, and of the file's that the model has no room for."""
    own = model.state_dict()
    heads = tuple(f'{name}.' for name in find_heads(model))
    left_out, dropped = [], []
    for name, tensor in own.items():
        if not name.startswith(heads):
            continue
        if name not in weights:
            is_new = '.task_heads.' in name
        elif weights[name].shape != tensor.shape:
            is_new = weights[name].shape[1:] == tensor.shape[1:]  # other outputs, of the same inputs
        else:
            is_new = anew and _tells_classes(model, name, tensor)
        if is_new:
            left_out.append(name)
    for name in weights:
        if name not in own and name.startswith(heads) and '.task_heads.' in name:
            dropped.append(name)
    return left_out, dropped


def _tells_classes(model: nn.Module, name: str, tensor: Tensor) -> bool:
    head, module = _find_head(model, name)
    classifier = _name_classifier(module)
    if classifier is not None:
        return name.startswith(f'{head}.{classifier}.')
    if _has_anchors(module) and '.conv_reg.' in name:
        return True
    return bool(_CLASS_LAYER.search(name)) and not ('fc_reg' in name and len(tensor) == 4)


def _has_anchors(head: nn.Module) -> bool:
    """Tell whether a head is one of mmdet3d with anchors for each class."""
    return hasattr(getattr(head, 'prior_generator', None), 'sizes')


def _find_head(model: nn.Module, name: str) -> tuple[str, nn.Module]:
    return next((head, module) for head, module in find_heads(model).items() if name.startswith(f'{head}.'))


def _name_classifier(head: nn.Module) -> str | None:
    """Return the name of the last layer of a timm model; None for heads of other kinds."""
    return getattr(head, 'pretrained_cfg', {}).get('classifier')


def _initialize(model: nn.Module, names: list[str], seed: int) -> dict[str, Tensor]:
    """Draw new values for weights of the heads, the same in every process."""
    fresh = {}
    for head, module in find_heads(model).items():
        wanted = [name for name in names if name.startswith(f'{head}.')]
        if not wanted:
            continue
        module = copy.deepcopy(module)
        if isinstance(module, BaseModule):
            with torch.random.fork_rng():
                torch.manual_seed(mix_seed(seed, 5))
                module.init_weights()
        values = module.state_dict()
        fresh.update({name: values[name.removeprefix(f'{head}.')].clone() for name in wanted})
    return fresh


# --- what a class takes with it


def _carry(
    model: nn.Module, name: str, fresh: Tensor, weights: dict[str, Tensor], before: list[str], classes: list[str]
) -> bool:
    """Write what the file knows of classes of the same name into a fresh tensor; tells whether it knew anything.

    A layer whose outputs are ordered in a way that is not known here is left as it is.
    """
    head, module = _find_head(model, name)
    task = _TASK.fullmatch(name)
    if task is not None:
        source, before, classes = _find_task(module, task, weights, before)
        last = f'heatmap.{len(module.task_heads[int(task[2])].heatmap) - 1}.'
        if source not in weights or weights[source].shape[1:] != fresh.shape[1:]:
            return False
        if not task[3].startswith(last):  # shared by the classes of a task
            fits = weights[source].shape == fresh.shape
            if fits:
                fresh.copy_(weights[source])
            return fits
        rows = [[(one,) for one in names] for names in (before, classes)]
        old = weights[source]
    elif name in weights:
        old, layer = weights[name], name.removeprefix(f'{head}.')
        rows = [_label_rows(module, layer, len(tensor), names) for tensor, names in ((old, before), (fresh, classes))]
    else:
        return False
    if len(rows[0]) != len(old) or len(rows[1]) != len(fresh):
        return False
    places = {label: i for i, label in enumerate(rows[0])}
    found = [(j, places[label]) for j, label in enumerate(rows[1]) if label in places]
    for j, i in found:
        fresh[j] = old[i]
    return bool(found)


def _label_rows(head: nn.Module, layer: str, number: int, classes: Sequence[str]) -> list[tuple]:
    """Say of each output of a layer for which class it is, and which of the outputs for that class.

    Returns:
        A label for each of the `number` outputs; an empty list where their order is not known.
    """
    count = len(classes)
    kind = layer.split('.')[0]
    has_anchors = _has_anchors(head)
    if has_anchors and kind == 'conv_cls' and number % count**2 == 0:
        turns = range(number // count**2)
        return [(anchor, turn, name) for anchor in classes for turn in turns for name in classes]
    if (has_anchors and kind in ('conv_reg', 'conv_dir_cls') or kind == 'fc_reg') and number % count == 0:
        return [(name, i) for name in classes for i in range(number // count)]
    if kind == 'fc_cls' and number == count + 1:
        return [*((name,) for name in classes), ('', 'background')]
    classifier = _name_classifier(head)
    if number == count and (kind.endswith('_cls') or kind == 'conv_logits' or layer.rpartition('.')[0] == classifier):
        return [(name,) for name in classes]
    anchors = getattr(head, 'num_base_priors', None)  # of mmdet, for all classes
    if kind.endswith('_cls') and isinstance(anchors, int) and number == anchors * count:
        return [(i, name) for i in range(anchors) for name in classes]
    return []


def _find_task(
    head: nn.Module, task: re.Match[str], weights: dict[str, Tensor], before: Sequence[str]
) -> tuple[str, list[str], list[str]]:
    """Find the task of CenterPoint in the file that a tensor can begin with: the one with most of its classes.

    The file's tasks hold its classes in order, as many as their heatmaps have outputs.

    Returns:
        The name of the tensor there, '' if no task has one of the classes; the classes of that task, and of this one.
    """
    classes = list(head.class_names[int(task[2])])
    heatmap = f'heatmap.{len(head.task_heads[int(task[2])].heatmap) - 1}.bias'
    best, start = '', 0
    best_classes: list[str] = []
    for i in range(len(before)):
        bias = weights.get(f'{task[1]}.{i}.{heatmap}')
        if bias is None:
            break
        group = list(before[start : start + len(bias)])
        start += len(bias)
        if len({*group} & {*classes}) > len({*best_classes} & {*classes}):
            best, best_classes = f'{task[1]}.{i}.{task[3]}', group
    return best, best_classes, classes
