"""Hooks on short trainings of a network with one parameter."""

import json
import logging
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from mmengine.config import Config
from mmengine.hooks import Hook
from mmengine.logging import MMLogger
from mmengine.model import BaseModel, ExponentialMovingAverage
from mmengine.registry import HOOKS
from mmengine.runner import Runner
from PIL import Image
from safetensors import safe_open

import dualattn.engine  # noqa: F401  registers loop and checkpoint hook
from colorization import hooks
from colorization.data import PhotoDataset
from colorization.hooks import draw_curves, read_scalars

SIZE = (24, 32)


class Scale(torch.nn.Module):
    """A network that multiplies by one number."""

    config = dict(type='Scale')

    def __init__(self, value):
        super().__init__()
        self.weight = torch.nn.Parameter(torch.tensor([float(value)]))

    def forward(self, x):
        return self.weight * x


class System(BaseModel):
    """Predicts the truth, with the distance from gray multiplied by `saturation`."""

    def __init__(self, saturation=1.0, averaged=False, value=0.5):
        super().__init__(data_preprocessor=dict(type='ImgDataPreprocessor', mean=[0, 0, 0], std=[255, 255, 255]))
        self.saturation = saturation
        self.generator = Scale(value)
        if averaged:
            self.ema_generator = ExponentialMovingAverage(Scale(7.0))

    def forward(self, inputs, path, data_samples=None, mode='tensor'):
        rgb = torch.stack(list(inputs)) if isinstance(inputs, (list, tuple)) else inputs
        if mode == 'loss':
            return dict(loss_pix=(self.generator(rgb) - rgb).abs().mean())
        gray = rgb.mean(dim=1, keepdim=True).expand_as(rgb)
        pred = gray + self.saturation * (rgb - gray)
        return [
            dict(path=path[i], gt_rgb=rgb[i], pred_rgb=pred[i], gray_rgb=gray[i], l=rgb[i, :1], pred_ab=rgb[i, 1:])
            for i in range(len(path))
        ]


@pytest.fixture
def photos(tmp_path):
    """Ten files; the i-th is one colour with a red level of 20 * i."""
    files = []
    for index in range(10):
        files.append(tmp_path / 'photos' / f'{index:02d} é.png')
        files[-1].parent.mkdir(exist_ok=True)
        Image.new('RGB', SIZE[::-1], (20 * index, 200, 60)).save(files[-1])
    return files


def build_runner(work_dir, photos, custom_hooks, system=None, max_iters=4, val_interval=2, **kwargs):
    loader = dict(dataset=PhotoDataset(photos), batch_size=3, num_workers=0)
    val_loader = dict(loader, sampler=dict(type='DefaultSampler', shuffle=False))
    metrics = kwargs.pop('metrics', [dict(type='MeanChroma'), dict(type='PSNR')])
    return Runner(
        model=system or System(),
        work_dir=str(work_dir),
        train_dataloader=dict(loader, sampler=dict(type='ReproducibleSampler')),
        train_cfg=dict(type='ResumableIterTrainLoop', max_iters=max_iters, val_interval=val_interval),
        optim_wrapper=dict(optimizer=dict(type='SGD', lr=0.1)),
        val_dataloader=val_loader,
        val_evaluator=metrics,
        val_cfg=dict(),
        test_dataloader=val_loader,
        test_evaluator=metrics,
        test_cfg=dict(),
        default_hooks=dict(
            logger=dict(type='LoggerHook', interval=1, log_metric_by_epoch=False),
            checkpoint=dict(type='WholeCheckpointHook', by_epoch=False, interval=3),
        ),
        log_processor=dict(by_epoch=False),
        custom_hooks=custom_hooks,
        randomness=dict(seed=0),
        experiment_name=f'{work_dir.parent.name}_{work_dir.name}_{max_iters}',
        **kwargs,
    )


@pytest.fixture
def warnings():
    """The warnings to mmengine's loggers, whatever their name."""
    messages = []

    class Collect(logging.Handler):
        def emit(self, record):
            if record.levelno >= logging.WARNING:
                messages.append(record.getMessage())

    collect = Collect()

    class Listen(Hook):
        def before_run(self, runner):
            runner.logger.addHandler(collect)

    HOOKS.register_module(name='Listen', module=Listen, force=True)
    yield messages
    HOOKS._module_dict.pop('Listen')
    MMLogger.get_current_instance().removeHandler(collect)


