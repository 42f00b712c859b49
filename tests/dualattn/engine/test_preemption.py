"""A training that is told to end, in one process and in two nodes of two; and what a scaled schedule ends at."""

import os
import signal
import socket
import subprocess
import sys

import pytest
import torch
from mmengine.hooks import Hook
from mmengine.model import BaseModel
from torch.utils.data import Dataset

from dualattn.engine import PreemptedError, StrictRunner, find_latest_checkpoint


class Numbers(Dataset):
    metainfo = {}

    def __len__(self):
        return 8

    def __getitem__(self, index):
        return dict(inputs=torch.full((4,), float(index)))


class Regression(BaseModel):
    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.layer = torch.nn.Linear(4, 1)

    def forward(self, inputs, mode='tensor'):
        return dict(loss=(self.layer(torch.stack(list(inputs))) - 1).square().mean())


class SignalAt(Hook):
    """Sends this process a signal in the midst of an iteration."""

    def __init__(self, iteration, signum=signal.SIGTERM):
        self.iteration, self.signum = iteration, signum

    def before_train_iter(self, runner, batch_idx, data_batch=None):
        if runner.iter == self.iteration:
            os.kill(os.getpid(), self.signum)


def make_runner(work_dir, name, hooks=(), by_epoch=False, accumulate=1, **kwargs):
    loop = dict(by_epoch=True, max_epochs=3) if by_epoch else dict(type='ResumableIterTrainLoop', max_iters=8)
    return StrictRunner(
        model=Regression(),
        work_dir=str(work_dir),
        train_dataloader=dict(
            dataset=Numbers(),
            batch_size=2,
            num_workers=0,
            sampler=dict(type='DefaultSampler' if by_epoch else 'InfiniteSampler', shuffle=False),
        ),
        train_cfg=loop,
        optim_wrapper=dict(optimizer=dict(type='SGD', lr=0.01, momentum=0.9), accumulative_counts=accumulate),
        param_scheduler=[dict(type='StepLR', by_epoch=False, step_size=2, gamma=0.5)],
        default_hooks=dict(
            checkpoint=dict(type='WholeCheckpointHook', by_epoch=by_epoch, interval=1 if by_epoch else 8)
        ),
        custom_hooks=list(hooks),
        log_level='ERROR',
        experiment_name=f'preemption_{name}',
        **kwargs,
    )


def weights(runner):
    return {name: tensor.clone() for name, tensor in runner.model.state_dict().items()}


@pytest.mark.parametrize('name', ['SIGTERM', 'SIGUSR1'])
def test_a_signal_leaves_a_checkpoint_that_goes_on_exactly(tmp_path, name):
    signum = getattr(signal, name)
    undisturbed = make_runner(tmp_path / 'a', f'{name}_undisturbed')
    undisturbed.train()
    before = signal.getsignal(signum)
    with pytest.raises(PreemptedError, match=rf'{name} after iteration 3 .*--resume goes on with iter_3\.pth') as error:
        make_runner(tmp_path / 'b', f'{name}_ended', hooks=[SignalAt(2, signum)]).train()
    assert error.value.exit_code == 128 + signum
    assert signal.getsignal(signum) is before
    assert find_latest_checkpoint(tmp_path / 'b').name == 'iter_3.pth'
    resumed = make_runner(tmp_path / 'b', f'{name}_resumed', resume='auto')
    resumed.train()
    for name, tensor in weights(resumed).items():
        assert torch.equal(tensor, weights(undisturbed)[name]), name
    assert resumed.optim_wrapper.get_lr() == undisturbed.optim_wrapper.get_lr()


def test_an_update_of_several_batches_is_finished_first(tmp_path):
    with pytest.raises(PreemptedError, match='after iteration 4'):
        make_runner(tmp_path, 'accumulated', hooks=[SignalAt(2)], accumulate=4).train()
    assert find_latest_checkpoint(tmp_path).name == 'iter_4.pth'


def test_a_run_by_epochs_goes_on_from_the_last_one(tmp_path):
    with pytest.raises(PreemptedError, match='cannot be resumed within one'):
        make_runner(tmp_path, 'epochs', hooks=[SignalAt(5)], by_epoch=True).train()
    assert [path.name for path in tmp_path.glob('*.pth')] == ['epoch_1.pth']


def test_handlers_are_returned_after_a_whole_run(tmp_path):
    before = signal.getsignal(signal.SIGTERM)
    make_runner(tmp_path, 'whole').train()
    assert signal.getsignal(signal.SIGTERM) is before


