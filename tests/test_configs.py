"""Every config parses, names things that exist with keywords that they take, and its networks can be built."""

import inspect
import itertools
import math
import re
from pathlib import Path

import pytest
import timm
import torch
from mmengine.config import Config
from mmengine.optim import build_optim_wrapper
from mmengine.registry import (
    DATA_SAMPLERS,
    DATASETS,
    FUNCTIONS,
    HOOKS,
    LOG_PROCESSORS,
    LOOPS,
    METRICS,
    MODEL_WRAPPERS,
    MODELS,
    OPTIM_WRAPPER_CONSTRUCTORS,
    OPTIM_WRAPPERS,
    OPTIMIZERS,
    PARAM_SCHEDULERS,
    TRANSFORMS,
    VISBACKENDS,
    VISUALIZERS,
    WEIGHT_INITIALIZERS,
    init_default_scope,
)
from mmengine.runner import Runner
from timm.data import create_transform
from torch.utils.data import DataLoader

from colorization.data.transforms import describe_preparation
from colorization.evaluation.papers import PAPER_TABLES
from colorization.evaluation.protocols import PROTOCOLS

ROOT = Path(__file__).resolve().parents[1]
CONFIGS = {
    task: sorted(path.relative_to(ROOT).as_posix() for path in (ROOT / 'configs' / task).rglob('*.py'))
    for task in ('colorize', 'cls', 'det', 'pretrain', 'small')
}
SCOPES = dict(colorize='mmengine', cls='mmengine', det='mmdet', pretrain='mmengine')

# where the `type` of a dict below such a key is looked up
REGISTRIES = dict(
    model=MODELS,
    model_wrapper_cfg=MODEL_WRAPPERS,
    dataset=DATASETS,
    sampler=DATA_SAMPLERS,
    batch_sampler=DATA_SAMPLERS,
    collate_fn=FUNCTIONS,
    prepare=TRANSFORMS,
    augment=TRANSFORMS,
    degrade=TRANSFORMS,
    pipeline=TRANSFORMS,
    val_evaluator=METRICS,
    test_evaluator=METRICS,
    default_hooks=HOOKS,
    custom_hooks=HOOKS,
    optim_wrapper=OPTIM_WRAPPERS,
    optimizer=OPTIMIZERS,
    constructor=OPTIM_WRAPPER_CONSTRUCTORS,
    param_scheduler=PARAM_SCHEDULERS,
    train_cfg=LOOPS,
    val_cfg=LOOPS,
    test_cfg=LOOPS,
    log_processor=LOG_PROCESSORS,
    visualizer=VISUALIZERS,
    vis_backends=VISBACKENDS,
    init_cfg=WEIGHT_INITIALIZERS,
)
# keys that the builders themselves take out
BUILDERS = {
    OPTIM_WRAPPERS: {'optimizer', 'paramwise_cfg'},
    HOOKS: {'priority'},
    PARAM_SCHEDULERS: {'convert_to_iter_based'},
}
# keywords that a class hands on to another one
HANDED_ON = dict(EMAHook={'momentum'}, RandomResize={'keep_ratio'}, RandomChoiceResize={'keep_ratio'})
# entries that Runner reads from the config, beside its arguments, and our tools' own
TOP_LEVEL = {
    *inspect.signature(Runner.__init__).parameters,
    'model_wrapper_cfg',
    'sync_bn',
    'custom_imports',
    'test_overrides',
    'tta_model',
    'tta_pipeline',
}
WEIGHTS = ('weights', 'encoder_weights', 'generator_weights')


def read(path, monkeypatch):
    monkeypatch.chdir(ROOT)  # paths in configs are relative to it
    return Config.fromfile(path)


@pytest.fixture(
    params=[
        pytest.param((task, path), marks=pytest.mark.mm if task == 'det' else (), id=path)
        for folder, paths in CONFIGS.items()
        for path in paths
        for task in (folder if folder != 'small' else 'det' if 'rcnn' in path else 'cls',)
    ]
)
def any_config(request, monkeypatch):
    """A task and one of its configs."""
    task, path = request.param
    return task, read(path, monkeypatch)


@pytest.fixture(params=CONFIGS['colorize'])
def config(request, monkeypatch):
    return read(request.param, monkeypatch)


@pytest.fixture(params=CONFIGS['cls'])
def classifier_config(request, monkeypatch):
    return read(request.param, monkeypatch)


@pytest.fixture(params=CONFIGS['det'])
def detector_config(request, monkeypatch):
    return read(request.param, monkeypatch)


