"""What tests of several packages share: the real data, and small stand-ins for networks and photographs."""

import os
from collections import Counter
from pathlib import Path

if 'PYTEST_XDIST_WORKER' in os.environ:  # one process a core: more threads in each would only be in each other's way
    os.environ.setdefault('OMP_NUM_THREADS', '1')

import numpy as np
import pytest
from PIL import Image

ROOT = Path(__file__).resolve().parents[1]


def pytest_addoption(parser):
    parser.addoption('--long', action='store_true', help='run the tests that are marked `long` too')


def pytest_collection_modifyitems(config, items):
    if not config.getoption('--long'):
        for item in items:
            if 'long' in item.keywords:
                item.add_marker(pytest.mark.skip(reason='takes minutes: make test-long'))
    if hasattr(config, 'workerinput'):  # `pytest -n` hands out whole files in this order: what takes long comes first
        slow = Counter(item.path for item in items if 'slow' in item.keywords and 'long' not in item.keywords)
        items.sort(key=lambda item: -slow[item.path])


@pytest.fixture(scope='session')
def repo_root():
    """The folder of setup.py."""
    return ROOT


@pytest.fixture(scope='session')
def data_root():
    """Folder of the real photographs: environment DUALATTN_DATA, or `shared/data` beside the repository."""
    path = Path(os.environ.get('DUALATTN_DATA', ROOT.parent / 'shared' / 'data'))
    if not path.is_dir():
        pytest.skip(f'no real data at {path}: set DUALATTN_DATA')
    return path


@pytest.fixture(scope='session')
def describe_tiny_mpt():
    """Function that gives the description of an MPT with every part of the large one and 60,000 parameters."""

    def describe():
        return dict(
            type='MPT',
            encoder='dualattn_mpt',
            encoder_kwargs=dict(depths=(1, 1, 1, 1), embed_dims=(24, 24, 48, 48), stem_dim=8, window_size=4),
            decoder_dims=(16, 16, 16),
            num_queries=6,
            depth=2,
            num_heads=2,
        )

    return describe


@pytest.fixture
def tiny_mpt(describe_tiny_mpt):
    """The description itself, as a new dict."""
    return describe_tiny_mpt()


@pytest.fixture
def make_photos():
    """Function that fills a folder with smooth colour photographs `00.png`, ... and returns it."""

    def make(folder, count, size=(48, 40)):
        folder.mkdir(parents=True, exist_ok=True)
        for index in range(count):
            coarse = np.random.default_rng(index).integers(0, 256, (4, 5, 3), dtype=np.uint8)
            Image.fromarray(coarse).resize(size, Image.Resampling.BICUBIC).save(folder / f'{index:02d}.png')
        return folder

    return make
