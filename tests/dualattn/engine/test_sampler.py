"""The order of training images, a function of seed and position."""

import itertools

import pytest
import torch
from mmengine.registry import DATA_SAMPLERS

from dualattn.engine import sampler


def take(stream, number):
    return list(itertools.islice(iter(stream), number))


def build_sampler(size, **kwargs):
    return DATA_SAMPLERS.build(dict(type='ReproducibleSampler', dataset=range(size), **kwargs))


def test_each_epoch_is_another_permutation():
    indices = [index for index, _ in take(build_sampler(10, seed=0), 50)]
    epochs = [indices[start : start + 10] for start in range(0, 50, 10)]
    assert all(sorted(epoch) == list(range(10)) for epoch in epochs)
    assert len({tuple(epoch) for epoch in epochs}) == 5


def test_no_shuffle_keeps_the_order():
    assert [index for index, _ in take(build_sampler(3, seed=0, shuffle=False), 7)] == [0, 1, 2, 0, 1, 2, 0]


def test_the_stream_depends_on_the_seed_alone():
    first = take(build_sampler(10, seed=1), 30)
    torch.manual_seed(99)
    assert take(build_sampler(10, seed=1), 30) == first
    other = take(build_sampler(10, seed=2), 30)
    assert [index for index, _ in other] != [index for index, _ in first]
    assert not {draw for _, draw in other} & {draw for _, draw in first}
    assert len({draw for _, draw in first}) == 30


@pytest.mark.parametrize('start', [1, 10, 25])
def test_start_continues_the_stream(start):
    assert take(build_sampler(10, seed=1, start=start), 30) == take(build_sampler(10, seed=1), 60)[start : start + 30]


@pytest.mark.parametrize('world_size', [2, 3])
@pytest.mark.parametrize('start', [0, 12])
def test_processes_share_one_stream(monkeypatch, world_size, start):
    whole = take(build_sampler(10, seed=1), start + 60)[start:]
    parts = []
    for rank in range(world_size):
        monkeypatch.setattr(sampler, 'get_dist_info', lambda rank=rank: (rank, world_size))
        parts.append(take(build_sampler(10, seed=1, start=start), 60 // world_size))
    # Global batches of 6 images: each process has a batch of 6 / W, and together they are the batch of one process.
    share = 6 // world_size
    for batch in range(10):
        together = [key for part in parts for key in part[batch * share : batch * share + share]]
        assert sorted(together) == sorted(whole[batch * 6 : batch * 6 + 6])


def test_sampler_errors():
    with pytest.raises(ValueError, match='at least one image'):
        build_sampler(0, seed=0)
    with pytest.raises(ValueError, match='start >= 0'):
        build_sampler(3, seed=0, start=-1)
    with pytest.raises(TypeError):
        build_sampler(3, seed=0, round_up=True)
    assert len(build_sampler(3)) == 3  # without a seed it draws one