def accepted_keywords(cls):
    """Names of the arguments of a class, those that it hands on to its bases with ** included; or of a function."""
    if inspect.isfunction(cls):
        return set(inspect.signature(cls).parameters)
    names = set()
    for base in inspect.getmro(cls):
        if '__init__' in vars(base):
            parameters = inspect.signature(base.__init__).parameters.values()
            names |= {parameter.name for parameter in parameters}
            if not any(parameter.kind is parameter.VAR_KEYWORD for parameter in parameters):
                break
    return names


def find_faults(value, registry=None, path='cfg', scope='mmengine'):
    """Yield a sentence for every type that is unknown and for every keyword that it does not take."""
    if isinstance(value, (list, tuple)):
        for i, item in enumerate(value):
            yield from find_faults(item, registry, f'{path}[{i}]', scope)
    elif isinstance(value, dict):
        if 'type' in value and registry is not None:
            with registry.switch_scope_and_registry(scope) as scoped:
                cls = scoped.get(value['type'])
            if cls is None:
                yield f'{path}: {value["type"]} is not among {registry.name}'
            else:
                unknown = set(value) - {'type'} - accepted_keywords(cls) - BUILDERS.get(registry, set())
                unknown -= HANDED_ON.get(value['type'], set())
                yield from (f'{path}: {value["type"]} takes no {name}' for name in sorted(unknown))
        for key, item in value.items():
            # names inside default_hooks are those of hooks
            inner = registry if registry is HOOKS else REGISTRIES.get(key, registry)
            yield from find_faults(item, inner, f'{path}.{key}', scope)


def walk(value):
    """Yield every dict inside a config."""
    if isinstance(value, dict):
        yield value
    for item in value.values() if isinstance(value, dict) else value if isinstance(value, (list, tuple)) else ():
        yield from walk(item)


def without_scopes(value):
    """A config without the notes of mmengine on which package an entry comes from."""
    if isinstance(value, dict):
        return {key: without_scopes(item) for key, item in value.items() if key != '_scope_'}
    return [without_scopes(item) for item in value] if isinstance(value, (list, tuple)) else value


def appears(value, inside):
    """Whether a value stands somewhere inside a nest of dicts and lists."""
    if value == inside:
        return True
    items = inside.values() if isinstance(inside, dict) else inside if isinstance(inside, (list, tuple)) else ()
    return any(appears(value, item) for item in items)


def without_weights(model):
    """The model's description with random weights, and without the losses that would be senseless with them."""
    model = dict(model, generator=dict(model['generator'], encoder_weights=None), perceptual_loss=None)
    model.pop('generator_weights', None)
    return model


def test_there_are_configs():
    names = [Path(path).stem for paths in CONFIGS.values() for path in paths]
    assert {'mpt_base', 'mpt_finetune_folder', 'mpt_demo'} <= set(names)
    assert {f'{name}_dualattn_{size}' for name in ('mask_rcnn', 'cascade_mask_rcnn') for size in 'tsb'} <= set(names)
    assert {f'dualattn_{size}_{name}' for name in ('in1k', '384_finetune') for size in 'tsb'} <= set(names)


def test_types_and_keywords_exist(any_config):
    task, config = any_config
    sections = without_scopes(config.to_dict())
    if task == 'det':
        sections.pop('model')  # mmdet refuses unknown keywords when it builds the networks, below
    assert list(find_faults(sections, scope=SCOPES[task])) == []
    for name in ('train_dataloader', 'val_dataloader', 'test_dataloader'):
        assert set(config[name]) <= set(inspect.signature(DataLoader.__init__).parameters), name
        steps = (config[name].dataset.get(step, []) for step in ('prepare', 'augment', 'degrade'))
        for transform in itertools.chain(*steps):
            TRANSFORMS.build(transform)


def test_faults_would_be_found():
    faulty = dict(
        model=dict(type='GANColorizer', generater=1, critic=dict(type='Critik')),
        train_dataloader=dict(dataset=dict(type='ColorImageDataset', cashe=True, prepare=[dict(type='Resize2')])),
        default_hooks=dict(checkpoint=dict(type='WholeCheckpointHook', interval=1, by_epoch=False, evry=3)),
        optim_wrapper=dict(generator=dict(type='OptimWrapper', optimizer=dict(type='Adam', learning_rate=1))),
    )
    assert list(find_faults(faulty)) == [
        'cfg.model: GANColorizer takes no generater',
        'cfg.model.critic: Critik is not among model',
        'cfg.train_dataloader.dataset: ColorImageDataset takes no cashe',
        'cfg.train_dataloader.dataset.prepare[0]: Resize2 is not among transform',
        'cfg.default_hooks.checkpoint: WholeCheckpointHook takes no evry',
        'cfg.optim_wrapper.generator.optimizer: Adam takes no learning_rate',
    ]


