# COCO inside 896 x 896 (MPT Table VII). The paper names the size alone: the scales are those of large-scale jittering.
# Batches are padded by the model, not by a transform, after which boxes could lie outside of the photograph.
_base_ = ['mmdet::_base_/datasets/coco_instance.py']
dataset_type = 'CheckedCocoDataset'
train_pipeline = [
    dict(type='LoadImageFromFile', backend_args=None),
    dict(type='LoadAnnotations', with_bbox=True, with_mask=True),
    dict(type='RandomResize', scale=(896, 896), ratio_range=(0.1, 2.0), keep_ratio=True),
    dict(type='RandomCrop', crop_type='absolute', crop_size=(896, 896), recompute_bbox=True, allow_negative_crop=True),
    dict(type='FilterAnnotations', min_gt_bbox_wh=(1e-2, 1e-2)),
    dict(type='RandomFlip', prob=0.5),
    dict(type='PackDetInputs'),
]
test_pipeline = [
    dict(type='LoadImageFromFile', backend_args=None),
    dict(type='Resize', scale=(896, 896), keep_ratio=True),
    dict(type='LoadAnnotations', with_bbox=True, with_mask=True),
    dict(type='PackDetInputs', meta_keys=('img_id', 'img_path', 'ori_shape', 'img_shape', 'scale_factor')),
]
# workers that start anew in each epoch augment after a resume as if nothing had happened
train_dataloader = dict(persistent_workers=False, dataset=dict(type=dataset_type, pipeline=train_pipeline))
val_dataloader = dict(dataset=dict(type=dataset_type, pipeline=test_pipeline))
test_dataloader = dict(dataset=dict(type=dataset_type, pipeline=test_pipeline))
