"""Checkpoints are whole or absent, hold plain data, fit exactly or not at all, and continue a run exactly."""

import errno
import logging
import os
import pickle
import signal
import subprocess
import sys

import numpy as np
import pytest
import torch
from mmengine.logging import HistoryBuffer
from mmengine.model import BaseModel
from mmengine.optim import OptimWrapper, OptimWrapperDict
from torch.utils.data import Dataset

from dualattn.engine import CheckpointError, StrictRunner, WholeCheckpointHook, find_latest_checkpoint, read_checkpoint
from dualattn.engine.checkpoints import WholeFileBackend, _from_plain, _to_plain


class Noise(Dataset):
    metainfo = {'categories': {np.str_('car'): np.int64(0)}}  # as mmdet3d's info files have it

    def __len__(self):
        return 64

    def __getitem__(self, index):
        return dict(inputs=torch.randn(4, generator=torch.Generator().manual_seed(index)))


class Regression(BaseModel):
    """Two layers with a dropout, so that random numbers matter."""

    def __init__(self, dim=3):
        super().__init__()
        torch.manual_seed(0)
        self.layers = torch.nn.Sequential(torch.nn.Linear(4, dim), torch.nn.Dropout(0.5), torch.nn.Linear(dim, 1))

    def forward(self, inputs, mode='tensor'):
        return dict(loss=self.layers(torch.stack(list(inputs))).square().mean())


class Interrupted(Regression):
    """The machine goes down in the fifth step."""

    steps = 0

    def train_step(self, data, optim_wrapper):
        self.steps += 1
        if self.steps == 5:
            raise KeyboardInterrupt
        return super().train_step(data, optim_wrapper)


class Pretrained(Regression):
    """Begins with the weights of a file, and draws random numbers on the way."""

    def __init__(self, path):
        super().__init__()
        self.path = path

    def init_weights(self):
        torch.rand(3)
        self.load_state_dict(torch.load(self.path, weights_only=True))


class Exploding(Regression):
    """The weights break in the fifth update, after a loss that was finite."""

    def train_step(self, data, optim_wrapper):
        log = super().train_step(data, optim_wrapper)
        self.steps = getattr(self, 'steps', 0) + 1
        if self.steps == 5:
            torch.nn.init.constant_(self.layers[2].bias, torch.nan)
        return log


@pytest.fixture
def make_runner(request):
    """Function that makes a Runner for the toy problem; each has its own name, as mmengine demands."""
    count = 0

    def make(work_dir, max_iters=6, interval=2, model=None, keep=3, accumulate=1, hooks=(), by_epoch=False, **kwargs):
        nonlocal count
        count += 1
        return StrictRunner(
            model=model or Regression(),
            work_dir=str(work_dir),
            train_dataloader=dict(
                dataset=Noise(),
                batch_size=4,
                num_workers=0,
                sampler=dict(type='DefaultSampler' if by_epoch else 'InfiniteSampler', shuffle=False),
            ),
            train_cfg=dict(by_epoch=True, max_epochs=4)
            if by_epoch
            else dict(type='IterBasedTrainLoop', max_iters=max_iters),
            optim_wrapper=dict(optimizer=dict(type='Adam', lr=0.05), accumulative_counts=accumulate),
            param_scheduler=dict(type='MultiStepLR', by_epoch=False, milestones=[3], gamma=0.1),
            default_hooks=dict(
                logger=dict(type='LoggerHook', interval=1, log_metric_by_epoch=False),
                checkpoint=dict(type='WholeCheckpointHook', by_epoch=by_epoch, interval=interval, max_keep_ckpts=keep),
            ),
            custom_hooks=[dict(type='SeedIterationHook'), dict(type='StopOnNaNHook'), *hooks],
            log_processor=dict(window_size=3, by_epoch=False),
            visualizer=dict(type='Visualizer', vis_backends=[dict(type='LocalVisBackend')]),
            randomness=dict(seed=1),
            experiment_name=f'{request.node.name}_{count}',
            log_level='ERROR',
            **kwargs,
        )

    yield make
    logging.getLogger('mmengine').setLevel(logging.INFO)


