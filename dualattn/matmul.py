"""Float32 matrix products on the faster of the two libraries that a CPU build of torch has for them.

torch multiplies float32 matrices by its BLAS, MKL in the released builds, and can be told to use oneDNN instead. Which
of the two is faster depends on the processor: on AMD's Zen 5 oneDNN has more than twice the pace of MKL, on Intel's
they are about equal. torch's switch is called `torch.backends.mkldnn.matmul.fp32_precision = 'bf16'`, since it *allows*
oneDNN to round to bfloat16. Most processors have no use for that and compute in float32 all the same; those with matrix
units (AMX) do round. So nothing is assumed: one product is timed and compared with float64 each way, and the answer is
kept.

The switch is one for the whole process. `fast_matmul` therefore counts who is inside, never overrules a setting that
the user made, and puts back what it found when the last one leaves.
"""

import contextlib
import functools
import hashlib
import json
import logging
import math
import os
import platform
import threading
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import nn

__all__ = ['PRECISIONS', 'MatmulProbe', 'fast_matmul', 'find_product', 'probe_matmul']

PRECISIONS = ('float32', 'bfloat16')
# tokens, inputs, outputs: the MLP of dualattn_tiny's third stage, one image of 224 px
DEFAULT_PRODUCT = (196, 384, 1536)
MAX_ERROR_RATIO = 2.0  # against the error of the default way; what the kernels of this package are held to as well
MAX_BFLOAT16_ERROR = 0.01  # of the result's spread; rounding both factors to 8 bits gives 0.0024
MIN_GAIN = 1.05  # times as fast; less is noise
ROUNDS = 7

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class MatmulProbe:
    """One product of float32 matrices, computed both ways.

    Attributes:
        seconds: the fastest of some rounds, torch's default way.
        fast_seconds: the same through the switch.
        error: root of the mean squared difference from float64 over that of the result, the default way.
        fast_error: the same through the switch.
    """

    seconds: float
    fast_seconds: float
    error: float
    fast_error: float

    def is_exact(self, precision: str) -> bool:
        """Tell whether results through the switch are good enough for a precision."""
        limit = MAX_BFLOAT16_ERROR if precision == 'bfloat16' else MAX_ERROR_RATIO * self.error
        return self.fast_error <= limit

    def is_faster(self) -> bool:
        """Tell whether the switch gains more than noise."""
        return self.seconds >= MIN_GAIN * self.fast_seconds


@contextlib.contextmanager
def fast_matmul(
    product: tuple[int, int, int] = DEFAULT_PRODUCT,
    precision: str = 'float32',
    device: str | torch.device = 'cpu',
) -> Iterator[bool]:
    """Multiply float32 matrices on a CPU the faster way, where that is as exact.

    >>> with dualattn.fast_matmul():
    ...     logits = model(images)

    The first use on a machine times one product each way (some 50 ms) and remembers the answer in
    `~/.cache/dualattn/matmul.json` (`XDG_CACHE_HOME` names another place than ~/.cache); what was decided is logged
    once. The faster way is taken only if its error against float64 is at most twice that of the default. On another
    device than a CPU, with a torch that has no such switch (before 2.9), and where the user has set
    `torch.backends.mkldnn.matmul.fp32_precision` himself, nothing happens.

    torch's switch is one for the whole process: while a thread is inside, products of other threads take it as well,
    unless one of them is inside with a precision that it would break. torch refuses
    `torch.get_float32_matmul_precision()` while the switch is on, because that older function cannot describe it.

    Args:
        product: (rows, inputs, outputs) of the product to time, positive; see `find_product`.
        precision: 'float32', or 'bfloat16' to allow factors that are rounded to bfloat16 where the processor multiplies
            those faster. Tensors and sums stay float32 either way.
        device: where the products are to be computed.

    Yields:
        Whether the faster way was chosen.

    Raises:
        ValueError: an unknown precision, or a product of no work.
    """
    if precision not in PRECISIONS:
        raise ValueError(f'precision has to be one of {", ".join(PRECISIONS)}, got {precision!r}')
    if len(product) != 3 or min(product) < 1:
        raise ValueError(f'product has to be three positive numbers (rows, inputs, outputs), got {product}')
    if torch.device(device).type != 'cpu' or not _has_switch():
        yield False
        return
    probe = _recall_probe(tuple(product), torch.get_num_threads())
    exact = probe.is_exact(precision)
    taken = exact and probe.is_faster()
    _log_choice(probe, precision, taken)
    wish = 'take' if taken else 'indifferent' if exact else 'refuse'
    _SWITCH.enter(wish)
    try:
        yield taken
    finally:
        _SWITCH.leave(wish)


