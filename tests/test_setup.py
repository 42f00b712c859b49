"""What a stranger's first commands rest on: the package's metadata, the kernels, the lock files, imports."""

import ast
import importlib.metadata
import os
import re
import subprocess
import sys
import textwrap
from collections.abc import Iterator
from pathlib import Path

import pytest
import tomllib
import torch
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).resolve().parents[1]
REQUIREMENTS = ROOT / 'requirements'
PACKAGES = ('dualattn', 'colorization')
EXTRAS = ('colorize', 'photos', 'train', 'evaluate', 'transfer', 'video', 'web', 'export', 'dev')
SETS = ('core', *EXTRAS, 'docs')

# Declared by a dependency, not needed by what we import, and therefore in no lock file.
NOT_NEEDED = {
    'mmengine': {'opencv-python'},  # opencv-python-headless gives the same module
    'mmcv': {'opencv-python'},
    'mmdet3d': {'open3d', 'plyfile', 'scikit-image', 'tensorboard'},
    'nuscenes-devkit': {'descartes', 'parameterized'},
    'lyft-dataset-sdk': {'opencv-python', 'flake8', 'pytest', 'black', 'plotly'},
    'openvino': {'openvino-telemetry'},  # it reports to its makers
}
# What colorizing a photograph does without; pipeline.py reads the config of a training with mmengine, if one is named.
NOT_FOR_INFERENCE = (
    'benchmarks',
    'data',
    'evaluation',
    'hooks',
    'losses',
    'metrics',
    'systems',
    'complexity.py',
    'commands/curve.py',
    'commands/memory.py',
    'commands/palette.py',
    'commands/serve.py',
    'memory.py',
    'palette.py',
    'photo_onnx.py',
    'video',
    'commands/video.py',
    'web.py',
    'doorkeeper.py',
)
# Upper bounds that are out of date: the pinned version was run.
OUTDATED_BOUNDS = {'nuscenes-devkit': {'numpy', 'shapely'}}


def read_lock(name: str) -> dict[str, Requirement]:
    """Returns the pins of one lock file and of those that it includes, by canonical name."""
    pins = {}
    for line in (REQUIREMENTS / f'{name}.txt').read_text(encoding='utf-8').splitlines():
        line = line.split('#')[0].strip()
        if line.startswith('-r '):
            pins.update(read_lock(line.removeprefix('-r ').removesuffix('.txt')))
        elif line:
            requirement = Requirement(line)
            pins[canonicalize_name(requirement.name)] = requirement
    return pins


def pinned_version(requirement: Requirement) -> str:
    (specifier,) = requirement.specifier
    assert specifier.operator == '==' and '*' not in specifier.version, f'{requirement} is no exact pin'
    return specifier.version


def imported_modules(folder: Path) -> Iterator[tuple[Path, int, str]]:
    """Yields every import statement of a folder's files, those inside functions too: file, line, package."""
    for path in sorted(folder.rglob('*.py')):
        for node in ast.walk(ast.parse(path.read_text(encoding='utf-8'))):
            if isinstance(node, ast.Import):
                names = [alias.name for alias in node.names]
            elif isinstance(node, ast.ImportFrom) and not node.level:
                names = [node.module]
            else:
                continue
            for module in {name.split('.')[0] for name in names} - set(sys.stdlib_module_names):
                yield path, node.lineno, module


