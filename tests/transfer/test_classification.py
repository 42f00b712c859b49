"""Classification in mmengine: the model's modes, the data folder, the metric, and runs of the configs that ship."""

import logging

import pytest
import timm
import torch
from mmengine.config import Config
from mmengine.evaluator import Evaluator
from mmengine.registry import METRICS, MODELS

from dualattn.engine import CheckpointError, DataError, StrictRunner, read_checkpoint
from dualattn.engine.protocol import describe_protocol
from transfer.classification import ClassFolder
from transfer.classification.dataset import read_image

TINY = dict(depths=(1, 1, 1, 1), embed_dims=(16, 16, 32, 32), stem_dim=8, head_dim=8)
EVAL = dict(input_size=32)


@pytest.fixture
def build():
    def build(num_classes=3, model_name='dualattn_tiny', network=TINY, **kwargs):
        torch.manual_seed(0)
        return MODELS.build(
            dict(
                type='ImageClassifier',
                backbone=dict(model_name=model_name, num_classes=num_classes, **network),
                **kwargs,
            )
        )

    return build


@pytest.fixture
def folders(tmp_path, make_photos):
    """Two data sets, train and val, of the classes bird, cat and dog with two photographs each."""
    for split in ('train', 'val'):
        for name in ('dog', 'bird', 'cat'):
            make_photos(tmp_path / split / name, 2)
    return tmp_path


def batch(size=2):
    inputs = torch.randn(size, 3, 32, 32, generator=torch.Generator().manual_seed(2))
    return inputs, torch.arange(size) % 3


# --- the model


def test_modes(build):
    model = build().eval()
    inputs, label = batch()
    logits = model(inputs)
    assert logits.shape == (2, 3)
    samples = model(inputs, label, ['a.png', 'b.png'], mode='predict')
    torch.testing.assert_close(torch.stack([sample.scores for sample in samples]), logits.softmax(-1))
    assert [int(sample.gt_label) for sample in samples] == [0, 1] and samples[1].path == 'b.png'
    assert 'gt_label' not in model(inputs, mode='predict')[0]
    with pytest.raises(ValueError, match="got 'train'"):
        model(inputs, mode='train')
    with pytest.raises(ValueError, match='labels'):
        model(inputs, mode='loss')


def test_loss_is_cross_entropy(build):
    inputs, label = batch(4)
    model = build(smoothing=0.1)
    expected = torch.nn.functional.cross_entropy(model(inputs), label, label_smoothing=0.1)
    torch.testing.assert_close(model(inputs, label, mode='loss')['loss'], expected)
    mixed = build(smoothing=0.1, mixup=dict(mixup_alpha=0.8, cutmix_alpha=1.0, prob=0.0))
    torch.testing.assert_close(mixed(inputs.clone(), label, mode='loss')['loss'], expected)
    mixed = build(smoothing=0.1, mixup=dict(mixup_alpha=0.8, cutmix_alpha=1.0))
    loss = mixed(inputs.clone(), label, mode='loss')['loss']
    assert abs(float(loss - expected)) > 1e-4
    loss.backward()
    assert all(parameter.grad is not None for parameter in mixed.parameters())


def test_unknown_keywords(build):
    with pytest.raises(TypeError, match='smooth'):
        build(smooth=0.1)
    with pytest.raises(TypeError, match='windows'):
        build(network=dict(TINY, windows=3))