def equal(one, other):
    """Compare nested states, tensors by value."""
    if isinstance(one, dict):
        return one.keys() == other.keys() and all(equal(one[key], other[key]) for key in one)
    if isinstance(one, (list, tuple)):
        return len(one) == len(other) and all(map(equal, one, other))
    return torch.equal(one, other) if isinstance(one, torch.Tensor) else one == other


def files(folder):
    return sorted(path.name for path in folder.iterdir() if path.is_file())


# --- averaged weights


def test_averaged_weights_are_the_ones_to_use(make_runner, tmp_path):
    """mmengine's EMAHook puts the average where weights are looked for, and goes on from the trained ones."""
    hook = dict(type='EMAHook', momentum=0.1)
    runner = make_runner(tmp_path / 'whole', hooks=[hook])
    runner.train()
    average = next(hook for hook in runner.hooks if hasattr(hook, 'ema_model')).ema_model.module
    checkpoint = read_checkpoint(tmp_path / 'whole' / 'iter_6.pth')
    assert equal(checkpoint['state_dict'], dict(average.state_dict()))
    assert not equal(checkpoint['state_dict'], dict(runner.model.state_dict()))
    resumed = make_runner(
        tmp_path / 'resumed', hooks=[hook], load_from=str(tmp_path / 'whole' / 'iter_2.pth'), resume=True
    )
    resumed.train()
    again = read_checkpoint(tmp_path / 'resumed' / 'iter_6.pth')
    assert equal(again['state_dict'], checkpoint['state_dict'])
    assert equal(dict(resumed.model.state_dict()), dict(runner.model.state_dict()))


# --- whole or absent


def fail(*args):
    raise OSError(errno.ENOSPC, 'No space left on device')


@pytest.mark.parametrize('function', ['replace', 'fsync'])
def test_a_failed_write_leaves_nothing_and_keeps_what_was_there(tmp_path, monkeypatch, function):
    backend = WholeFileBackend()
    backend.put(b'old', tmp_path / 'iter_2.pth')
    monkeypatch.setattr(os, function, fail)
    for name in ('iter_2.pth', 'iter_4.pth'):
        with pytest.raises(OSError, match='No space left'):
            backend.put(b'new and longer', tmp_path / name)
    assert files(tmp_path) == ['iter_2.pth']
    assert (tmp_path / 'iter_2.pth').read_bytes() == b'old'


def test_a_write_makes_folders_and_replaces(tmp_path):
    path = tmp_path / 'new' / 'iter_2.pth'
    for content in (b'old', b'new'):
        WholeFileBackend().put(content, str(path))
    assert path.read_bytes() == b'new' and files(path.parent) == ['iter_2.pth']


def test_a_kill_during_the_write_leaves_no_checkpoint(tmp_path, make_runner):
    script = (
        'import os, signal, dualattn.engine.checkpoints as c\n'
        'os.fsync = lambda fd: os.kill(os.getpid(), signal.SIGKILL)\n'
        f'c.WholeFileBackend().put(b"x" * 100000, {str(tmp_path / "iter_8.pth")!r})\n'
    )
    environment = {**os.environ, 'PYTHONPATH': os.pathsep.join(sys.path), 'OMP_NUM_THREADS': '1'}
    assert subprocess.run([sys.executable, '-c', script], env=environment).returncode == -signal.SIGKILL
    (left,) = files(tmp_path)
    assert left.startswith('.') and find_latest_checkpoint(tmp_path) is None
    # the next run in the same folder cleans up
    make_runner(tmp_path, max_iters=2).train()
    assert left not in files(tmp_path) and find_latest_checkpoint(tmp_path).name == 'iter_2.pth'


def test_the_latest_is_found_by_number(tmp_path):
    assert find_latest_checkpoint(tmp_path) is None and find_latest_checkpoint(tmp_path / 'absent') is None
    others = ('.iter_2000.pth', 'best_3000.pth', 'iter_4000.txt', 'iter_x.pth')
    for name in ('iter_900.pth', 'iter_1000.pth', *others):
        (tmp_path / name).touch()
    (tmp_path / 'last_checkpoint').write_text('/elsewhere/iter_900.pth')
    assert find_latest_checkpoint(tmp_path) == tmp_path / 'iter_1000.pth'


