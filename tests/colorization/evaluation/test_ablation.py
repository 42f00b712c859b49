"""Grids under a budget, with trainings that only write what a validation would log."""

import json
import os
import signal
import sys
import threading
import time
from dataclasses import replace

import pytest

from colorization.commands import ablate
from colorization.evaluation import ablation
from colorization.evaluation.ablation import (
    AblationError,
    AblationStopped,
    Plan,
    read_curve,
    run_grid,
    summarize,
    to_markdown,
)
from colorization.evaluation.grids import GRIDS, OWN
from colorization.evaluation.papers import PAPER_TABLES

PAPER = PAPER_TABLES['mpt-4']


class Clock:
    """Seconds that pass only while something trains."""

    def __init__(self):
        self.now = 0.0

    def __call__(self):
        return self.now


@pytest.fixture
def grid(tmp_path):
    """A plan of five rows and two seeds, its runs, a clock, what trains in ten seconds a round, and a log of that."""
    plan = Plan('mpt-4', (0, 1), 500, ())
    runs = plan.runs(PAPER, tmp_path / 'configs', tmp_path / 'work')
    clock = Clock()
    log = []

    def train(run, iterations, plan):
        clock.now += 10
        log.append((run.row, run.seed, iterations))
        folder = run.work_dir / f'start_{len(log):03d}' / 'vis_data'
        folder.mkdir(parents=True)
        start = max(read_curve(run.work_dir), default=0) + plan.round
        value = dict(zip(PAPER.rows, (20.0, 20.05, 25.0, 24.0, 23.0), strict=True))[run.row] + 0.1 * run.seed
        lines = [
            json.dumps({'color/PSNR': value, 'color/CF_abs': 30.0, 'color/CF_abs_delta': 30 - value, 'step': step})
            for step in range(start, iterations + 1, plan.round)
        ]
        (folder / 'scalars.json').write_text('\n'.join(['{"loss": 1.0, "step": 1}', *lines, '{"color/PS']))
        return 0

    return plan, runs, clock, train, log


def test_every_row_gets_equally_many_iterations(grid):
    plan, runs, clock, train, log = grid
    told = []
    assert run_grid(plan, runs, 239, told.append, train, clock) == 1000  # two rounds of ten trainings; a third begins
    assert [entry[2] for entry in log] == [500] * 10 + [1000] * 10 + [1500] * 3
    assert [entry[1] for entry in log[:10]] == [0] * 5 + [1] * 5  # seed by seed
    assert 'all rows have 1000 iterations' in told[-1]
    # the next call goes on in the midst of the round
    assert run_grid(plan, runs, 75, told.append, train, clock) == 1500
    assert [entry[2] for entry in log[23:]] == [1500] * 7
    assert run_grid(plan, runs, 0, told.append, train, clock) == 1500


def test_a_training_that_fails_is_named(grid):
    plan, runs, clock, _, _ = grid
    with pytest.raises(AblationError, match=r'50, seed 0: .* code 2, see .*train\.log'):
        run_grid(plan, runs, 99, print, lambda *args: 2, clock)
    with pytest.raises(AblationError, match='validated at 0, expected 500'):
        run_grid(plan, runs, 99, print, lambda *args: 0, clock)


@pytest.mark.skipif(os.name == 'nt', reason='Windows has no SIGTERM that a process could catch')
def test_sigterm_reaches_the_training_and_ends_the_grid(tmp_path, monkeypatch):
    """A stand-in for the training ends as PreemptionHook does; the handler of this process is there afterwards."""
    stand_in, started = tmp_path / 'python', tmp_path / 'started'
    stand_in.write_text(f"#!/bin/sh\ntrap 'exit 143' TERM\ntouch {started}\nwhile :; do sleep 0.05; done\n")
    stand_in.chmod(0o755)
    monkeypatch.setattr(sys, 'executable', str(stand_in))
    before = signal.getsignal(signal.SIGTERM)

    def stop():
        while not started.exists():
            time.sleep(0.02)
        os.kill(os.getpid(), signal.SIGTERM)

    stopper = threading.Thread(target=stop, daemon=True)
    stopper.start()
    plan = Plan('mpt-4', (0,), 500, ())
    runs = plan.runs(PAPER, tmp_path / 'configs', tmp_path / 'work')
    with pytest.raises(AblationStopped, match=f'stopped in {runs[0].row}, seed 0; the same command goes on'):
        run_grid(plan, runs, 100, lambda line: None)
    stopper.join()
    assert signal.getsignal(signal.SIGTERM) is before


def test_nothing_is_ranked_inside_the_spread(grid):
    plan, runs, clock, train, _ = grid
    assert run_grid(plan, runs, 10 * 10 * 3, lambda line: None, train, clock) == 1500
    rows = {row.name: row for row in summarize(plan, runs, 1500)}
    # 20.05 and 20.10, each +- 0.05, are not apart; the others are
    assert {name: row.ranks['PSNR'] for name, row in rows.items()} == {
        '50': '4 to 5',
        '100': '4 to 5',
        '150': '1',
        '200': '2',
        '500': '3',
    }
    assert rows['50'].means['PSNR'] == pytest.approx(20.05) and rows['50'].spreads['PSNR'] == pytest.approx(0.05)
    text = to_markdown(plan, PAPER, list(rows.values()), 1500)
    assert '| 150 | 1.21 | 39.33 | 0.24 | 25.05 ± 0.05 |' in text and '| 4 to 5 |' in text
    assert 'too short' not in text