def test_weights_to_begin_with(build, tmp_path):
    """Of ours, of timm; a last layer for other classes begins anew; all else has to fit."""
    source = build(num_classes=5)
    torch.nn.init.normal_(source.backbone.head.fc.weight)
    torch.save(dict(state_dict=source.state_dict()), tmp_path / 'ours.pth')
    torch.save(source.backbone.state_dict(), tmp_path / 'timm.pth')
    for name, prefix in (('ours.pth', 'backbone.'), ('timm.pth', None)):
        init_cfg = dict(type='Pretrained', checkpoint=str(tmp_path / name))
        if prefix:
            init_cfg['prefix'] = prefix
        same, other = build(num_classes=5, init_cfg=init_cfg), build(num_classes=2, init_cfg=init_cfg)
        fresh = other.backbone.head.fc.weight.clone()
        same.init_weights()
        other.init_weights()
        for key, tensor in source.state_dict().items():
            assert torch.equal(same.state_dict()[key], tensor)
            assert 'head.fc' in key or torch.equal(other.state_dict()[key], tensor)
        assert torch.equal(other.backbone.head.fc.weight, fresh)
    init_cfg = dict(type='Pretrained', checkpoint=str(tmp_path / 'ours.pth'))
    with pytest.raises(CheckpointError, match=r'backbone\.stem\.conv\.weight'):
        build(init_cfg=init_cfg).init_weights()
    with pytest.raises(FileNotFoundError, match=r'no checkpoint at .*nowhere\.pth, where init_cfg of the model.*=None'):
        build(init_cfg=dict(init_cfg, checkpoint=str(tmp_path / 'nowhere.pth'))).init_weights()
    wider = dict(TINY, embed_dims=(16, 16, 32, 64))
    with pytest.raises(CheckpointError, match='misshapen'):
        build(network=wider, init_cfg=dict(init_cfg, prefix='backbone.')).init_weights()


# --- the data


def test_folder_of_classes(folders):
    dataset = ClassFolder(str(folders / 'train'), EVAL)
    assert len(dataset) == 6 and dataset.metainfo['classes'] == ['bird', 'cat', 'dog']
    item = dataset[2]
    assert item['label'] == 1 and item['path'].endswith('cat/00.png')
    expected = timm.data.create_transform(**EVAL)(read_image(item['path']))
    assert torch.equal(item['inputs'], expected) and expected.shape == (3, 32, 32)
    ordered = ClassFolder(str(folders / 'train'), EVAL, classes=['dog', 'emu', 'cat', 'bird'])
    assert [ordered[i]['label'] for i in range(6)] == [3, 3, 2, 2, 0, 0]


@pytest.mark.parametrize(
    ('transform', 'stated'),
    [
        (
            dict(input_size=224, interpolation='bicubic', crop_pct=0.95, crop_mode='center'),
            'short side resized to 235 (bicubic), centre crop 224 x 224',
        ),
        (
            dict(input_size=(3, 40, 48), interpolation='bilinear', crop_pct=1.0, crop_mode='squash'),
            'squeezed to 48 x 40 (bilinear), centre crop 48 x 40',
        ),
    ],
)
def test_the_protocol_is_stated_and_printed(folders, transform, stated, monkeypatch):
    folder = folders / 'val'
    dataset = ClassFolder(str(folder), transform)
    expected = f'6 images of {folder.as_posix()} in 3 classes, {stated}'
    assert describe_protocol(dataset.metainfo) == expected
    metric = METRICS.build(dict(type='TopKAccuracy', topk=(1,)))
    metric.dataset_meta = dataset.metainfo
    metric.process({}, [dict(gt_label=torch.tensor(1), scores=torch.tensor([0.1, 0.8, 0.1]))])
    told = []
    monkeypatch.setattr('dualattn.engine.protocol.print_log', lambda message, **where: told.append(message))
    assert metric.evaluate(1) == {'accuracy/top1': 100}
    assert told == [f'TopKAccuracy is measured on 1 samples: {expected}']


def test_imagenet_order(tmp_path, make_photos):
    """Synsets by name are the order of every ImageNet classifier."""
    for synset in ('n02123045', 'n01440764'):
        make_photos(tmp_path / synset, 1)
    dataset = ClassFolder(str(tmp_path), EVAL, classes='imagenet-1k')
    assert [dataset[i]['label'] for i in range(2)] == [0, 281]  # tench, tabby cat


