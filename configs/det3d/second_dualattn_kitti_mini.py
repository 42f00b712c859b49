# SECOND with Dual-Attention, overfitted on a handful of KITTI frames: does everything learn? Not an experiment.
# The info files come from: dualattn create-data kitti data/kitti_mini --out-dir work_dirs/kitti_mini --same-frames
_base_ = ['second_dualattn_kitti_3class.py']

data_root = 'work_dirs/kitti_mini/'
class_names = ['Pedestrian', 'Cyclist', 'Car']
# as much of the usual range as these frames' objects need, for the sake of a CPU
point_cloud_range = [0, -8.8, -3, 57.6, 20, 1]
model = dict(
    data_preprocessor=dict(voxel_layer=dict(point_cloud_range=point_cloud_range)),
    # the running means follow a few hundred iterations
    middle_encoder=dict(sparse_shape=[41, 576, 1152], norm_cfg=dict(type='BN1d', eps=1e-3, momentum=0.1)),
    neck=dict(norm_cfg=dict(type='BN', eps=1e-3, momentum=0.1)),
    bbox_head=dict(
        anchor_generator=dict(
            ranges=[[0, -8.8, -0.6, 57.6, 20, -0.6], [0, -8.8, -0.6, 57.6, 20, -0.6], [0, -8.8, -1.78, 57.6, 20, -1.78]]
        )
    ),
)

# the frames as they are: no sampled objects, no augmentation
train_pipeline = [
    dict(type='LoadPointsFromFile', coord_type='LIDAR', load_dim=4, use_dim=4),
    dict(type='LoadAnnotations3D', with_bbox_3d=True, with_label_3d=True),
    dict(type='PointsRangeFilter', point_cloud_range=point_cloud_range),
    dict(type='ObjectRangeFilter', point_cloud_range=point_cloud_range),
    dict(type='Pack3DDetInputs', keys=['points', 'gt_bboxes_3d', 'gt_labels_3d']),
]

# all frames in every batch: a batch norm that met them one by one would see other statistics when it predicts
train_dataloader = dict(
    batch_size=5,
    num_workers=0,
    persistent_workers=False,
    sampler=dict(type='DefaultSampler', shuffle=False),
    dataset=dict(
        _delete_=True,
        type='RepeatDataset',
        times=10,
        dataset=dict(
            type='KittiDataset',
            data_root=data_root,
            ann_file='kitti_infos_train.pkl',
            data_prefix=dict(pts='training/velodyne_reduced'),
            pipeline=train_pipeline,
            modality=dict(use_lidar=True, use_camera=False),
            metainfo=dict(classes=class_names),
            box_type_3d='LiDAR',
        ),
    ),
)
val_dataloader = dict(num_workers=0, persistent_workers=False, dataset=dict(data_root=data_root))
test_dataloader = val_dataloader
val_evaluator = dict(ann_file=data_root + 'kitti_infos_val.pkl')
test_evaluator = val_evaluator

default_hooks = dict(logger=dict(interval=10))
train_cfg = dict(max_epochs=30, val_interval=10)
param_scheduler = [
    dict(type='CosineAnnealingLR', T_max=8, eta_min_ratio=30, end=8, convert_to_iter_based=True),
    dict(type='CosineAnnealingLR', T_max=22, eta_min_ratio=1e-2, begin=8, end=30, convert_to_iter_based=True),
]