def test_short_rows_and_single_seeds_are_not_ranked(grid):
    plan, runs, clock, train, _ = grid
    assert run_grid(plan, runs, 105, lambda line: None, train, clock) == 500
    rows = summarize(plan, runs, 500)
    assert all(not row.ranks for row in rows)
    text = to_markdown(plan, PAPER, rows, 500)
    assert text.count('| too short |') == 5 and 'Below 1,500 iterations a row says nothing' in text
    single = Plan('mpt-4', (0,), 500, ())
    assert run_grid(single, runs[:5], 105, lambda line: None, train, clock) == 1500
    rows = summarize(single, runs[:5], 1500)
    assert all(not row.ranks and row.spreads['PSNR'] is None for row in rows)
    assert 'One seed has no spread' in to_markdown(single, PAPER, rows, 1500)


def test_refused_rows_stand_in_the_table(grid):
    paper = replace(PAPER_TABLES['mpt-2'], refused={'GLH, CM': 'nobody has the network'})
    text = to_markdown(grid[0], paper, [], 2000)
    assert text.count('not built |') == 12 and 'GLH, CM: not built. nobody has the network.' in text


def test_another_grid_is_not_mixed_in(tmp_path):
    Plan('mpt-4', (0, 1), 500, ()).keep(tmp_path)
    Plan('mpt-4', (0, 1), 500, ()).keep(tmp_path)
    with pytest.raises(AblationError, match='with other seeds, round'):
        Plan('mpt-4', (0,), 250, ()).keep(tmp_path)
    (tmp_path / 'plan.json').write_text('{')
    with pytest.raises(AblationError, match='is broken'):
        Plan('mpt-4', (0,), 250, ()).keep(tmp_path)


def test_the_command_writes_table_and_curves(grid, tmp_path, monkeypatch, capsys):
    train = grid[3]

    def run_all(plan, runs, *args, **kwargs):
        for run in runs:
            train(run, 1500, plan)
        return 1500

    monkeypatch.setattr(ablation, 'run_grid', run_all)
    work = tmp_path / 'command'
    options = ['mpt-4', '--seeds', '2', '--round', '500', '--work-dir', str(work)]
    assert ablate.main([*options, '--budget', '2h']) == 0
    assert '| 4 to 5 |' in (work / 'table.md').read_text()
    assert (work / 'curves.png').read_bytes()[:4] == b'\x89PNG'
    assert '25.05 ± 0.05' in capsys.readouterr().out


@pytest.mark.parametrize('name', ablate.TABLES)
def test_small_configs_keep_what_the_table_is_about(name, tmp_path, repo_root):
    import torch
    from mmengine.config import Config
    from mmengine.registry import MODELS

    import colorization.systems  # noqa: F401  registers the networks
    from colorization.evaluation.small import write_small_configs

    paper = PAPER_TABLES[name]
    folder = write_small_configs(paper, repo_root / 'configs', tmp_path, 'train', 'val')
    for config in paper.configs.values():
        small = Config.fromfile(folder / config.removeprefix('configs/'))
        ours, whole = small.model.generator, Config.fromfile(repo_root / config).model.generator
        for key in ('num_queries', 'attn_types', 'scales', 'use_color_decoder', 'color_decoder'):
            assert ours.get(key) == whole.get(key)
        attention = [(generator.get('encoder_kwargs') or {}).get('attn_types') for generator in (ours, whole)]
        assert attention[0] == attention[1]
        with torch.device('meta'):
            network = MODELS.build(ours)
        assert sum(parameter.numel() for parameter in network.parameters()) < 40e6
        assert small.train_dataloader.dataset.data_root == 'train'
        assert 'protocol' not in small.val_dataloader.dataset


def test_a_row_with_a_colour_memory_gets_one_of_its_photographs(tmp_path, repo_root, make_photos):
    from colorization.evaluation.small import write_small_configs
    from colorization.memory import read_memory

    photos = str(make_photos(tmp_path / 'photos', 3, size=(64, 64)))
    config = 'configs/colorize/ablations/mpt_memory.py'
    paper = replace(PAPER_TABLES['mpt-2'], configs={'Dual-Attention, CM': config})
    folder = write_small_configs(paper, repo_root / 'configs', tmp_path / 'configs', photos, photos)
    (run,) = Plan('mpt-2', (0,), 500, ()).runs(paper, folder, tmp_path)
    args = ablate.parse_args(
        ['mpt-2', '--budget', '1h', '--small', '--photos', photos, '--val', photos, '--work-dir', str(tmp_path)]
    )
    run = ablate.add_memory(run, args)
    path = tmp_path / 'memory_dualattn_mpt.safetensors'
    assert run.options == (f'model.generator.memory={path}',)
    memory = read_memory(path)
    assert memory.meanings.shape == (64, 16) and memory.colors.shape == (4, 64, 2)
    before = path.stat().st_mtime_ns
    ablate.add_memory(run, args)
    assert path.stat().st_mtime_ns == before
    other = replace(run, config=str(repo_root / 'configs' / 'colorize' / 'mpt_base.py'), options=())
    assert ablate.add_memory(other, args) is other