@pytest.mark.parametrize(
    'iterations, latest', [(dict(iter_900=900, epoch_12=1200), 'epoch_12'), (dict(iter_9=9, epoch_3=6), 'iter_9')]
)
def test_epochs_and_iterations_are_compared_by_iterations(tmp_path, iterations, latest):
    for name, iteration in iterations.items():
        torch.save(dict(state_dict={}, meta=dict(iter=iteration)), tmp_path / f'{name}.pth')
    torch.save(dict(state_dict={}, meta=dict(iter=1)), tmp_path / 'epoch_1.pth')
    assert find_latest_checkpoint(tmp_path) == tmp_path / f'{latest}.pth'
    torch.save(dict(state_dict={}), tmp_path / 'iter_5000.pth')
    with pytest.raises(CheckpointError, match='iter_5000.pth does not say how many iterations'):
        find_latest_checkpoint(tmp_path)


def test_old_checkpoints_are_removed(tmp_path, make_runner):
    make_runner(tmp_path, interval=1, keep=2).train()
    assert [name for name in files(tmp_path) if name.endswith('.pth')] == ['iter_5.pth', 'iter_6.pth']
    with pytest.raises(ValueError, match='max_keep_ckpts has to be at least 2'):
        WholeCheckpointHook(max_keep_ckpts=1)


# --- plain content


def test_content_is_plain(tmp_path, make_runner):
    make_runner(tmp_path).train()
    # torch allows some of its own classes; nobody has allowed any other
    assert all(allowed.__module__.startswith('torch.') for allowed in torch.serialization.get_safe_globals())
    checkpoint = torch.load(tmp_path / 'iter_6.pth', weights_only=True)
    assert set(checkpoint) == {'meta', 'state_dict', 'message_hub', 'optimizer', 'param_schedulers'}
    assert checkpoint['meta']['iter'] == 6 and checkpoint['meta']['dataset_meta'] == {'categories': {'car': 0}}


def test_log_history_survives():
    buffer = HistoryBuffer([1.5, 2.5, 9.0], [1, 2, 1], max_length=7)
    content = dict(log_scalars=dict(loss=buffer), info=[np.float32(1.5), (np.int64(3), 'text')], plain=None)
    plain = _to_plain(content)
    assert plain['info'] == [1.5, (3, 'text')] and type(plain['info'][1][0]) is int
    back = _from_plain(pickle.loads(pickle.dumps(plain)))
    found = back['log_scalars']['loss']
    assert isinstance(found, HistoryBuffer) and found.max_length == 7
    assert found.mean(2) == buffer.mean(2) and found.current() == 9
    assert all(np.array_equal(a, b) for a, b in zip(found.data, buffer.data, strict=True))
    assert back['plain'] is None


# --- resuming


def test_resume_is_exact(tmp_path, make_runner):
    whole, cut = tmp_path / 'whole', tmp_path / 'cut'
    make_runner(whole, model=Regression()).train()
    with pytest.raises(KeyboardInterrupt):
        make_runner(cut, model=Interrupted()).train()
    assert find_latest_checkpoint(cut).name == 'iter_4.pth'
    make_runner(cut, resume=True, load_from=str(cut / 'iter_4.pth')).train()
    expected, found = (read_checkpoint(folder / 'iter_6.pth') for folder in (whole, cut))
    for key in ('state_dict', 'optimizer', 'param_schedulers'):
        assert equal(found[key], expected[key]), key
    scalars = [checkpoint['message_hub']['log_scalars'] for checkpoint in (expected, found)]
    for name in ('train/loss', 'train/lr'):
        assert torch.equal(scalars[0][name]['log_history'], scalars[1][name]['log_history'])
    assert len(set(scalars[0]['train/loss']['log_history'].tolist())) == 6


def test_checkpoints_fall_between_updates(tmp_path, make_runner):
    with pytest.raises(ValueError, match='checkpoints every 2 iterations.*accumulative_counts=3'):
        make_runner(tmp_path, accumulate=3).train()
    make_runner(tmp_path, accumulate=2, max_iters=2).train()
    hook = WholeCheckpointHook(interval=2, by_epoch=False)
    wrappers = OptimWrapperDict(
        **{
            name: OptimWrapper(torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=1), accumulative_counts=count)
            for name, count in (('generator', 1), ('critic', 4))
        }
    )
    runner = make_runner(tmp_path)
    runner.optim_wrapper = wrappers
    with pytest.raises(ValueError, match='accumulative_counts=4'):
        hook.before_train(runner)


