"""Metrics against NumPy, scikit-image, SciPy and torch-fidelity's own entry point."""

import hashlib
import logging
import os
import pickle
import re

import numpy as np
import pytest
import scipy.linalg
import skimage.color
import skimage.metrics
import torch
import torch.multiprocessing
from mmengine.evaluator import Evaluator
from mmengine.logging import MMLogger
from mmengine.registry import METRICS
from PIL import Image
from safetensors.torch import save_file

from colorization.metrics import colorfulness, psnr

SIZES = [(24, 32), (24, 32), (40, 16), (24, 32), (24, 32)]


def random_rgb(seed, size=(24, 32)):
    """8-bit levels as the system predicts them: (3, H, W) float in [0, 1]."""
    generator = torch.Generator().manual_seed(seed)
    return torch.randint(0, 256, (3, *size), generator=generator) / 255


def make_samples(count=5, first=0):
    samples = []
    for index in range(first, first + count):
        size = SIZES[index % len(SIZES)]
        truth = random_rgb(index, size)
        noise = 0.2 * (random_rgb(100 + index, size) - 0.5)
        samples.append(
            dict(
                path=f'{index}.png',
                gt_rgb=truth,
                pred_rgb=((truth + noise).clamp(0, 1) * 255).round() / 255,
                gray_rgb=truth.mean(dim=0, keepdim=True).expand(3, -1, -1),
            )
        )
    return samples


def evaluate(metric, samples, batch_size=2):
    for start in range(0, len(samples), batch_size):
        metric.process({}, samples[start : start + batch_size])
    return metric.evaluate(len(samples))


def to_levels(rgb):
    """(3, H, W) in [0, 1] -> (H, W, 3) uint8, as an image file holds it."""
    return (rgb * 255).round().numpy().astype(np.uint8).transpose(1, 2, 0)


@pytest.fixture
def log():
    """The messages to mmengine's logger."""
    messages = []

    class Collect(logging.Handler):
        def emit(self, record):
            messages.append(record.getMessage())

    handler = Collect()
    logger = MMLogger.get_current_instance()
    logger.addHandler(handler)
    yield messages
    logger.removeHandler(handler)


# --- colourfulness ---


def numpy_colorfulness(levels, absolute):
    red, green, blue = levels.astype(np.float64).reshape(-1, 3).T
    rg, yb = red - green, 0.5 * (red + green) - blue
    if absolute:
        rg, yb = np.abs(rg), np.abs(yb)
    return np.sqrt(rg.std() ** 2 + yb.std() ** 2) + 0.3 * np.sqrt(rg.mean() ** 2 + yb.mean() ** 2)


@pytest.mark.parametrize('absolute', [False, True])
def test_colorfulness_is_the_formula_in_double_precision(absolute):
    for seed in range(5):
        rgb = random_rgb(seed)
        assert colorfulness(rgb, absolute).item() == pytest.approx(
            numpy_colorfulness(to_levels(rgb), absolute), abs=1e-4
        )


def test_colorfulness_of_flat_colours_by_hand():
    # One colour: no deviation, so 0.3 times the distance from gray; red is (255, 127.5), blue (0, -255).
    flat = torch.eye(3)[:, :, None, None].expand(3, 3, 4, 5)
    expected = 0.3 * torch.tensor([255 * 1.25**0.5, 255 * 1.25**0.5, 255.0])
    torch.testing.assert_close(colorfulness(flat).float(), expected)
    torch.testing.assert_close(colorfulness(flat, absolute=True).float(), expected)
    # Half red, half green: the signed channel rg averages to 0 and deviates by 255, its absolute value is 255 all over.
    half = torch.zeros(3, 4, 6)
    half[0, :, :3] = 1
    half[1, :, 3:] = 1
    assert colorfulness(half).item() == pytest.approx(255 + 0.3 * 127.5)
    assert colorfulness(half, absolute=True).item() == pytest.approx(0.3 * (255**2 + 127.5**2) ** 0.5)


def test_colorfulness_of_gray_is_zero():
    gray = torch.rand(1, 16, 16).expand(3, -1, -1)
    assert colorfulness(gray).item() == pytest.approx(0, abs=1e-10)
    assert colorfulness(gray, absolute=True).item() == pytest.approx(0, abs=1e-10)


