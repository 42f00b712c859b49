# ImageNet at 256 x 256, data/imagenet/{train,val}, any folders inside. The test is val50k, all 50,000 images of the
# validation set squeezed to squares, as DDColor's second ImageNet column, which MPT Table I quotes; the validation
# during a training sees the first 5,000 of them by file name, cropped (val5k). Both systems are tested alike.
image_size = 256
train_dataloader = dict(
    batch_size=16,
    num_workers=4,
    persistent_workers=True,
    sampler=dict(type='ReproducibleSampler'),
    dataset=dict(
        type='ColorImageDataset',
        data_root='data/imagenet/train',
        decode_min_side=image_size,
        prepare=[dict(type='torchvision/Resize', size=image_size, antialias=True)],
        augment=[
            dict(type='torchvision/RandomCrop', size=image_size),
            dict(type='torchvision/RandomHorizontalFlip'),
        ],
    ),
)
val_dataloader = dict(
    batch_size=16,
    num_workers=4,
    persistent_workers=True,
    sampler=dict(type='DefaultSampler', shuffle=False),
    dataset=dict(
        type='ColorImageDataset',
        data_root='data/imagenet/val',
        protocol='imagenet-val5k',
    ),
)
test_dataloader = dict(val_dataloader, dataset=dict(val_dataloader['dataset'], protocol='imagenet-val50k'))
val_evaluator = [dict(type='Colorfulness'), dict(type='MeanChroma'), dict(type='PSNR')]
test_evaluator = val_evaluator