@pytest.mark.parametrize(
    'schedule, name, value',
    [
        (dict(type='CosineAnnealingLR', T_max=8, by_epoch=False, eta_min=1e-4), 'eta_min', 4e-4),
        (dict(type='CosineAnnealingLR', T_max=8, by_epoch=False, eta_min_ratio=0.1), 'eta_min_ratio', 0.1),
        (dict(type='PolyLR', by_epoch=False, end=8, eta_min=1e-4), 'eta_min', 4e-4),
        (dict(type='OneCycleLR', by_epoch=False, total_steps=8, eta_max=0.1), 'eta_max', 0.4),
        (dict(type='CosineAnnealingMomentum', T_max=8, by_epoch=False, eta_min=0.8), 'eta_min', 0.8),
    ],
)
def test_rates_that_a_schedule_names_are_scaled_as_well(tmp_path, schedule, name, value):
    """Two batches of two in an update against a base of one: four times everything that is a learning rate."""
    runner = make_runner(tmp_path, f'{schedule["type"]}_{name}', accumulate=2)
    runner.auto_scale_lr = dict(enable=True, base_batch_size=1)
    runner.param_schedulers = [dict(schedule)]
    runner.optim_wrapper = runner.build_optim_wrapper(runner.optim_wrapper)
    runner.scale_lr(runner.optim_wrapper, runner.auto_scale_lr)
    assert runner.optim_wrapper.get_lr()['lr'] == [pytest.approx(0.04)]
    (scaled,) = runner.param_schedulers
    assert scaled[name] == pytest.approx(value)


def test_a_scaled_cosine_ends_on_its_own_curve(tmp_path):
    cosine = [dict(type='CosineAnnealingLR', T_max=8, by_epoch=False, eta_min=1e-3)]
    ends = []
    for base in (2, 1):
        runner = make_runner(tmp_path / str(base), f'cosine_{base}')
        runner.param_schedulers = list(cosine)
        runner.auto_scale_lr = dict(enable=True, base_batch_size=base)
        runner.train()
        ends.append(runner.optim_wrapper.get_lr()['lr'][0])
    assert ends[1] == pytest.approx(2 * ends[0])


SCRIPT = """
import os, signal, sys
sys.path.insert(0, {tests!r})
import test_preemption as t
from dualattn.engine import PreemptedError
rank = int(os.environ['RANK'])
hooks = [t.SignalAt(2)] if rank == 3 and sys.argv[1] == 'end' else []
runner = t.make_runner({work_dir!r}, 'nodes_' + sys.argv[1], hooks=hooks, launcher='pytorch', resume='auto')
try:
    runner.train()
except PreemptedError as error:
    print(f'rank {{rank}}: {{error}}', flush=True)
else:
    print(f'rank {{rank}}: done at {{runner.iter}}', flush=True)
"""


@pytest.mark.slow
@pytest.mark.skipif(torch.cuda.is_available(), reason='gloo is for machines without a GPU')
def test_two_nodes_of_two_processes_end_together_and_go_on(tmp_path):
    """One of four processes gets the signal; all of them end after the same iteration, with one checkpoint."""
    script = tmp_path / 'script.py'
    script.write_text(SCRIPT.format(tests=os.path.dirname(__file__), work_dir=str(tmp_path / 'run')))

    def launch(action):
        with socket.socket() as free:
            free.bind(('127.0.0.1', 0))
            port = free.getsockname()[1]
        nodes = [
            subprocess.Popen(
                [sys.executable, '-m', 'torch.distributed.run', '--nnodes', '2', '--nproc-per-node', '2']
                + ['--node-rank', str(node), '--master-addr', '127.0.0.1', '--master-port', str(port)]
                + [str(script), action],
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                text=True,
                env=dict(os.environ, OMP_NUM_THREADS='1'),
            )
            for node in range(2)
        ]
        outputs = [node.communicate(timeout=300)[0] for node in nodes]
        assert [node.returncode for node in nodes] == [0, 0], outputs
        return [line for output in outputs for line in output.splitlines() if line.startswith('rank')]

    ended = launch('end')
    assert len(ended) == 4 and all('SIGTERM after iteration 3' in line for line in ended)
    assert [path.name for path in (tmp_path / 'run').glob('*.pth')] == ['iter_3.pth']
    done = launch('resume')
    assert sorted(done) == [f'rank {rank}: done at 8' for rank in range(4)]
