"""The context for faster matrix products: its decision from made-up probes, its file, and the switch that it leaves."""

import json
import logging
import threading

import pytest
import torch

import dualattn
from dualattn import matmul
from dualattn.matmul import MatmulProbe, fast_matmul, find_product, probe_matmul

PRODUCT = (8, 16, 24)
ZEN5 = MatmulProbe(seconds=1.0, fast_seconds=0.45, error=4e-7, fast_error=5e-7)  # computes in float32, faster
INTEL = MatmulProbe(seconds=1.0, fast_seconds=1.01, error=4e-7, fast_error=4e-7)  # the same kernels both ways
AMX = MatmulProbe(seconds=1.0, fast_seconds=0.2, error=4e-7, fast_error=2.4e-3)  # rounds to bfloat16
BROKEN = MatmulProbe(seconds=1.0, fast_seconds=0.2, error=4e-7, fast_error=0.4)

needs_switch = pytest.mark.skipif(not matmul._has_switch(), reason='this torch has no such switch')


def switch():
    return torch.backends.mkldnn.matmul.fp32_precision


@pytest.fixture(autouse=True)
def fresh(tmp_path, monkeypatch):
    """No memory from other tests or from this machine; the switch has to be left as it was."""
    monkeypatch.setenv('XDG_CACHE_HOME', str(tmp_path / 'cache'))
    matmul._recall_probe_once.cache_clear()
    matmul._log_choice.cache_clear()
    before = switch() if matmul._has_switch() else None
    yield
    matmul._recall_probe_once.cache_clear()
    if before is not None:
        assert switch() == before == 'none'


@pytest.fixture
def answer(monkeypatch):
    """Function that makes every later probe give one answer; returns the products that were asked about."""

    def answer(probe):
        asked = []

        def fake(product):
            asked.append(product)
            return probe

        monkeypatch.setattr(matmul, 'probe_matmul', fake)
        matmul._recall_probe_once.cache_clear()
        return asked

    return answer


# --- the decision


@needs_switch
@pytest.mark.parametrize(
    ('probe', 'precision', 'taken'),
    [
        (ZEN5, 'float32', True),
        (INTEL, 'float32', False),
        (AMX, 'float32', False),
        (AMX, 'bfloat16', True),
        (BROKEN, 'bfloat16', False),
        (INTEL, 'bfloat16', False),
        (MatmulProbe(1.0, 0.5, 4e-7, 8e-7), 'float32', True),  # twice the error is the limit
        (MatmulProbe(1.0, 0.5, 4e-7, 8.1e-7), 'float32', False),
        (MatmulProbe(1.0, 0.5, 4e-7, float('nan')), 'float32', False),
        (MatmulProbe(1.0, 0.97, 4e-7, 4e-7), 'float32', False),  # no more than noise
    ],
)
def test_faster_way_is_taken_where_it_is_as_exact(answer, probe, precision, taken):
    answer(probe)
    with fast_matmul(PRODUCT, precision) as chosen:
        assert chosen is taken
        assert switch() == ('bf16' if taken else 'none')


@pytest.mark.parametrize('kwargs', [dict(precision='tf32'), dict(product=(0, 3, 3)), dict(product=(3, 3))])
def test_bad_arguments_are_refused(kwargs):
    with pytest.raises(ValueError, match='has to be'), fast_matmul(**kwargs):
        pass


def test_other_devices_and_older_torch_are_left_alone(answer, monkeypatch):
    asked = answer(ZEN5)
    with fast_matmul(device='cuda:1') as chosen:
        assert chosen is False
    with fast_matmul(device=torch.device('meta')) as chosen:
        assert chosen is False
    with monkeypatch.context() as patch:
        patch.delattr(type(torch.backends.mkldnn), 'matmul', raising=False)
        with fast_matmul() as chosen:
            assert chosen is False
    assert asked == []


