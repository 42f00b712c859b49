"""The figures of the concepts pages: what they say of the operators, by another road, and that the pages show them."""

import importlib.util

import numpy as np
import pytest


@pytest.fixture
def tool(repo_root):
    spec = importlib.util.spec_from_file_location('draw_concepts', repo_root / 'tools' / 'draw_concepts.py')
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_sources_are_the_tokens_at_the_stride(tool):
    """MPT Eq. 5: with a stride of 2, tokens meet whose rows and columns are both even, or odd, like their own."""
    assert tool.MAP == 2 * tool.WINDOW
    rows, columns = np.indices((tool.MAP, tool.MAP))
    for row, column in ((0, 0), (4, 9), (9, 4)):
        expected = (rows % 2 == row % 2) & (columns % 2 == column % 2)
        assert np.array_equal(tool.find_sources((row, column)), expected)


def test_channels_stay_in_their_groups(tool):
    weights = tool.draw_channel_attention().axes[0].images[0].get_array()
    groups = np.arange(tool.CHANNELS) // (tool.CHANNELS // tool.GROUPS)
    assert np.allclose(weights.sum(axis=1), 1, atol=1e-5)  # a softmax in each row
    assert not weights[groups[:, None] != groups].any() and (weights[groups[:, None] == groups] > 0).all()


def test_the_pages_show_them_and_they_are_small(tool, repo_root):
    pages = ''.join(page.read_text(encoding='utf-8') for page in (repo_root / 'docs').glob('*.md'))
    for name in tool.FIGURES:
        assert f'images/{name}' in pages and (tool.IMAGES / name).stat().st_size < 150_000
