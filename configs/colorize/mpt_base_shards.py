# MPT as published, its training images streamed from shards: dualattn shard data/imagenet/train data/imagenet_shards
_base_ = ['./mpt_base.py']

train_dataloader = dict(
    sampler=None,
    dataset=dict(
        _delete_=True,
        type='ShardDataset',
        data_root='data/imagenet_shards',
        decode_min_side=256,
        prepare=[dict(type='torchvision/Resize', size=256, antialias=True)],
        augment=[dict(type='torchvision/RandomCrop', size=256), dict(type='torchvision/RandomHorizontalFlip')],
    ),
)
