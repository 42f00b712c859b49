#!/bin/sh
# Puts the tested pins of one set into the virtual environment, which it makes when there is none.
#
#   sh requirements/install.sh core|colorize|photos|train|evaluate|transfer|video|web|export|dev|docs
#
# It may be stopped at any moment and run again. Variables:
#   VENV             the environment (.venv)
#   PYTHON           the interpreter that makes it (python3)
#   DUALATTN_WHEELS  where the compiled mmcv wheel is kept (~/.cache/dualattn/wheels)
#   MAX_JOBS         compilers that run at once, each with up to 2 GB of memory (2)
#   FORCE_CUDA=1     for detectors on GPUs: compiles mmcv's CUDA operators too, which needs nvcc, and takes the packages
#                    of spconv that have CUDA kernels; has not been tested
set -eu

set=${1:-}
here=$(dirname "$0")
VENV=${VENV:-.venv}
PYTHON=${PYTHON:-python3}
DUALATTN_WHEELS=${DUALATTN_WHEELS:-${XDG_CACHE_HOME:-$HOME/.cache}/dualattn/wheels}
python=$VENV/bin/python

fail() {
    printf '%s\n' "set-up: $*" >&2
    exit 1
}

install() {
    "$python" -m pip install --disable-pip-version-check --no-deps --no-build-isolation "$@"
}

check_version() {
    "$1" -c 'import sys; sys.exit(sys.version_info < (3, 11))' || fail "$1 is $("$1" --version 2>&1)," \
        "but the tested pins need Python 3.11 or newer. Name another one with PYTHON=..., or, for 3.10," \
        "install by the ranges of pyproject.toml: pip install '.[colorize]'"
}

make_venv() {
    "$python" -m pip --version >/dev/null 2>&1 && return
    command -v "$PYTHON" >/dev/null || fail "found no $PYTHON; install Python 3.11 or newer, or name it with PYTHON=..."
    check_version "$PYTHON"
    "$PYTHON" -c 'import ensurepip, venv' 2>/dev/null ||
        fail "$PYTHON cannot make virtual environments; install python3-venv (Debian, Ubuntu: apt install python3-venv)"
    if [ -e "$VENV" ] && [ ! -e "$VENV/pyvenv.cfg" ] && [ -n "$(ls -A "$VENV")" ]; then
        fail "$VENV is there, but is no virtual environment; move it away, or name another folder with VENV=..."
    fi
    # A pip that is half there hinders the one that comes with Python; what else was installed stays.
    "$PYTHON" -m venv "$VENV" || :
    "$python" -m pip --version >/dev/null 2>&1 && return
    rm -rf "$VENV"/lib/python*/site-packages/pip "$VENV"/lib/python*/site-packages/pip-*.dist-info
    "$PYTHON" -m venv "$VENV" || :
    "$python" -m pip --version >/dev/null 2>&1 && return
    # Beyond repair. The stamps in it go with it, of which a running make takes no notice.
    stamps=$(ls "$VENV/stamps" 2>/dev/null) || stamps=
    "$PYTHON" -m venv --clear "$VENV"
    [ -z "$stamps" ] || fail "$VENV was damaged and is now a new environment, empty; run the same command again"
}

# pip writes INSTALLER after all files of a package, but takes a package for installed as soon as METADATA is there.
forget_half_installed() {
    "$python" - <<'EOF'
import pathlib
import shutil
import sysconfig

for folder in sorted({sysconfig.get_path('purelib'), sysconfig.get_path('platlib')}):
    for info in pathlib.Path(folder).glob('*.dist-info'):
        if not (info / 'INSTALLER').is_file():
            print(f'set-up: {info.name} was left half installed; it is installed anew')
            shutil.rmtree(info)
EOF
}

# mmcv has no wheel with compiled operators for this torch. Compiled ones hold for one torch, Python and platform.
install_mmcv() {
    version=$(sed -n 's/^mmcv==\([0-9.]*\).*/\1/p' "$here/transfer.txt")
    kind=cpu
    [ "${FORCE_CUDA:-0}" != 1 ] || kind=cuda
    key=$("$python" -c "import sys, sysconfig, torch; \
print(f'torch-{torch.__version__}-{sys.implementation.cache_tag}-{sysconfig.get_platform()}')")
    cache=$DUALATTN_WHEELS/$key-$kind
    if ! ls "$cache/mmcv-$version-"*.whl >/dev/null 2>&1; then
        compile_mmcv
    fi
    install --force-reinstall "$cache/mmcv-$version-"*.whl
    "$python" -c 'import torch, mmcv._ext' ||
        fail "the operators in $cache do not load with this torch; delete that folder and run again"
}

# The packages with CUDA kernels have other names, but the same modules as those without.
install_with_cuda() {
    lock=$(mktemp)
    trap 'rm -f "$lock"' EXIT
    sed -e '/^-r /d' -e 's/^cumm==/cumm-cu126==/' -e 's/^spconv==/spconv-cu126==/' "$here/transfer.txt" >"$lock"
    "$python" -m pip uninstall --disable-pip-version-check --yes cumm spconv
    install -r "$lock"
}

compile_mmcv() {
    command -v "${CXX:-c++}" >/dev/null ||
        fail "mmcv has to be compiled, but there is no C++ compiler (Debian, Ubuntu: apt install g++)"
    "$python" -c "import os, sys, sysconfig; \
sys.exit(not os.path.exists(os.path.join(sysconfig.get_path('include'), 'Python.h')))" ||
        fail "mmcv has to be compiled, but Python.h is missing (Debian, Ubuntu: apt install python3-dev)"
    echo "set-up: compiling mmcv $version for $key ($kind): about 7 minutes on 2 cores, once; kept in $cache"
    # Without FORCE_CUDA, a visible GPU would make mmcv ask for nvcc.
    [ "$kind" = cuda ] || export CUDA_VISIBLE_DEVICES=
    made=$(mktemp -d)
    trap 'rm -rf "$made"' EXIT
    # -g0: a third of the time. --no-cache-dir: pip would hand out a wheel that it built for another torch.
    CFLAGS="${CFLAGS:-} -g0" MAX_JOBS="${MAX_JOBS:-2}" "$python" -m pip wheel --disable-pip-version-check --no-deps \
        --no-build-isolation --no-cache-dir --no-binary mmcv --wheel-dir "$made" "mmcv==$version"
    # Copied under another name and renamed, so that a wheel in the cache is always whole.
    mkdir -p "$cache"
    for wheel in "$made"/*.whl; do
        mv "$wheel" "$cache/.partial.$$"
        mv "$cache/.partial.$$" "$cache/$(basename "$wheel")"
    done
}

case $set in
    core | colorize | photos | train | evaluate | transfer | video | web | export | dev | docs) ;;
    *) fail "expected one of core, colorize, photos, train, evaluate, transfer, video, web, export, dev, docs; got '$set'" ;;
esac

make_venv
check_version "$python"
forget_half_installed
install -r "$here/build.txt"
if [ "$set" = transfer ]; then
    install -r "$here/core.txt"
    install_mmcv
    if [ "${FORCE_CUDA:-0}" = 1 ]; then
        install_with_cuda
        exit
    fi
fi
install -r "$here/$set.txt"
