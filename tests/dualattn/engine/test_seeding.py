"""Random numbers depend on seed, iteration and rank, and on nothing that happened before."""

import itertools
import random
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from dualattn.engine import SeedIterationHook, StrictRunner, mix_seed, runner, seeding


def draw(iteration, seed=0):
    SeedIterationHook().before_train_iter(SimpleNamespace(seed=seed, iter=iteration), batch_idx=0)
    return random.random(), float(np.random.rand()), float(torch.rand(()))


def test_seeds_fit_everywhere_and_differ():
    seeds = [mix_seed(*numbers) for numbers in itertools.product(range(3), range(3), range(200))]
    assert len(set(seeds)) == len(seeds)
    assert all(0 <= seed < 2**63 for seed in seeds)
    assert mix_seed(1, 2) != mix_seed(2, 1) and mix_seed(0) != mix_seed(0, 0, 1)
    assert mix_seed(5, 2, 10, 0) == mix_seed(5, 2, 10, 0) == 6639576614382403468  # stays over versions


def test_neighbouring_seeds_are_not_related():
    generators = [torch.Generator().manual_seed(mix_seed(0, i)) for i in range(500)]
    draws = np.array([float(torch.rand((), generator=generator)) for generator in generators])
    assert abs(np.corrcoef(draws[:-1], draws[1:])[0, 1]) < 0.15 and 0.45 < draws.mean() < 0.55


def test_an_iteration_draws_the_same_whatever_came_before():
    first = draw(7)
    for _ in range(5):
        random.random(), np.random.rand(), torch.rand(3)
    draw(3)
    assert draw(7) == first


def test_iterations_seeds_and_ranks_draw_differently(monkeypatch):
    base = draw(7)
    others = [draw(8), draw(7, seed=1)]
    monkeypatch.setattr(seeding, 'get_rank', lambda: 1)
    others.append(draw(7))
    for other in others:
        assert all(a != b for a, b in zip(base, other, strict=True))


class Dice(torch.utils.data.Dataset):
    """Random numbers of every kind."""

    def __len__(self):
        return 4

    def __getitem__(self, index):
        return dict(inputs=torch.tensor([random.random(), np.random.rand(), float(torch.rand(()))]))


def load(epoch, **options):
    """What two workers draw in an epoch."""
    loader = StrictRunner.build_dataloader(
        dict(
            dataset=Dice(),
            sampler=dict(type='DefaultSampler', shuffle=False),
            batch_size=2,
            num_workers=2,
            collate_fn=dict(type='default_collate'),
            **options,
        ),
        seed=0,
    )
    SeedIterationHook().before_train_epoch(SimpleNamespace(seed=0, epoch=epoch))
    return torch.cat([batch['inputs'] for batch in loader])


def test_workers_draw_anew_in_each_epoch_and_process(monkeypatch):
    draws = [load(0), load(1)]
    assert torch.equal(load(1), draws[1])
    monkeypatch.setattr(runner, 'get_rank', lambda: 1)  # where all processes draw the same seed for their workers
    draws.append(load(1))
    assert len(set(torch.cat(draws).flatten().tolist())) == 3 * 12


def ignore(worker_id):
    pass


def test_a_loader_may_seed_its_workers_itself():
    assert not torch.equal(load(0, worker_init_fn=dict(type=ignore)), load(0))


def test_negative_numbers_are_refused():
    with pytest.raises(ValueError, match='non-negative'):
        mix_seed(-1)