def test_colorfulness_metric_is_the_difference_of_means():
    samples = make_samples()
    result = evaluate(METRICS.build(dict(type='Colorfulness')), samples)
    assert set(result) == {f'color/{name}{suffix}' for name in ('CF', 'CF_abs') for suffix in ('', '_truth', '_delta')}
    for name, absolute in (('CF', False), ('CF_abs', True)):
        pred, truth = (
            np.mean([numpy_colorfulness(to_levels(sample[key]), absolute) for sample in samples])
            for key in ('pred_rgb', 'gt_rgb')
        )
        assert result[f'color/{name}'] == pytest.approx(pred, abs=1e-4)
        assert result[f'color/{name}_truth'] == pytest.approx(truth, abs=1e-4)
        assert result[f'color/{name}_delta'] == pytest.approx(abs(pred - truth), abs=1e-4)
        assert result[f'color/{name}_delta'] > 1


# --- chroma ---


def test_mean_chroma_agrees_with_scikit_image():
    samples = make_samples()
    result = evaluate(METRICS.build(dict(type='MeanChroma')), samples)
    for name, key in (('chroma', 'pred_rgb'), ('chroma_truth', 'gt_rgb')):
        labs = [skimage.color.rgb2lab(to_levels(sample[key])) for sample in samples]
        expected = np.mean([np.hypot(lab[..., 1], lab[..., 2]).mean() for lab in labs])
        assert result[f'color/{name}'] == pytest.approx(expected, abs=0.01)


# --- PSNR ---


def test_psnr_agrees_with_scikit_image():
    samples = make_samples()
    result = evaluate(METRICS.build(dict(type='PSNR')), samples)
    for name, key in (('PSNR', 'pred_rgb'), ('PSNR_gray', 'gray_rgb')):
        expected = [
            skimage.metrics.peak_signal_noise_ratio(to_levels(sample['gt_rgb']), to_levels(sample[key]), data_range=255)
            for sample in samples
        ]
        assert result[f'color/{name}'] == pytest.approx(np.mean(expected), abs=1e-4)
    assert result['color/PSNR'] > result['color/PSNR_gray'] + 3


def test_psnr_rounds_to_8_bits():
    truth = random_rgb(0)
    assert psnr(truth + 0.4 / 255, truth) == 100.0
    shifted = (truth + 0.6 / 255).clamp(0, 1)
    assert psnr(shifted, truth) == pytest.approx(
        skimage.metrics.peak_signal_noise_ratio(to_levels(truth), to_levels(shifted), data_range=255), abs=1e-4
    )


def test_an_identical_image_keeps_the_mean_finite():
    samples = make_samples(2)
    samples[0]['pred_rgb'] = samples[0]['gt_rgb']
    result = evaluate(METRICS.build(dict(type='PSNR')), samples)
    assert result['color/PSNR'] == pytest.approx((100 + psnr(samples[1]['pred_rgb'], samples[1]['gt_rgb'])) / 2)


# --- together ---


def test_all_metrics_share_one_evaluator():
    evaluator = Evaluator([dict(type='PSNR'), dict(type='Colorfulness'), dict(type='MeanChroma')])
    samples = make_samples()
    evaluator.process(data_samples=samples, data_batch={})
    result = evaluator.evaluate(len(samples))
    assert len(result) == 10 and all(name.startswith('color/') and np.isfinite(value) for name, value in result.items())


def test_a_metric_forgets_the_last_evaluation():
    metric = METRICS.build(dict(type='PSNR'))
    first = evaluate(metric, make_samples())
    assert evaluate(metric, make_samples(3, first=7)) != first
    assert evaluate(metric, make_samples()) == first


@pytest.mark.parametrize('name', ['PSNR', 'Colorfulness', 'MeanChroma'])
def test_nothing_measured_is_an_error(name):
    with pytest.raises(ValueError, match='measured no image'):
        METRICS.build(dict(type=name)).evaluate(0)


def test_an_unknown_argument_raises():
    with pytest.raises(TypeError):
        METRICS.build(dict(type='PSNR', crop_border=4))