# --- sheet ---


def test_sheets_of_a_training_and_a_test(tmp_path, photos):
    runner = build_runner(tmp_path / 'work', photos, [dict(type='SheetHook', num_images=3, tile=32)], System(0.5))
    runner.train()
    folder = tmp_path / 'work' / 'sheets'
    assert sorted(path.name for path in folder.iterdir()) == ['iter_2.png', 'iter_4.png']
    pixels = np.asarray(Image.open(folder / 'iter_4.png')).astype(int)
    assert (pixels == np.asarray(Image.open(folder / 'iter_2.png'))).all()
    # The truth column shows images 0, 4 and 9 of the ten, top to bottom, and the prediction is half as colourful.
    seen = [tuple(rgb) for rgb in pixels[:, 4 + 2 * 36 + 16] if tuple(rgb[1:]) == (200, 60)]
    assert list(dict.fromkeys(seen)) == [(20 * index, 200, 60) for index in (0, 4, 9)]
    row = next(y for y in range(len(pixels)) if tuple(pixels[y, 4 + 2 * 36 + 16]) == (180, 200, 60))
    gray, pred, truth = (pixels[row, 4 + column * 36 + 16] for column in range(3))
    assert gray.tolist() == [147, 147, 147]
    assert np.abs(pred - (gray + truth) / 2).max() <= 1

    runner = build_runner(tmp_path / 'test', photos, [dict(type='SheetHook', num_images=20)])
    runner.test()
    assert [path.name for path in (tmp_path / 'test' / 'sheets').iterdir()] == ['test.png']


def test_the_sheet_goes_to_tensorboard(tmp_path, photos):
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    visualizer = dict(
        type='Visualizer', vis_backends=[dict(type='LocalVisBackend'), dict(type='TensorboardVisBackend')]
    )
    build_runner(
        tmp_path / 'work', photos, [dict(type='SheetHook', num_images=2)], visualizer=visualizer, max_iters=2
    ).train()
    events = EventAccumulator(str(next((tmp_path / 'work').glob('*/vis_data'))), size_guidance=dict(images=0)).Reload()
    assert [image.step for image in events.Images('sheet')] == [2]
    assert 'color/PSNR' in events.Tags()['scalars'] and 'loss_pix' in events.Tags()['scalars']
    assert not list((tmp_path / 'work').glob('*/vis_data/vis_image/*'))  # the file lies in sheets/ alone


@pytest.mark.parametrize('wrong', [dict(num_images=0), dict(tile=0), dict(interval=3)])
def test_sheet_hook_errors(wrong):
    with pytest.raises((ValueError, TypeError)):
        hooks.SheetHook(**wrong)


# --- chroma ---


@pytest.mark.parametrize(
    'saturation, begin, expected', [(0.05, 0, 2), (0.05, 3, 1), (0.05, 100, 0), (0.9, 0, 0), (float('nan'), 0, 2)]
)
def test_collapsed_colours_give_a_warning(tmp_path, photos, warnings, saturation, begin, expected):
    watch = dict(type='ChromaWatchHook', begin=begin, min_ratio=0.25)
    metrics = [dict(type='MeanChroma')]
    build_runner(tmp_path / 'work', photos, [watch, dict(type='Listen')], System(saturation), metrics=metrics).train()
    found = [message for message in warnings if 'colours have collapsed' in message]
    assert len(found) == expected
    if expected:
        assert 'ColorEnhance' in found[-1] and 'iteration 4' in found[-1]


def test_chroma_watch_without_its_metric_stops_at_the_start(tmp_path, photos):
    runner = build_runner(tmp_path / 'work', photos, [dict(type='ChromaWatchHook')], metrics=[dict(type='PSNR')])
    with pytest.raises(ValueError, match=r"MeanChroma.*which has \['PSNR'\]"):
        runner.train()
    assert runner.iter == 0


@pytest.mark.parametrize('wrong', [dict(min_ratio=0), dict(min_ratio=1.5), dict(begin=-1), dict(ratio=0.5)])
def test_chroma_watch_errors(wrong):
    with pytest.raises((ValueError, TypeError)):
        hooks.ChromaWatchHook(**wrong)