def test_broken_photos_are_replaced(folders, caplog):
    (folders / 'train' / 'cat' / '00.png').write_bytes(b'no photograph')
    whole = (folders / 'train' / 'cat' / '01.png').read_bytes()
    (folders / 'train' / 'cat' / '01.png').write_bytes(whole[: len(whole) // 2])
    for broken in (2, 3):
        with pytest.raises(DataError, match=rf'cat/0{broken - 2}\.png .*; repair or remove it, or, for training, set'):
            ClassFolder(str(folders / 'train'), EVAL)[broken]
    dataset = ClassFolder(str(folders / 'train'), EVAL, skip_unreadable=True)
    assert [dataset[i]['label'] for i in range(6)] == [0, 0, 2, 2, 2, 2]
    assert dataset._unreadable.tolist() == [False, False, True, True, False, False]
    for path in (folders / 'train').rglob('*.png'):
        path.write_bytes(b'')
    with pytest.raises(DataError, match='none of the 6 images can be read'):
        ClassFolder(str(folders / 'train'), EVAL, skip_unreadable=True)[0]


def test_broken_photos_are_replaced_in_training_alone(repo_root, monkeypatch):
    monkeypatch.chdir(repo_root)
    cfg = Config.fromfile('configs/cls/dualattn_t_384_finetune.py')
    skip = [cfg[f'{split}_dataloader'].dataset.get('skip_unreadable', False) for split in ('train', 'val', 'test')]
    assert skip == [True, False, False]


def test_folders_that_cannot_be_used(folders, tmp_path):
    with pytest.raises(FileNotFoundError, match='nowhere.*train_dataloader.dataset'):
        ClassFolder(str(tmp_path / 'nowhere'), EVAL)
    with pytest.raises(DataError, match='has no folders'):
        ClassFolder(str(folders / 'train' / 'cat'), EVAL)
    with pytest.raises(DataError, match='2 folders that are not among the 1 classes: bird, dog'):
        ClassFolder(str(folders / 'train'), EVAL, classes=['cat'])
    with pytest.raises(DataError, match='3 folders that are not among the 1000 classes'):
        ClassFolder(str(folders / 'train'), EVAL, classes='imagenet-1k')
    with pytest.raises(ValueError, match="got 'coco'"):
        ClassFolder(str(folders / 'train'), EVAL, classes='coco')
    (folders / 'train' / 'emu').mkdir()
    with pytest.raises(DataError, match='emu'):
        ClassFolder(str(folders / 'train'), EVAL)
    with pytest.raises(TypeError, match='inputsize'):
        ClassFolder(str(folders / 'val'), dict(inputsize=32))


def test_accuracy():
    evaluator = Evaluator(METRICS.build(dict(type='TopKAccuracy', topk=(1, 2, 5))))
    scores = torch.tensor([[0.5, 0.3, 0.2], [0.5, 0.3, 0.2], [0.5, 0.3, 0.2], [0.1, 0.2, 0.7]])
    labels = torch.tensor([0, 1, 2, 2])
    for i in range(0, 4, 2):
        evaluator.process(
            [dict(scores=s, gt_label=t) for s, t in zip(scores[i : i + 2], labels[i : i + 2], strict=True)]
        )
    assert evaluator.evaluate(4) == {'accuracy/top1': 50.0, 'accuracy/top2': 75.0, 'accuracy/top5': 100.0}


# --- whole runs


@pytest.fixture
def run(folders, monkeypatch, repo_root, request):
    """Function that trains a config of configs/cls, made tiny by overrides, and returns the runner."""
    monkeypatch.chdir(repo_root)
    count = 0

    def run(name, work_dir, test=None, **options):
        nonlocal count
        count += 1
        cfg = Config.fromfile(f'configs/cls/{name}.py')
        cfg.merge_from_dict(
            {
                **{
                    f'model.backbone.{key}': list(value) if isinstance(value, tuple) else value
                    for key, value in TINY.items()
                },
                'model.backbone.num_classes': 3,
                'train_cfg.max_epochs': 2,
                'default_hooks.logger.interval': 1,
            }
        )
        for split, part in (('train', 'train'), ('val', 'val'), ('test', 'val')):
            cfg.merge_from_dict(
                {
                    f'{split}_dataloader': dict(batch_size=2, num_workers=0),
                    f'{split}_dataloader.dataset': dict(data_root=str(folders / part), classes=None),
                    f'{split}_dataloader.dataset.transform.input_size': 32,
                }
            )
            if split != 'train':
                cfg[f'{split}_dataloader'].persistent_workers = False
        cfg.merge_from_dict(
            dict(
                work_dir=str(folders / work_dir),
                experiment_name=f'{request.node.name}_{count}',
                log_level='WARNING',
                visualizer=dict(vis_backends=[dict(type='LocalVisBackend')]),
                **options,
            )
        )
        runner = StrictRunner.from_cfg(cfg)
        if test is not None:
            return runner.test()
        runner.train()
        return runner

    yield run
    logging.getLogger('mmengine').setLevel(logging.INFO)


@pytest.mark.slow
def test_training_and_tuning(run, folders):
    """Both configs, one after the other: the average is stored, tested, and is what a test of the file gives."""
    runner = run('dualattn_t_in1k', 'first')
    checkpoint = folders / 'first' / 'epoch_2.pth'
    stored = read_checkpoint(checkpoint)
    assert stored['meta']['dataset_meta']['classes'] == ['bird', 'cat', 'dog']
    assert all(torch.equal(tensor, runner.model.state_dict()[name]) for name, tensor in stored['state_dict'].items())

    tuned = run(
        'dualattn_t_384_finetune',
        'second',
        **{'model.init_cfg.checkpoint': str(checkpoint), 'optim_wrapper.optimizer.lr': 1e-2},
    )
    hook = next(hook for hook in tuned.hooks if hasattr(hook, 'ema_model'))
    average, trained = hook.ema_model.module.state_dict(), tuned.model.state_dict()
    stored = read_checkpoint(folders / 'second' / 'epoch_2.pth')['state_dict']
    assert all(torch.equal(tensor, average[name]) for name, tensor in stored.items())
    assert not torch.equal(average['backbone.stem.conv.weight'], trained['backbone.stem.conv.weight'])
    scores = run('dualattn_t_384_finetune', 'third', test=True, load_from=str(folders / 'second' / 'epoch_2.pth'))
    assert scores['accuracy/top5'] == 100 and 0 <= scores['accuracy/top1'] <= 100


@pytest.mark.slow
@pytest.mark.parametrize('num_workers', [0, 2])
def test_resume_is_exact(run, folders, num_workers):
    workers = {'train_dataloader.num_workers': num_workers}
    whole = run('dualattn_t_in1k', 'whole', **{'train_cfg.max_epochs': 3}, **workers).model.state_dict()
    run('dualattn_t_in1k', 'cut', **{'train_cfg.max_epochs': 1}, **workers)
    (folders / 'cut' / 'epoch_1.pth').rename(folders / 'cut.pth')
    resumed = run(
        'dualattn_t_in1k',
        'cut',
        load_from=str(folders / 'cut.pth'),
        resume=True,
        **{'train_cfg.max_epochs': 3},
        **workers,
    )
    assert resumed.iter == 9
    for name, tensor in resumed.model.state_dict().items():
        assert torch.equal(tensor, whole[name]), name


def test_classes_have_to_agree(run, folders):
    with pytest.raises(DataError, match='training data has 3 classes, the model has 4: set model.backbone.num_classes'):
        run('dualattn_t_in1k', 'a', **{'model.backbone.num_classes': 4})
    with pytest.raises(DataError, match=r'have different classes \(3 and 2\): bird'):
        run('dualattn_t_in1k', 'b', **{'val_dataloader.dataset.data_root': str(remove(folders / 'val', 'bird'))})


def remove(root, name):
    for file in (root / name).iterdir():
        file.unlink()
    (root / name).rmdir()
    return root


@pytest.mark.parametrize('resume', [True, False])
def test_a_training_goes_on_with_its_classes(run, folders, resume):
    run('dualattn_t_in1k', 'run', **{'train_cfg.max_epochs': 1})
    for split in ('train', 'val'):
        (folders / split / 'dog').rename(folders / split / 'ant')
    with pytest.raises(DataError, match="checkpoint's training data and training data have different.*ant, dog"):
        run('dualattn_t_in1k', 'more', load_from=str(folders / 'run' / 'epoch_1.pth'), resume=resume)


def test_a_test_needs_the_classes_of_the_training(run, folders):
    run('dualattn_t_in1k', 'run', **{'train_cfg.max_epochs': 1})
    (folders / 'val' / 'cat').rename(folders / 'val' / 'cow')
    with pytest.raises(DataError, match="checkpoint's training data and test data have different classes.*cat, cow"):
        run('dualattn_t_in1k', 'test', test=True, load_from=str(folders / 'run' / 'epoch_1.pth'))
