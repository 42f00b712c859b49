"""tools/get_flops.py: its numbers, what stands beside them, and what it refuses."""

import re
import subprocess
import sys

import pytest
import timm
import torch
from fvcore.nn import FlopCountAnalysis

from dualattn.commands import flops as command


@pytest.fixture
def tool(repo_root):
    """The tool as a module."""
    return command


@pytest.fixture
def run(tool, capsys):
    """The tool's main; returns what it printed, and expects nothing on standard error."""

    def call(*args):
        tool.main([str(arg) for arg in args])
        printed = capsys.readouterr()
        assert printed.err == ''
        return printed.out

    return call


@pytest.fixture
def config(tmp_path, tiny_mpt):
    path = tmp_path / 'mpt_tiny.py'
    path.write_text(f"model = dict(type='GANColorizer', generator={tiny_mpt!r})\n")
    return path


def numbers(out, row):
    return [float(number) for number in re.findall(r'\d+\.\d+', re.search(rf'^{row}.*$', out, re.MULTILINE)[0])]


def test_model_beside_the_paper(run):
    out = run('dualattn_tiny')
    assert out.startswith('dualattn_tiny, input 1 x 3 x 224 x 224\n')
    assert numbers(out, 'parameters') == [28.45, 28.7]
    assert numbers(out, 'FLOPs') == [pytest.approx(5.15, rel=0.03), 5.3]
    assert 'MPT Table V' in out
    assert 'multiply-add counts as one' in out


def test_shape_and_channels(run):
    out = run('dualattn_tiny.untrained', '--shape', '64', '96', '--in-chans', '1')
    assert 'input 1 x 1 x 64 x 96' in out
    assert len(numbers(out, 'FLOPs')) == 1  # the paper has none at this size
    assert numbers(out, 'parameters')[1] == 28.7


def test_other_timm_model_has_no_paper_column(run):
    out = run('resnet18', '--shape', '64', '64')
    assert numbers(out, 'parameters') == [11.69]
    assert len(numbers(out, 'FLOPs')) == 1


def test_fused_attention_is_counted(tool):
    attention = timm.layers.Attention(32, num_heads=2)
    assert attention.fused_attn
    with torch.no_grad():
        analysis = FlopCountAnalysis(attention.eval(), torch.zeros(3, 10, 32))
        analysis.set_op_handle('aten::scaled_dot_product_attention', tool.count_attention)
        assert analysis.by_operator()['scaled_dot_product_attention'] == 3 * 2 * 10 * 10 * 32
    attention.fused_attn = False
    unfused = FlopCountAnalysis(attention, torch.zeros(3, 10, 32)).unsupported_ops_warnings(False)
    assert unfused.by_operator()['matmul'] == 3 * 2 * 10 * 10 * 32


def test_config(run, config):
    out = run(config, '--shape', '64', '32')
    assert out.startswith('mpt_tiny, input 1 x 1 x 64 x 32\n')
    assert len(numbers(out, 'parameters')) == 1
    assert 'input 1 x 1 x 256 x 256' in run(config)


def test_classifier_config(run, tmp_path):
    """What the paper says of the model stands beside it, whatever the config is called."""
    path = tmp_path / 'my_classifier.py'
    path.write_text("""
model = dict(type='ImageClassifier', backbone=dict(model_name='dualattn_tiny', drop_path_rate=0.1), mixup=dict())
test_dataloader = dict(dataset=dict(transform=dict(input_size=64)))
""")
    out = run(path)
    assert out.startswith('dualattn_tiny, input 1 x 3 x 64 x 64\n')
    assert numbers(out, 'parameters') == [28.45, 28.7]
    assert run(path, '--shape', '64', '64') == out


def test_every_config_of_a_classifier_names_a_model(tool, repo_root):
    for path in sorted((repo_root / 'configs' / 'cls').glob('*.py')):
        args = tool.make_parser().parse_args([str(path)])
        with torch.device('meta'):
            _, shape, name = tool.build_from_config(args, tool.make_parser())
        assert shape == [3, *([384] * 2 if '384' in path.stem else [224] * 2)] and name in tool.PAPER


