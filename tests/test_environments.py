"""Each target of the Makefile and each extra brings what its commands import, read from the source with ast."""

import ast
import importlib.metadata
import os
import re
import subprocess
import sys
from functools import cache
from pathlib import Path

import pytest
import tomllib

ROOT = Path(__file__).resolve().parents[1]
PACKAGES = ('dualattn', 'colorization', 'transfer')
PROJECT = tomllib.loads((ROOT / 'pyproject.toml').read_text(encoding='utf-8'))['project']
# imported where it is asked for alone, behind an error that names the extra
ON_REQUEST = {
    'mmengine': 'options and files of configs: --config, --cfg-options',
    'onnx': '--engine onnx',
    'onnxruntime': '--engine onnx',
    'packaging': '`dualattn check` says that it is missing',
    'pi_heif': 'HEIC',
    'rawpy': 'camera raw',
    'sklearn': 'making a palette, and the photographs that it ships',
}
# the smallest extra with which the pages run a verb, or an entry of what verbs hand their arguments to
VERBS = {
    'colorize': ('colorize', 'convert', 'queries', 'hues', 'weights', 'check'),
    'video': ('video',),
    'web': ('serve',),
    'export': ('export', 'colorization.onnx', 'colorization.commands.export_photo'),
    'train': (
        *('train', 'test', 'demo', 'data', 'flops', 'palette', 'memory', 'ablate', 'shard', 'study', 'benchmark'),
        *('colorization.complexity', 'colorization.commands.prepare', 'colorization', 'dualattn.engine'),
    ),
    'evaluate': ('evaluate', 'tables', 'curve', 'colorization.metrics', 'colorization.losses', 'colorization.hooks'),
    'transfer': (
        *('train', 'test', 'classify', 'infer', 'create-data', 'transfer.complexity', 'transfer.classification'),
        *('dualattn.engine', 'transfer', 'transfer.detection', 'transfer.detection3d'),
    ),
}
# what a test that begins with importorskip(...) may import besides
SKIPS = {'mmdet': 'transfer', 'mmdet3d': 'transfer', 'mmcv': 'transfer', 'spconv': 'transfer', 'av': 'video'}
SKIPS |= {'onnx': 'export', 'onnxruntime': 'export', 'gradio': 'web', 'uvicorn': 'web'}


def normalize(name):
    return re.sub(r'[-_.]+', '-', name).lower()


@cache
def find_owners():
    """The distributions of a module, by its name."""
    return {
        module: {normalize(owner) for owner in owners}
        for module, owners in importlib.metadata.packages_distributions().items()
    }


def find_file(module):
    path = ROOT.joinpath(*module.split('.'))
    candidates = (path / '__init__.py', path.with_suffix('.py'))
    return next((candidate for candidate in candidates if candidate.is_file()), None)


def list_statements(body, lazily):
    """Yield the import statements of a file, in order; those inside functions where `lazily`, those for types never."""
    for node in body:
        if isinstance(node, (ast.Import, ast.ImportFrom)):
            yield node
        elif isinstance(node, ast.If) and 'TYPE_CHECKING' in ast.unparse(node.test):
            yield from list_statements(node.orelse, lazily)
        elif lazily or not isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)):
            for part in ('body', 'orelse', 'finalbody', 'handlers'):
                yield from list_statements(getattr(node, part, []), lazily)


def name_modules(node, package):
    """The dotted names that a statement loads; `package` is the one that relative imports start from."""
    if isinstance(node, ast.Import):
        return [alias.name for alias in node.names]
    parents = package.split('.')[: len(package.split('.')) - node.level + 1] if node.level else []
    base = '.'.join([*parents, *([node.module] if node.module else [])])
    inner = [f'{base}.{alias.name}' for alias in node.names]
    return [base, *(name for name in inner if base.split('.')[0] in PACKAGES and find_file(name))]


@cache
def list_imports(module, lazily):
    path = find_file(module)
    package = module if path.name == '__init__.py' else module.rpartition('.')[0]
    tree = ast.parse(path.read_text(encoding='utf-8'))
    return [name for node in list_statements(tree.body, lazily) for name in name_modules(node, package)]


