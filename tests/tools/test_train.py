"""tools/train.py as a user runs it: killed and resumed, on several processes, with flags, and on bad input."""

import json
import os
import shlex
import signal
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from mmengine.registry import DATASETS
from torch.optim import Adam

from colorization.checkpoints import load_network
from dualattn.commands import train as command
from dualattn.commands.parser import parse_options
from dualattn.engine import StrictRunner, find_latest_checkpoint, read_checkpoint

TOOL = Path(__file__).parents[2] / 'tools' / 'train.py'
ENVIRONMENT = {**os.environ, 'PYTHONPATH': str(TOOL.parents[1]), 'OMP_NUM_THREADS': '1'}

CONFIG = """
_base_ = [{runtime!r}]
model = dict(
    type='GANColorizer',
    data_preprocessor=dict(type='ImgDataPreprocessor', mean=[0, 0, 0], std=[255, 255, 255]),
    generator={generator!r},
    critic=dict(type='Critic', dims=(4, 8, 8, 8)),
    pixel_loss=dict(type='PixelLoss'),
    adversarial_loss=dict(type='GANLoss'),
    ema_momentum=0.1)
train_dataloader = dict(
    batch_size=2,
    num_workers=0,
    sampler=dict(type='ReproducibleSampler', seed=0),
    dataset=dict(
        type='ColorImageDataset',
        data_root={photos!r},
        augment=[
            dict(type='torchvision/RandomCrop', size=32),
            dict(type='torchvision/RandomHorizontalFlip'),
        ]))
optim_wrapper = dict(
    constructor='PerNetworkOptimWrapperConstructor',
    generator=dict(type='OptimWrapper', optimizer=dict(type='Adam', lr=1e-3)),
    critic=dict(type='OptimWrapper', optimizer=dict(type='Adam', lr=1e-3)))
param_scheduler = [dict(type='MultiStepLR', by_epoch=False, milestones=[4], gamma=0.5)]
auto_scale_lr = dict(base_batch_size=8, enable=False)
train_cfg = dict(type='ResumableIterTrainLoop', max_iters=6)
default_hooks = dict(logger=dict(interval=1), checkpoint=dict(interval=2))
custom_hooks = [dict(type='SeedIterationHook'), dict(type='MeanLossHook'), dict(type='StopOnNaNHook')]
log_processor = dict(window_size=1)
visualizer = dict(vis_backends=[dict(type='LocalVisBackend')])
"""

# kill -9 as the machine would do it, but always at the same moment: before the sixth iteration
KILLED = """
_base_ = ['tiny.py']
custom_imports = dict(
    imports=['dualattn.engine', 'colorization.systems', 'colorization.data', 'colorization.metrics',
             'colorization.hooks', 'kill_hook'])
custom_hooks = [dict(type='SeedIterationHook'), dict(type='MeanLossHook'), dict(type='KillHook', iteration=5)]
"""
KILL_HOOK = """
import os
import signal

from mmengine.hooks import Hook
from mmengine.registry import HOOKS


@HOOKS.register_module()
class KillHook(Hook):
    def __init__(self, iteration):
        self.iteration = iteration

    def before_train_iter(self, runner, batch_idx, data_batch=None):
        if runner.iter == self.iteration:
            os.kill(os.getpid(), signal.SIGKILL)
"""


@pytest.fixture(scope='module')
def tool():
    return command