@pytest.mark.mm
def test_a_3d_detector_is_counted_from_its_map_on(run, repo_root):
    """All parameters, and the multiply-adds of what stands behind the map, the convolutions by hand."""
    from mmengine.config import Config
    from mmengine.registry import MODELS, init_default_scope

    path = repo_root / 'configs' / 'det3d' / 'second_second_kitti_3class.py'
    out = run(path, '--shape', '32', '64')
    cfg = Config.fromfile(path)
    init_default_scope(cfg.default_scope)
    detector = MODELS.build(cfg.model)
    (parameters,), (flops,) = numbers(out, 'parameters'), numbers(out, 'FLOPs')
    assert parameters == pytest.approx(sum(value.numel() for value in detector.parameters()) / 1e6, abs=0.005)
    cells = 32 * 64  # the first stage and the head keep the map, the second halves its sides
    first = cells * 9 * (256 * 128 + 5 * 128 * 128)
    second = cells / 4 * 9 * (128 * 256 + 5 * 256 * 256)
    neck = cells * 128 * 256 + cells / 4 * 256 * 256 * 4
    head = cells * 512 * (18 + 42 + 12)  # classes, boxes and directions of six anchors
    norms = 2 * (6 * cells * 128 + 6 * cells / 4 * 256 + 2 * cells * 256)
    assert flops == pytest.approx((first + second + neck + head + norms) / 1e9, abs=0.006)
    assert 'backbone, neck and head on the map' in out


def test_config_needs_none_of_the_files_that_a_training_starts_from(run, config, tiny_mpt):
    generator = dict(tiny_mpt, encoder_weights='gone.pth', head='palette', palette='gone.json')
    config.write_text(f'model = dict(generator={generator!r})\n')
    assert 'parameters' in run(config, '--shape', '32', '32')


def test_table(run):
    assert 'stages.3' not in run('dualattn_tiny', '--shape', '32', '32')
    assert '| stages.3 ' in run('dualattn_tiny', '--shape', '32', '32', '--table')
    assert '| stages.3.blocks.0.1.attn ' in run('dualattn_tiny', '--shape', '32', '32', '--table', '6')


@pytest.mark.parametrize(
    'args, message',
    [
        (
            ['dualattn_tinny'],
            "'dualattn_tinny' is neither a timm model nor a config file .* did you mean dualattn_tiny",
        ),
        (['dualattn_tiny', '--shape', '16', '64'], r'at least 32 pixels, got \[16, 64\]'),
        (['missing.py'], 'no config file at missing.py'),
        (['CONFIG', '--in-chans', '3'], '--in-chans is for a timm MODEL'),
        (['OTHER'], 'is of another kind: there is a count for colorizers'),
    ],
)
def test_refusals(tool, config, tmp_path, args, message, capsys):
    other = tmp_path / 'other.py'
    other.write_text("model = dict(type='MaskRCNN')\n")
    places = {'CONFIG': str(config), 'OTHER': str(other)}
    with pytest.raises(SystemExit) as error:
        tool.main([places.get(arg, arg) for arg in args])
    assert error.value.code == 2
    assert re.search(message, capsys.readouterr().err)


def test_paper_numbers_belong_to_models_and_configs(tool, repo_root):
    for name in tool.PAPER:
        assert timm.is_model(name) or list((repo_root / 'configs').glob(f'*/{name}.py')), name


def test_command_line(repo_root):
    """As a user calls it, from elsewhere; --help teaches and nothing but the numbers is printed."""
    command = [sys.executable, str(repo_root / 'tools' / 'get_flops.py')]
    done = subprocess.run([*command, '--help'], capture_output=True, text=True, check=True)
    assert 'examples:' in done.stdout
    done = subprocess.run([*command, 'dualattn_mpt', '--shape', '64', '64'], capture_output=True, text=True, check=True)
    assert done.stderr == ''
    assert done.stdout.count('\n') == 5
