"""Engines: PyTorch, ONNX Runtime, OpenVINO.

One forward pass of the backbone, and of the packaged colorizer at its own size, at batch 1, each engine in a process of
its own, with what its answer differs from PyTorch's in float32: of the colorizer in Lab units, the mean and the largest
over all pixels; of the backbone relative to its largest logit. ONNX files are exported once and read by both others.
"""

from __future__ import annotations

import argparse
import multiprocessing
import tempfile
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

from dualattn.benchmarks.record import Row, Run
from dualattn.benchmarks.suite import Goal, Table
from dualattn.benchmarks.timing import summarize_seconds
from dualattn.commands.parser import suggest

if TYPE_CHECKING:
    import numpy as np
    import torch

NETWORKS = ('dualattn_tiny', 'davit_tiny', 'packaged colorizer')
ENGINES = (
    'torch',
    'torch, fast_matmul',
    'torch, bf16',
    'onnxruntime',
    'onnxruntime, int8',
    'openvino',
    'openvino, bf16',
)
PACKAGES = {'torch': 'torch', 'onnxruntime': 'onnxruntime', 'openvino': 'openvino'}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options of this suite."""
    parser.add_argument('--networks', nargs='+', default=list(NETWORKS), choices=NETWORKS)
    parser.add_argument(
        '--engines', nargs='+', default=list(ENGINES), metavar='ENGINE', help=f'of: {"; ".join(ENGINES)}'
    )
    parser.add_argument('--rounds', type=int, default=15, help='timed passes of each')


def make_network(name: str) -> tuple[torch.nn.Module, torch.Tensor]:
    """Return a network, the same at every call, and a batch of one."""
    import torch

    torch.manual_seed(0)
    if name == 'packaged colorizer':
        from colorization.checkpoints import default_weights_path, load_network

        network = load_network(default_weights_path())
        side = getattr(network, 'inference_size', 256)
        coarse = torch.rand(1, 1, side // 8, side // 8) * 100
        return network.eval(), torch.nn.functional.interpolate(coarse, (side, side), mode='bicubic').clamp(0, 100)
    import timm

    import dualattn.models  # noqa: F401  registers the models

    return timm.create_model(name).eval(), torch.randn(1, 3, 224, 224)


def export(name: str, path: Path) -> None:
    """Write a network as ONNX."""
    import torch

    network, batch = make_network(name)
    with torch.inference_mode():
        torch.onnx.export(network, (batch,), str(path), dynamo=True, input_names=['input'], verbose=False)


def run_engine(engine: str, name: str, path: Path, threads: int, rounds: int) -> tuple[list[float], np.ndarray]:
    """Return the seconds that this process computed in each round, and the answer; for a process of its own."""
    import torch

    torch.set_num_threads(threads)
    network, batch = make_network(name)
    library = engine.partition(',')[0]
    make = {'torch': _make_torch, 'onnxruntime': _make_onnxruntime, 'openvino': _make_openvino}[library]
    run = make(engine, network, batch, path, threads)
    seconds = []
    for _ in range(rounds + 3):
        begin = time.process_time()
        answer = run()
        seconds.append(time.process_time() - begin)
    return seconds[3:], answer


def _make_torch(engine: str, network: Any, batch: torch.Tensor, path: Path, threads: int) -> Callable:
    import torch

    from dualattn.matmul import fast_matmul, find_product

    dtype = torch.bfloat16 if engine.endswith('bf16') else torch.float32
    network, batch = network.to(dtype, memory_format=torch.channels_last), batch.to(dtype)

    @torch.inference_mode()
    def run() -> np.ndarray:
        return network(batch).float().numpy()

    return fast_matmul(find_product(network, batch.shape[-1]))(run) if engine.endswith('fast_matmul') else run


def _make_onnxruntime(engine: str, network: torch.nn.Module, batch: torch.Tensor, path: Path, threads: int) -> Callable:
    import onnxruntime

    if engine.endswith('int8'):
        import onnx
        from onnxruntime.quantization import quantize_dynamic

        model = onnx.load(path)
        del model.graph.value_info[
            :
        ]  # the exporter's notes on shapes contradict what it folded; they are inferred anew
        smaller = path.with_name(f'{path.stem}_int8.onnx')
        quantize_dynamic(model, smaller)
        path = smaller
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads, options.inter_op_num_threads = threads, 1
    session = onnxruntime.InferenceSession(str(path), options, providers=['CPUExecutionProvider'])
    feed = {session.get_inputs()[0].name: batch.numpy()}
    return lambda: session.run(None, feed)[0]


def _make_openvino(engine: str, network: torch.nn.Module, batch: torch.Tensor, path: Path, threads: int) -> Callable:
    import openvino

    precision = 'bf16' if engine.endswith('bf16') else 'f32'
    settings = {'INFERENCE_NUM_THREADS': threads, 'NUM_STREAMS': 1, 'INFERENCE_PRECISION_HINT': precision}
    compiled = openvino.Core().compile_model(str(path), 'CPU', settings)
    values = batch.numpy()
    return lambda: compiled(values)[0].copy()


def check_engines(engines: list[str]) -> None:
    """Refuse engines that are unknown or not installed.

    Raises:
        ValueError: names the engine and the reason.
    """
    for engine in engines:
        if engine not in ENGINES:
            raise ValueError(f'there is no engine {engine!r}{suggest(engine, ENGINES)}')
        package = PACKAGES[engine.partition(',')[0]]
        if find_spec(package) is None:
            raise ValueError(f'the engine {engine!r} needs the package {package}: pip install {package}')


def measure(args: argparse.Namespace) -> Iterator[Row]:
    """Export each network, then run every engine in a process of its own."""
    import numpy as np

    check_engines(args.engines)
    engines = ['torch', *(engine for engine in args.engines if engine != 'torch')]  # the others are compared with it
    spawn = multiprocessing.get_context('spawn')
    with tempfile.TemporaryDirectory() as folder:
        for number, name in enumerate(args.networks):
            path, exact = Path(folder, f'{number}.onnx'), None
            for engine in engines:
                # one task a process: what one engine loads or pins must not slow the next
                with ProcessPoolExecutor(1, mp_context=spawn) as process:
                    if not engine.startswith('torch') and not path.exists():
                        process.submit(export, name, path).result()
                with ProcessPoolExecutor(1, mp_context=spawn) as process:
                    seconds, answer = process.submit(run_engine, engine, name, path, args.threads, args.rounds).result()
                exact = answer if exact is None else exact
                difference = np.abs(answer - exact) / (1.0 if 'colorizer' in name else np.abs(exact).max())
                figures = dict(largest_error=float(difference.max()), mean_error=float(difference.mean()))
                yield Row(dict(network=name), engine, summarize_seconds(seconds, 'process'), figures)


def tabulate(run: Run) -> Table:
    """Show a line for each network and engine."""
    rows = []
    for case, sides in run.sides().items():
        first = sides.get('torch')
        for engine, row in sides.items():
            timing, figures = row.time, row.figures
            rows.append(
                [
                    dict(case)['network'],
                    engine,
                    f'{timing.median * 1e3:.1f} ({timing.quartiles[0] * 1e3:.1f} to {timing.quartiles[1] * 1e3:.1f})',
                    f'{first.time.median / timing.median:.2f}' if first else '',
                    f'{figures["mean_error"]:.1e}',
                    f'{figures["largest_error"]:.1e}',
                ]
            )
    return Table(['network', 'engine', 'ms (quartiles)', 'times as fast', 'mean error', 'largest error'], rows)


def judge(run: Run) -> list[Goal]:
    """Nothing was aimed at."""
    return []
