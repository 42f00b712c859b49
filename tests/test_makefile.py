"""What a stranger's first commands rest on: the Makefile, CI, and the script that makes the environment."""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
REQUIREMENTS = ROOT / 'requirements'

needs_make = pytest.mark.skipif(shutil.which('make') is None, reason='needs make')


@needs_make
def test_make_alone_lists_every_target():
    environment = {name: value for name, value in os.environ.items() if not name.startswith(('MAKE', 'MFLAGS'))}
    shown = [
        subprocess.run(['make', *target], cwd=ROOT, env=environment, check=True, capture_output=True, text=True).stdout
        for target in ([], ['help'])
    ]
    assert shown[0] == shown[1]
    makefile = (ROOT / 'Makefile').read_text(encoding='utf-8')
    phony = re.search(r'^\.PHONY: (.*)$', makefile, re.MULTILINE).group(1).split()
    assert {'help', 'demo', 'test', 'lint', 'check-cuda', 'setup', 'setup-transfer', 'clean'} <= set(phony)
    assert re.findall(r'^  make (\S+) +\S', shown[0], re.MULTILINE) == phony


@needs_make
@pytest.mark.parametrize('broken', ['lint', 'check-cuda', 'test', None])
def test_ci_fails_when_a_step_fails(tmp_path, broken):
    stand_in = tmp_path / 'make'
    stand_in.write_text(f'#!/bin/sh\necho "make $1"\n[ "$1" != "{broken}" ]\n')
    stand_in.chmod(0o755)
    done = subprocess.run(
        ['bash', '.ci/run'], cwd=ROOT, env={**os.environ, 'PATH': f'{tmp_path}:{os.environ["PATH"]}'},
        stdin=subprocess.DEVNULL, capture_output=True, text=True,
    )  # fmt: skip
    assert (done.returncode == 0) == (broken is None)
    assert done.stdout.split('\n')[0] == 'make lint'
    assert ('make check-cuda' in done.stdout) == (broken != 'lint')
    assert ('make test' in done.stdout) == (broken not in ('lint', 'check-cuda'))


@pytest.fixture
def installer(tmp_path):
    """Runs a copy of install.sh whose lock files are empty, so that it needs no network."""
    folder = tmp_path / 'requirements'
    folder.mkdir()
    shutil.copy(REQUIREMENTS / 'install.sh', folder)
    for name in ('build', 'core'):
        (folder / f'{name}.txt').write_text('# empty\n')

    def run(name: str = 'core', **variables: str) -> subprocess.CompletedProcess:
        return subprocess.run(
            ['sh', folder / 'install.sh', name], cwd=tmp_path, stdin=subprocess.DEVNULL, capture_output=True, text=True,
            env={**os.environ, 'VENV': '.venv', 'PYTHON': sys.executable, **variables},
        )  # fmt: skip

    return run


@pytest.mark.slow
def test_half_made_environment_is_repaired(installer, tmp_path):
    environment = tmp_path / '.venv'
    subprocess.run([sys.executable, '-m', 'venv', '--without-pip', environment], check=True)
    (site,) = environment.glob('lib/python*/site-packages')
    (site / 'pip').mkdir()  # a pip that was cut off, and a package of which pip had written METADATA only
    (site / 'pip-0.dist-info').mkdir()
    (site / 'pip-0.dist-info' / 'METADATA').write_text('Metadata-Version: 2.1\nName: pip\nVersion: 99\n')

    (environment / 'stamps').mkdir()
    kept = environment / 'stamps' / 'evaluate', site / 'whole.py'  # what was installed before, and make knows of
    for path in kept:
        path.touch()

    assert installer().returncode == 0
    subprocess.run([environment / 'bin/python', '-m', 'pip', '--version'], check=True, capture_output=True)
    assert all(path.exists() for path in kept)

    shutil.rmtree(site / 'pip' / '_internal' / 'cli')
    assert installer().returncode == 0
    subprocess.run([environment / 'bin/python', '-m', 'pip', '--version'], check=True, capture_output=True)
    assert all(path.exists() for path in kept)

    half = site / 'kornia-0.1.dist-info'
    half.mkdir()
    (half / 'METADATA').write_text('Metadata-Version: 2.1\nName: kornia\nVersion: 0.1\n')
    again = installer()
    assert again.returncode == 0
    assert 'kornia-0.1.dist-info' in again.stdout
    assert not half.exists()


@pytest.mark.slow
def test_environment_beyond_repair_is_not_called_whole(installer, tmp_path):
    """make has looked at the stamps before they went with the environment: only another run installs everything."""
    environment = tmp_path / '.venv'
    subprocess.run([sys.executable, '-m', 'venv', '--without-pip', environment], check=True)
    (environment / 'stamps').mkdir()
    (environment / 'stamps' / 'evaluate').touch()
    (site,) = environment.glob('lib/python*/site-packages')
    (site / 'broken.pth').write_text('import sys; sys.exit(1)\n')
    done = installer()
    assert done.returncode != 0 and 'run the same command again' in done.stderr
    assert not (environment / 'stamps' / 'evaluate').exists()
    assert installer().returncode == 0


