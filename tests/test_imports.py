"""Which package may import which: the directions of dependency, read from the source with ast."""

import ast
import multiprocessing
import subprocess
import sys
import traceback
from dataclasses import dataclass

import pytest

PACKAGES = ('dualattn', 'colorization', 'transfer')
# what lies in the package of the backbone and is no part of it
APART = tuple(f'dualattn.{name}' for name in ('engine', 'io', 'commands', 'benchmarks', 'configs', '__main__'))
FOLDERS = (*PACKAGES, 'tools', 'tests')
VAGUE_NAMES = {'utils', 'util', 'helpers', 'helper', 'common', 'misc'}


@dataclass(frozen=True)
class Rule:
    """What the modules of a package may import; a name stands for the module and all that is inside it.

    Attributes:
        package: dotted name of the package that the rule is about.
        never: names that it must not import.
        only: names that it may import beside the standard library; None allows all that `never` does not forbid.
        file: restricts the rule to files of this name.
        apart: packages inside `package` that the rule is not about.
    """

    package: str
    never: tuple[str, ...] = ()
    only: tuple[str, ...] | None = None
    file: str | None = None
    apart: tuple[str, ...] = ()


RULES = (
    # the backbone stands alone, and is built from below: ops, layers, models
    Rule(
        'dualattn',
        only=('dualattn', 'torch', 'timm', 'setuptools'),
        never=APART,
        apart=(*APART, 'dualattn.matmul', 'dualattn.onnx'),
    ),
    Rule('dualattn.matmul', only=('torch', 'dualattn.io.files')),  # which it loads when it writes what it measured
    Rule('dualattn.onnx', only=('dualattn.io.files', 'torch', 'onnx', 'onnxruntime')),
    Rule('dualattn.ops', never=('dualattn.layers', 'dualattn.models')),
    Rule('dualattn.layers', never=('dualattn.models',)),
    # the ground floor, which knows nothing above it, and what mmengine lacks; photographs do without torch
    Rule(
        'dualattn.io',
        only=(
            'dualattn.io',
            'torch',
            'safetensors',
            'PIL',
            'numpy',
            'imagecodecs',
            'simplejpeg',
            'tifffile',
            'pi_heif',
            'rawpy',
        ),
    ),
    Rule('dualattn.io.photos', never=('torch',)),
    Rule('dualattn.commands', never=('colorization', 'transfer')),
    Rule('dualattn.engine', only=('dualattn.engine', 'dualattn.io', 'dualattn.matmul', 'torch', 'numpy', 'mmengine')),
    # colour and transfer do not see each other, and colour does without the compiled OpenMMLab packages
    Rule('colorization', never=('transfer', 'mmcv', 'mmdet', 'mmdet3d')),
    Rule('transfer', never=('colorization',)),
    # networks are tensors in, tensors out
    *(
        Rule(
            f'colorization.{package}',
            never=(
                'mmengine',
                'dualattn.engine',
                'colorization.losses',
                'colorization.data',
                'colorization.systems',
                'colorization.metrics',
                'colorization.hooks',
            ),
        )
        for package in ('models', 'decoders')
    ),
    # what is heavy and optional is imported by the file that needs it
    *(
        Rule(
            package, never=('mmdet', 'mmdet3d', 'gradio', 'av', 'onnx', 'onnxruntime', 'onnxscript'), file='__init__.py'
        )
        for package in PACKAGES
    ),
    # nothing imports what only runs
    *(Rule(folder, never=('tools', 'configs', 'tests')) for folder in FOLDERS),
)