def test_every_entry_is_read(any_config):
    """Runner ignores a misspelt section, and a variable that was set too late to be used."""
    task, config = any_config
    config = without_scopes(config.to_dict())
    read = [value for name, value in config.items() if name in TOP_LEVEL]
    assert [name for name, value in config.items() if name not in TOP_LEVEL and not appears(value, read)] == []
    assert config['default_scope'] == SCOPES[task]


def test_epochs_begin_with_new_workers(any_config):
    """Else their augmentation would not be the same after a resume; runs by iterations augment by position."""
    task, cfg = any_config
    if task not in ('colorize', 'pretrain'):
        assert not cfg.train_dataloader.persistent_workers


def test_networks_and_optimizers_can_be_built(config):
    with torch.device('meta'):
        system = MODELS.build(without_weights(config.model))
        l = torch.zeros(1, 1, 256, 256)
        assert system.generator(l).shape == (1, 2, 256, 256)
        if system.critic is not None:
            assert system.critic(torch.zeros(1, 3, 256, 256)).shape[0] == 1
    cfg = config.optim_wrapper.to_dict()
    constructor = OPTIM_WRAPPER_CONSTRUCTORS.get(cfg.pop('constructor'))
    wrappers = constructor(cfg)(system)
    for wrapper in wrappers.values():
        for scheduler in config.param_scheduler:
            PARAM_SCHEDULERS.build(dict(scheduler, optimizer=wrapper))


def test_missing_weights_are_named(config):
    """Nothing is downloaded: what a machine lacks is an error with the path."""
    paths = [
        entry[key]
        for entry in walk(config.model.to_dict())
        for key in WEIGHTS
        if entry.get(key) not in (None, 'packaged') and not entry[key].startswith('package:')
    ]
    missing = [path for path in paths if not Path(path).is_file()]
    if not missing:
        pytest.skip('all weights are here')
    with torch.device('meta'), pytest.raises(FileNotFoundError) as caught:
        MODELS.build(config.model)
    assert any(path in str(caught.value) for path in missing)


def test_a_test_needs_no_weights_of_the_training(config):
    config.merge_from_dict(config.get('test_overrides', {}))
    assert config.model.get('perceptual_loss') is None
    assert not (config.model.generator.get('encoder_weights') or '').startswith('weights/')
    assert config.model.get('generator_weights') is None


def test_what_is_tested_can_be_said(config):
    dataset = config.test_dataloader.dataset
    if dataset.get('protocol'):
        # nothing beside the protocol decides which images are tested, and how
        assert set(dataset) <= {'type', 'data_root', 'protocol', '_scope_'} and dataset.protocol in PROTOCOLS
    else:
        steps = [TRANSFORMS.build(step) for step in dataset.prepare]
        assert re.search(r'centre crop (\d+) x \1$|squeezed to 256 x 256 ', describe_preparation(steps))
    assert [metric.type for metric in config.test_evaluator] == ['Colorfulness', 'MeanChroma', 'PSNR']


def test_both_systems_are_tested_alike():
    """Every column of MPT Table I and DDColor Table 1, for each system; ImageNet is validated on val5k."""
    for system in ('mpt_base', 'ddcolor_large', 'ddcolor_tiny'):
        for suffix, name in (
            ('', 'imagenet-val50k'),
            ('_val5k', 'imagenet-val5k'),
            ('_coco_stuff', 'coco-stuff'),
            ('_ade20k', 'ade20k'),
            ('_celeba_hq', 'celeba-hq'),
        ):
            config = Config.fromfile(ROOT / 'configs' / 'colorize' / f'{system}{suffix}.py')
            assert config.test_dataloader.dataset.protocol == name
            assert config.val_dataloader.dataset.protocol == 'imagenet-val5k'


def test_tables_are_tested_on_the_papers_images():
    """MPT's tables on val50k, DDColor's ablations on val5k."""
    for name, images in (('mpt_fca', 'val50k'), ('ddcolor_scale_4', 'val5k'), ('ddcolor_queries_50', 'val5k')):
        config = Config.fromfile(ROOT / 'configs' / 'colorize' / 'ablations' / f'{name}.py')
        assert config.test_dataloader.dataset.protocol == f'imagenet-{images}', name