def follow(modules, lazily):
    """Follow imports through our packages; returns the modules of others, each with the one of ours that imports it."""
    others, seen, todo = {}, set(), [(module, '') for module in modules]
    while todo:
        module, by = todo.pop()
        parts = module.split('.')
        if parts[0] not in PACKAGES:
            others.setdefault(parts[0], by)
            continue
        for end in range(1, len(parts) + 1):
            name = '.'.join(parts[:end])
            if name not in seen and find_file(name):
                seen.add(name)
                todo += [(found, name) for found in list_imports(name, lazily)]
    return {name: by for name, by in others.items() if name not in sys.stdlib_module_names}


def read_lock(name):
    """The distributions of a lock file and of those that it includes."""
    found = set()
    for line in (ROOT / 'requirements' / f'{name}.txt').read_text(encoding='utf-8').splitlines():
        line = line.partition('#')[0].strip()
        if line.startswith('-r '):
            found |= read_lock(line.removeprefix('-r ').removesuffix('.txt'))
        elif line:
            found.add(normalize(re.match(r'[\w.-]+', line)[0]))
    return found


def read_extra(name):
    """The distributions that an extra names, with those that every installation has; timm brings torchvision."""
    found = {normalize(re.match(r'[\w.-]+', line)[0]) for line in PROJECT['dependencies']} | {'torchvision'}
    for line in PROJECT['optional-dependencies'][name]:
        inner = re.match(r'dualattn\[(\w+)\]', line)
        found |= read_extra(inner[1]) if inner else {normalize(re.match(r'[\w.-]+', line)[0])}
    return found


def find_missing(modules, present):
    """The modules of others that none of the distributions `present` brings."""
    owners = find_owners()
    return {name: by for name, by in modules.items() if not owners.get(name, {name}) & present}


# --------------------------------------------------------------------------------------------------- the Makefile


def read_makefile(text):
    """The prerequisites and the recipe of each target."""
    targets = {}
    for name, needs, recipe in re.findall(r'^([a-z-]+):([^#\n=]*)(?:#.*)?\n((?:\t.*\n)*)', text, re.MULTILINE):
        targets[name] = needs.split(), recipe.replace('\\\n', ' ').splitlines()
    return targets


def list_sets(target, targets):
    """The sets of requirements/ that a target installs, through the targets that it stands on."""
    sets = set()
    for need in targets[target][0]:
        found = re.fullmatch(r'\$\(STAMPS\)/(\w+)', need)
        if found:
            sets |= {found[1]} - {'package'}
        elif need in targets:
            sets |= list_sets(need, targets)
    return sets


def list_modules(line):
    """What a line of a recipe runs in the environment, as the modules that it imports, and whether also lazily."""
    words = line.replace('@', ' ').split()
    if not words or not words[0].startswith('$(VENV)/bin/'):
        return []
    program, *rest = words
    if program != '$(VENV)/bin/python':
        return [program.rpartition('/')[2]]
    if rest[0] != '-m':
        path = ROOT / rest[0]
        tree = ast.parse(path.read_text(encoding='utf-8'))
        return [name for node in list_statements(tree.body, True) for name in name_modules(node, '')]
    if rest[1] == 'dualattn':
        entries = PROJECT['entry-points']
        handed = [*entries['dualattn.exporters'].values(), *entries['dualattn.formats'].values()]
        colors = [name.partition(':')[0] for name in handed if name.startswith('colorization')]
        return [entries['dualattn.commands'][rest[2]].partition(':')[0], *(colors if rest[2] == 'export' else [])]
    return ['pytest', 'xdist', 'pytest_timeout'] if rest[1] == 'pytest' else [rest[1]]


def check_makefile(text):
    """List what targets run without having installed it."""
    targets, faults = read_makefile(text), []
    for target, (_, recipe) in targets.items():
        sets = list_sets(target, targets)
        present = {'pip', *read_lock('build')}.union(*(read_lock(name) for name in sets))
        for line in recipe:
            unused = {'pi_heif', 'rawpy'} | (set() if 'export' in line else {'onnx', 'onnxruntime'})
            missing = find_missing(follow(list_modules(line), lazily=True), present)
            faults += [
                f'make {target}: {line.strip()}: {by or "it"} needs {name}'
                for name, by in missing.items()
                if name not in unused
            ]
    return faults


