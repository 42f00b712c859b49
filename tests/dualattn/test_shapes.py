"""The sizes that bound every kernel stand once in C++ and once in Python."""

import re

import pytest

from dualattn.ops import backends


@pytest.mark.parametrize('name', ['MAX_TOKENS', 'MAX_DIM'])
def test_python_repeats_the_limits_of_the_kernels(repo_root, name):
    constant = 'kMax' + name.removeprefix('MAX_').capitalize()
    csrc = repo_root / 'dualattn' / 'csrc'
    definitions = {
        path.name: int(number)
        for path in sorted(csrc.rglob('*'))
        if path.is_file()
        for number in re.findall(rf'constexpr \w+ {constant} = (\d+);', path.read_text(encoding='utf-8'))
    }
    assert definitions == {'shapes.h': getattr(backends, name)}