def imported_names(tree, module, is_package):
    """Yield (line, dotted name) of every import in a syntax tree, inside functions and conditions too."""
    parents = module.split('.') if is_package else module.split('.')[:-1]
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from ((node.lineno, alias.name) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = parents[: len(parents) - node.level + 1] if node.level else []
            base = '.'.join([*base, *([node.module] if node.module else [])])
            # `from a import b` may name the module a.b
            yield from ((node.lineno, f'{base}.{alias.name}') for alias in node.names)
        elif isinstance(node, ast.Call) and node.args and isinstance(node.args[0], ast.Constant):
            called = node.func.attr if isinstance(node.func, ast.Attribute) else getattr(node.func, 'id', '')
            if called in ('import_module', '__import__') and isinstance(node.args[0].value, str):
                yield node.lineno, node.args[0].value


def is_inside(name, package):
    return name == package or name.startswith(f'{package}.')


def find_sources(root):
    """List (path, dotted module name) of all Python files in the folders that the rules are about."""
    sources = []
    for folder in FOLDERS:
        for path in sorted((root / folder).rglob('*.py')):
            parts = list(path.relative_to(root).with_suffix('').parts)
            sources.append((path, '.'.join(parts[:-1] if parts[-1] == '__init__' else parts)))
    return sources


def find_violations(root, rules=RULES):
    """List what breaks a rule below a repository root, as `path:line imports name: reason`."""
    violations = []
    for path, module in find_sources(root):
        imports = list(imported_names(ast.parse(path.read_text(encoding='utf-8')), module, path.name == '__init__.py'))
        for rule in rules:
            if not is_inside(module, rule.package) or rule.file not in (None, path.name):
                continue
            if any(is_inside(module, other) for other in rule.apart):
                continue
            for line, name in imports:
                where = f'{path.relative_to(root)}:{line} imports {name}'
                if any(is_inside(name, other) for other in rule.never):
                    violations.append(f'{where}: {rule.package} must not')
                allowed = (*(rule.only or ()), *sys.stdlib_module_names)
                if rule.only is not None and not any(is_inside(name, other) for other in allowed):
                    violations.append(f'{where}: {rule.package} has only {", ".join(rule.only)}')
    return violations


def find_vague_names(root):
    return [
        str(path.relative_to(root))
        for path, _ in find_sources(root)
        if VAGUE_NAMES & set(path.relative_to(root).with_suffix('').parts)
    ]


# --- this repository


def test_imports_follow_the_rules(repo_root):
    assert find_violations(repo_root) == []


def test_no_module_has_a_vague_name(repo_root):
    assert find_vague_names(repo_root) == []


def test_rules_reach_the_code(repo_root):
    """A package that was renamed would leave its rules behind without a word."""
    modules = [module for _, module in find_sources(repo_root)]
    for rule in RULES:
        assert any(is_inside(module, rule.package) for module in modules), rule.package


def run_python(code):
    done = subprocess.run([sys.executable, '-c', code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


def _run(code, answer):
    try:
        exec(code, {})
    except BaseException:
        answer.send(traceback.format_exc())
    else:
        answer.send('')


def _run_apart(context, code):
    receiver, sender = context.Pipe(duplex=False)
    process = context.Process(target=_run, args=(code, sender))
    process.start()
    sender.close()
    try:
        error = receiver.recv()
    except EOFError:
        error = 'the process died'
    process.join()
    return error


def _serve(connection):
    import torch  # noqa: F401
    import torchvision  # noqa: F401

    while code := connection.recv():
        connection.send(_run_apart(multiprocessing.get_context('fork'), code))


@pytest.fixture(scope='module')
def run_prepared():
    """Runs code in a process of its own that has torch and torchvision already, which take seconds to load.

    They are forked from one that was started for this and has loaded nothing else; multiprocessing's own server of that
    kind serves a whole process, so that another test may have loaded anything into it.
    """
    spawn = multiprocessing.get_context('spawn')
    forks = 'fork' in multiprocessing.get_all_start_methods()
    here, there = spawn.Pipe()
    server = spawn.Process(target=_serve, args=(there,), daemon=False)
    if forks:
        server.start()
        there.close()

    def run(code):
        if forks:
            here.send(code)
            error = here.recv()
        else:
            error = _run_apart(spawn, code)
        assert not error, error

    yield run
    if forks:
        here.send('')
        server.join()


def test_importing_dualattn_is_light(run_prepared):
    """Beside torch and timm it loads nothing of weight, and of this repository the backbone alone."""
    run_prepared(f"""
import sys, timm
before = set(sys.modules)
import dualattn
new = {{name.partition('.')[0] for name in set(sys.modules) - before}}
assert new - set(sys.stdlib_module_names) <= {{'dualattn', 'torch', 'timm'}}, new
import timm.models
assert timm.is_model('dualattn_tiny') and 'dualattn.models.dualattn' in sys.modules
apart = [name for name in sys.modules if name.startswith({APART})]
assert not apart, apart
""")


def test_importing_dualattn_or_transfer_alone_costs_nothing():
    loaded = run_python('import sys, dualattn, transfer\nprint(*sys.modules)').split()
    assert not {'torch', 'timm', 'mmengine', 'numpy'} & set(loaded)


@pytest.mark.parametrize(
    'statement',
    [
        'import timm, dualattn',
        'import dualattn, timm',
        'import dualattn, timm.layers',
        'import dualattn.ops.library',
        'from dualattn.layers.stem import ConvStem',
        'from dualattn.models import DualAttn',
        'import dualattn.models.dualattn',
        'import dualattn; dualattn.models.DualAttn',
    ],
)
def test_models_are_registered_with_timm_whatever_comes_first(statement, run_prepared):
    run_prepared(
        'import sys\nassert "timm" not in sys.modules and "torchvision" in sys.modules\n'
        f'{statement}\nimport timm\nassert timm.is_model("dualattn_tiny")\nimport dualattn.ops, dualattn.layers'
    )


def test_models_are_registered_with_timm_before_torch_is_loaded():
    run_python('import dualattn, torchvision, timm.data\nassert timm.is_model("dualattn_tiny")')


@pytest.mark.parametrize(
    'statement',
    [
        'import mmengine, transfer',
        'import transfer, mmengine',
        'import transfer, mmengine.config',
        'from transfer import DualAttn',
        'import transfer.backbone',
        'import transfer.weights',
        'import transfer.classification.metrics',
    ],
)
def test_the_backbone_is_registered_with_mmengine_whatever_comes_first(statement, run_prepared):
    run_prepared(f'{statement}\nfrom mmengine.registry import MODELS\nassert MODELS.get("DualAttn")')


def test_importing_colorization_is_light():
    """The package gives its Colorizer on demand; neither way loads mmengine or mmcv."""
    loaded = run_python(
        'import sys, colorization\nassert "torch" not in sys.modules\ncolorization.Colorizer\nprint(*sys.modules)'
    ).split()
    assert 'colorization.pipeline' in loaded
    assert not {'mmengine', 'mmcv', 'mmdet', 'transfer'} & set(loaded)


# --- the checker itself


@pytest.mark.parametrize(
    'file, code, name',
    [
        ('dualattn/models/a.py', 'import mmengine', 'mmengine'),
        ('dualattn/a.py', 'import torchvision.ops as ops', 'torchvision.ops'),
        ('dualattn/a.py', 'from colorization import color', 'colorization.color'),
        ('dualattn/ops/a.py', 'from dualattn.layers import ConvStem', 'dualattn.layers.ConvStem'),
        ('dualattn/ops/a.py', 'from dualattn import models', 'dualattn.models'),
        ('dualattn/ops/__init__.py', 'from ..layers.stem import ConvStem', 'dualattn.layers.stem.ConvStem'),
        ('dualattn/ops/deep/a.py', 'from ...models import dualattn', 'dualattn.models.dualattn'),
        ('dualattn/layers/a.py', 'from .. import models', 'dualattn.models'),
        ('dualattn/engine/a.py', 'import timm', 'timm'),
        ('dualattn/io/photos/a.py', 'import torch', 'torch'),
        ('dualattn/models/a.py', 'from dualattn.io import photos', 'dualattn.io.photos'),
        ('dualattn/io/a.py', 'import mmengine', 'mmengine'),
        ('dualattn/io/a.py', 'from dualattn.ops import backends', 'dualattn.ops.backends'),
        ('colorization/a.py', 'def f():\n    import transfer.backbone', 'transfer.backbone'),
        ('colorization/data/a.py', 'try:\n    from mmcv import ops\nexcept ImportError:\n    ops = None', 'mmcv.ops'),
        ('colorization/a.py', "import importlib\nimportlib.import_module('mmdet3d.structures')", 'mmdet3d.structures'),
        (
            'transfer/detection/a.py',
            'if TYPE_CHECKING:\n    from colorization.color import rgb_to_lab',
            'colorization.color.rgb_to_lab',
        ),
        ('colorization/models/a.py', 'from colorization.losses import GANLoss', 'colorization.losses.GANLoss'),
        ('colorization/models/a.py', 'from colorization import color, systems', 'colorization.systems'),
        ('colorization/decoders/a.py', 'from mmengine.model import BaseModule', 'mmengine.model.BaseModule'),
        ('transfer/__init__.py', 'import mmdet', 'mmdet'),
        ('colorization/__init__.py', 'import gradio as gr', 'gradio'),
        ('dualattn/engine/a.py', 'from tools.train import main', 'tools.train.main'),
        ('dualattn/engine/a.py', 'from dualattn.models import DualAttn', 'dualattn.models.DualAttn'),
        ('dualattn/layers/a.py', 'from dualattn.engine import seed_worker', 'dualattn.engine.seed_worker'),
        ('dualattn/__init__.py', 'from dualattn import engine', 'dualattn.engine'),
        ('tools/a.py', 'import tests.conftest', 'tests.conftest'),
        ('tests/a.py', 'from configs import mpt', 'configs.mpt'),
    ],
)
def test_checker_catches(tmp_path, file, code, name):
    path = tmp_path / file
    path.parent.mkdir(parents=True)
    path.write_text(f'import torch\n{code}\n')
    found = find_violations(tmp_path)
    assert found
    assert all(f'imports {name}' in violation and violation.startswith(f'{file}:') for violation in found)


@pytest.mark.parametrize(
    'file, code',
    [
        ('dualattn/models/a.py', 'import re\nfrom timm.layers import Mlp\nfrom dualattn.layers import ConvStem'),
        ('dualattn/ops/a.py', 'from . import reference'),
        ('dualattn/engine/a.py', 'import numpy, mmengine.runner'),
        ('colorization/a.py', 'import mmengine, dualattn  # mmcv would be wrong'),
        ('colorization/models/a.py', 'from colorization.decoders import PixelShuffleDecoder'),
        ('colorization/data/a.py', "import mmcvlike\nname = 'import mmcv'"),
        ('transfer/a.py', 'import mmdet, mmdet3d, mmcv'),
        ('colorization/video.py', 'import av'),
    ],
)
def test_checker_lets_pass(tmp_path, file, code):
    path = tmp_path / file
    path.parent.mkdir(parents=True)
    path.write_text(code)
    assert find_violations(tmp_path) == []


@pytest.mark.parametrize(
    'file', ['colorization/utils.py', 'transfer/common/__init__.py', 'tests/dualattn/engine/helpers.py']
)
def test_checker_catches_vague_names(tmp_path, file):
    path = tmp_path / file
    path.parent.mkdir(parents=True)
    path.write_text('')
    assert find_vague_names(tmp_path) == [file]