def find_product(model: nn.Module, side: int) -> tuple[int, int, int]:
    """Return the product of linear layers in which a pyramid network does most of its work.

    Every stage of a pyramid does about equal work in each layer, the product of tokens, inputs and outputs. So most is
    done by the kind of layer that comes most often, and the tokens of any layer follow from those of the largest, which
    sees the image at a 32nd of its side.

    Args:
        model: a network; without linear layers, that of `fast_matmul` is returned.
        side: of the square image, in pixels.
    """
    layers = Counter(
        (layer.in_features, layer.out_features) for layer in model.modules() if isinstance(layer, nn.Linear)
    )
    if not layers:
        return DEFAULT_PRODUCT
    inputs, outputs = max(layers, key=lambda layer: (layers[layer], layer[0] * layer[1]))
    work = max(1, side // 32) ** 2 * max(first * second for first, second in layers)
    return max(1, work // (inputs * outputs)), inputs, outputs


def probe_matmul(product: tuple[int, int, int]) -> MatmulProbe:
    """Compute one linear layer on random numbers each way, in turn, and compare both with float64.

    Args:
        product: (rows, inputs, outputs).
    """
    rows, inputs, outputs = product
    generator = torch.Generator().manual_seed(0)  # the user's random numbers stay as they are
    options = dict(generator=generator, dtype=torch.float32, device='cpu')
    with torch.inference_mode(), torch.autocast('cpu', enabled=False):
        x, weight = torch.randn(rows, inputs, **options), torch.randn(outputs, inputs, **options)
        exact = F.linear(x.double(), weight.double())
        spread = exact.square().mean().sqrt()
        seconds: dict[str, float] = {}
        errors: dict[str, float] = {}
        for _ in range(ROUNDS):
            for value in ('none', 'bf16'):
                _write_switch(value)
                begin = time.perf_counter()
                result = F.linear(x, weight)
                elapsed = time.perf_counter() - begin
                seconds[value] = min(elapsed, seconds.get(value, elapsed))
                errors[value] = float((result - exact).square().mean().sqrt() / spread)
    return MatmulProbe(seconds['none'], seconds['bf16'], errors['none'], errors['bf16'])


# --- the switch


def _has_switch() -> bool:
    """Tell whether torch has the switch: it came with 2.9, and needs oneDNN."""
    backend = torch.backends.mkldnn
    return backend.is_available() and hasattr(getattr(backend, 'matmul', None), 'fp32_precision')


def _read_switch() -> str:
    return getattr(torch.backends.mkldnn, 'matmul').fp32_precision  # noqa: B009 (torch's types do not know it)


def _write_switch(value: str) -> None:
    getattr(torch.backends.mkldnn, 'matmul').fp32_precision = value  # noqa: B009 (as above)


class _Switch:
    """Torch's switch, shared by all that are inside `fast_matmul`.

    It is on while at least one of them takes it and none refuses it.
    """

    def __init__(self):
        self._lock = threading.Lock()
        self._wishes: Counter[str] = Counter()
        self._found = ''  # what stood there before the first came

    def enter(self, wish: str) -> None:
        with self._lock:
            if not self._wishes.total():
                self._found = _read_switch()
            self._wishes[wish] += 1
            self._apply()

    def leave(self, wish: str) -> None:
        with self._lock:
            self._wishes[wish] -= 1
            self._apply()

    def probe(self, product: tuple[int, int, int]) -> MatmulProbe:
        """Probe while nobody comes or goes, and put back what stood there."""
        with self._lock:
            found = _read_switch()
            try:
                return probe_matmul(product)
            finally:
                _write_switch(found)

    def _apply(self) -> None:
        if self._found != 'none':  # the user's own choice, or that of the program around
            return
        is_on = self._wishes['take'] and not self._wishes['refuse']
        _write_switch('bf16' if is_on else self._found)


_SWITCH = _Switch()


@functools.cache
def _log_choice(probe: MatmulProbe, precision: str, taken: bool) -> None:
    logger.info(
        '%s matrix products: %s (through the switch %.2f times as fast, error %.1e instead of %.1e)',
        precision,
        'oneDNN' if taken else "torch's default",
        probe.seconds / probe.fast_seconds,
        probe.fast_error,
        probe.error,
    )


# --- the memory of the machine


_PROBE_LOCK = threading.Lock()  # two threads that come first probe once


def _recall_probe(product: tuple[int, int, int], threads: int) -> MatmulProbe:
    with _PROBE_LOCK:
        return _recall_probe_once(product, threads)


@functools.cache
def _recall_probe_once(product: tuple[int, int, int], threads: int) -> MatmulProbe:
    """Return what the machine's file says of a product; probe and write it there if it says nothing."""
    from dualattn.io.files import find_cache_folder  # not with `import dualattn`

    path = find_cache_folder() / 'matmul.json'
    key = f'{_name_machine()}, {threads} threads, {" x ".join(map(str, product))}'
    known = _read_probes(path)
    if key in known:
        return known[key]
    probe = _SWITCH.probe(product)
    try:
        _write_probes(path, {**known, key: probe})
    except OSError as error:  # a read-only home costs a probe in each process, no more
        logger.info('%s: cannot be written, each process will probe anew: %s', path, error)
    return probe


def _name_machine() -> str:
    """Name what decides: processor with its instructions (a virtual machine hides some), torch, oneDNN's settings."""
    processor, flags = platform.processor() or platform.machine(), ''
    info = Path('/proc/cpuinfo')
    if info.is_file():
        pairs = (line.partition(':') for line in info.read_text().splitlines() if ':' in line)
        fields = {name.strip(): value.strip() for name, _, value in pairs}
        processor, flags = fields.get('model name', processor), fields.get('flags', '')
    settings = [
        f'{name}={os.environ[name]}'
        for name in sorted(os.environ)
        if name.startswith(('ONEDNN_', 'DNNL_')) and name.endswith(('_ISA', '_MODE', '_HINTS'))
    ]
    instructions = hashlib.sha256(flags.encode()).hexdigest()[:8]
    return ', '.join([f'{processor} ({instructions})', f'torch {torch.__version__}', *settings])


def _read_probes(path: Path) -> dict[str, MatmulProbe]:
    """Read the file of earlier probes; what is none of ours is left out, and the file is written anew with the next."""
    try:
        entries = json.loads(path.read_text(encoding='utf-8'))
        return {key: _parse_probe(**entry) for key, entry in entries.items()}
    except FileNotFoundError:
        return {}
    except (OSError, ValueError, TypeError, AttributeError) as error:
        logger.warning('%s: is not read, since it is no file of probes: %s', path, error)
        return {}


def _parse_probe(**numbers: float) -> MatmulProbe:
    if not all(isinstance(number, float) and 0 <= number < math.inf for number in numbers.values()):
        raise ValueError(f'expected times and errors, got {numbers}')
    probe = MatmulProbe(**numbers)
    if not (probe.seconds > 0 and probe.fast_seconds > 0):
        raise ValueError(f'expected times above 0, got {numbers}')
    return probe


def _write_probes(path: Path, probes: dict[str, MatmulProbe]) -> None:
    from dualattn.io.files import write_json  # as above

    path.parent.mkdir(parents=True, exist_ok=True)
    write_json(path, {key: asdict(probe) for key, probe in probes.items()})