def test_every_row_of_the_papers_ablations_has_a_config_or_a_reason():
    for name, table in PAPER_TABLES.items():
        assert all((ROOT / path).is_file() for path in table.configs.values()), name
        assert set(table.configs) <= set(table.rows) and set(table.refused) <= set(table.rows)
        if name not in ('mpt-1', 'dd-1'):  # those compare other methods
            assert {*table.configs, *table.refused} == set(table.rows), name
    encoders = {
        row: Config.fromfile(ROOT / path).model.generator for row, path in PAPER_TABLES['mpt-2'].configs.items()
    }
    assert {generator.encoder for generator in encoders.values()} == {
        'resnet50',
        'swin_tiny_patch4_window7_224',
        'twins_svt_small',
        'glh_tiny',
        'dualattn_mpt',
    }
    kinds = {'Color-Attention': 'attention', 'encoder blocks': 'blocks', 'CM': 'memory'}
    for row, generator in encoders.items():
        assert generator.get('color_decoder', 'attention') == kinds[row.split(', ')[1]], row


def test_perceptual_losses_with_weights_of_a_package():
    """The layers that configs name exist in the network."""
    seen = []
    for name in CONFIGS['colorize']:
        loss = Config.fromfile(ROOT / name).model.get('perceptual_loss')
        if loss and loss.weights.startswith('package:') and loss not in seen:
            seen.append(loss)
            value = MODELS.build(loss)(torch.rand(1, 3, 64, 64), torch.rand(1, 3, 64, 64))
            assert value.isfinite() and value > 0
    assert seen


def test_colour_augmentation_changes_no_target_of_ddcolor():
    for name in ('ddcolor_large', 'ddcolor_tiny', 'ddcolor_demo'):
        cfg = Config.fromfile(ROOT / 'configs' / 'colorize' / f'{name}.py')
        assert cfg.model.real_saturation == 1.2
        assert 'ColorEnhance' not in [step.type for step in cfg.train_dataloader.dataset.augment]
    assert 'real_saturation' not in Config.fromfile(ROOT / 'configs' / 'colorize' / 'mpt_base.py').model


def test_mpt_base_is_the_papers_schedule(monkeypatch):
    """MPT IV-A."""
    cfg = Config.fromfile(ROOT / 'configs' / 'colorize' / 'mpt_base.py')
    for name in ('generator', 'critic'):
        assert cfg.optim_wrapper[name].optimizer == dict(type='Adam', lr=1e-4, betas=(0.9, 0.999))
    assert cfg.train_dataloader.batch_size == 16 and cfg.train_cfg.max_iters == 200_000
    assert cfg.param_scheduler == [
        dict(type='MultiStepLR', by_epoch=False, milestones=[80_000, 120_000, 160_000], gamma=0.5)
    ]
    model = cfg.model
    assert (model.pixel_loss.loss_weight, model.perceptual_loss.loss_weight, model.adversarial_loss.loss_weight) == (
        0.1,
        5.0,
        1.0,
    )
    assert model.perceptual_loss.trunk == 'vgg19' and model.adversarial_loss.gan_type == 'wgan'
    assert model.weight_clip == 0.01 and model.critic_steps == 1
    assert cfg.train_dataloader.dataset.augment[0] == dict(type='torchvision/RandomCrop', size=256)
    with torch.device('meta'):
        generator = MODELS.build(model.generator)
    assert sum(parameter.numel() for parameter in generator.parameters()) == 53_219_214
    assert generator.config['num_queries'] == 150


# --- classification


def test_classifiers_are_table_vi(classifier_config):
    """MPT Table VI; the schedules run in full with the optimizer and the model."""
    cfg = classifier_config
    is_tuning = '384' in cfg.model.backbone.model_name
    optimizer = cfg.optim_wrapper.optimizer
    assert optimizer.type == 'AdamW' and cfg.optim_wrapper.clip_grad == dict(max_norm=1.0)
    assert (optimizer.lr, optimizer.weight_decay) == ((5e-5, 1e-8) if is_tuning else (5e-4, 0.05))
    batch = 512 if is_tuning else 2048
    assert cfg.auto_scale_lr.base_batch_size == batch == 8 * cfg.train_dataloader.batch_size
    epochs = 150 if is_tuning else 300
    assert cfg.train_cfg.max_epochs == epochs
    side = 384 if is_tuning else 224
    for name in ('train_dataloader', 'val_dataloader', 'test_dataloader'):
        assert cfg[name].dataset.transform.input_size == side
        create_transform(**cfg[name].dataset.transform)
    assert cfg.val_dataloader.dataset.transform.crop_mode == ('squash' if is_tuning else 'center')
    averages = [1 - hook.momentum for hook in cfg.custom_hooks if hook.type == 'EMAHook']
    assert averages == ([0.9999] if is_tuning else [])

    with torch.device('meta'):
        model = MODELS.build(cfg.model)
        reference = timm.create_model(cfg.model.backbone.model_name)
    assert sum(p.numel() for p in model.parameters()) == sum(p.numel() for p in reference.parameters())
    assert model.num_classes == 1000
    wrapper = build_optim_wrapper(model, cfg.optim_wrapper)
    schedulers = [
        PARAM_SCHEDULERS.build({**scheduler, 'optimizer': wrapper, 'convert_to_iter_based': False})
        for scheduler in cfg.param_scheduler
    ]
    rates = []
    for _ in range(epochs):
        rates.append(wrapper.get_lr()['lr'][0])
        for scheduler in schedulers:
            scheduler.step()
    assert max(rates) == pytest.approx(optimizer.lr)
    if is_tuning:
        assert set(rates) == {5e-5}  # no decay
    else:  # a cosine between the end of the warm-up and 1e-6
        for epoch in (20, 100, 160, 299):
            expected = 1e-6 + (5e-4 - 1e-6) * (1 + math.cos(math.pi * (epoch - 20) / 280)) / 2
            assert rates[epoch] == pytest.approx(expected, rel=1e-6)


