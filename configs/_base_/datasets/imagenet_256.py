# ImageNet at 256 x 256 as MPT IV-A trains and tests: data/imagenet/{train,val}, any folders inside.
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
        ]))
val_dataloader = dict(
    batch_size=16,
    num_workers=4,
    persistent_workers=True,
    sampler=dict(type='DefaultSampler', shuffle=False),
    dataset=dict(
        type='ColorImageDataset',
        data_root='data/imagenet/val',
        limit=5000,
        prepare=[
            dict(type='torchvision/Resize', size=image_size, antialias=True),
            dict(type='torchvision/CenterCrop', size=image_size),
        ]))
test_dataloader = val_dataloader
val_evaluator = [dict(type='Colorfulness'), dict(type='MeanChroma'), dict(type='PSNR')]
# FID needs Inception's weights, so it is a part of the test alone
test_evaluator = [
    dict(type='Colorfulness'),
    dict(type='MeanChroma'),
    dict(type='PSNR'),
    dict(type='FID', weights='weights/weights-inception-2015-12-05-6726825d.pth'),
]
