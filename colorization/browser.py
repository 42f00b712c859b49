"""The page that colorizes in the visitor's browser: our sources, and the runtime, which npm gets."""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
from pathlib import Path

from dualattn.io.files import write_whole

__all__ = ['write_page']

SOURCES = Path(__file__).parent / 'browser_page'
# of onnxruntime-web: the interface, and the runtime for processors alone, which is half as large as those for GPUs
RUNTIME = ('ort.wasm.min.mjs', 'ort-wasm-simd-threaded.mjs', 'ort-wasm-simd-threaded.wasm')


def write_page(folder: str | os.PathLike) -> None:
    """Write the page and its runtime, all but the two files of `export_photo_files`, which go into its folder `model`.

    npm installs the version that package-lock.json pins, by its hash, and runs no script of any package.

    Raises:
        FileNotFoundError: there is no npm.
        RuntimeError: npm could not get the runtime; says why.
        OSError: a file cannot be written.
    """
    folder = Path(folder)
    npm = shutil.which('npm')
    if npm is None:
        raise FileNotFoundError('npm is missing, which gets the runtime of the page: apt-get install npm')
    with tempfile.TemporaryDirectory() as place:
        for name in ('package.json', 'package-lock.json'):
            shutil.copy(SOURCES / name, place)
        command = [npm, 'ci', '--ignore-scripts', '--no-audit', '--no-fund', '--prefer-offline']
        done = subprocess.run(command, cwd=place, capture_output=True, text=True)
        if done.returncode:
            raise RuntimeError(f'npm cannot get onnxruntime-web: {done.stderr.strip()}')
        runtime = Path(place, 'node_modules', 'onnxruntime-web')
        (folder / 'runtime').mkdir(parents=True, exist_ok=True)
        files = {folder / 'runtime' / name: runtime / 'dist' / name for name in RUNTIME}
        pages = (path for path in SOURCES.iterdir() if path.suffix in ('.html', '.css', '.mjs'))
        files.update({folder / path.name: path for path in pages})
        for target, source in files.items():
            with write_whole(target) as aside:
                shutil.copyfile(source, aside)
