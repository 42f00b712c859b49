"""How the kernels are compiled: by setup.py where torch is at hand, or for an installed package into a cache.

pip builds in an environment of its own that has no torch, so a wheel from there holds sources alone.
`dualattn check --build` compiles them once for the torch that is installed; `dualattn.ops.library` finds them.
"""

import hashlib
import os
import shutil
import subprocess
import sys
import sysconfig
import tempfile
from pathlib import Path
from typing import Any

__all__ = ['build_kernels', 'choose_build', 'find_cached_kernels', 'find_damage', 'make_extension']

PACKAGE = Path(__file__).resolve().parents[1]


def find_cuda_toolkit() -> str | None:
    """Return the folder of the CUDA toolkit, or None.

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
    """Return what to compile, 'cuda', 'cpu' or 'none', and why.

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
    compiler = (os.environ.get('CXX', '').split() or ['c++'])[0]
    if shutil.which(compiler) is None:
        return refuse(f'there is no C++ compiler (looked for {compiler!r}; on Debian: apt install g++)')
    try:
        import torch
    except ImportError:
        return refuse('there is no torch, as in pip builds; `dualattn check --build` compiles the kernels afterwards')
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


def make_extension(build: str) -> dict[str, Any]:
    """Return the arguments of `setup` that compile dualattn/_C.abi3.so: plain C++ on torch's stable ABI, no Python."""
    if build == 'none':
        return {}
    if build == 'cuda':
        os.environ['CUDA_HOME'] = find_cuda_toolkit()  # torch reads it while it is imported
    import torch
    from torch.utils import cpp_extension

    csrc = PACKAGE / 'csrc'
    if csrc.is_relative_to(Path.cwd()):  # setuptools wants its own sources relative
        csrc = csrc.relative_to(Path.cwd())
    sources = [*sorted(csrc.glob('*.cpp')), *sorted(csrc.glob('cpu/*.cpp'))]
    macros: list[tuple[str, str | None]] = [('TORCH_TARGET_VERSION', '0x020a000000000000')]
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


def find_cache(torch_version: str) -> Path:
    """Return the folder of the kernels that belong to these sources, a version of torch, and this platform.

    It lies in DUALATTN_CACHE, by default the user's cache folder.

    Raises:
        RuntimeError: there is no such variable, and the user has no home.
    """
    root = os.environ.get('DUALATTN_CACHE')
    if not root:
        home = os.environ.get('LOCALAPPDATA') if sys.platform == 'win32' else os.environ.get('XDG_CACHE_HOME')
        home = home or os.path.expanduser('~/.cache')
        if home.startswith('~'):  # a folder that others may write to is no place for code that will be run
            raise RuntimeError('this user has no home to keep the kernels in: name a folder in DUALATTN_CACHE')
        root = Path(home, 'dualattn')
    digest = hashlib.sha256(Path(__file__).read_bytes())
    for path in sorted(PACKAGE.joinpath('csrc').rglob('*')):
        if path.is_file():
            digest.update(path.relative_to(PACKAGE).as_posix().encode() + b'\0' + path.read_bytes())
    return Path(root, 'kernels', f'torch-{torch_version}-{sysconfig.get_platform()}-{digest.hexdigest()[:16]}')


def find_cached_kernels(torch_version: str) -> list[Path]:
    """List the compiled libraries in the cache for a version of torch; at most one."""
    try:
        folder = find_cache(torch_version)
    except RuntimeError:  # no home, as in some containers
        return []
    return sorted(folder.glob('_C*.so'))


def _sum_of(library: Path) -> Path:
    return library.with_name(f'{library.name}.sha256')


def find_damage(library: Path) -> str:
    """Say what is wrong with a library in the cache, '' if nothing is.

    It is asked before the system maps the file: a library that was cut, as on a full disk, would end the process.
    """
    try:
        expected, content = _sum_of(library).read_text(encoding='utf-8').strip(), library.read_bytes()
    except (OSError, UnicodeDecodeError) as error:
        return f'its SHA-256 cannot be compared ({error})'
    return '' if hashlib.sha256(content).hexdigest() == expected else 'it has changed since it was compiled'


def build_kernels() -> Path:
    """Compile the kernels for the torch that is installed, into the cache; takes a minute or two.

    Returns:
        The compiled library, which processes that start from now on will load.

    Raises:
        RuntimeError: DUALATTN_BUILD cannot be met, nothing can be compiled here, there is no place for the result, or a
            compiler failed.
    """
    import torch

    build, reason = choose_build()
    if build == 'none':
        raise RuntimeError(f'the kernels cannot be compiled here: {reason}')
    folder = find_cache(torch.__version__)
    folder.mkdir(parents=True, exist_ok=True)
    environment = {**os.environ, 'DUALATTN_BUILD': build}
    if build == 'cuda':
        environment['CUDA_HOME'] = find_cuda_toolkit()  # torch reads it while it is imported
    with tempfile.TemporaryDirectory(dir=folder, prefix='.building-') as work:
        done = subprocess.run(
            [sys.executable, '-W', 'ignore', __file__, build, work],
            env=environment,
            cwd=work,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            encoding='utf-8',
            errors='replace',
        )
        made = sorted(Path(work).glob('dualattn/_C*.so'))
        if done.returncode or not made:
            raise RuntimeError(f'the kernels could not be compiled:\n{done.stdout[-4000:]}')
        target = folder / made[0].name
        total = Path(work, 'sum')  # moved as a whole, as the library is; the backbone knows nothing of dualattn.io
        total.write_text(hashlib.sha256(made[0].read_bytes()).hexdigest(), encoding='utf-8')
        total.replace(_sum_of(target))
        return made[0].replace(target)


if __name__ == '__main__':
    sys.path.pop(0)  # this folder, whose modules have names of their own
    from setuptools import setup

    setup(
        name='dualattn-kernels',
        script_args=['-q', 'build_ext', '--build-lib', sys.argv[2], '--build-temp', str(Path(sys.argv[2], 'objects'))],
        **make_extension(sys.argv[1]),
    )
