# Some 33,000 photographs without labels, shown to the teacher at 192 x 192; validated on classes of Caltech-101 at
# 96 x 96, whose photographs are not among them.
train_dataloader = dict(
    batch_size=32,
    num_workers=1,
    persistent_workers=True,
    sampler=dict(type='ReproducibleSampler'),
    collate_fn=dict(type='default_collate'),
    dataset=dict(
        type='UnlabelledPhotographs',
        data_root=['data/pool', 'data/photos/train', 'data/caltech/train'],
        size=192,
    ),
)
val_dataloader = dict(
    batch_size=32,
    num_workers=0,
    sampler=dict(type='DefaultSampler', shuffle=False),
    collate_fn=dict(type='default_collate'),
    dataset=dict(
        type='ClassFolder',
        data_root='data/caltech/val',
        transform=dict(input_size=96, interpolation='bicubic', crop_pct=1.0, crop_mode='center'),
    ),
)
test_dataloader = val_dataloader
val_evaluator = dict(type='NeighborAccuracy')
test_evaluator = val_evaluator