def test_targets_install_what_they_run():
    assert check_makefile((ROOT / 'Makefile').read_text(encoding='utf-8')) == []


@pytest.mark.parametrize(
    ('old', 'new', 'said'),
    [
        ('lint: setup $(STAMPS)/dev', 'lint: setup', 'make lint: $(VENV)/bin/ruff check .: it needs ruff'),
        ('docs: $(STAMPS)/docs', 'docs: setup', 'mkdocs build --strict: it needs mkdocs'),
        ('light: setup $(STAMPS)/export', 'light: setup', 'colorization.photo_onnx needs onnx'),
        ('demo: setup', 'demo: $(STAMPS)/colorize', 'colorization.palette needs sklearn'),
        ('check-cuda: setup', 'check-cuda: $(STAMPS)/core', None),
    ],
)
def test_what_a_target_lacks_is_found(old, new, said):
    text = (ROOT / 'Makefile').read_text(encoding='utf-8')
    assert text.count(f'\n{old} ') == 1
    faults = check_makefile(text.replace(f'\n{old} ', f'\n{new} '))
    assert faults == [] if said is None else any(said in fault for fault in faults), faults


@pytest.mark.parametrize('target', ['test', 'test-long'])
def test_the_suite_has_all_that_its_tests_use(target):
    """No test is skipped, after `make test`, for want of a package."""
    targets = read_makefile((ROOT / 'Makefile').read_text(encoding='utf-8'))
    assert list_sets(target, targets) >= {*PROJECT['optional-dependencies']} - {'colorize', 'train'}


# ------------------------------------------------------------------------------------------------------ the tests


def check_test(path, text, present):
    """List what a test imports, at its top, beyond some distributions and what it skips itself without."""
    faults, present = [], set(present)
    neighbours = {other.stem for other in path.parent.glob('*.py')}
    for node in ast.parse(text).body:
        guard = re.match(r"(?:\w+ = )?pytest\.importorskip\('(\w+)", ast.unparse(node))
        if guard and guard[1] in SKIPS:
            present |= read_lock(SKIPS[guard[1]])
        names = [name for each in list_statements([node], False) for name in name_modules(each, '')]
        others = follow([name for name in names if name.split('.')[0] not in {*neighbours, 'tests'}], lazily=False)
        faults += [
            f'{path.name}:{node.lineno}: {by or "it"} needs {n}' for n, by in find_missing(others, present).items()
        ]
    return faults


def test_tests_are_collected_without_the_other_extras():
    """`pytest -m 'not mm'` after `make lint`, which has no transfer stack, no film and no page."""
    present = read_lock('build') | read_lock('train') | read_lock('dev')
    faults = []
    for path in sorted([*(ROOT / 'tests').rglob('test_*.py'), *(ROOT / 'tests').rglob('conftest.py')]):
        faults += check_test(path, path.read_text(encoding='utf-8'), present)
    assert faults == []


@pytest.mark.parametrize(
    ('text', 'said'),
    [
        ('import av', ['a.py:1: it needs av']),
        ('import pytest\nimport av\npytest.importorskip("av")', ['a.py:2: it needs av']),
        ('import pytest\npytest.importorskip("av")\nimport av', []),
        ('from colorization.video.job import FilmJob', ['a.py:1: colorization.video.formats needs av']),
        ('def test_a():\n    import av', []),
        ('import colorization.pipeline', []),
    ],
)
def test_what_a_test_lacks_is_found(text, said, tmp_path):
    present = read_lock('train') | read_lock('dev')
    assert check_test(tmp_path / 'a.py', text, present) == said


# ----------------------------------------------------------------------------------------------------- the extras


def check_extra(extra, verbs):
    """List what verbs, or modules that they hand over to, import beyond an extra."""
    commands, faults = PROJECT['entry-points']['dualattn.commands'], []
    for verb in verbs:
        missing = find_missing(follow([commands.get(verb, verb).partition(':')[0]], lazily=True), read_extra(extra))
        faults += [
            f'{verb}: {by} needs {name}' for name, by in missing.items() if name not in {*ON_REQUEST, 'setuptools'}
        ]
    return faults


