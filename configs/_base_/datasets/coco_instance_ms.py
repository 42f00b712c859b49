# COCO with the shorter side between 480 and 800 pixels and the longer at most 1333, data/coco as mmdet lays it out.
_base_ = ['mmdet::_base_/datasets/coco_instance.py']
dataset_type = 'CheckedCocoDataset'
train_pipeline = [
    dict(type='LoadImageFromFile', backend_args=None),
    dict(type='LoadAnnotations', with_bbox=True, with_mask=True),
    dict(
        type='RandomChoiceResize',
        scales=[
            (480, 1333),
            (512, 1333),
            (544, 1333),
            (576, 1333),
            (608, 1333),
            (640, 1333),
            (672, 1333),
            (704, 1333),
            (736, 1333),
            (768, 1333),
            (800, 1333),
        ],
        keep_ratio=True,
    ),
    dict(type='RandomFlip', prob=0.5),
    dict(type='PackDetInputs'),
]
# workers that start anew in each epoch augment after a resume as if nothing had happened
train_dataloader = dict(persistent_workers=False, dataset=dict(type=dataset_type, pipeline=train_pipeline))
val_dataloader = dict(dataset=dict(type=dataset_type))
test_dataloader = dict(dataset=dict(type=dataset_type))
