"""Print what a bug report needs: versions, devices, kernels and why, weights, and what is wrong with the set-up."""

import os
import platform
import subprocess
import sys
from collections.abc import Sequence
from importlib.metadata import PackageNotFoundError, distribution, version
from pathlib import Path

from dualattn.commands.parser import CommandParser

EPILOG = """examples:
  what is here, and what is wrong with it
      dualattn check
  compile the kernels for the torch that is installed, once, into the user's cache; needs a C++ compiler
      dualattn check --build

pip builds in an environment of its own without torch, so a package that it built has no kernels until --build: then
everything runs on plain PyTorch with the same results. DUALATTN_CACHE names another cache folder, DUALATTN_BUILD
what to compile (cpu, cuda).

exit codes: 0 nothing is wrong, 1 something is (each fault is printed with its remedy)
"""
SHOWN = (
    *('torch', 'torchvision', 'timm', 'numpy', 'pillow', 'safetensors', 'kornia', 'opencv-python-headless'),
    *('mmengine', 'mmcv', 'mmdet', 'mmdet3d', 'spconv', 'onnx', 'onnxruntime', 'av', 'gradio'),
)

# what mmengine asks for, and what we do: distributions of the same module
OPENCVS = ('opencv-python', 'opencv-python-headless', 'opencv-contrib-python', 'opencv-contrib-python-headless')


def make_parser() -> CommandParser:
    """Return the parser of this verb."""
    parser = CommandParser('check', __doc__, EPILOG)
    parser.add_argument('--build', action='store_true', help='compile the kernels into the cache first')
    return parser


def find_version(package: str) -> str | None:
    """Return the version of an installed distribution, or None."""
    try:
        return version(package)
    except PackageNotFoundError:
        return None


def show_versions() -> None:
    """Print the versions of what is installed, in two lines."""
    import dualattn

    print(f'dualattn {dualattn.__version__} in {Path(dualattn.__file__).parent}')
    print(f'Python {platform.python_version()} ({sys.executable}), {platform.platform()}')
    print(', '.join(f'{name} {found}' for name in SHOWN if (found := find_version(name))))


def find_extras() -> dict[str, list[str]]:
    """Return the extras of the package, and for each what it declares and is not installed."""
    from packaging.requirements import Requirement

    package = distribution('dualattn')
    missing: dict[str, list[str]] = {extra: [] for extra in package.metadata.get_all('Provides-Extra') or []}
    for requirement in map(Requirement, package.requires or []):
        for extra in missing:
            if requirement.marker is None or not requirement.marker.evaluate({'extra': extra}):
                continue
            if requirement.marker.evaluate({'extra': ''}) or requirement.name == 'dualattn':
                continue
            found = find_version(requirement.name)
            if found is None:
                missing[extra].append(requirement.name)
            elif not requirement.specifier.contains(found, prereleases=True):
                missing[extra].append(f'{requirement.name} {requirement.specifier} (here: {found})')
    return missing


def show_extras() -> list[str]:
    """Print which extras are complete; returns faults."""
    try:
        extras = find_extras()
    except PackageNotFoundError:
        return ['the package is not installed, so that verbs and extras are unknown: pip install .']
    except ImportError:
        return ['packaging is missing, so that extras cannot be told: pip install packaging']
    for extra, missing in extras.items():
        print(f'  {extra:9} {"complete" if not missing else "without " + ", ".join(missing)}')
    return []


def show_devices() -> None:
    """Print what torch can compute on."""
    import torch

    threads = f'{torch.get_num_threads()} threads of {os.cpu_count()} processors'
    print(f'CPU: {platform.machine()}, {torch.backends.cpu.get_cpu_capability()}, {threads}')
    if torch.cuda.is_available():
        for index in range(torch.cuda.device_count()):
            capability = '.'.join(map(str, torch.cuda.get_device_capability(index)))
            print(f'cuda:{index}: {torch.cuda.get_device_name(index)}, compute capability {capability}')
    else:
        print(f'CUDA: no device (torch is built for {torch.version.cuda or "CPUs alone"})')
    if sys.platform == 'darwin':
        print(f'MPS: {"available" if torch.backends.mps.is_available() else "not available"}')


