"""What a record says of the machine: its name, the code that ran, and what else it was busy with."""

import os
import platform
import subprocess
import time
from pathlib import Path

__all__ = ['OtherLoad', 'describe_commit', 'load_average', 'name_device', 'name_processor']


def name_processor() -> str:
    """Return the processor's name and how many of its cores there are."""
    name = platform.processor() or platform.machine()
    info = Path('/proc/cpuinfo')
    if info.is_file():
        lines = info.read_text(encoding='utf-8', errors='replace').splitlines()
        name = next((line.split(':', 1)[1].strip() for line in lines if line.startswith('model name')), name)
    return f'{name}, {os.cpu_count()} cores'


def name_device(device: str) -> str:
    """Return 'cpu', or the name of a GPU."""
    if not device.startswith('cuda'):
        return device
    import torch

    return torch.cuda.get_device_name(device)


def describe_commit(folder: Path) -> str:
    """Return the commit of the checkout that holds a folder, with '-dirty' where files differ; '' without one."""
    try:
        run = subprocess.run(
            ['git', '-C', str(folder), 'describe', '--always', '--dirty', '--abbrev=12', '--exclude=*'],
            capture_output=True,
            text=True,
            check=False,
            timeout=30,
        )
    except (OSError, subprocess.TimeoutExpired):
        return ''
    return run.stdout.strip() if run.returncode == 0 else ''


def load_average() -> float | None:
    """Return how many processes wanted a core in the last minute; None where the system does not say."""
    try:
        return round(os.getloadavg()[0], 2)
    except (OSError, AttributeError):
        return None


class OtherLoad:
    """How many cores other processes take, from now on; Linux counts what all cores do.

    Children of this process that have ended count as its own.
    """

    def __init__(self, stat: Path = Path('/proc/stat')):
        self._stat = stat
        self._begin = self._read()

    def cores(self) -> float | None:
        """Return the mean so far, in cores; None where it cannot be told."""
        now = self._read()
        if now is None or self._begin is None:
            return None
        elapsed, busy, own = (end - begin for end, begin in zip(now, self._begin, strict=True))
        return round(max(0.0, busy - own) / elapsed, 3) if elapsed > 0 else 0.0

    def _read(self) -> tuple[float, float, float] | None:
        try:
            line = self._stat.read_text(encoding='utf-8').splitlines()[0].split()
        except OSError:
            return None
        user, nice, system, _, _, irq, softirq, steal = map(int, line[1:9])
        busy = (user + nice + system + irq + softirq + steal) / os.sysconf('SC_CLK_TCK')
        return time.monotonic(), busy, sum(os.times()[:4])
