"""The released DDColor weights: how to know them, and what they are in our names."""

import re
from collections import Counter
from typing import Any

import torch
from timm.data import IMAGENET_DEFAULT_MEAN, IMAGENET_DEFAULT_STD
from torch import Tensor

from colorization.models import DDColor
from dualattn.io.weights import check_weights

NAME = 'a released DDColor'

# One row for each kind of module: our name, as a pattern for its beginning, and the released one. The first row that
# fits counts.
_TRUNK = r'encoder\.trunk\.stages_(\d+)'
_LAYER = r'color_decoder\.layers\.(\d+)'
_NAMES = (
    (r'encoder\.trunk\.stem_(\d)', r'encoder.arch.downsample_layers.0.\1'),
    (rf'{_TRUNK}\.downsample', r'encoder.arch.downsample_layers.\1'),
    (rf'{_TRUNK}\.blocks\.(\d+)\.conv_dw', r'encoder.arch.stages.\1.\2.dwconv'),
    (rf'{_TRUNK}\.blocks\.(\d+)\.mlp\.fc', r'encoder.arch.stages.\1.\2.pwconv'),
    (rf'{_TRUNK}\.blocks\.(\d+)', r'encoder.arch.stages.\1.\2'),
    (r'encoder\.norms\.(\d)', r'encoder.arch.norm\1'),
    (r'pixel_decoder\.steps\.(\d)\.up\.conv', r'decoder.layers.\1.shuf.conv.0'),
    (r'pixel_decoder\.steps\.(\d)\.up\.norm', r'decoder.layers.\1.shuf.conv.1'),
    (r'pixel_decoder\.steps\.(\d)\.skip_norm', r'decoder.layers.\1.bn'),
    (r'pixel_decoder\.steps\.(\d)\.conv', r'decoder.layers.\1.conv.0'),
    (r'pixel_decoder\.steps\.(\d)\.norm', r'decoder.layers.\1.conv.2'),
    (r'pixel_decoder\.last_up\.conv', r'decoder.last_shuf.conv.0'),
    (r'color_decoder\.query_features', r'decoder.color_decoder.query_feat.weight'),
    (r'color_decoder\.(query|level)_embed', r'decoder.color_decoder.\1_embed.weight'),
    (r'color_decoder\.projections', r'decoder.color_decoder.input_proj'),
    (rf'{_LAYER}\.attentions\.0\.attn', r'decoder.color_decoder.transformer_cross_attention_layers.\1.multihead_attn'),
    (rf'{_LAYER}\.attentions\.0', r'decoder.color_decoder.transformer_cross_attention_layers.\1'),
    (rf'{_LAYER}\.attentions\.1\.attn', r'decoder.color_decoder.transformer_self_attention_layers.\1.self_attn'),
    (rf'{_LAYER}\.attentions\.1', r'decoder.color_decoder.transformer_self_attention_layers.\1'),
    (rf'{_LAYER}\.mlp\.fc', r'decoder.color_decoder.transformer_ffn_layers.\1.linear'),
    (_LAYER, r'decoder.color_decoder.transformer_ffn_layers.\1'),
    (r'color_decoder\.norm', r'decoder.color_decoder.decoder_norm'),
    (r'color_decoder\.head\.0', r'decoder.color_decoder.color_embed.layers.0'),
    (r'color_decoder\.head\.2', r'decoder.color_decoder.color_embed.layers.1'),
    (r'color_decoder\.head\.4', r'decoder.color_decoder.color_embed.layers.2'),
    (r'to_ab', r'refine_net.0.0'),
)
_SPECTRAL_NORM = {
    '.parametrizations.weight.original': '.weight_orig',
    '.parametrizations.weight.0._u': '.weight_u',
    '.parametrizations.weight.0._v': '.weight_v',
}
# channels of the first stage -> encoder
_ENCODERS = {96: 'convnext_tiny', 192: 'convnext_large'}
_INPUT_SCALE = {'mean': IMAGENET_DEFAULT_MEAN, 'std': IMAGENET_DEFAULT_STD}


def recognises(state: dict[str, Tensor]) -> bool:
    """Tell whether tensors with these names are those of a released DDColor."""
    return any(name.startswith('encoder.arch.') for name in state)


def translate(state: dict[str, Tensor]) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """Turn the tensors of a released file into those of our DDColor.

    Returns:
        Our names and the tensors, and the network's description.

    Raises:
        ValueError: the encoder is none that was released, the tensors are not exactly those that are expected, or the
            input is scaled otherwise than ours.
    """
    config = released_config(state)
    with torch.device('meta'):
        network = DDColor(**{key: value for key, value in config.items() if key != 'type'})
    names = {name: released_name(name) for name in network.state_dict()}
    expected = {names[name]: tensor for name, tensor in network.state_dict().items()} | unused_tensors(network)
    check_weights('it', state, expected)
    check_input_scale(state)
    return {ours: state[theirs] for ours, theirs in names.items()}, config


def released_config(state: dict[str, Tensor]) -> dict[str, Any]:
    """Describe the network of a released file.

    Only widths are read from the file. Numbers of layers are not: a file that lacks one would be taken for a smaller
    network.

    Raises:
        ValueError: the encoder is none that was released.
    """
    widths = Counter(
        tensor.shape[0]
        for name, tensor in state.items()
        if re.match(r'encoder\.arch\.stages\.0\.\d+\.(gamma|norm|dwconv)', name) and tensor.ndim
    )
    width = widths.most_common(1)[0][0] if widths else 0
    if width not in _ENCODERS:
        raise ValueError(
            f'its encoder has {width} channels in the first stage, where DDColor has '
            f'{" or ".join(f"{chans} ({name})" for chans, name in _ENCODERS.items())}'
        )
    queries = state.get('decoder.color_decoder.query_feat.weight')
    return dict(
        type='DDColor',
        encoder=_ENCODERS[width],
        encoder_kwargs={},
        decoder_dims=[512, 512, 256, 256],
        use_color_decoder=True,
        scales=[16, 8, 4],
        num_queries=queries.shape[0] if queries is not None and queries.ndim else 100,
        depth=9,
        num_heads=8,
        mlp_ratio=8.0,
        attn_types=['cross', 'self'],
        learn_query_features=True,
    )


def released_name(name: str) -> str:
    """Return what a tensor of our DDColor is called in a released file."""
    for pattern, replacement in _NAMES:
        match = re.match(pattern, name)
        if match:
            name = match.expand(replacement) + name[match.end() :]
            break
    for ours, theirs in _SPECTRAL_NORM.items():
        name = name.replace(ours, theirs)
    return name


def unused_tensors(network: Any) -> dict[str, Tensor]:
    """Return what a released file holds beyond our network: the input's scale, and a norm that nothing reads."""
    last_norm = network.encoder.norms[-1]
    return {
        'mean': torch.empty(1, 3, 1, 1),
        'std': torch.empty(1, 3, 1, 1),
        'encoder.arch.norm.weight': last_norm.weight,
        'encoder.arch.norm.bias': last_norm.bias,
    }


def check_input_scale(state: dict[str, Tensor]) -> None:
    """Refuse a released file whose input is scaled otherwise than ours.

    Raises:
        ValueError: mean or standard deviation differ.
    """
    for name, expected in _INPUT_SCALE.items():
        if not torch.allclose(state[name].flatten().float(), torch.tensor(expected), atol=1e-3):
            raise ValueError(f"'{name}' of its input is {state[name].flatten().tolist()}, expected {expected}")