def show_kernels() -> None:
    """Print where kernels run and why, and how to get those that are missing."""
    from dualattn.ops import __main__ as report
    from dualattn.ops import library
    from dualattn.ops.build import choose_build

    report.main()
    if not library.is_loaded():
        build, reason = choose_build()
        way = f'they cannot be compiled here: {reason}' if build == 'none' else '`dualattn check --build` compiles them'
        print(f'\nWithout kernels everything runs on plain PyTorch, with the same results; {way}')


def show_weights() -> None:
    """Print the weights that are here."""
    from dualattn.commands.weights import format_size
    from dualattn.io.published import find_published

    here = [Path('weights', file.file).resolve() for file in find_published().values()]
    for path in [*find_packaged(), *(path for path in here if path.is_file())]:
        print(f'  {path} ({format_size(path.stat().st_size)})')


def find_packaged() -> list[Path]:
    """List the weights that travel with the installed packages."""
    try:
        files = distribution('dualattn').files or []
    except PackageNotFoundError:
        return []
    found = [Path(str(file.locate())) for file in files if file.suffix == '.safetensors']
    if not found:  # an editable installation lists none
        found = sorted(Path(__file__).resolve().parents[2].glob('*/weights/*.safetensors'))
    return [path for path in found if path.is_file()]


def find_faults() -> list[str]:
    """List what is known to go wrong with what is installed, each with its remedy."""
    from dualattn.ops.library import LOAD_PROBLEM

    faults = []
    if 'could not be loaded' in LOAD_PROBLEM:
        faults.append(f'{LOAD_PROBLEM}; delete the file, and `dualattn check --build` compiles the kernels anew')
    versions = {name: found for name in OPENCVS if (found := find_version(name))}
    if len(set(versions.values())) > 1:  # of one version they are the same module
        faults.append(
            f'{" and ".join(f"{name} {found}" for name, found in versions.items())} overwrite each other: pip '
            f'uninstall {" ".join(versions)}, then pip install opencv-python-headless'
        )
    if find_version('mmengine') and not _can_import('pkg_resources'):
        faults.append("mmengine needs pkg_resources, which setuptools 81 and later lack: pip install 'setuptools<81'")
    if find_version('mmcv') and not _can_import('mmcv._ext'):
        faults.append(
            'mmcv has no compiled operators for this torch, so that detectors do not run: make setup-transfer'
        )
    return faults


def _can_import(module: str) -> bool:
    import importlib
    import warnings

    try:
        with warnings.catch_warnings():
            warnings.simplefilter('ignore')
            importlib.import_module(module)
    except ImportError:
        return False
    return True


def main(argv: Sequence[str] | None = None) -> int:
    """Print the report; see the exit codes in EPILOG."""
    args = make_parser().parse_args(argv)
    if args.build:
        from dualattn.ops.build import build_kernels

        print('compiling the kernels, a minute or two ...', flush=True)
        try:
            print(f'compiled: {build_kernels()}\n', flush=True)
        except (RuntimeError, OSError) as error:
            print(f'check --build: {error}', file=sys.stderr)
            return 1
        # this process has looked for kernels before there were these
        return subprocess.run([sys.executable, '-m', 'dualattn', 'check']).returncode
    faults = []
    show_versions()
    print('\nextras')
    faults += show_extras()
    print()
    show_devices()
    print()
    show_kernels()
    print('\nweights (dualattn weights list shows what else is published)')
    show_weights()
    faults += find_faults()
    print('\nfaults' if faults else '\nno faults found')
    for fault in faults:
        print(f'  {fault}')
    return 1 if faults else 0
