# ImageNet-1K at 224 x 224, data/imagenet/{train,val}/SYNSET, with timm's augmentation; 8 processes make the batch of
# 2048 (MPT Table VI). Tests crop the centre.
train_dataloader = dict(
    batch_size=256,
    num_workers=8,
    persistent_workers=False,  # workers that start anew in each epoch augment after a resume as if nothing had happened
    pin_memory=True,
    drop_last=True,
    sampler=dict(type='DefaultSampler', shuffle=True),
    collate_fn=dict(type='default_collate'),
    dataset=dict(
        type='ClassFolder',
        data_root='data/imagenet/train',
        classes='imagenet-1k',
        skip_unreadable=True,
        transform=dict(
            input_size=224,
            is_training=True,
            auto_augment='rand-m9-mstd0.5-inc1',
            interpolation='bicubic',
            re_prob=0.25,
            re_mode='pixel',
        ),
    ),
)
val_dataloader = dict(
    batch_size=256,
    num_workers=8,
    persistent_workers=True,
    pin_memory=True,
    sampler=dict(type='DefaultSampler', shuffle=False),
    collate_fn=dict(type='default_collate'),
    dataset=dict(
        type='ClassFolder',
        data_root='data/imagenet/val',
        classes='imagenet-1k',
        transform=dict(input_size=224, interpolation='bicubic', crop_pct=0.95, crop_mode='center'),
    ),
)
test_dataloader = val_dataloader
val_evaluator = dict(type='TopKAccuracy', topk=(1, 5))
test_evaluator = val_evaluator