def test_folder_that_is_no_environment_is_left_alone(installer, tmp_path):
    (tmp_path / '.venv').mkdir()
    (tmp_path / '.venv' / 'thesis.txt').write_text('mine')
    done = installer()
    assert done.returncode != 0
    assert 'no virtual environment' in done.stderr
    assert (tmp_path / '.venv' / 'thesis.txt').read_text() == 'mine'


@pytest.mark.parametrize(
    ('script', 'said'),
    [
        ('case "$*" in *version_info*) exit 1;; *) echo Python 3.9.1;; esac', 'need Python 3.11 or newer'),
        ('case "$*" in *ensurepip*) exit 1;; esac', 'apt install python3-venv'),
    ],
)
def test_interpreter_that_will_not_do_is_named(installer, tmp_path, script, said):
    stand_in = tmp_path / 'python-stand-in'
    stand_in.write_text(f'#!/bin/sh\n{script}\n')
    stand_in.chmod(0o755)
    done = installer(PYTHON=str(stand_in))
    assert done.returncode != 0
    assert said in done.stderr
    assert not (tmp_path / '.venv').exists()


def test_mmcv_is_compiled_once_and_kept_only_when_whole(installer, tmp_path):
    """A stand-in interpreter tells how it is called and, instead of compiling, writes a file in place of the wheel."""
    (tmp_path / 'requirements' / 'transfer.txt').write_text('mmcv==2.1.0\n')
    (tmp_path / '.venv' / 'bin').mkdir(parents=True)
    (tmp_path / '.venv' / 'pyvenv.cfg').touch()
    stand_in = tmp_path / '.venv' / 'bin' / 'python'
    stand_in.write_text("""#!/bin/sh
        case "$*" in
            *sysconfig.get_platform*) echo torch-2.11.0-cpython-311 ;;
            *'pip wheel'*)
                echo "compiled with $CFLAGS, ${MAX_JOBS} jobs, GPUs '$CUDA_VISIBLE_DEVICES'"
                while [ "$1" != --wheel-dir ]; do shift; done
                echo half > "$2/mmcv-2.1.0-any.whl"
                exit ${COMPILER_EXIT:-0} ;;
            *--force-reinstall*) echo "installed ${8##*/}" ;;
            *'pip install'*/tmp*) shift $(($# - 1)); echo "pins:" $(cat "$1") ;;
        esac
        """)
    stand_in.chmod(0o755)
    cache = tmp_path / 'wheels'
    variables = {'CFLAGS': '-O2', 'MAX_JOBS': '3', 'CUDA_VISIBLE_DEVICES': '0', 'FORCE_CUDA': '0', 'CXX': 'sh'}
    variables['DUALATTN_WHEELS'] = str(cache)

    failed = installer('transfer', COMPILER_EXIT='1', **variables)
    assert failed.returncode != 0
    assert not list(cache.rglob('*.whl'))

    first = installer('transfer', **variables)
    assert first.returncode == 0
    assert "compiled with -O2 -g0, 3 jobs, GPUs ''" in first.stdout
    assert 'installed mmcv-2.1.0-any.whl' in first.stdout
    assert [path.relative_to(cache).as_posix() for path in cache.rglob('*') if path.is_file()] == [
        'torch-2.11.0-cpython-311-cpu/mmcv-2.1.0-any.whl'
    ]

    second = installer('transfer', **variables)
    assert second.returncode == 0
    assert 'compiled' not in second.stdout
    assert 'installed mmcv-2.1.0-any.whl' in second.stdout

    (tmp_path / 'requirements' / 'transfer.txt').write_text('-r core.txt\nmmcv==2.1.0\ncumm==0.7.11\nspconv==2.3.8\n')
    on_gpus = installer('transfer', **{**variables, 'FORCE_CUDA': '1'})
    assert on_gpus.returncode == 0, on_gpus.stderr
    assert "compiled with -O2 -g0, 3 jobs, GPUs '0'" in on_gpus.stdout
    assert on_gpus.stdout.endswith('pins: mmcv==2.1.0 cumm-cu126==0.7.11 spconv-cu126==2.3.8\n')

    without = installer('transfer', **{**variables, 'DUALATTN_WHEELS': str(tmp_path / 'empty'), 'CXX': 'no-compiler'})
    assert without.returncode != 0
    assert 'apt install g++' in without.stderr


def test_unknown_set_is_refused(installer):
    done = installer('everything')
    assert done.returncode != 0
    assert "got 'everything'" in done.stderr
