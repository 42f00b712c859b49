"""How time and memory are measured: sides interleaved in one process, medians, peaks above what was there before."""

import ctypes
import gc
import itertools
import json
import statistics
import tempfile
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from dualattn.benchmarks.record import Timing

if TYPE_CHECKING:
    import torch

__all__ = [
    'DTYPES',
    'dtype_of',
    'measure_peak_memory',
    'measure_resident_peak',
    'profile_operators',
    'read_status',
    'summarize_seconds',
    'time_interleaved',
]

DTYPES = {'fp32': 'float32', 'fp16': 'float16', 'bf16': 'bfloat16'}


def dtype_of(name: str) -> 'torch.dtype':
    """Return the dtype of a name in `DTYPES`."""
    import torch

    return getattr(torch, DTYPES[name])


def _read_children() -> float:
    import resource  # which Windows has not

    usage = resource.getrusage(resource.RUSAGE_CHILDREN)
    return usage.ru_utime + usage.ru_stime


_CLOCKS = {'process': time.process_time, 'wall': time.perf_counter, 'children': _read_children}


def summarize_seconds(seconds: list[float], clock: str) -> Timing:
    """Return the median and the quartiles of some rounds; numbers below a nanosecond count as one."""
    seconds = [max(value, 1e-9) for value in seconds]
    first, _, third = statistics.quantiles(seconds, n=4, method='inclusive') if len(seconds) > 1 else seconds * 3
    return Timing(statistics.median(seconds), (first, third), len(seconds), clock)


def time_interleaved(
    sides: Mapping[str, Callable[[], object]],
    rounds: int,
    device: str = 'cpu',
    warm_up: int = 2,
    clock: str = 'process',
) -> dict[str, Timing]:
    """Run every side once a round and return the seconds of each.

    A CPU is timed by the seconds that this process computed, summed over its threads: the figure of one thread then
    does not depend on what else the machine does, as far as caches allow. What other processes or disks do for a side
    is seen by the clock on the wall alone. A GPU is timed by its own events, with nothing in its caches, and without
    the gaps in which it would wait for the CPU.

    Args:
        sides: what to run, by name.
        rounds: that count.
        device: 'cpu' or a CUDA device.
        warm_up: rounds before them.
        clock: 'process' or 'wall', for a CPU, or 'children': what processes computed that were started and waited for.
    """
    from tqdm import tqdm

    seconds: dict[str, list[float]] = {name: [] for name in sides}
    queueing = dict.fromkeys(sides, 0.0)  # seconds that the CPU took for the call of the round before
    on_gpu = device.startswith('cuda')
    read_clock = _CLOCKS[clock]
    if on_gpu:
        import torch

        flush = torch.zeros(2**26, device=device)  # 256 MiB, more than a cache holds
    for round_ in tqdm(range(rounds + warm_up), leave=False, unit='round', disable=None):
        for name, run in sides.items():
            if on_gpu:
                flush.sum()
                # the GPU rests while the CPU queues the whole call, at 2e9 cycles a second or less
                torch.cuda._sleep(int(3e9 * min(queueing[name], 0.2)))
                start, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
                start.record()
                begin = time.perf_counter()
                run()
                queueing[name] = time.perf_counter() - begin
                end.record()
                end.synchronize()
                elapsed = start.elapsed_time(end) / 1e3
            else:
                begin = read_clock()
                run()
                elapsed = read_clock() - begin
            if round_ >= warm_up:
                seconds[name].append(elapsed)
    return {name: summarize_seconds(values, 'gpu' if on_gpu else clock) for name, values in seconds.items()}


def measure_peak_memory(run: Callable[[], object], device: str = 'cpu') -> int:
    """Return the bytes of the tensors that a run holds at its peak, above those held before, on any device.

    It is what PyTorch's allocator counts. The resident memory of the process depends on what ran before: a heap keeps
    what was freed, and takes more where the next block does not fit.
    """
    import torch
    from torch.profiler import ProfilerActivity, profile

    if device.startswith('cuda'):
        torch.cuda.synchronize()
        before = torch.cuda.memory_allocated()
        torch.cuda.reset_peak_memory_stats()
        run()
        torch.cuda.synchronize()
        return torch.cuda.max_memory_allocated() - before
    with profile(activities=[ProfilerActivity.CPU], profile_memory=True) as record:
        run()
    with tempfile.TemporaryDirectory() as folder:
        trace = Path(folder, 'trace.json')
        record.export_chrome_trace(str(trace))
        events = json.loads(trace.read_text(encoding='utf-8'))['traceEvents']
    steps = sorted((event for event in events if event['name'] == '[memory]'), key=lambda event: event['ts'])
    return max(itertools.accumulate((step['args']['Bytes'] for step in steps), initial=0))


def profile_operators(run: Callable[[], object], most: int = 6) -> dict[str, float]:
    """Return the operators in which the CPU spends most of a run, with their shares of its time."""
    from torch.profiler import ProfilerActivity, profile

    with profile(activities=[ProfilerActivity.CPU]) as record:
        run()
    seconds = {event.key: event.self_cpu_time_total for event in record.key_averages()}
    largest = sorted(seconds, key=seconds.__getitem__, reverse=True)[:most]
    return {name: seconds[name] / sum(seconds.values()) for name in largest}


def measure_resident_peak(run: Callable[[], object]) -> int | None:
    """Return the resident bytes that a run adds to the process at its peak; None where this cannot be told.

    It sees what libraries beside PyTorch hold as well. Linux lets a process set its high-water mark back.
    """
    reset = Path('/proc/self/clear_refs')
    if not reset.is_file():
        return None
    gc.collect()
    ctypes.CDLL(None).malloc_trim(0)  # what earlier runs freed may still be the process's, and would hide this one's
    reset.write_text('5')
    before = read_status('VmRSS')
    run()
    return read_status('VmHWM') - before


def read_status(name: str) -> int:
    """Return a number of bytes that Linux notes about this process, such as 'VmRSS' or its peak, 'VmHWM'."""
    lines = Path('/proc/self/status').read_text().splitlines()
    return next(int(line.split()[1]) * 1024 for line in lines if line.startswith(f'{name}:'))