# --- weights ---


def read_weights(path):
    with safe_open(path, framework='pt') as file:
        return {name: file.get_tensor(name) for name in file.keys()}, file.metadata()  # noqa: SIM118


def test_the_trained_weights_are_exported_with_every_checkpoint(tmp_path, photos):
    seen = []

    class Look(Hook):
        priority = 'LOWEST'

        def after_train_iter(self, runner, batch_idx, data_batch=None, outputs=None):
            path = Path(runner.work_dir, 'weights.safetensors')
            if path.exists():
                tensors, metadata = read_weights(path)
                seen.append((runner.iter + 1, metadata['iteration'], tensors['weight'].item()))

    HOOKS.register_module(name='Look', module=Look, force=True)
    file = tmp_path / 'some_name.py'
    file.write_text('seed = 0\n')
    config = Config.fromfile(file)
    runner = build_runner(
        tmp_path / 'work', photos, [dict(type='ExportWeightsHook'), dict(type='Look')], max_iters=5, cfg=config
    )
    runner.train()
    HOOKS._module_dict.pop('Look')
    # Checkpoints fall due after iterations 3 and 5; WholeCheckpointHook comes after all custom hooks but the lowest.
    tensors, metadata = read_weights(tmp_path / 'work' / 'weights.safetensors')
    assert metadata['iteration'] == '5' and metadata['config'] == 'some_name.py' and metadata['averaged'] == 'false'
    assert json.loads(metadata['network']) == dict(type='Scale')
    assert tensors['weight'] == runner.model.generator.weight.detach() != 0.5
    assert [entry[:2] for entry in seen if entry[0] in (4, 5)][0] == (4, '3')
    assert seen[0][2] != tensors['weight'].item()


@pytest.mark.parametrize('half', [False, True])
def test_the_averaged_weights_are_preferred(tmp_path, photos, half):
    system = System(averaged=True)
    runner = build_runner(
        tmp_path / 'work', photos, [dict(type='ExportWeightsHook', filename='net.safetensors', half=half)], system
    )
    runner.train()
    tensors, metadata = read_weights(tmp_path / 'work' / 'net.safetensors')
    assert tensors['weight'].item() == 7.0 and metadata['averaged'] == 'true'


def test_wrappers_of_distributed_training_are_taken_off(tmp_path):
    # As MMSeparateDistributedDataParallel leaves it: a wrapper around the system and one around each network.
    system = System()
    system.generator = torch.nn.DataParallel(system.generator)
    logger = logging.getLogger('test')
    config = Config(dict())
    runner = SimpleNamespace(
        model=torch.nn.DataParallel(system), work_dir=str(tmp_path), cfg=config, experiment_name='name', logger=logger
    )
    hooks.ExportWeightsHook().before_save_checkpoint(runner, dict(meta=dict(iter=3)))
    tensors, metadata = read_weights(tmp_path / 'weights.safetensors')
    assert set(tensors) == {'weight'} and metadata['config'] == 'name' and metadata['iteration'] == '3'


# --- curves ---


def write_scalars(folder, records, tail=''):
    file = folder / 'vis_data' / 'scalars.json'
    file.parent.mkdir(parents=True)
    file.write_text('\n'.join(json.dumps(record) for record in records) + '\n' + tail)
    return file


def test_scalars_of_a_resumed_run_continue_those_of_the_first(tmp_path):
    first = write_scalars(
        tmp_path / '1',
        [
            {'loss': 9.0, 'lr': 0.1, 'generator.lr': 0.1, 'time': 1.0, 'iter': 1, 'step': 1},
            dict(loss=8.0, iter=2, step=2),
            dict(loss=7.0, step=3),
        ],
        tail='{"loss": 6.',
    )
    second = write_scalars(tmp_path / '2', [{'loss': 5.0, 'step': 3}, {'color/PSNR': 20.5, 'data_time': 1, 'step': 3}])
    assert read_scalars([first, second]) == {'loss': {1: 9.0, 2: 8.0, 3: 5.0}, 'color/PSNR': {3: 20.5}}