@pytest.fixture(autouse=True)
def one_thread():
    """Sums come out the same here and in other processes."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.fixture
def config(tmp_path, repo_root, tiny_mpt, make_photos):
    """Config of a tiny training with every moving part of a real one but validation; at home in its own folder."""
    tiny_mpt['encoder_kwargs']['drop_path_rate'] = 0.2  # random numbers matter
    path = tmp_path / 'tiny.py'
    path.write_text(
        CONFIG.format(
            runtime=str(repo_root / 'configs' / '_base_' / 'runtime' / 'colorize.py'),
            generator=tiny_mpt,
            photos=str(make_photos(tmp_path / 'photos', 9)),
        )
    )
    return path


@pytest.fixture
def train(tool, config, tmp_path, monkeypatch, request):
    """Function that runs the tool in this process, expects its exit code, and returns the work dir."""
    monkeypatch.chdir(tmp_path)
    count = 0
    runners = []
    run = StrictRunner.train
    monkeypatch.setattr(StrictRunner, 'train', lambda runner: (runners.append(runner), run(runner)))

    def train(work_dir, *args, options=(), config=config, code=0):
        nonlocal count
        count += 1
        work_dir = tmp_path / work_dir
        name = f'{request.node.name}_{count}'  # mmengine wants each run of a process to have its own
        monkeypatch.setattr(
            sys,
            'argv',
            [
                str(TOOL),
                str(config),
                '--work-dir',
                str(work_dir),
                *map(str, args),
                '--cfg-options',
                f'experiment_name={name}',
                'log_level=WARNING',
                *options,
            ],
        )
        assert tool.main() == code
        if code:
            return work_dir
        # lets the workers go at once: found by the garbage collector, torch waits 5 s for each
        for runner in runners:
            runner.train_loop.dataloader_iterator = runner.train_dataloader._iterator = None
        return work_dir

    return train


def read_config(tool):
    """Parse the command line of the process as the tool does, and return the config that it makes."""
    parser = tool.make_parser()
    args = parser.parse_args()
    return tool.load_config(args, parse_options(parser, args.cfg_options))


def read_losses(work_dir):
    """Read iteration -> losses and scores, one dict for each run in the folder, in their order."""
    runs = []
    for file in sorted(work_dir.glob('*/vis_data/scalars.json')):
        lines = [json.loads(line) for line in file.read_text().splitlines()]
        runs.append({line['step']: {k: v for k, v in line.items() if k[:2] in ('lo', 'd_')} for line in lines})
    return runs


@pytest.fixture
def refuse(train, capsys):
    """Function that runs the tool, expects it to stop with exit code 2, and returns the one line that it says."""

    def refuse(*args, **kwargs):
        train(*args, code=2, **kwargs)
        return capsys.readouterr().err.splitlines()[-1]

    return refuse


# --- killed and resumed


@pytest.mark.slow
@pytest.mark.parametrize('num_workers', [0, 2])
def test_kill_and_resume_is_an_undisturbed_run(train, config, tmp_path, num_workers):
    (tmp_path / 'killed.py').write_text(KILLED)
    (tmp_path / 'kill_hook.py').write_text(KILL_HOOK)
    # the penalty draws random numbers too
    options = [
        f'train_dataloader.num_workers={num_workers}',
        f'train_dataloader.persistent_workers={num_workers > 0}',
        'model.gradient_penalty.type=GradientPenalty',
    ]
    whole = train('whole', options=options)

    environment = {**ENVIRONMENT, 'PYTHONPATH': os.pathsep.join([ENVIRONMENT['PYTHONPATH'], str(tmp_path)])}
    killed = subprocess.run(
        [sys.executable, TOOL, tmp_path / 'killed.py', '--work-dir', tmp_path / 'cut', '--cfg-options', *options],
        env=environment,
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=500,
    )
    assert killed.returncode == -signal.SIGKILL, killed.stderr
    assert find_latest_checkpoint(tmp_path / 'cut').name == 'iter_4.pth'
    train('cut', '--resume', options=options)

    (expected,) = read_losses(whole)
    before, after = read_losses(tmp_path / 'cut')
    assert list(expected) == [1, 2, 3, 4, 5, 6] and list(after) == [5, 6]
    assert set(expected[6]) == {'loss', 'loss_pix', 'loss_g', 'loss_critic', 'loss_gp', 'd_real', 'd_fake'}
    assert all(before[i] == expected[i] for i in before) and all(after[i] == expected[i] for i in after)
    whole, cut = (read_checkpoint(folder / 'iter_6.pth') for folder in (whole, tmp_path / 'cut'))
    assert whole['state_dict'].keys() == cut['state_dict'].keys()
    assert all(torch.equal(tensor, cut['state_dict'][name]) for name, tensor in whole['state_dict'].items())


def test_resume_from_a_named_checkpoint(train, capsys):
    whole = train('whole')
    other = train('other', '--resume', whole / 'iter_2.pth')
    assert list(read_losses(other)[0]) == [3, 4, 5, 6]
    assert read_losses(other)[0][6] == read_losses(whole)[0][6]
    capsys.readouterr()
    train('fresh', '--resume', 'auto', options=['train_cfg.max_iters=1'])
    assert 'starting from the beginning' in capsys.readouterr().out


# --- several processes


@pytest.mark.slow
def test_two_processes_are_one_with_twice_the_batch(train, config, tmp_path, tiny_mpt):
    config.write_text(config.read_text().replace("'drop_path_rate': 0.2", "'drop_path_rate': 0.0"))
    # two batches for one update: gradients are not exchanged after the first of them
    options = [f'optim_wrapper.{name}.accumulative_counts=2' for name in ('generator', 'critic')]
    options.append('model.weight_clip=0.05')
    one = train('one', options=[*options, 'train_dataloader.batch_size=4'])
    two = tmp_path / 'two'
    run = subprocess.run(
        [
            sys.executable,
            '-m',
            'torch.distributed.run',
            '--standalone',
            '--nproc-per-node',
            '2',
            TOOL,
            config,
            '--launcher',
            'pytorch',
            '--work-dir',
            two,
            '--cfg-options',
            *options,
        ],
        env=ENVIRONMENT,
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=500,
    )
    assert run.returncode == 0, run.stderr[-3000:]

    (expected,), (found,) = read_losses(one), read_losses(two)
    assert list(found) == list(expected) == [1, 2, 3, 4, 5, 6]
    for iteration, losses in expected.items():
        assert found[iteration] == pytest.approx(losses, rel=1e-4, abs=1e-5), iteration
    assert len({losses['loss_pix'] for losses in expected.values()}) == 6

    expected, found = (read_checkpoint(folder / 'iter_4.pth')['state_dict'] for folder in (one, two))
    assert found.keys() == expected.keys()
    far = torch.cat([((found[name] - tensor).abs() > 1e-5).float().flatten() for name, tensor in expected.items()])
    # Adam makes steps of full length from the rounding errors of gradients that are zero, such as those of biases
    # before norms
    assert far.mean() < 0.05
    # and one process goes on where two have stopped
    resumed = train('resumed', '--resume', two / 'iter_4.pth', options=[*options, 'train_dataloader.batch_size=4'])
    for iteration, losses in read_losses(resumed)[0].items():
        assert losses == pytest.approx(read_losses(one)[0][iteration], rel=1e-4, abs=1e-5)


@pytest.mark.skipif(torch.cuda.is_available(), reason='about machines without a GPU')
def test_other_launchers_need_a_gpu(train):
    with pytest.raises(ValueError, match='start processes with torchrun'):
        train('run', '--launcher', 'slurm')


# --- flags


def test_a_whole_run_leaves_everything(train, config, tmp_path, make_photos):
    """With validation and all hooks of the runtime that ships."""
    text = config.read_text()
    text = (
        text[: text.index('custom_hooks')]
        + f"""
