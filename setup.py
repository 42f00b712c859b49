"""The build of the compiled kernels, and of the configs that travel in a wheel; pyproject.toml says everything else.

The kernels need torch's headers alone. In pip's isolated build there is no torch, so they are left out there, and
`dualattn check --build` compiles them afterwards for the torch that is installed.
Environment:
    DUALATTN_BUILD        cuda, cpu or none; without it, what the compilers at hand can build and this machine can run
    TORCH_CUDA_ARCH_LIST  as torch defines it; without it, the GPU at hand, or every one from sm_75 to sm_90
    CUDA_HOME             the CUDA toolkit; without it, the one of the nvcc on PATH, or /usr/local/cuda
    MAX_JOBS              compilers at a time
"""

import runpy
import shutil
from pathlib import Path

from setuptools import setup
from setuptools.command.build_py import build_py

ROOT = Path(__file__).resolve().parent


class BuildWithConfigs(build_py):
    """Puts configs/ into dualattn/.mim/configs, where mmengine looks for what stands behind `dualattn::`."""

    def run(self) -> None:
        super().run()
        if not self.editable_mode:  # a checkout has a link there
            target = Path(self.build_lib, 'dualattn', '.mim', 'configs')
            shutil.rmtree(target, ignore_errors=True)
            shutil.copytree(ROOT / 'configs', target, ignore=shutil.ignore_patterns('__pycache__'))


# read as a file, because importing the package would import torch
kernels = runpy.run_path(str(ROOT / 'dualattn' / 'ops' / 'build.py'))
build, reason = kernels['choose_build']()
print(f'dualattn: {"no kernels, the reference runs everywhere" if build == "none" else f"{build} kernels"} ({reason})')
arguments = kernels['make_extension'](build)
arguments.setdefault('cmdclass', {})['build_py'] = BuildWithConfigs
setup(**arguments)