def test_scalars_with_a_broken_line_in_the_middle_are_an_error(tmp_path):
    file = write_scalars(tmp_path / '1', [dict(loss=1.0, step=1)], tail='{"loss": \n{"loss": 2.0, "step": 2}\n')
    with pytest.raises(ValueError, match='line 2'):
        read_scalars([file])


def test_draw_curves_shares_a_panel_between_a_number_and_its_baseline(tmp_path, monkeypatch):
    from matplotlib.figure import Figure

    titles = []
    subplots = Figure.subplots

    def record(self, *args, **kwargs):
        axes = subplots(self, *args, **kwargs)
        titles.extend(axes.flat)
        return axes

    monkeypatch.setattr(Figure, 'subplots', record)
    steps = {step: 1.0 / step for step in range(1, 9)}
    curves = {name: steps for name in ('loss_pix', 'loss', 'color/PSNR', 'color/PSNR_gray', 'color/CF_truth')}
    draw_curves(curves, tmp_path / 'curve.png')
    shown = [(axis.get_title(), len(axis.lines)) for axis in titles if axis.get_visible()]
    assert shown == [('loss', 1), ('loss_pix', 1), ('color/CF_truth', 1), ('color/PSNR', 2)]
    assert min(Image.open(tmp_path / 'curve.png').size) > 300
    assert [path.name for path in tmp_path.iterdir()] == ['curve.png']
    with pytest.raises(ValueError, match='no curves'):
        draw_curves({}, tmp_path / 'curve.png')


def test_a_training_draws_its_curves_up_to_the_last_validation(tmp_path, photos, monkeypatch):
    drawn = []

    def record(curves, path):
        drawn.append({name: sorted(steps) for name, steps in curves.items()})
        draw_curves(curves, path)

    monkeypatch.setattr('colorization.hooks.curve.draw_curves', record)
    build_runner(tmp_path / 'work', photos, [dict(type='LossCurveHook')]).train()
    assert (tmp_path / 'work' / 'curve.png').is_file()
    assert [curves['color/PSNR'] for curves in drawn] == [[2], [2, 4], [2, 4]]
    assert [curves['loss_pix'] for curves in drawn] == [[1, 2], [1, 2, 3, 4], [1, 2, 3, 4]]
    assert set(drawn[-1]) == {'loss', 'loss_pix', 'color/PSNR', 'color/PSNR_gray', 'color/chroma', 'color/chroma_truth'}


def test_curves_are_of_this_run_and_those_that_it_continues(tmp_path, photos, monkeypatch):
    drawn = []
    monkeypatch.setattr('colorization.hooks.curve.draw_curves', lambda curves, path: drawn.append(curves['loss']))
    work = tmp_path / 'work'
    times = iter(range(1_600_000_000, 1_700_000_000, 100))
    monkeypatch.setattr('mmengine.runner.runner.time.time', lambda: next(times))

    def train(max_iters, **kwargs):
        hooks = [dict(type='LossCurveHook')]
        build_runner(work, photos, hooks, max_iters=max_iters, **kwargs).train()
        return drawn[-1]

    write_scalars(work / '20200101_000000', [dict(loss=9.0, step=77)])
    first = train(3)
    assert sorted(first) == [1, 2, 3]
    resumed = train(5, load_from=str(work / 'iter_3.pth'), resume=True)
    assert sorted(resumed) == [1, 2, 3, 4, 5] and {step: resumed[step] for step in first} == first
    write_scalars(work / '20990101_000000', [dict(loss=9.0, step=78)])
    assert sorted(train(4)) == [1, 2, 3, 4]  # begun anew in the same folder
    again = train(6, load_from=str(next(work.glob('before_*/iter_5.pth'))), resume=True)
    assert sorted(again) == [1, 2, 3, 4, 5, 6]


def test_a_training_without_scalars_warns(tmp_path, photos, warnings):
    visualizer = dict(type='Visualizer', vis_backends=[])
    build_runner(
        tmp_path / 'work', photos, [dict(type='LossCurveHook'), dict(type='Listen')], visualizer=visualizer
    ).train()
    assert any('LocalVisBackend' in message for message in warnings)
    assert not (tmp_path / 'work' / 'curve.png').exists()