# --- what fits on a core


@pytest.mark.parametrize('path', [path for path in CONFIGS['small'] if 'rcnn' not in path])
def test_small_classifiers_can_be_built(path, monkeypatch):
    cfg = read(path, monkeypatch)
    model = MODELS.build(cfg.model)
    assert model.num_classes == len(cfg.train_dataloader.dataset.classes) == 20
    assert cfg.train_dataloader.dataset.classes == cfg.test_dataloader.dataset.classes
    # the same widths and budget, whatever the network
    assert [info['num_chs'] for info in model.backbone.feature_info] == [48, 96, 192, 384]
    assert cfg.train_cfg.max_epochs == 60 and cfg.optim_wrapper.optimizer.lr == 1e-3
    assert (model.init_cfg is None) == path.endswith('_scratch.py')


@pytest.mark.mm
@pytest.mark.parametrize('path', [path for path in CONFIGS['small'] if 'rcnn' in path])
def test_small_detectors_can_be_built(path, monkeypatch):
    cfg = read(path, monkeypatch)
    init_default_scope(cfg.default_scope)
    try:
        with torch.device('meta'):
            model = MODELS.build(cfg.model)
        assert list(model.backbone.out_channels) == cfg.model.neck.in_channels
    finally:
        init_default_scope('mmengine')
    assert cfg.val_evaluator.ann_file == cfg.data_root + cfg.val_dataloader.dataset.ann_file
    assert (model.backbone.init_cfg is None) == path.endswith('_scratch.py')


# --- detection


@pytest.mark.mm
def test_detectors_can_be_built(detector_config):
    """Networks, optimizer and schedule; the channels of backbone and neck fit."""
    cfg = detector_config
    init_default_scope(cfg.default_scope)
    try:
        with torch.device('meta'):
            model = MODELS.build(cfg.model)
        assert list(model.backbone.out_channels) == cfg.model.neck.in_channels
        assert list(model.backbone.out_strides) == cfg.model.rpn_head.anchor_generator.strides[:4]
        wrapper = build_optim_wrapper(model, cfg.optim_wrapper)
        for scheduler in cfg.param_scheduler:
            PARAM_SCHEDULERS.build(dict(scheduler, optimizer=wrapper))
    finally:
        init_default_scope('mmengine')


@pytest.mark.mm
def test_detectors_are_the_papers(detector_config):
    """MPT IV-F."""
    cfg = detector_config
    variant = cfg.model.backbone.model_name.removeprefix('dualattn_')
    assert cfg.model.backbone.drop_path_rate == dict(tiny=0.1, small=0.2, base=0.3)[variant]
    assert f'dualattn_{variant[0]}_in1k/epoch_300.pth' in cfg.model.backbone.init_cfg.checkpoint
    assert cfg.train_cfg.max_epochs == 36 and cfg.auto_scale_lr.base_batch_size == 16
    optimizer = cfg.optim_wrapper.optimizer
    assert optimizer == dict(type='AdamW', lr=1e-4, betas=(0.9, 0.999), weight_decay=0.05)
    resize = next(step for step in cfg.test_dataloader.dataset.pipeline if step.type == 'Resize')
    assert resize.scale == ((896, 896) if 'Cascade' in cfg.model.type else (1333, 800))
    for name in ('train_dataloader', 'val_dataloader', 'test_dataloader'):
        assert cfg[name].dataset.type == 'CheckedCocoDataset'