def test_checkpoints_of_epochs_fall_between_updates(tmp_path, make_runner):
    """An epoch has 16 batches."""
    for accumulate, multiple in ((3, 3), (32, 2), (6, 3)):
        with pytest.raises(ValueError, match=f'every 1 epochs .*counts={accumulate}.* to a multiple of {multiple}$'):
            make_runner(tmp_path, accumulate=accumulate, interval=1, by_epoch=True).train()
    make_runner(tmp_path, accumulate=32, interval=2, by_epoch=True).train()
    make_runner(tmp_path / 'one', accumulate=8, interval=1, by_epoch=True).train()


def test_a_resumed_run_needs_no_file_to_begin_with(tmp_path, make_runner):
    path = tmp_path / 'begin.pth'
    torch.manual_seed(5)
    torch.save({name: torch.rand_like(weight) for name, weight in Regression().state_dict().items()}, path)
    make_runner(tmp_path / 'whole', model=Pretrained(path)).train()
    path.unlink()
    with pytest.raises(FileNotFoundError):
        make_runner(tmp_path / 'none', model=Pretrained(path)).train()
    start = str(tmp_path / 'whole' / 'iter_2.pth')
    make_runner(tmp_path / 'resumed', model=Pretrained(path), load_from=start, resume=True).train()
    whole, resumed = (read_checkpoint(tmp_path / run / 'iter_6.pth') for run in ('whole', 'resumed'))
    assert equal(resumed['state_dict'], whole['state_dict'])
    make_runner(tmp_path / 'tuned', model=Pretrained(path), load_from=start).train()


# --- which checkpoint a run goes on from


def test_a_new_run_moves_those_of_a_former_one_aside(tmp_path, make_runner):
    make_runner(tmp_path).train()
    runner = make_runner(tmp_path, max_iters=2)
    runner.train()
    folder = tmp_path / f'before_{runner.timestamp}'
    assert files(folder) == ['iter_2.pth', 'iter_4.pth', 'iter_6.pth']
    assert find_latest_checkpoint(tmp_path).name == 'iter_2.pth'
    assert read_checkpoint(folder / 'iter_6.pth')['meta']['iter'] == 6


@pytest.mark.parametrize('resume', [True, 'auto'])
def test_the_newest_of_the_work_dir(tmp_path, make_runner, resume):
    """Nothing of the own run is moved."""
    make_runner(tmp_path / 'start', max_iters=2).train()
    load_from = str(tmp_path / 'start' / 'iter_2.pth') if resume == 'auto' else None
    first = make_runner(tmp_path / 'run', resume=resume, load_from=load_from, max_iters=4)
    first.train()
    assert first._resume is False and first._load_from == load_from
    runner = make_runner(tmp_path / 'run', resume=resume, load_from=load_from)
    runner.train()
    assert runner._load_from == str(tmp_path / 'run' / 'iter_4.pth')
    assert [name for name in files(tmp_path / 'run') if name.endswith('.pth')] == [
        'iter_2.pth',
        'iter_4.pth',
        'iter_6.pth',
    ]


def test_those_after_the_resumed_one_are_moved_aside(tmp_path, make_runner):
    make_runner(tmp_path).train()
    runner = make_runner(tmp_path, load_from=str(tmp_path / 'iter_2.pth'), resume=True, max_iters=4)
    runner.train()
    assert files(tmp_path / f'before_{runner.timestamp}') == ['iter_4.pth', 'iter_6.pth']
    assert find_latest_checkpoint(tmp_path).name == 'iter_4.pth'


def test_the_first_process_decides(tmp_path, make_runner, monkeypatch):
    """The work dir of another machine is empty."""
    make_runner(tmp_path / 'first').train()
    decision = [find_latest_checkpoint(tmp_path / 'first')]
    monkeypatch.setattr(
        'dualattn.engine.runner.broadcast_object_list', lambda values: values.__setitem__(slice(None), decision)
    )
    runner = make_runner(tmp_path / 'other', resume='auto')
    runner.train()
    assert runner._load_from == str(tmp_path / 'first' / 'iter_6.pth') and runner.iter == 6


