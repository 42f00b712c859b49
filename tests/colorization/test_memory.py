"""ColorFormer's CM and GLH within MPT: the attention by hand, the memory by what its photographs are."""

import numpy as np
import pytest
import torch
from timm.models.swin_transformer import SwinTransformer

from colorization.commands import memory as command
from colorization.decoders import ColorMemoryDecoder, EncoderBlockDecoder
from colorization.encoders.glh import GlobalWindowBlock, glh_tiny
from colorization.memory import ColorMemory, make_memory, read_memory, write_memory
from colorization.models import MPT, build_network
from dualattn.io.weights import CheckpointError


@pytest.fixture
def block():
    torch.manual_seed(0)
    block = GlobalWindowBlock(16, 2, (4, 4), grid=2).eval()
    torch.nn.init.normal_(block.attn.relative_position_bias_table)
    return block


def test_windows_see_themselves_and_averages_of_the_whole_map(block):
    """Each token by itself, its window and the averages looked up one by one, in float64."""
    block = block.double()
    x = torch.randn(2, 8, 12, 16, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    found = block._attn(x)
    attn = block.attn
    for image, row, column in [(0, 0, 0), (1, 5, 9), (0, 7, 3)]:
        top, left = row // 4 * 4, column // 4 * 4
        window = x[image, top : top + 4, left : left + 4].reshape(16, 16)
        averages = torch.stack([x[image, i : i + 4, j : j + 6].mean(dim=(0, 1)) for i in (0, 4) for j in (0, 6)])
        _, keys, values = attn.qkv(window).chunk(3, dim=-1)
        more_keys, more_values = attn.kv(attn.norm(averages)).chunk(2, dim=-1)
        query = attn.qkv(x[image, row, column])[:16]
        heads = []
        for head in range(2):
            part = slice(8 * head, 8 * head + 8)
            scores = torch.cat([keys, more_keys])[:, part] @ query[part] / 8**0.5
            for place in range(16):
                offset = (row - top - place // 4 + 3) * 7 + column - left - place % 4 + 3
                scores[place] += attn.relative_position_bias_table[offset, head]
            heads.append(scores.softmax(0) @ torch.cat([values, more_values])[:, part])
        torch.testing.assert_close(found[image, row, column], attn.proj(torch.cat(heads)))


def test_a_far_pixel_matters_and_sizes_may_be_any(block):
    x = torch.randn(1, 9, 13, 16)
    other = x.clone()
    other[0, 8, 12, 3] += 30
    difference = (block._attn(x) - block._attn(other)).abs()
    assert block(x).shape == x.shape and difference[0, 0, 0].max() > 1e-6


def test_glh_is_swin_with_every_other_block_global():
    network = glh_tiny(embed_dim=24, num_heads=(1, 2, 4, 8))
    assert isinstance(network, SwinTransformer)
    kinds = [[isinstance(block, GlobalWindowBlock) for block in stage.blocks] for stage in network.layers]
    assert kinds == [[True, False], [True, False], [True, False] * 3, [True, False]]
    assert [stage.blocks[0].attn.grid for stage in network.layers] == [8, 4, 2, 1]
    assert not any(network.layers[0].blocks[0].shift_size) and any(network.layers[0].blocks[1].shift_size)
    blocks = EncoderBlockDecoder('glh_tiny', 32, 2).blocks
    assert isinstance(blocks[0].block, GlobalWindowBlock) and any(blocks[1].block.shift_size)


@pytest.fixture
def decoder():
    torch.manual_seed(0)
    decoder = ColorMemoryDecoder(8, 12, num_meanings=5, meaning_dim=3, num_colors=2, embed_dim=6, color_dim=4)
    decoder.set_memory(torch.randn(5, 3), 40 * torch.randn(2, 5, 2))
    return decoder.double()


def test_a_place_reads_the_colours_of_its_meanings(decoder):
    memory, coarse = torch.randn(2, 8, 3, 4).double(), torch.randn(2, 12, 1, 2).double()
    found = decoder(memory, coarse)
    shares = decoder.choice(coarse.mean(dim=(2, 3))).softmax(1)
    for image, row, column in [(0, 0, 0), (1, 2, 3)]:
        x = memory[image, :, row, column]
        weights = (decoder.answer(decoder.meanings) @ decoder.ask(decoder.ask_norm(x))).softmax(0)
        prior = 0
        for meaning in range(5):
            for number in range(2):
                a, b = (int(value) + 128 for value in decoder.colors[number, meaning].round())
                color = torch.cat([decoder.a_embed.weight[a], decoder.b_embed.weight[b]])
                prior = prior + weights[meaning] * shares[image, number] * decoder.color_embeds[number](color)
        joined = decoder.norm1(torch.cat([x, prior]))
        joined = decoder.norm2(joined + decoder.mlp(joined))
        torch.testing.assert_close(found[image, :, row, column], decoder.join(joined))


def test_the_memory_is_kept_and_not_trained(decoder):
    names = {name for name, _ in decoder.named_parameters()}
    assert {'meanings', 'colors'} <= set(decoder.state_dict()) and not {'meanings', 'colors'} & names
    with pytest.raises(ValueError, match=r'meanings of \(4, 3\), the network \(5, 3\)'):
        decoder.set_memory(torch.randn(4, 3), torch.randn(2, 4, 2))


def test_meanings_are_clusters_and_colours_theirs():
    """Three things, each with two colours that it may have."""
    rng = np.random.default_rng(0)
    truth = {0: [(60, 40), (-50, 30)], 1: [(0, -60), (10, 70)], 2: [(-20, -20), (40, -40)]}
    kinds = rng.integers(0, 3, 300)
    features = np.eye(3, 8)[kinds] * 10 + rng.normal(0, 0.1, (300, 8))
    colors = np.array([truth[kind][rng.integers(2)] for kind in kinds]) + rng.normal(0, 0.5, (300, 2))
    memory = make_memory([(features[:150], colors[:150]), (features[150:], colors[150:])], 3, 2, 2)
    found = sorted(sorted(map(tuple, (memory.colors[:, i].round(decimals=-1)).tolist())) for i in range(3))
    assert found == sorted(sorted(map(tuple, np.round(np.array(each, float), -1).tolist())) for each in truth.values())
    with pytest.raises(ValueError, match='too few for 301 meanings'):
        make_memory([(features, colors)], 301, 2, 2)
    gray = make_memory([(features, np.zeros((300, 2)))], 3, 2, 2)
    assert not gray.colors.any()


@pytest.fixture
def file(tmp_path):
    write_memory(ColorMemory(torch.randn(6, 3), torch.randn(4, 6, 2)), tmp_path / 'memory.safetensors', made_from='x')
    return tmp_path / 'memory.safetensors'


SMALL = dict(
    encoder_kwargs=dict(embed_dims=(8, 16, 16, 32), stem_dim=8, head_dim=8),
    decoder_dims=(16, 16, 16),
    color_decoder='memory',
    num_meanings=6,
    meaning_dim=3,
)


def test_a_network_with_a_memory(file):
    network = MPT(memory=str(file), **SMALL).eval()
    torch.testing.assert_close(network.color_decoder.meanings, read_memory(file).meanings)
    assert 'memory' not in network.config and not network.color_decoder.is_random
    again = build_network(network.config)
    again.load_state_dict(network.state_dict())
    l = 100 * torch.rand(1, 1, 40, 56)
    torch.testing.assert_close(again.eval()(l), network(l))
    with pytest.raises(ValueError, match="belongs to color_decoder='memory'"):
        MPT(memory=str(file), **{**SMALL, 'color_decoder': 'attention'})
    with pytest.raises(ValueError, match=r'meanings of \(6, 3\)'):
        MPT(memory=str(file), **{**SMALL, 'num_meanings': 7})


def test_other_files_are_refused(tmp_path, file):
    with pytest.raises(FileNotFoundError, match='dualattn memory'):
        read_memory(tmp_path / 'none.safetensors')
    write_memory(ColorMemory(torch.randn(6, 3), torch.randn(4, 5, 2)), file)
    with pytest.raises(ValueError, match='expected meanings'):
        read_memory(file)
    write_memory(ColorMemory(torch.full((6, 3), float('nan')), torch.randn(4, 6, 2)), file)
    with pytest.raises(CheckpointError, match='finite'):
        read_memory(file)


@pytest.mark.parametrize(
    'options, message',
    [(['-o', 'x.json'], 'takes a .safetensors'), (['-o', 'x.safetensors', '--count', '0'], 'at least 1')],
)
def test_wrong_arguments(options, message, capsys):
    with pytest.raises(SystemExit) as error:
        command.main(['config.py', *options])
    assert error.value.code == 2 and message in capsys.readouterr().err


def test_a_config_of_something_else(tmp_path, capsys):
    (tmp_path / 'mine.py').write_text("model = dict(type='ImageClassifier')")
    assert command.main([str(tmp_path / 'mine.py'), '-o', str(tmp_path / 'memory.safetensors')]) == 2
    assert 'mine.py: has no model.generator' in capsys.readouterr().err