@needs_switch
@pytest.mark.parametrize('own', ['ieee', 'bf16', 'tf32'])
def test_users_own_setting_is_not_touched(answer, own):
    answer(ZEN5)
    torch.backends.mkldnn.matmul.fp32_precision = own
    try:
        with fast_matmul(PRODUCT):
            assert switch() == own
        assert switch() == own
    finally:
        torch.backends.mkldnn.matmul.fp32_precision = 'none'


# --- the switch is put back


@needs_switch
def test_exceptions_and_nesting(answer):
    answer(ZEN5)
    with pytest.raises(KeyError), fast_matmul(PRODUCT), fast_matmul(PRODUCT):
        raise KeyError
    assert switch() == 'none'
    with fast_matmul(PRODUCT):
        with fast_matmul(PRODUCT):
            pass
        assert switch() == 'bf16'
    assert switch() == 'none'


@needs_switch
def test_exact_precision_inside_a_loose_one(answer):
    answer(AMX)
    with fast_matmul(PRODUCT, 'bfloat16'):
        assert switch() == 'bf16'
        with fast_matmul(PRODUCT):
            assert switch() == 'none'  # the inner block was promised float32
        assert switch() == 'bf16'


@needs_switch
def test_decorated_function(answer):
    answer(ZEN5)

    @fast_matmul(PRODUCT)
    def compute():
        return switch()

    assert [compute(), compute(), switch()] == ['bf16', 'bf16', 'none']


@needs_switch
def test_threads_that_overlap(answer):
    """The first to leave takes nothing from those that are still inside; the last one puts the switch back."""
    asked = answer(ZEN5)
    inside, leave = threading.Barrier(5), [threading.Event() for _ in range(4)]
    seen = {}

    def work(index):
        with fast_matmul(PRODUCT):
            inside.wait(10)
            leave[index].wait(10)
            seen[index] = switch()

    threads = [threading.Thread(target=work, args=(index,)) for index in range(4)]
    for thread in threads:
        thread.start()
    inside.wait(10)
    for event, thread in zip(leave, threads, strict=True):
        assert switch() == 'bf16'
        event.set()
        thread.join(10)
    assert seen == dict.fromkeys(range(4), 'bf16')
    assert switch() == 'none'
    assert asked == [PRODUCT]


@needs_switch
def test_a_probe_that_fails_leaves_the_switch(monkeypatch):
    def fail(product):
        torch.backends.mkldnn.matmul.fp32_precision = 'bf16'
        raise MemoryError

    monkeypatch.setattr(matmul, 'probe_matmul', fail)
    with pytest.raises(MemoryError), fast_matmul(PRODUCT):
        pass
    assert switch() == 'none'


# --- the memory


@needs_switch
def test_machine_is_asked_once(answer, tmp_path):
    asked = answer(ZEN5)
    for _ in range(2):
        with fast_matmul(PRODUCT):
            pass
    matmul._recall_probe_once.cache_clear()  # as another process would start
    with fast_matmul(PRODUCT) as chosen:
        assert chosen
    assert asked == [PRODUCT]
    with fast_matmul((9, 16, 24)):
        pass
    assert asked == [PRODUCT, (9, 16, 24)]
    entries = json.loads((tmp_path / 'cache' / 'dualattn' / 'matmul.json').read_text())
    assert len(entries) == 2
    assert [path.name for path in (tmp_path / 'cache' / 'dualattn').iterdir()] == ['matmul.json']


@needs_switch
def test_other_threads_torch_or_processor_are_another_machine(answer, monkeypatch):
    asked = answer(ZEN5)
    threads = torch.get_num_threads()
    for change in (
        lambda: torch.set_num_threads(threads + 1),
        lambda: monkeypatch.setattr(torch, '__version__', '99.0'),
        lambda: monkeypatch.setenv('ONEDNN_MAX_CPU_ISA', 'AVX2'),
    ):
        with fast_matmul(PRODUCT):
            pass
        change()
        matmul._recall_probe_once.cache_clear()
    try:
        with fast_matmul(PRODUCT):
            pass
    finally:
        torch.set_num_threads(threads)
    assert len(asked) == 4