def test_weights_that_broke_are_not_stored(tmp_path, make_runner):
    with pytest.raises(RuntimeError, match=r'iteration 5: layers\.2\.bias has values that are NaN.*iter_4\.pth'):
        make_runner(tmp_path, interval=1, model=Exploding()).train()
    latest = find_latest_checkpoint(tmp_path)
    assert latest.name == 'iter_4.pth'
    assert all(tensor.isfinite().all() for tensor in read_checkpoint(latest)['state_dict'].values())


# --- files that cannot be used


class Malicious:
    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return os.mkdir, (str(self.path),)


@pytest.fixture
def good(tmp_path, make_runner):
    make_runner(tmp_path / 'good', max_iters=2).train()
    return tmp_path / 'good' / 'iter_2.pth'


@pytest.mark.parametrize('share', [0.0, 0.01, 0.5, 0.99])
def test_truncated(tmp_path, good, make_runner, share):
    path = tmp_path / 'iter_9.pth'
    path.write_bytes(good.read_bytes()[: int(share * good.stat().st_size)])
    with pytest.raises(
        CheckpointError, match=r'iter_9\.pth (is broken or truncated|holds Python objects|holds no weights)'
    ) as caught:
        read_checkpoint(path)
    assert '\n' not in str(caught.value)
    with pytest.raises(CheckpointError):
        make_runner(tmp_path / 'run', resume=True, load_from=str(path)).train()


def test_code_is_not_run(tmp_path):
    path = tmp_path / 'iter_2.pth'
    torch.save(dict(meta={}, state_dict=Malicious(tmp_path / 'owned')), path)
    with pytest.raises(CheckpointError, match='can run code, so they are never loaded'):
        read_checkpoint(path)
    path.write_bytes(pickle.dumps(Malicious(tmp_path / 'owned')))
    with pytest.raises(CheckpointError, match='iter_2.pth'):
        read_checkpoint(path)
    assert not (tmp_path / 'owned').exists()


def test_other_files(tmp_path):
    with pytest.raises(FileNotFoundError, match=f'no checkpoint at {tmp_path}'):
        read_checkpoint(tmp_path / 'iter_1.pth')
    path = tmp_path / 'notes.pth'
    path.write_text('not a checkpoint at all')
    with pytest.raises(CheckpointError, match=r'notes\.pth'):
        read_checkpoint(path)
    torch.save(torch.zeros(2), path)
    with pytest.raises(CheckpointError, match='holds a Tensor, no checkpoint'):
        read_checkpoint(path)


@pytest.mark.parametrize('resume', [True, False])
def test_another_architecture(tmp_path, good, make_runner, resume):
    runner = make_runner(tmp_path / 'run', model=Regression(dim=5), resume=resume, load_from=str(good))
    with pytest.raises(CheckpointError) as caught:
        runner.train()
    message = str(caught.value)
    assert '3 misshapen (layers.0.weight (3, 4) instead of (5, 4), ' in message and 'missing' not in message

    model = Regression()
    model.layers.append(torch.nn.Linear(1, 1))
    del model.layers[0].bias
    model.layers[0].register_parameter('bias', None)
    runner = make_runner(tmp_path / 'run', model=model, resume=resume, load_from=str(good))
    with pytest.raises(CheckpointError) as caught:
        runner.train()
    message = str(caught.value)
    assert '2 missing (layers.3.weight, layers.3.bias)' in message and '1 unexpected (layers.0.bias)' in message


def test_weights_alone_are_a_start_but_no_training_to_resume(tmp_path, make_runner):
    path = tmp_path / 'weights.pth'
    torch.manual_seed(3)
    state = Regression().state_dict()
    torch.save(state, path)
    runner = make_runner(tmp_path / 'run', load_from=str(path))
    runner.load_or_resume()
    assert all(torch.equal(runner.model.state_dict()[name], tensor) for name, tensor in state.items())
    with pytest.raises(CheckpointError, match="has no 'meta'.*set load_from instead of --resume"):
        make_runner(tmp_path / 'run', load_from=str(path), resume=True).train()
