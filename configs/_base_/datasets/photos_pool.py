# Some 33,000 photographs of everyday subjects, kept in memory, shown as old photographs are: trained at 96 x 96,
# tested at 160 x 160. One photograph in a hundred is held out for tests.
_base_ = ['./photos_128.py']
train_dataloader = dict(
    num_workers=1,
    persistent_workers=True,
    dataset=dict(
        data_root=['data/pool', 'data/photos/train', 'data/caltech/train'],
        held_out='leave',
        augment=[
            dict(type='torchvision/RandomResizedCrop', size=96, scale=(0.35, 1.0), ratio=(0.8, 1.25), antialias=True),
            dict(type='torchvision/RandomHorizontalFlip'),
        ],
        degrade=[dict(type='OldPhoto', prob=0.6)],
    ),
)