def run_python(code: str) -> list[str]:
    """Runs code in a fresh interpreter in the repository root and returns the printed Python list."""
    done = subprocess.run(
        [sys.executable, '-W', 'ignore', '-c', textwrap.dedent(code)], cwd=ROOT, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    return ast.literal_eval(done.stdout)


@pytest.fixture(scope='module')
def distribution():
    """What setuptools reads from pyproject.toml and setup.py; nothing is built."""
    from distutils.core import run_setup  # that of setuptools

    before = Path.cwd()
    os.chdir(ROOT)
    try:
        return run_setup('setup.py', stop_after='config')
    finally:
        os.chdir(before)


def declared_ranges(distribution, name: str) -> list[Requirement]:
    """Returns the ranges of an extra, or of the package itself for 'core', with those of the extras that it names."""
    lines = distribution.install_requires if name == 'core' else distribution.extras_require[name]
    ranges = []
    for requirement in map(Requirement, lines):
        if requirement.name == 'dualattn':
            ranges += [each for extra in requirement.extras for each in declared_ranges(distribution, extra)]
        else:
            ranges.append(requirement)
    return ranges


# --------------------------------------------------------------------------------------------------- the package


def test_every_package_is_found_and_nothing_else(distribution):
    found = set(distribution.packages)
    on_disk = {
        '.'.join(path.parent.relative_to(ROOT).parts)
        for package in (*PACKAGES, 'transfer')
        for path in (ROOT / package).rglob('__init__.py')
    }
    assert found == on_disk
    assert set(PACKAGES) <= found


def test_version_is_that_of_the_package(distribution):
    import dualattn

    assert distribution.get_version() == dualattn.__version__
    assert re.fullmatch(r'\d+\.\d+\.\d+(\.dev\d+|rc\d+)?', dualattn.__version__)


def test_built_package_holds_code_and_weights(tmp_path):
    subprocess.run(
        [sys.executable, '-W', 'ignore', 'setup.py', '-q', 'egg_info', '--egg-base', tmp_path,
         'build_py', '--build-lib', tmp_path / 'lib'],
        cwd=ROOT, check=True, capture_output=True,
    )  # fmt: skip
    built = {path.relative_to(tmp_path / 'lib').as_posix() for path in (tmp_path / 'lib').rglob('*') if path.is_file()}
    expected = {path.relative_to(ROOT).as_posix() for package in PACKAGES for path in (ROOT / package).rglob('*.py')}
    weights = ROOT / 'colorization' / 'weights'
    expected |= {path.relative_to(ROOT).as_posix() for path in [*weights.glob('*.safetensors'), *weights.glob('*.md')]}
    page = ROOT / 'colorization' / 'browser_page'
    expected |= {path.relative_to(ROOT).as_posix() for path in page.iterdir()}
    csrc = [path for path in (ROOT / 'dualattn' / 'csrc').rglob('*') if path.is_file()]
    expected |= {path.relative_to(ROOT).as_posix() for path in csrc}
    expected |= {'dualattn/.mim/model-index.yml'}
    configs = (ROOT / 'configs').rglob('*.py')
    expected |= {f'dualattn/.mim/configs/{path.relative_to(ROOT / "configs").as_posix()}' for path in configs}
    assert expected <= built
    assert {name.split('/')[0] for name in built} <= {*PACKAGES, 'transfer'}


def test_extras_are_those_that_the_readers_are_told_of(distribution):
    assert set(distribution.extras_require) == set(EXTRAS)


# ----------------------------------------------------------------------------------------------- the kernels


def run_setup_script(**variables: str) -> subprocess.CompletedProcess:
    """Lets setup.py decide what it would compile, on a machine whose GPUs it does not see."""
    environment = {
        name: value
        for name, value in os.environ.items()
        if name not in ('DUALATTN_BUILD', 'TORCH_CUDA_ARCH_LIST', 'CUDA_HOME', 'CUDA_PATH')
    }
    environment['CUDA_VISIBLE_DEVICES'] = ''
    return subprocess.run(
        [sys.executable, '-W', 'ignore', 'setup.py', '-q', '--version'],
        cwd=ROOT,
        env={**environment, **variables},
        capture_output=True,
        text=True,
    )


@pytest.mark.parametrize(
    ('variables', 'said'),
    [
        ({'DUALATTN_BUILD': 'none'}, 'dualattn: no kernels, the reference runs everywhere (DUALATTN_BUILD=none)'),
        ({'DUALATTN_BUILD': 'cpu', 'CXX': sys.executable}, 'dualattn: cpu kernels (DUALATTN_BUILD=cpu)'),
        ({'CXX': 'no-such-compiler'}, 'dualattn: no kernels, the reference runs everywhere (there is no C++ compiler'),
        ({'CXX': ' ', 'PATH': '/nowhere'}, "(there is no C++ compiler (looked for 'c++'"),
    ],
)
def test_setup_says_what_it_builds(variables, said):
    done = run_setup_script(**variables)
    assert done.returncode == 0, done.stderr
    assert said in done.stdout


@pytest.fixture
def toolkit(tmp_path):
    """A folder that looks like a CUDA toolkit."""
    for name in ('bin/nvcc', 'include/cuda_runtime.h'):
        path = tmp_path / name
        path.parent.mkdir()
        path.touch(mode=0o755)
    return tmp_path


@pytest.mark.skipif(torch.version.cuda is None, reason='torch was built without CUDA')
@pytest.mark.parametrize(
    ('variables', 'said'),
    [
        ({}, 'dualattn: cpu kernels (there is no GPU here; DUALATTN_BUILD=cuda compiles'),
        ({'DUALATTN_BUILD': 'cuda'}, 'dualattn: cuda kernels (DUALATTN_BUILD=cuda)'),
        ({'TORCH_CUDA_ARCH_LIST': '9.0'}, 'dualattn: cuda kernels (a CUDA toolkit and a CUDA build of torch are here)'),
    ],
)
def test_setup_without_a_gpu_compiles_cuda_kernels_when_told_to(toolkit, variables, said):
    done = run_setup_script(CXX=sys.executable, CUDA_HOME=str(toolkit), **variables)
    assert done.returncode == 0, done.stderr
    assert said in done.stdout


def test_cuda_check_says_loudly_that_it_was_skipped():
    done = subprocess.run(
        [sys.executable, '.ci/compile_cuda.py'],
        cwd=ROOT,
        capture_output=True,
        text=True,
        env={**os.environ, 'DUALATTN_NO_NVCC': '1'},
    )
    assert done.returncode == 0
    assert 'NOT COMPILED' in done.stdout
    done = subprocess.run(
        [sys.executable, '.ci/compile_cuda.py'],
        cwd=ROOT,
        capture_output=True,
        text=True,
        env={**os.environ, 'DUALATTN_NO_NVCC': '', 'CUDA_HOME': '/nowhere'},
    )
    assert done.returncode != 0
    assert 'there is no CUDA toolkit' in done.stderr


@pytest.mark.parametrize(
    ('variables', 'said'),
    [
        ({'DUALATTN_BUILD': 'fast'}, "DUALATTN_BUILD has to be 'cuda', 'cpu' or 'none', got 'fast'"),
        ({'DUALATTN_BUILD': 'cpu', 'CXX': 'no-compiler'}, 'DUALATTN_BUILD=cpu cannot be met: there is no C++ compiler'),
        (
            {'DUALATTN_BUILD': 'cuda', 'CXX': sys.executable, 'CUDA_HOME': '/nowhere'},
            'DUALATTN_BUILD=cuda cannot be met: there is no CUDA toolkit',
        ),
    ],
)
def test_setup_refuses_a_build_that_is_impossible(variables, said):
    done = run_setup_script(**variables)
    assert done.returncode != 0
    assert said in done.stderr


# ------------------------------------------------------------------------------------------------ the lock files


@pytest.mark.parametrize('name', ('core', *EXTRAS))
def test_ranges_are_met_by_the_pins(distribution, name):
    pins = read_lock(name)
    for requirement in declared_ranges(distribution, name):
        if canonicalize_name(requirement.name) in NOT_NEEDED['mmengine']:  # for pip, which brings it all the same
            continue
        pin = pins.get(canonicalize_name(requirement.name))
        assert pin is not None, f'{requirement} of pyproject.toml is missing from requirements/{name}.txt'
        assert requirement.specifier.contains(pinned_version(pin)), f'range {requirement}, lock {pin}'


@pytest.mark.parametrize(
    ('folder', 'apart', 'extras'),
    [
        (
            'dualattn',
            [f'dualattn/{name}' for name in ('benchmarks', 'engine', 'io', 'commands', 'configs.py', 'onnx.py')],
            [],
        ),
        # NATTEN and FlashWindowAttention, which it compares with, are for machines with a GPU and are not pinned
        ('dualattn/benchmarks', ['dualattn/benchmarks/operators.py'], ['train']),
        ('dualattn/io', [], ['photos']),
        ('dualattn/engine', [], ['train']),
        ('dualattn/engine', [], ['transfer']),
        ('colorization', ['colorization/benchmarks'], ['evaluate', 'video', 'web', 'export']),
        # DDColor's released code is no package of a registry
        ('colorization/benchmarks', ['colorization/benchmarks/colorizers.py'], ['evaluate', 'export', 'dev']),
        ('colorization', [f'colorization/{name}' for name in NOT_FOR_INFERENCE], ['colorize']),
    ],
)
def test_what_a_package_imports_is_declared(distribution, folder, apart, extras):
    """Looks at every import statement, those inside functions too; timm brings torchvision, torch setuptools."""
    ranges = [requirement for name in ('core', *extras) for requirement in declared_ranges(distribution, name)]
    declared = {canonicalize_name(requirement.name) for requirement in ranges} | {'torchvision', 'setuptools'}
    owners = importlib.metadata.packages_distributions()
    for path, line, module in imported_modules(ROOT / folder):
        if module in PACKAGES or any(path.is_relative_to(ROOT / other) for other in apart):
            continue
        owned_by = {canonicalize_name(owner) for owner in owners.get(module, [])}
        assert owned_by & declared, f'{path.relative_to(ROOT)}:{line} imports {module}, undeclared'


def test_types_are_checked_without_the_extras():
    """`make lint` runs in the environment of `make setup`, where mypy finds nothing of the other sets."""
    sections = tomllib.loads((ROOT / 'pyproject.toml').read_text(encoding='utf-8'))['tool']['mypy']['overrides']
    (let_go,) = [section['module'] for section in sections if section.get('ignore_missing_imports')]
    present = {package for name in ('build', 'evaluate', 'dev') for package in read_lock(name)}
    owners = importlib.metadata.packages_distributions()
    for package in (*PACKAGES, 'transfer'):
        for path, line, module in imported_modules(ROOT / package):
            owned_by = {canonicalize_name(owner) for owner in owners.get(module, [])}
            known = module in (*PACKAGES, 'transfer') or owned_by & present or f'{module}.*' in let_go
            assert known, f'{path.relative_to(ROOT)}:{line}: mypy would not find {module}; name it in pyproject.toml'


def test_lock_files_agree_with_each_other():
    seen = {}
    for name in ('build', *SETS):
        for package, requirement in read_lock(name).items():
            version = pinned_version(requirement)
            first = seen.setdefault(package, (version, name))
            assert first[0] == version, f'{package}: {first[0]} in {first[1]}.txt, {version} in {name}.txt'


def test_one_opencv_only():
    for name in SETS:
        assert not {'opencv-python', 'opencv-contrib-python', 'opencv-contrib-python-headless'} & set(read_lock(name))


@pytest.mark.parametrize('name', SETS)
def test_lock_file_is_complete(name):
    """Follows what the installed pins declare; the pins of sets that are not installed cannot be followed."""
    pins = read_lock(name)
    followed = 0
    for package, pin in pins.items():
        try:
            installed = importlib.metadata.distribution(package)
        except importlib.metadata.PackageNotFoundError:
            continue
        if installed.version != pinned_version(pin):
            continue
        followed += 1
        for declared in map(Requirement, installed.requires or []):
            needed = canonicalize_name(declared.name)
            if declared.marker and not declared.marker.evaluate({'extra': ''}):
                continue
            if needed in NOT_NEEDED.get(package, ()) or needed == 'setuptools':
                continue
            assert needed in pins, f'requirements/{name}.txt has {package}, which needs {declared}'
            if needed not in OUTDATED_BOUNDS.get(package, ()):
                version = pinned_version(pins[needed])
                assert declared.specifier.contains(version, prereleases=True), f'{package}: {declared}, not {version}'
    if not followed:
        pytest.skip(f'nothing of requirements/{name}.txt is installed')


# --------------------------------------------------------------------------------------------------- the imports


def test_import_dualattn_needs_torch_and_timm_alone():
    """Hides every module that a distribution outside core.txt provides, our other packages included."""
    core = set(read_lock('core'))
    hidden = sorted(
        module
        for module, owners in importlib.metadata.packages_distributions().items()
        if module != 'dualattn' and not {canonicalize_name(owner) for owner in owners} & core
    )
    hidden = sorted({*hidden, 'colorization', 'transfer', 'mmengine', 'mmcv'})
    new = run_python(f"""
        import sys

        class Filter:
            def __init__(self, finder):
                self.finder = finder

            def __getattr__(self, name):
                return getattr(self.finder, name)

            def find_spec(self, name, path=None, target=None):
                return None if name.split('.')[0] in {set(hidden)!r} else self.finder.find_spec(name, path, target)

        sys.meta_path = [Filter(finder) for finder in sys.meta_path]
        import timm
        before = set(sys.modules)
        import dualattn
        assert timm.list_models('dualattn_*')
        print(sorted(set(sys.modules) - before))
        """)
    assert 'dualattn.models.dualattn' in new
    # Even a module of torch that timm has not loaded already would be felt in the time that the import takes. These two
    # are small, and what the operators' FLOPs are registered with.
    new = set(new) - {'torch.utils.flop_counter', 'torch.utils.module_tracker'}
    assert {name.split('.')[0] for name in new} - set(sys.stdlib_module_names) == {'dualattn'}


def test_import_colorization_is_light():
    loaded = run_python("""
        import sys
        import colorization
        print(sorted({name.split('.')[0] for name in sys.modules}))
        """)
    assert 'colorization' in loaded
    heavy = {'mmcv', 'mmengine', 'mmdet', 'transfer', 'torch_fidelity', 'lpips', 'gradio', 'av', 'onnx'}
    assert not heavy & set(loaded)
