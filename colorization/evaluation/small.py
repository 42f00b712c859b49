"""The rows of a table as a laptop can train them: the same grid with narrow networks, 64 px and photographs at hand."""

from pathlib import Path
from typing import Any

from colorization.evaluation.papers import PaperTable
from dualattn.io.files import write_whole

__all__ = ['write_small_configs']

# what makes an encoder of MPT Table II a quarter as wide; ResNet-50 has no such keyword and stays as it is
_NARROW_ENCODERS = {
    'dualattn_mpt': dict(embed_dims=(24, 48, 96, 192), stem_dim=16),
    'swin_tiny_patch4_window7_224': dict(embed_dim=24, num_heads=(1, 2, 4, 8)),
    'glh_tiny': dict(embed_dim=24, num_heads=(1, 2, 4, 8)),
    'twins_svt_small': dict(embed_dims=(16, 32, 64, 128), num_heads=(1, 2, 4, 8)),
    'resnet50': {},
}
# the decoder of such an MPT, and of a colour memory where the row has one
_NARROW_MPT = dict(decoder_dims=(96, 48, 64), depth=2, num_heads=4)
_SMALL_MEMORY = dict(num_meanings=64, meaning_dim=16)
_NARROW_CRITIC = dict(dims=(16, 32, 64, 128))
# what the demo's network says of its size; the rest of it is what a row is about
_DEMO = Path('colorize', 'ddcolor_demo.py')
_WIDTHS = ('encoder', 'encoder_weights', 'decoder_dims', 'depth', 'num_heads', 'mlp_ratio')
_DATA = """
train_dataloader = dict(
    batch_size=8,
    num_workers=0,
    persistent_workers=False,
    dataset=dict(
        _delete_=True,
        type='ColorImageDataset',
        data_root={photos!r},
        decode_min_side=72,
        prepare=[dict(type='torchvision/Resize', size=72, antialias=True)],
        augment=[dict(type='torchvision/RandomCrop', size=64), dict(type='torchvision/RandomHorizontalFlip')],
    ),
)
val_dataloader = dict(
    batch_size=8,
    num_workers=0,
    persistent_workers=False,
    dataset=dict(
        _delete_=True,
        type='ColorImageDataset',
        data_root={val!r},
        prepare=[
            dict(type='torchvision/Resize', size=64, antialias=True),
            dict(type='torchvision/CenterCrop', size=64),
        ],
    ),
)
test_dataloader = val_dataloader
"""


def write_small_configs(paper: PaperTable, configs: Path, folder: Path, photos: str, val: str) -> Path:
    """Write a config for each row, based on the row's own, and return the folder that stands for `configs`.

    Args:
        paper: the table.
        configs: folder of this repository's configs.
        folder: where to write.
        photos: folder of training photographs.
        val: folder of validation photographs.
    """
    from mmengine.config import Config

    demo = Config.fromfile(str(configs / _DEMO)).model.to_dict()
    for config in paper.configs.values():
        path = Path(config).relative_to('configs')
        source = (configs / path).resolve()
        model = _narrow(Config.fromfile(str(source)).model.to_dict(), demo)
        target = folder / path
        target.parent.mkdir(parents=True, exist_ok=True)
        with write_whole(target) as aside:
            aside.write_text(
                f'_base_ = [{str(source)!r}]\nmodel = {model!r}\n{_DATA.format(photos=photos, val=val)}',
                encoding='utf-8',
            )
    return folder


def _narrow(row: dict[str, Any], demo: dict[str, Any]) -> dict[str, Any]:
    """Return what makes a row's model small: the widths, and the demo's perceptual trunk with the row's own weight."""
    generator = row['generator']
    if generator['type'] == 'MPT':
        small = dict(_NARROW_MPT, encoder_kwargs=_NARROW_ENCODERS[generator.get('encoder', 'dualattn_mpt')])
        if generator.get('color_decoder') == 'memory':
            small.update(_SMALL_MEMORY)
        critic = _NARROW_CRITIC
    else:
        small = {name: demo['generator'][name] for name in _WIDTHS}
        critic = dict(dim=demo['critic']['dim'])
    trunk = {**demo['perceptual_loss'], 'loss_weight': row['perceptual_loss']['loss_weight'], '_delete_': True}
    return dict(generator=small, critic=critic, perceptual_loss=trunk)
