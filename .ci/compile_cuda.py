"""Compiles and links the CUDA kernels without a GPU, loads the library, and reports what ptxas says of every kernel.

Fails when a file does not compile, when the library does not load, when the machine code of an architecture is missing,
and when a kernel for tensor cores keeps registers in memory. Where there is no CUDA toolkit it fails too, unless
DUALATTN_NO_NVCC=1 says that this is known.

    python .ci/compile_cuda.py [architecture, by default 8.0 and 9.0] ...
"""

import os
import re
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
LOAD = """
import ctypes, os, sys, torch
torch.ops.load_library(sys.argv[1])
library = ctypes.CDLL(sys.argv[1], mode=os.RTLD_NOW)
assert library.dualattn_has_cuda() == 1, 'the library holds no CUDA kernels'
"""
# what ptxas prints about one kernel, for one architecture
ENTRY = re.compile(
    r"entry function '(?P<name>\S+)' for '(?P<architecture>\w+)'.*?(?P<spilled>\d+) bytes spill stores, "
    r'(?P<reloaded>\d+) bytes spill loads.*?Used (?P<registers>\d+) registers(?P<rest>[^\n]*)',
    re.DOTALL,
)
# a mangled name
KERNEL = re.compile(
    r'(?P<operator>sda|fca)_(?P<path>mma|simt)_cu_[0-9a-f]{8}\d+(?P<kernel>\w+?)_kernel'
    r'I(?:\d+__)?(?P<type>f|half|nv_bfloat16)Li(?P<width>\d+)'
)


def build(architectures: list[str], folder: Path) -> tuple[Path, str]:
    """Builds the library in `folder`; returns it and what the compilers printed."""
    environment = {
        **os.environ,
        'DUALATTN_BUILD': 'cuda',
        'TORCH_CUDA_ARCH_LIST': ';'.join(architectures),
        'NVCC_APPEND_FLAGS': '-Xptxas=-v',
    }
    done = subprocess.run(
        [sys.executable, '-W', 'ignore', 'setup.py', 'build_ext', '--build-lib', folder, '--build-temp', folder],
        cwd=ROOT,
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    if done.returncode != 0:
        sys.exit(f'{done.stdout}\nCUDA kernels: the build failed, see above')
    return next(folder.glob('dualattn/_C*.so')), done.stdout


def report(log: str) -> list[str]:
    """Prints registers, shared memory and spills of every kernel; returns what is wrong."""
    problems = []
    print(f'{"kernel":46}{"for":8}{"registers":>10}{"spilled bytes":>15}')
    for entry in ENTRY.finditer(log):
        match = KERNEL.search(entry['name'])
        if match is None:  # a kernel without a type, which only tells versions apart
            continue
        name = '{operator} {path} {kernel} {type} {width}'.format(**match.groupdict())
        spilled = int(entry['spilled']) + int(entry['reloaded'])
        print(f'{name:46}{entry["architecture"]:8}{entry["registers"]:>10}{spilled:>15}')
        if spilled and match['path'] == 'mma':
            problems.append(f'{name} for {entry["architecture"]} keeps {spilled} bytes of its registers in memory')
    return problems


def main() -> None:
    """Builds, loads and reports."""
    architectures = sys.argv[1:] or ['8.0', '9.0']
    if os.environ.get('DUALATTN_NO_NVCC') == '1':
        print('CUDA kernels: NOT COMPILED AND NOT CHECKED, because DUALATTN_NO_NVCC=1')
        return
    with tempfile.TemporaryDirectory() as folder:
        library, log = build(architectures, Path(folder))
        problems = report(log)
        for architecture in (name.split('+')[0].replace('.', '') for name in architectures):
            if f"for 'sm_{architecture}'" not in log:
                problems.append(f'there is no machine code for sm_{architecture}')
        loaded = subprocess.run([sys.executable, '-c', LOAD, library], capture_output=True, text=True)
        if loaded.returncode != 0:
            problems.append(f'the library does not load:\n{loaded.stderr}')
    for problem in problems:
        print(f'CUDA kernels: {problem}', file=sys.stderr)
    if problems:
        sys.exit(1)
    print(f'CUDA kernels: compiled and linked for {", ".join(architectures)}')


if __name__ == '__main__':
    main()
