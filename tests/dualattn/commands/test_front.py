"""The command `dualattn`: its grammar, what it says of what it does not know, and that it loads nothing early."""

import re
import subprocess
import sys
from importlib.metadata import EntryPoint

import pytest

from dualattn.commands import front
from dualattn.commands.parser import CommandParser, add_options_argument, parse_options


def run_python(code):
    done = subprocess.run([sys.executable, '-c', code], capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_help_names_every_verb_in_a_line(capsys):
    assert front.main([]) == 0
    said = capsys.readouterr().out
    for name, entry in front.find_verbs().items():
        (line,) = re.findall(rf'^  {name} +(\S.*)$', said, re.MULTILINE)
        assert line == front.summarize(entry) and line.endswith('.')
    assert {'train', 'test', 'flops', 'check', 'weights', 'colorize', 'classify'} <= set(front.find_verbs())


@pytest.mark.parametrize(
    ('verb', 'near'), [('colorise', 'colorize'), ('trian', 'train'), ('create_data', 'create-data'), ('tests', 'test')]
)
def test_unknown_verb_gets_the_nearest(verb, near, capsys):
    assert front.main([verb]) == 2
    assert capsys.readouterr().err == f'dualattn: no verb {verb!r}; did you mean {near}?\n'


@pytest.mark.parametrize(
    ('option', 'said'),
    [
        ('--versio', 'did you mean --version?'),
        ('--hlep', 'did you mean --help?'),
        ('-x', 'there are --help and --version, and a verb comes first'),
    ],
)
def test_unknown_option_before_the_verb_gets_the_nearest(option, said, capsys):
    assert front.main([option, 'train']) == 2
    assert capsys.readouterr().err == f'dualattn: no option {option!r}; {said}\n'


def test_verb_that_resembles_nothing_gets_the_list(capsys):
    assert front.main(['xyzzy']) == 2
    assert 'train' in capsys.readouterr().err


def test_bare_checkout_says_how_to_get_verbs(monkeypatch, capsys):
    monkeypatch.setattr(front, 'find_verbs', dict)
    assert front.main(['train']) == 2
    assert 'pip install .' in capsys.readouterr().err


def test_front_is_a_command_as_a_module_too():
    command = [sys.executable, '-m', 'dualattn.commands.front', '--version']
    assert re.fullmatch(r'dualattn \S+\n', subprocess.run(command, check=True, capture_output=True, text=True).stdout)


def test_arguments_and_exit_code_are_the_verbs(monkeypatch):
    entry = EntryPoint('double', f'{__name__}:double', front.GROUP)
    monkeypatch.setattr(front, 'find_verbs', lambda: dict(double=entry))
    assert front.main(['double', '--number', '21']) == 42


def double(argv):
    parser = CommandParser('double')
    parser.add_argument('--number', type=int)
    return 2 * parser.parse_args(argv).number


@pytest.mark.parametrize('verb', sorted(front.find_verbs()))
def test_help_of_a_verb_loads_nothing_heavy(verb):
    """torch takes seconds; what a verb needs is loaded when its arguments are understood."""
    loaded = run_python(
        'import contextlib, io, sys\n'
        'from dualattn.commands.front import main\n'
        'with contextlib.redirect_stdout(io.StringIO()), contextlib.suppress(SystemExit):\n'
        f'    main([{verb!r}, "--help"])\n'
        'print(*sys.modules)'
    ).split()
    assert not {'torch', 'timm', 'numpy', 'mmengine', 'PIL', 'cv2', 'matplotlib'} & set(loaded)


@pytest.mark.parametrize('verb', sorted(front.find_verbs()))
def test_every_verb_names_the_nearest_option(verb, capsys):
    try:
        code = front.main([verb, '--hepl'])
    except SystemExit as stopped:
        code = stopped.code
    said = capsys.readouterr().err
    assert code == 2 and '--hepl' in said
    if verb not in ('benchmark', 'data'):  # which look for a verb of their own first
        assert re.search(rf'^dualattn {verb}\b.*: error: unknown --hepl', said, re.MULTILINE)


@pytest.mark.parametrize(
    ('module', 'extras'),
    [
        ('mmengine.config', ['train', 'transfer']),
        ('kornia', ['colorize']),
        ('torch_fidelity', ['evaluate']),
        ('sklearn', ['train']),
        ('gradio', ['web']),
        ('no_such_package', []),
    ],
)
def test_extras_are_known_by_what_they_bring(module, extras):
    assert front.find_extras_with(module) == extras


def test_a_package_of_an_extra_that_is_missing_is_one_line():
    said = run_python(
        'import contextlib, io, sys\n'
        'sys.modules["mmengine"] = None  # as where it is not installed\n'
        'from dualattn.commands.front import main\n'
        'with contextlib.redirect_stderr(io.StringIO()) as said:\n'
        '    code = main(["train", "colorize/mpt_demo.py", "--cfg-options", "a=1"])\n'
        'print(code, said.getvalue(), end="")'
    )
    assert said.startswith('2 dualattn train: needs mmengine') and "pip install 'dualattn[train]'" in said
    assert said.count('\n') == 1


@pytest.mark.parametrize('arguments', [['onnx', 'packaged', '-o', 'x.onnx'], ['photo', 'packaged', '-o', 'x']])
@pytest.mark.parametrize('module', ['onnx', 'onnxscript', 'onnxruntime'])
def test_export_asks_for_its_libraries_before_it_loads_anything(arguments, module, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setitem(sys.modules, module, None)  # as where it is not installed
    monkeypatch.setitem(sys.modules, 'dualattn.onnx', None)
    assert front.main(['export', *arguments]) == 2
    needed = f"dualattn export: needs {module}, which is not installed: pip install 'dualattn[export]'\n"
    assert capsys.readouterr().err == needed


@pytest.fixture
def parser():
    parser = CommandParser('paint')
    parser.add_argument('input')
    parser.add_argument('-o', '--out', required=True)
    parser.add_argument('--overwrite', action='store_true')
    parser.add_argument('--format', choices=['png', 'tiff'])
    add_options_argument(parser)
    return parser


@pytest.mark.parametrize(
    ('args', 'said'),
    [
        (['a', '--overwite'], 'unknown --overwite; did you mean --overwrite?'),
        (['a', '-o', 'b', '--frmat=png'], 'unknown --frmat; did you mean --format?'),
        (['a', '-o', 'b', '--format', 'tif'], "'tif' is none of png, tiff; did you mean tiff?"),
        (['a', '-o', 'b', 'c'], 'unknown c'),
        (['a', '-o', 'b', '-z'], 'unknown -z'),
    ],
)
def test_parser_names_the_nearest(parser, args, said, capsys):
    with pytest.raises(SystemExit) as stopped:
        parser.parse_args(args)
    assert stopped.value.code == 2
    assert capsys.readouterr().err.endswith(f'{said}\n')


def test_parser_takes_what_argparse_takes(parser):
    args = parser.parse_args(['--ove', '-ob', '--format=png', '--', '--strange name'])
    assert args.overwrite and args.out == 'b' and args.format == 'png' and args.input == '--strange name'


def test_options_are_read_as_mmengine_reads_them(parser, capsys):
    args = parser.parse_args(['a', '-o', 'b', '--cfg-options', 'x.y=[1,2]', 'z=(a,b)', '--cfg-options', 's=t=u'])
    assert parse_options(parser, args.cfg_options) == {'x.y': [1, 2], 'z': ('a', 'b'), 's': 't=u'}
    for wrong in ('x', '=1'):
        with pytest.raises(SystemExit):
            parse_options(parser, [wrong])
        assert f'expected KEY=VALUE, got {wrong!r}' in capsys.readouterr().err
