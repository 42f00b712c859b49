"""Refuse to build a distribution without the network."""

from pathlib import Path

from setuptools import setup
from setuptools.command.build_py import build_py


class BuildWithModel(build_py):
    def run(self):
        folder = Path(__file__).resolve().parent / 'dualattn_light' / 'model'
        missing = [name for name in ('colors.onnx', 'join.onnx') if not (folder / name).is_file()]
        if missing:
            raise SystemExit(
                f'{folder} lacks {" and ".join(missing)}, which are made by: dualattn export photo packaged -o {folder}'
            )
        super().run()


setup(cmdclass={'build_py': BuildWithModel})
