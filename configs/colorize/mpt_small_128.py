# The training of the weights that ship with the package, third part, from those of the second (dualattn weights get
# mpt_small_palette): 128 px; the first stages of the encoder stay as they are, which saves a quarter of a step's time.
_base_ = ['./mpt_small_finish.py']
load_from = None
model = dict(
    generator_weights='weights/mpt_small_palette.safetensors',
    generator=dict(frozen_modules=['conv_stem', 'bn1', 'blocks.0', 'blocks.1', 'blocks.2']),
)
train_dataloader = dict(
    dataset=dict(
        # sharper than what is shown, since the crops are enlarged
        decode_min_side=192,
        prepare=[dict(type='torchvision/Resize', size=192, antialias=True)],
        augment=[
            dict(type='torchvision/RandomResizedCrop', size=128, scale=(0.25, 1.0), ratio=(0.8, 1.25), antialias=True),
            dict(type='torchvision/RandomHorizontalFlip'),
        ],
    )
)
param_scheduler = [
    dict(type='LinearLR', by_epoch=False, start_factor=0.01, end=50),
    dict(type='CosineAnnealingLR', by_epoch=False, begin=50, end=5400, eta_min_ratio=0.25),
]
train_cfg = dict(max_iters=3500, val_interval=600)  # ends before the rate does; mpt_small_anneal.py goes on
randomness = dict(seed=1)  # other crops and another order than before
