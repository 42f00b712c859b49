"""The 3D configurations: what the paper says, and nothing else beside the backbone between two that are compared."""

import math
from pathlib import Path

import pytest
import torch

pytestmark = pytest.mark.mm
pytest.importorskip('mmdet3d')

from mmdet3d.registry import DATASETS, MODELS  # noqa: E402
from mmengine.config import Config  # noqa: E402
from mmengine.optim import build_optim_wrapper  # noqa: E402
from mmengine.registry import HOOKS, METRICS, PARAM_SCHEDULERS, VISUALIZERS, init_default_scope  # noqa: E402

CONFIGS = Path(__file__).resolve().parents[2] / 'configs' / 'det3d'
SYSTEMS = {'centerpoint_voxel01': 'nus', 'centerpoint_pillar02': 'nus', 'second': 'kitti_3class'}
EPOCHS = {'nus': 20, 'kitti_3class': 40}


def read(name):
    cfg = Config.fromfile(CONFIGS / f'{name}.py')
    init_default_scope(cfg.default_scope)
    return cfg


@pytest.mark.parametrize('path', sorted(CONFIGS.glob('*.py')), ids=lambda path: path.stem)
def test_models_and_hooks_can_be_built(path):
    cfg = read(path.stem)
    model = MODELS.build(cfg.model)
    optim_wrapper = build_optim_wrapper(model, cfg.optim_wrapper)
    assert len(optim_wrapper.optimizer.param_groups[0]['params']) == len(list(model.parameters()))
    VISUALIZERS.build(cfg.visualizer)  # which the hooks ask for
    for hook in [*cfg.custom_hooks, *cfg.default_hooks.values()]:
        HOOKS.build(hook)
    for name in ('train_dataloader', 'val_dataloader', 'test_dataloader'):
        dataset = cfg[name].dataset
        while 'dataset' in dataset:
            assert DATASETS.get(dataset.type)
            dataset = dataset.dataset
        assert DATASETS.get(dataset.type).__name__.startswith('Checked')
    METRICS.build(cfg.val_evaluator)


@pytest.mark.parametrize('system', SYSTEMS)
@pytest.mark.parametrize('variant', ['dualattn', 'dualattn_light'])
def test_only_the_backbone_differs(system, variant):
    ours, baseline = (read(f'{system}_{name}_{SYSTEMS[system]}').to_dict() for name in (variant, 'second'))
    key = 'backbone' if system == 'second' else 'pts_backbone'
    backbone, replaced = ours['model'].pop(key), baseline['model'].pop(key)
    assert ours == baseline
    assert (backbone['type'], replaced['type']) == ('DualAttnBEV', 'SECOND')
    assert [backbone[name] for name in ('in_channels', 'out_channels', 'strides')] == [
        replaced[name] for name in ('in_channels', 'out_channels', 'layer_strides')
    ]


@pytest.mark.parametrize('system', SYSTEMS)
def test_schedule_is_the_papers(system):
    """MPT IV-G: AdamW in one cycle to 1e-3, weight decay 0.01, momentum between 0.85 and 0.95, batches of 16."""
    cfg = read(f'{system}_dualattn_{SYSTEMS[system]}')
    epochs = EPOCHS[SYSTEMS[system]]
    assert cfg.train_cfg.max_epochs == epochs
    assert cfg.train_dataloader.batch_size * 8 == cfg.auto_scale_lr.base_batch_size == 16
    wrapper = build_optim_wrapper(torch.nn.Linear(1, 1), cfg.optim_wrapper)
    group = wrapper.optimizer.param_groups[0]
    assert isinstance(wrapper.optimizer, torch.optim.AdamW) and group['weight_decay'] == 0.01
    length = 50  # iterations of an epoch
    schedulers = [
        PARAM_SCHEDULERS.build(item, default_args=dict(optimizer=wrapper, epoch_length=length))
        for item in cfg.param_scheduler
    ]
    rates, momenta = [], []
    for _ in range(epochs * length):
        rates.append(group['lr'])
        momenta.append(group['betas'][0])
        wrapper.optimizer.step()
        for scheduler in schedulers:
            scheduler.step()
    top = epochs * 2 // 5 * length
    assert rates[0] == pytest.approx(1e-4) and max(rates) == pytest.approx(1e-3, rel=1e-3)
    assert abs(rates.index(max(rates)) - top) <= 1 and rates[-1] == pytest.approx(1e-7, abs=1e-7)
    assert momenta[0] == pytest.approx(0.95) and min(momenta) == pytest.approx(0.85, rel=1e-3)
    assert abs(momenta.index(min(momenta)) - top) <= 1 and momenta[-1] == pytest.approx(0.95, rel=1e-3)


@pytest.mark.parametrize('system', ['centerpoint_voxel01', 'centerpoint_pillar02'])
def test_nuscenes_augmentation_is_the_papers(system):
    """MPT IV-G: flips along both axes, scale 0.95 to 1.05, rotation up to pi / 8, sampled objects, balanced classes."""
    dataset = read(f'{system}_dualattn_nus').train_dataloader.dataset
    steps = {step.type: step for step in dataset.dataset.pipeline}
    assert dataset.type == 'CBGSDataset' and 'ObjectSample' in steps
    change, flip = steps['GlobalRotScaleTrans'], steps['RandomFlip3D']
    assert change.scale_ratio_range == [0.95, 1.05]
    assert change.rot_range == pytest.approx([-math.pi / 8, math.pi / 8], abs=1e-3)
    assert flip.flip_ratio_bev_horizontal == flip.flip_ratio_bev_vertical == 0.5