train_cfg.update(val_interval=3, max_iters=3)
val_cfg = dict(type='ValLoop')
val_dataloader = dict(
    batch_size=2, num_workers=0, sampler=dict(type='DefaultSampler', shuffle=False),
    dataset=dict(type='ColorImageDataset', data_root={str(make_photos(tmp_path / 'val', 3, size=(32, 32)))!r}))
val_evaluator = [dict(type='Colorfulness'), dict(type='MeanChroma'), dict(type='PSNR')]
"""
    )
    config.write_text(text)
    work_dir = train('run')
    assert {'iter_3.pth', 'weights.safetensors', 'curve.png', 'tiny.py'} <= {path.name for path in work_dir.iterdir()}
    assert [path.name for path in (work_dir / 'sheets').iterdir()] == ['iter_3.png']
    assert list(work_dir.glob('*/vis_data/events.out.tfevents.*'))
    network = load_network(work_dir / 'weights.safetensors')
    state = read_checkpoint(work_dir / 'iter_3.pth')['state_dict']
    for name, tensor in network.state_dict().items():
        assert torch.equal(tensor, state[f'ema_generator.module.{name}'])
    metrics = [json.loads(line) for line in next(work_dir.glob('*/vis_data/scalars.json')).read_text().splitlines()][-1]
    assert any('psnr' in name.lower() for name in metrics)


def test_mixed_precision(train, refuse, monkeypatch):
    plain, mixed = train('plain'), train('mixed', '--amp')
    plain, mixed = read_losses(plain)[0], read_losses(mixed)[0]
    assert mixed != plain and mixed[6] == pytest.approx(plain[6], rel=0.1, abs=0.05)
    monkeypatch.setattr(torch.cuda, 'is_available', lambda: False)
    assert '--amp float16 needs a GPU' in refuse('run', '--amp', 'float16')
    wrapper = 'optim_wrapper.critic.type=BFloat16OptimWrapper'
    assert 'the config has BFloat16OptimWrapper' in refuse('run', '--amp', options=[wrapper])


def test_learning_rate_follows_the_batch(train, refuse, config):
    rates = []
    step = Adam.step

    def record(optimizer, *args, **kwargs):
        rates.append(optimizer.param_groups[0]['lr'])
        return step(optimizer, *args, **kwargs)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Adam, 'step', record)
        train('run', '--auto-scale-lr', options=['train_cfg.max_iters=1'])
    assert rates == [pytest.approx(1e-3 * 2 / 8)] * 2  # both networks; batch 2 over a base batch of 8
    config.write_text(config.read_text().replace('auto_scale_lr', 'no_scale'))
    assert '--auto-scale-lr needs auto_scale_lr.base_batch_size' in refuse('other', '--auto-scale-lr')


def test_work_dir_is_named_after_the_config(tool, config, monkeypatch):
    monkeypatch.setattr(sys, 'argv', ['train.py', str(config)])
    assert read_config(tool).work_dir == os.path.join('work_dirs', 'tiny')
    config.write_text(config.read_text() + "\nwork_dir = 'mine'\n")
    assert read_config(tool).work_dir == 'mine'
    monkeypatch.setattr(sys, 'argv', ['train.py', str(config), '--work-dir', 'other'])
    assert read_config(tool).work_dir == 'other'


# --- bad input


def test_missing_data(train, refuse, tmp_path):
    message = refuse('run', options=[f'train_dataloader.dataset.data_root={tmp_path}/nowhere'])
    assert message.startswith('FileNotFoundError') and f'{tmp_path}/nowhere' in message
    assert 'colorize/mpt_demo.py' in message and 'train_dataloader.dataset.data_root' in message


@pytest.mark.parametrize(
    ('option', 'name'),
    [
        ('model.generater.type=MPT', 'generater'),
        ('model.generator.num_querys=3', 'num_querys'),
        ('model.critic.channels=3', 'channels'),
        ('model.generator.encoder_kwargs.windows=3', 'windows'),
        ('train_dataloader.dataset.folder=x', 'folder'),
        ('train_cfg.max_iter=5', 'max_iter'),
    ],
)
def test_unknown_keys_are_named(train, option, name):
    with pytest.raises(TypeError, match=f"unexpected keyword argument '{name}'"):
        train('run', options=[option])


@pytest.mark.parametrize('option', ['train_dataloder.batch_size=2', 'max_iters=5'])
def test_options_that_nothing_reads(train, refuse, option):
    name = option.split('.')[0].split('=')[0]
    assert refuse('run', options=[option]).startswith(f'--cfg-options: {name} would have no effect')


def test_printed_commands_work_as_they_stand(tool, repo_root, make_photos, tmp_path, monkeypatch):
    for check in ('check_data', 'check_weights_files'):  # what a user has, and this machine has not
        monkeypatch.setattr(tool, check, lambda *args: None)
    monkeypatch.chdir(repo_root)
    text = tool.EXAMPLES.replace('PHOTOS', str(tmp_path))
    commands = [shlex.split(line) for line in text.replace('\\\n', '').splitlines() if 'dualattn' in line]
    configs = []
    for words in commands:
        monkeypatch.setattr(sys, 'argv', words[words.index('train') :])
        configs.append(read_config(tool))
        if 'torchrun' in words:  # as in the paper, whatever the number of processes
            processes = int(words[words.index('--nproc-per-node') + 1])
            assert processes * configs[-1].train_dataloader.batch_size == 16
    assert len(configs) == 4
    for part in ('train', 'val'):
        make_photos(tmp_path / part, 2)
        assert len(DATASETS.build(configs[1][f'{part}_dataloader'].dataset)) == 2


def test_a_loss_that_is_no_number(train, refuse, tmp_path):
    message = refuse(
        'run',
        options=[
            'optim_wrapper.generator.optimizer.lr=1e30',
            'default_hooks.checkpoint.interval=1',
            'model.critic=None',
            'model.adversarial_loss=None',
            'optim_wrapper.critic=None',
        ],
    )
    assert message.startswith('TrainingDivergedError: iteration ')
    latest = find_latest_checkpoint(tmp_path / 'run')
    assert (f'The last good checkpoint is {latest}' if latest else 'There is no checkpoint yet') in message
    if latest:
        assert all(tensor.isfinite().all() for tensor in read_checkpoint(latest)['state_dict'].values())


def test_checkpoints_that_cannot_be_used(train, refuse, tmp_path):
    assert '--resume: no checkpoint at' in refuse('run', '--resume', tmp_path / 'iter_9.pth')
    good = train('good', options=['train_cfg.max_iters=2']) / 'iter_2.pth'
    broken = tmp_path / 'iter_9.pth'
    broken.write_bytes(good.read_bytes()[: good.stat().st_size // 2])
    message = refuse('run', '--resume', broken)
    assert message.startswith(f'CheckpointError: {broken} is broken or truncated')

    other = ['model.generator.num_queries=9']
    for message in (
        refuse('run', '--resume', good, options=other),
        refuse('run', options=[*other, f'load_from={good}']),
    ):
        assert message.startswith(f'CheckpointError: {good} is not of this model')
        # the generator's two, and those of its average
        assert '4 misshapen (' in message and 'generator.color_decoder.queries (6, 16) instead of (9, 16)' in message
    assert 'critic.layers.0.weight' in refuse(
        'run',
        '--resume',
        good,
        options=['model.critic=None', 'model.adversarial_loss=None', 'optim_wrapper.critic=None'],
    )


def test_errors_reach_the_shell(config, tmp_path):
    """Exit status and one line, no traceback."""
    run = subprocess.run(
        [
            sys.executable,
            TOOL,
            config,
            '--work-dir',
            tmp_path / 'run',
            '--cfg-options',
            'train_dataloader.dataset.data_root=nowhere',
        ],
        env=ENVIRONMENT,
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert run.returncode == 2
    assert run.stderr.splitlines()[-1].startswith('FileNotFoundError: ')