def _measure_a_share(rank, port, folder, queue):
    os.chdir(folder)  # mmengine exchanges results through a folder in the current one
    os.environ.update(MASTER_ADDR='127.0.0.1', MASTER_PORT=str(port), RANK=str(rank), WORLD_SIZE='2')
    torch.distributed.init_process_group('gloo', rank=rank, world_size=2)
    samples = make_samples()
    share = (samples + samples[:1])[rank::2]  # 5 images in 2 processes: mmengine's sampler repeats the first
    results = {}
    for name in ('PSNR', 'Colorfulness', 'MeanChroma'):
        metric = METRICS.build(dict(type=name))
        metric.process({}, share)
        results.update(metric.evaluate(len(samples)))
    queue.put((rank, results))
    torch.distributed.destroy_process_group()


@pytest.mark.slow
def test_two_processes_measure_every_image_once(tmp_path):
    import socket

    with socket.socket() as probe:
        probe.bind(('127.0.0.1', 0))
        port = probe.getsockname()[1]
    context = torch.multiprocessing.get_context('spawn')
    queue = context.Queue()
    processes = [context.Process(target=_measure_a_share, args=(rank, port, tmp_path, queue)) for rank in range(2)]
    for process in processes:
        process.start()
    results = dict(queue.get(timeout=120) for _ in processes)
    for process in processes:
        process.join(timeout=60)
        assert process.exitcode == 0
    expected = {}
    for name in ('PSNR', 'Colorfulness', 'MeanChroma'):
        expected.update(evaluate(METRICS.build(dict(type=name)), make_samples()))
    assert results[0] == results[1] == pytest.approx(expected, abs=1e-9)


# --- FID ---


class MeanOfParts(torch.nn.Module):
    """Eight numbers per image in place of Inception's 2048, so that the rest of FID is tested in no time."""

    def forward(self, images):
        assert images.dtype == torch.uint8
        return (torch.nn.functional.adaptive_avg_pool2d(images.float(), (2, 2)).flatten(1)[:, :8],)


@pytest.fixture
def small_fid(tmp_path):
    weights = tmp_path / 'weights.pth'
    weights.write_bytes(b'any bytes have a hash')
    metric = METRICS.build(dict(type='FID', weights=str(weights), protocol='five random images', device='cpu'))
    metric._network = MeanOfParts()
    return metric


def test_fid_is_the_formula_with_protocol_and_hash(small_fid, log):
    samples = make_samples(20)
    result = evaluate(small_fid, samples, batch_size=3)
    features = [
        np.concatenate(
            [MeanOfParts()((sample[key] * 255).round().to(torch.uint8)[None])[0].numpy() for sample in samples]
        ).astype(np.float64)
        for key in ('pred_rgb', 'gt_rgb')
    ]
    (mean, other_mean), (cov, other_cov) = zip(*[(part.mean(axis=0), np.cov(part.T)) for part in features], strict=True)
    root = scipy.linalg.sqrtm(cov @ other_cov).real
    expected = ((mean - other_mean) ** 2).sum() + np.trace(cov + other_cov - 2 * root)
    assert result['color/FID'] == pytest.approx(expected, rel=1e-4)
    line = next(message for message in log if message.startswith('FID '))
    assert 'five random images' in line and '20 predictions' in line and 'various sizes' in line
    assert hashlib.sha256(b'any bytes have a hash').hexdigest() in line and re.search(r'torch-fidelity \d', line)


def test_fid_of_sets_equal_in_8_bits_is_zero(small_fid):
    samples = make_samples(6)
    for sample in samples:
        sample['pred_rgb'] = (sample['gt_rgb'] - 0.3 / 255).clamp(min=0)
    assert evaluate(small_fid, samples)['color/FID'] == pytest.approx(0, abs=1e-3)


def test_fid_needs_two_images(small_fid):
    with pytest.raises(ValueError, match='at least 2 images'):
        evaluate(small_fid, make_samples(1))