@pytest.mark.parametrize('extra', VERBS)
def test_verbs_have_what_they_import(extra):
    assert check_extra(extra, VERBS[extra]) == []


def test_every_verb_has_an_extra():
    assert {*PROJECT['entry-points']['dualattn.commands']} <= {verb for verbs in VERBS.values() for verb in verbs}


def test_what_an_extra_lacks_is_found():
    assert 'serve: colorization.commands.serve needs uvicorn' in check_extra('colorize', ['serve'])
    assert any('needs torchmetrics' in fault for fault in check_extra('colorize', ['evaluate']))


def test_what_is_asked_for_later_is_not_loaded_at_once():
    """At the top of a module stands nothing that an installation may lack."""
    for extra, verbs in VERBS.items():
        commands = [PROJECT['entry-points']['dualattn.commands'].get(verb, verb).partition(':')[0] for verb in verbs]
        assert find_missing(follow(commands, lazily=False), read_extra(extra) | {'setuptools'}) == {}, extra


# -------------------------------------------------------------------------------------------------- as it is typed

HIDE = """
import importlib.metadata, sys
hidden, distributions = set({hidden!r}), set({distributions!r})

class Filter:
    def __init__(self, finder):
        self.finder = finder

    def __getattr__(self, name):
        return getattr(self.finder, name)

    def find_spec(self, name, path=None, target=None):
        return None if name.split('.')[0] in hidden else self.finder.find_spec(name, path, target)

def find(cls, name, found=importlib.metadata.Distribution.from_name.__func__):
    if name.lower().replace('_', '-') in distributions:  # as torchmetrics asks
        raise importlib.metadata.PackageNotFoundError(name)
    return found(cls, name)

sys.meta_path = [Filter(finder) for finder in sys.meta_path]
importlib.metadata.Distribution.from_name = classmethod(find)
from dualattn.commands.front import main
sys.exit(main({words!r}))
"""


@pytest.mark.long
@pytest.mark.timeout(3600)
@pytest.mark.parametrize(
    ('extra', 'command'),
    [
        ('colorize', 'colorize photo.png'),
        ('colorize', 'colorize photo.png -o like.png --like color.png'),
        ('colorize', 'hues .'),
        ('colorize', 'weights list'),
        ('photos', 'colorize photo.png'),
        ('export', 'export onnx packaged -o model.onnx'),
        ('export', 'export photo packaged -o files'),
        ('export', 'colorize photo.png --engine onnx'),
        (
            'train',
            'train colorize/mpt_demo.py --cfg-options train_cfg.max_iters=1 train_cfg.val_interval=1 '
            'default_hooks.checkpoint.interval=1',
        ),
        ('train', 'flops colorize/mpt_demo.py'),
        ('transfer', 'flops cls/dualattn_t_in1k.py'),
        ('evaluate', 'evaluate --pred . --gt . --protocol folder --resamples 0 --out record.json'),
    ],
)
def test_command_runs_with_its_extra_alone(extra, command, tmp_path):
    """In an environment in which all that the extra's lock file does not name is hidden."""
    from PIL import Image

    from colorization.samples import packaged_color_photos

    photo = next(iter(packaged_color_photos().values()))
    with Image.open(photo) as picture:
        picture.resize((96, 64)).save(tmp_path / 'color.png')
        picture.convert('L').resize((96, 64)).save(tmp_path / 'photo.png')
    present = read_lock(extra) | {'dualattn', 'pip'}
    owners = find_owners()
    hidden = sorted(name for name in owners if not owners[name] & present)
    distributions = sorted(set().union(*owners.values()) - present)
    assert 'pytest' in hidden and 'torch' not in hidden
    done = subprocess.run(
        [sys.executable, '-c', HIDE.format(hidden=hidden, distributions=distributions, words=command.split())],
        cwd=tmp_path, env={**os.environ, 'PYTHONPATH': str(ROOT)}, capture_output=True, text=True,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-3000:]