@pytest.mark.slow
@pytest.mark.parametrize('name', ablate.TABLES)
def test_every_row_trains(name, tmp_path, repo_root):
    """Two steps of each row, with all its losses and both optimizers."""
    import torch
    from mmengine.config import Config
    from mmengine.registry import MODELS

    from colorization.evaluation.small import write_small_configs
    from colorization.systems import PerNetworkOptimWrapperConstructor

    paper = PAPER_TABLES[name]
    folder = write_small_configs(paper, repo_root / 'configs', tmp_path, 'train', 'val')
    for row, config in paper.configs.items():
        cfg = Config.fromfile(folder / config.removeprefix('configs/'))
        torch.manual_seed(0)
        system = MODELS.build(cfg.model).train()
        entries = cfg.optim_wrapper.to_dict()
        entries.pop('constructor')
        before = {key: value.clone() for key, value in system.generator.named_parameters()}
        inputs = [torch.randint(0, 256, (3, 64, 64), dtype=torch.uint8) for _ in range(2)]
        optimizers = PerNetworkOptimWrapperConstructor(entries)(system)
        for _ in range(2):  # ResNet begins with norms of weight 0, behind which nothing moves in the first step
            log = system.train_step(dict(inputs=inputs, path=['a', 'b']), optimizers)
        assert {'loss_pix', 'loss_per', 'loss_g', 'loss_critic'} <= set(log), row
        assert all(value.isfinite() for value in log.values()), row
        unchanged = [key for key, value in system.generator.named_parameters() if torch.equal(value, before[key])]
        assert len(unchanged) < len(before) / 4, (row, unchanged)


@pytest.mark.slow
def test_every_loss_of_the_small_network_trains(repo_root):
    """Each row has the losses of its name and no other, and both optimizers where it has a critic."""
    import torch
    from mmengine.config import Config
    from mmengine.registry import MODELS

    from colorization.systems import PerNetworkOptimWrapperConstructor

    terms = {'palette': 'loss_palette', 'perceptual': 'loss_per', 'critic': 'loss_g', 'colourfulness': 'loss_col'}
    for row, path in OWN['losses'].configs.items():
        cfg = Config.fromfile(repo_root / path)
        cfg.model.generator.encoder_weights = None
        torch.manual_seed(0)
        system = MODELS.build(cfg.model).train()
        entries = cfg.optim_wrapper.to_dict()
        entries.pop('constructor')
        optimizers = PerNetworkOptimWrapperConstructor({k: v for k, v in entries.items() if v is not None})(system)
        inputs = [torch.randint(0, 256, (3, 64, 64), dtype=torch.uint8) for _ in range(2)]
        log = system.train_step(dict(inputs=inputs, path=['a', 'b']), optimizers)
        assert all(value.isfinite() for value in log.values()), row
        for name, term in terms.items():
            assert (term in log) == (name in row), (row, term)
        assert ('loss_gp' in log) == ('penalty' in row)


def test_our_own_grid_has_no_column_of_a_paper():
    plan = Plan('losses', (0, 1), 500, ())
    found = [
        ablation.Row(row, dict(PSNR=23.0, CF=20.0, ΔCF=3.0), dict.fromkeys(ablation.METRICS, 0.1), {})
        for row in OWN['losses'].rows
    ]
    text = to_markdown(plan, GRIDS['losses'], found, 1500)
    assert text.count('| 23.00 ± 0.10 |') == len(OWN['losses'].rows) and 'paper' not in text.lower()


@pytest.mark.parametrize(
    'options, message',
    [
        (['mpt-3'], '--budget is needed'),
        (['mpt-3', '--budget', 'soon'], 'a time such as 40m'),
        (['mpt-1', '--budget', '1h'], 'mpt-1'),
        (['mpt-3', '--budget', '1h', '--small'], 'needs --photos and --val'),
        (['mpt-3', '--budget', '1h', '--seeds', '0'], 'at least 1'),
        (['losses', '--budget', '1h', '--small', '--photos', 'a', '--val', 'b'], 'small as it is'),
    ],
)
def test_wrong_arguments(capsys, options, message):
    with pytest.raises(SystemExit) as error:
        ablate.main(options)
    assert error.value.code == 2 and message in capsys.readouterr().err


def test_the_rows_are_listed(capsys):
    assert ablate.main(['mpt-3', '--list']) == 0
    assert capsys.readouterr().out.splitlines()[0] == 'configs/colorize/mpt_base.py'