def test_fid_without_protocol_means_nothing(small_fid, log):
    small_fid.protocol = None
    with pytest.raises(ValueError, match='means nothing without its protocol'):
        evaluate(small_fid, make_samples(2))
    small_fid.dataset_meta = dict(protocol=dict(description='two of my own'))
    evaluate(small_fid, make_samples(2))
    assert any('[two of my own; 2 predictions' in message for message in log)


def test_means_say_once_what_they_were_measured_on(log):
    metric = METRICS.build(dict(type='PSNR'))
    metric.dataset_meta = dict(protocol=dict(description='mine, squeezed'))
    for _ in range(2):
        evaluate(metric, make_samples(3))
    assert [message for message in log if 'mine' in message] == ['PSNR is measured on 3 samples: mine, squeezed']


@pytest.mark.parametrize('weights', [None, '', 'nowhere/inception.pth'])
def test_fid_without_weights_says_which_file_and_how(weights):
    with pytest.raises((ValueError, FileNotFoundError)) as error:
        METRICS.build(dict(type='FID', weights=weights, protocol='any'))
    message = str(error.value)
    assert (
        'weights-inception-2015-12-05-6726825d.pth' in message
        and 'https://' in message
        and 'tools/test.py as --fid FILE' in message
    )


class Bomb:
    def __reduce__(self):
        return os.mkdir, ('bomb_went_off',)


@pytest.mark.parametrize('content', ['pickle', 'other network', 'truncated', 'list', 'safetensors'])
def test_fid_refuses_other_files(tmp_path, monkeypatch, content, log):
    monkeypatch.chdir(tmp_path)
    path = tmp_path / 'weights.pth'
    if content == 'pickle':
        path.write_bytes(pickle.dumps(Bomb()))
    elif content == 'safetensors':
        save_file(torch.nn.Linear(2, 3).state_dict(), path)
    else:
        torch.save([1, 2] if content == 'list' else torch.nn.Linear(2, 3).state_dict(), path)
    if content == 'truncated':
        path.write_bytes(path.read_bytes()[:500])
    metric = METRICS.build(dict(type='FID', weights=str(path), protocol='any', device='cpu'))
    assert any('not comparable with published numbers' in message for message in log)
    with pytest.raises(ValueError, match=r'does not hold the Inception network'):
        metric.process({}, make_samples(2))
    assert not (tmp_path / 'bomb_went_off').exists()


@pytest.mark.slow
def test_fid_agrees_with_the_entry_point_of_torch_fidelity(tmp_path, monkeypatch):
    """Inception with random weights on folders of image files: the plumbing, not a meaningful number."""
    import torch_fidelity
    from torch_fidelity.feature_extractor_inceptionv3 import FeatureExtractorInceptionV3

    weights = tmp_path / 'random.pth'
    with monkeypatch.context() as patch:
        patch.setattr(FeatureExtractorInceptionV3, 'load_state_dict', lambda self, state_dict: None)
        patch.setattr(
            'torch_fidelity.feature_extractor_inceptionv3.load_state_dict_from_url', lambda *args, **kwargs: {}
        )
        torch.manual_seed(0)
        network = FeatureExtractorInceptionV3('inception-v3-compat', ['2048'], verbose=False)
        for module in network.modules():
            if isinstance(
                module, torch.nn.Conv2d
            ):  # the default scale would let 48 layers shrink the signal to nothing
                torch.nn.init.kaiming_normal_(module.weight)
        torch.save(network.state_dict(), weights)

    samples = make_samples(6)
    for key in ('pred_rgb', 'gt_rgb'):
        (tmp_path / key).mkdir()
        for index, sample in enumerate(samples):
            Image.fromarray(to_levels(sample[key])).save(tmp_path / key / f'{index}.png')
    reference = torch_fidelity.calculate_metrics(
        input1=str(tmp_path / 'pred_rgb'),
        input2=str(tmp_path / 'gt_rgb'),
        fid=True,
        feature_extractor_weights_path=str(weights),
        batch_size=1,
        cuda=False,
        cache=False,
        verbose=False,
    )['frechet_inception_distance']
    metric = METRICS.build(dict(type='FID', weights=str(weights), protocol='any', device='cpu'))
    fid = evaluate(metric, samples)['color/FID']
    assert reference > 1e-3
    assert fid == pytest.approx(reference, rel=1e-3)