@needs_switch
@pytest.mark.parametrize(
    'text',
    [
        '{',
        '[]',
        '{"a": 1}',
        '{"a": {"seconds": 1.0}}',
        '{"a": {"seconds": 0.0, "fast_seconds": 0.0, "error": 0.0, "fast_error": 0.0}}',
        '{"a": {"seconds": "x", "fast_seconds": 1.0, "error": 0.0, "fast_error": 0.0}}',
        '\udcff',
    ],
)
def test_damaged_file_is_replaced(answer, tmp_path, caplog, text):
    path = tmp_path / 'cache' / 'dualattn' / 'matmul.json'
    path.parent.mkdir(parents=True)
    path.write_bytes(text.encode(errors='surrogateescape'))
    asked = answer(ZEN5)
    with fast_matmul(PRODUCT) as chosen:
        assert chosen
    assert str(path) in caplog.text
    assert asked == [PRODUCT]
    assert len(json.loads(path.read_text())) == 1


@needs_switch
def test_unwritable_cache_costs_only_a_probe(answer, tmp_path, monkeypatch, caplog):
    (tmp_path / 'file').write_text('')
    monkeypatch.setenv('XDG_CACHE_HOME', str(tmp_path / 'file'))
    caplog.set_level(logging.INFO)
    answer(ZEN5)
    with fast_matmul(PRODUCT) as chosen:
        assert chosen
    assert 'cannot be written' in caplog.text


@needs_switch
def test_choice_is_logged_once(answer, caplog):
    caplog.set_level(logging.INFO)
    answer(ZEN5)
    for _ in range(3):
        with fast_matmul(PRODUCT):
            pass
    (line,) = [record.getMessage() for record in caplog.records if 'matrix products' in record.getMessage()]
    assert 'oneDNN' in line
    assert '2.22 times' in line


# --- the probe itself, and what it is asked about


@needs_switch
def test_probe_measures_errors_of_float32_and_disturbs_nobody():
    torch.manual_seed(5)
    state = torch.get_rng_state()
    with torch.autocast('cpu', torch.bfloat16):
        probe = dualattn.matmul._SWITCH.probe((64, 96, 32))
    assert torch.equal(torch.get_rng_state(), state)
    assert 1e-8 < probe.error < 1e-6
    assert probe.fast_error > 0
    assert probe.seconds > 0 < probe.fast_seconds


def test_probe_sees_rounded_factors(monkeypatch):
    """On a processor that rounds to bfloat16 the error is thousands of times larger."""
    linear = torch.nn.functional.linear

    def rounding(x, weight):
        if x.dtype == torch.float32 and written[-1] == 'bf16':
            return linear(x.bfloat16().float(), weight.bfloat16().float())
        return linear(x, weight)

    written = []
    monkeypatch.setattr(matmul, '_write_switch', written.append)
    monkeypatch.setattr(matmul.F, 'linear', rounding)
    probe = probe_matmul((64, 96, 32))
    assert 1e-3 < probe.fast_error < matmul.MAX_BFLOAT16_ERROR
    assert not probe.is_exact('float32')
    assert probe.is_exact('bfloat16')


def test_product_of_a_network():
    import timm

    with torch.device('meta'):
        assert find_product(timm.create_model('dualattn_tiny', num_classes=0), 224) == matmul.DEFAULT_PRODUCT
        assert find_product(timm.create_model('dualattn_base', num_classes=0), 448) == (784, 512, 2048)
    assert find_product(torch.nn.Conv2d(3, 3, 3), 224) == matmul.DEFAULT_PRODUCT
    assert find_product(torch.nn.Linear(5, 7), 32) == (1, 5, 7)
