"""The order of sampled objects."""

from types import SimpleNamespace

import pytest

pytestmark = pytest.mark.mm
pytest.importorskip('mmdet3d')

from mmdet3d.datasets.transforms.dbsampler import BatchSampler  # noqa: E402

from dualattn.engine import SeedIterationHook  # noqa: E402
from transfer.detection3d import ObjectOrderHook  # noqa: E402


def draw_epoch(sampler, epoch, consumed=0):
    """The objects of an epoch, in a run that has drawn `consumed` of them before."""
    if consumed:
        sampler.sample(consumed)
    transforms = [object(), SimpleNamespace(db_sampler=SimpleNamespace(sampler_dict=dict(Car=sampler)))]
    dataset = SimpleNamespace(dataset=SimpleNamespace(pipeline=SimpleNamespace(transforms=transforms)))
    runner = SimpleNamespace(seed=3, epoch=epoch, train_dataloader=SimpleNamespace(dataset=dataset))
    for hook in (SeedIterationHook(), ObjectOrderHook()):
        hook.before_train_epoch(runner)
    return [item['number'] for item in sampler.sample(30) + sampler.sample(19)]


def make_sampler():
    return BatchSampler([dict(number=i) for i in range(50)], name='Car', shuffle=True)


def test_objects_come_in_another_order_each_epoch_and_after_a_resume_in_the_same():
    whole = make_sampler()
    first, second = draw_epoch(whole, 0), draw_epoch(whole, 1)
    assert len(set(first)) == len(set(second)) == 49
    assert first != second
    assert draw_epoch(make_sampler(), 1, consumed=7) == second
