"""Resuming must go on with exactly the batches of an undisturbed run, and must not load what was seen."""

import logging

import pytest
import torch
from mmengine.model import BaseModel
from mmengine.registry import DATA_SAMPLERS
from mmengine.runner import Runner
from torch.utils.data import Dataset, Sampler

from dualattn.engine import StrictRunner

BATCH = 3


class Numbers(Dataset):
    """Hands out its keys as floats, and counts the reads of this process."""

    metainfo = {}

    def __init__(self, size=17):
        self.size = size
        self.reads = 0

    def __len__(self):
        return self.size

    def __getitem__(self, key):
        self.reads += 1
        return dict(inputs=torch.tensor([float(key)]))


class Counting(Sampler):
    """0, 1, 2, ... from `start` on."""

    def __init__(self, dataset, seed=None):
        self.start = 0

    def __iter__(self):
        position = self.start
        while True:
            yield position
            position += 1

    def __len__(self):
        return 17


class NoStart(Counting):
    """A sampler of mmengine's kind, which cannot be told where to begin."""

    def __init__(self, dataset, seed=None):
        super().__init__(dataset)
        self.__dict__.pop('start')

    def __iter__(self):
        return iter(range(10**6))


@pytest.fixture(autouse=True)
def samplers():
    for sampler in (Counting, NoStart):
        DATA_SAMPLERS.register_module(module=sampler, force=True)
    yield
    for sampler in (Counting, NoStart):
        DATA_SAMPLERS._module_dict.pop(sampler.__name__)


class Recorder(BaseModel):
    """Remembers the batches that it was trained on."""

    def __init__(self):
        super().__init__()
        self.weight = torch.nn.Parameter(torch.zeros(1))
        self.batches = []

    def forward(self, inputs, mode='tensor'):
        self.batches.append([int(value) for value in inputs])
        return dict(loss=(self.weight * torch.stack(list(inputs))).mean())


def train(work_dir, max_iters, sampler='Counting', num_workers=0, resume=False, accumulate=1, name='run', **kwargs):
    model = Recorder()
    runner = kwargs.pop('kind', Runner)(
        model=model,
        work_dir=str(work_dir),
        train_dataloader=dict(
            dataset=Numbers(),
            sampler=dict(type=sampler),
            batch_size=BATCH,
            num_workers=num_workers,
            persistent_workers=num_workers > 0,
        ),
        train_cfg=dict(type='ResumableIterTrainLoop', max_iters=max_iters),
        optim_wrapper=dict(optimizer=dict(type='SGD', lr=0.1), accumulative_counts=accumulate),
        default_hooks=dict(checkpoint=dict(type='WholeCheckpointHook', by_epoch=False, interval=4)),
        resume=resume,
        randomness=dict(seed=0),
        experiment_name=f'{work_dir.name}_{name}_{max_iters}_{resume}',
        **{'log_level': 'ERROR', **kwargs},
    )
    runner.train()
    # Lets the workers go at once: found by the garbage collector, torch waits 5 s for each.
    runner.train_loop.dataloader_iterator = None
    runner.train_dataloader._iterator = None
    logging.getLogger('mmengine').setLevel(logging.INFO)
    return runner.train_dataloader.dataset, model  # the runner trains on a copy of the data set


@pytest.mark.parametrize('num_workers', [0, 2])
@pytest.mark.parametrize('accumulate', [1, 2])
def test_resume_continues_the_stream(tmp_path, num_workers, accumulate):
    _, whole = train(tmp_path / 'whole', 9, num_workers=num_workers, accumulate=accumulate)
    assert whole.batches == [list(range(BATCH * i, BATCH * i + BATCH)) for i in range(9)]

    train(tmp_path / 'cut', 4, num_workers=num_workers, accumulate=accumulate)
    dataset, resumed = train(tmp_path / 'cut', 9, num_workers=num_workers, accumulate=accumulate, resume=True)
    assert resumed.batches == whole.batches[4:]
    assert torch.equal(resumed.weight, whole.weight)
    if num_workers == 0:
        assert dataset.reads == 5 * BATCH


def test_a_sampler_without_start_gets_the_treatment_of_mmengine(tmp_path):
    train(tmp_path, 4, sampler='NoStart')
    dataset, resumed = train(tmp_path, 6, sampler='NoStart', resume=True)
    assert resumed.batches == [[12, 13, 14], [15, 16, 17]]
    assert dataset.reads == 6 * BATCH


def test_several_processes_have_drawn_together_what_is_skipped(tmp_path, monkeypatch):
    train(tmp_path, 4)
    monkeypatch.setattr('dualattn.engine.loops.get_world_size', lambda: 5)
    _, resumed = train(tmp_path, 6, resume=True)
    assert resumed.batches[0][0] == 4 * BATCH * 5


@pytest.mark.parametrize('sampler', ['Counting', 'NoStart'])
def test_resuming_says_one_thing_and_that_true(tmp_path, sampler):
    train(tmp_path, 4, sampler=sampler)
    train(tmp_path, 6, sampler=sampler, resume=True, kind=StrictRunner, log_level='INFO', name='said')
    text = ''.join(log.read_text() for log in tmp_path.rglob('*.log'))
    assert text.count(f'Resumed from {tmp_path / "iter_4.pth"}: 4 of 6 iterations are done.') == 1
    assert 'Load checkpoint' not in text and 'resumed epoch' not in text
    # what nothing has to read again is not said to be skipped
    assert ('Advance dataloader 4 steps' in text) == (sampler == 'NoStart')
