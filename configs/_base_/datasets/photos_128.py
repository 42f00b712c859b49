# A few thousand photographs, kept in memory: trained at 128 x 128, tested at 160 x 160.
train_dataloader = dict(
    batch_size=16,
    num_workers=0,
    sampler=dict(type='ReproducibleSampler'),
    dataset=dict(
        type='ColorImageDataset',
        data_root=['data/photos/train', 'data/caltech/train'],
        cache=True,
        decode_min_side=144,
        prepare=[dict(type='torchvision/Resize', size=144, antialias=True)],
        augment=[
            dict(type='torchvision/RandomCrop', size=128),
            dict(type='torchvision/RandomHorizontalFlip'),
            dict(type='ColorEnhance', factor=1.2),
        ],
    ),
)
val_dataloader = dict(
    batch_size=8,
    num_workers=0,
    sampler=dict(type='DefaultSampler', shuffle=False),
    dataset=dict(
        type='ColorImageDataset',
        data_root='data/photos/val',
        prepare=[
            dict(type='torchvision/Resize', size=160, antialias=True),
            dict(type='torchvision/CenterCrop', size=160),
        ],
    ),
)
test_dataloader = val_dataloader
val_evaluator = [dict(type='Colorfulness'), dict(type='MeanChroma'), dict(type='PSNR')]
test_evaluator = val_evaluator
