"""Small folders of raw data in the formats of KITTI and nuScenes."""

import json

import numpy as np
from PIL import Image
from pyquaternion import Quaternion

CAMERAS = ('CAM_FRONT', 'CAM_FRONT_RIGHT', 'CAM_FRONT_LEFT', 'CAM_BACK', 'CAM_BACK_LEFT', 'CAM_BACK_RIGHT')


def fill_boxes(boxes, count, columns, seed=0):
    """Points inside boxes (N, 7) and on the ground around them, (count * (N + 1), columns) float32."""
    rng = np.random.default_rng(seed)
    points = [
        np.concatenate(
            [rng.uniform((1, -10, -1.8), (25, 10, -1.6), (count, 3)), np.zeros((count, columns - 3))], axis=1
        )
    ]
    for x, y, z, dx, dy, dz, yaw in boxes:
        inside = rng.uniform(-0.45, 0.45, (count, 3)) * (dx, dy, dz)
        cos, sin = np.cos(yaw), np.sin(yaw)
        inside[:, :2] = inside[:, :2] @ np.array([[cos, sin], [-sin, cos]])
        points.append(np.concatenate([inside + (x, y, z), rng.uniform(0, 1, (count, columns - 3))], axis=1))
    return np.concatenate(points).astype(np.float32)


def make_kitti(root, frames=2, points='velodyne', lists=True):
    """A KITTI folder: a car 10 m ahead and a pedestrian to its left in every frame; returns the folder."""
    folder = root / 'training'
    for name in ('calib', 'image_2', 'label_2', points):
        (folder / name).mkdir(parents=True)
    camera = '200 0 100 0 0 200 50 0 0 0 1 0'
    calib = [
        *(f'P{i}: {camera}' for i in range(4)),
        'R0_rect: 1 0 0 0 1 0 0 0 1',
        'Tr_velo_to_cam: 0 -1 0 0 0 0 -1 0 1 0 0 0',
        'Tr_imu_to_velo: 1 0 0 0 0 1 0 0 0 0 1 0',
    ]
    # the sensor's frame: x ahead, y left, z up; a camera's: x right, y down, z ahead, boxes stand on their location
    boxes = np.array([[10, 0, -0.9, 3.9, 1.6, 1.5, 0], [8, 3, -0.8, 0.8, 0.6, 1.7, 0]])
    labels = [
        'Car 0.00 0 -1.57 80 53 120 83 1.5 1.6 3.9 0 1.65 10 -1.57',
        'Pedestrian 0.00 0 -1.57 10 48 40 91 1.7 0.6 0.8 -3 1.65 8 -1.57',
        'DontCare -1 -1 -10 1 1 5 5 -1 -1 -1 -1000 -1000 -1000 -10',
    ]
    for index in range(frames):
        name = f'{index:06d}'
        (folder / 'calib' / f'{name}.txt').write_text('\n'.join(calib) + '\n\n')
        (folder / 'label_2' / f'{name}.txt').write_text('\n'.join(labels) + '\n')
        Image.new('RGB', (200, 100)).save(folder / 'image_2' / f'{name}.png')
        fill_boxes(boxes, 200, 4, seed=index).tofile(folder / points / f'{name}.bin')
    if lists:
        (root / 'ImageSets').mkdir()
        for split in ('train', 'val'):
            (root / 'ImageSets' / f'{split}.txt').write_text(''.join(f'{index:06d}\n' for index in range(frames)))
    return root


def make_nuscenes(root, points, boxes, categories, lidar2ego=None, ego2global=None):
    """A nuScenes folder, v1.0-mini: one key frame in a scene for training, and the same in one for validation.

    Args:
        root: the folder, returned.
        points: (N, 5) float32.
        boxes: (K, 7) float in the sensor's frame: centre, length, width, height, yaw.
        categories: K names, as 'vehicle.car'.
        lidar2ego: (4, 4) float, the identity if None.
        ego2global: (4, 4) float, the identity if None.
    """
    lidar2ego, ego2global = (np.eye(4) if value is None else np.array(value) for value in (lidar2ego, ego2global))

    def split_pose(matrix):
        rotation = Quaternion(matrix=matrix[:3, :3], rtol=1e-3, atol=1e-3)
        return dict(translation=matrix[:3, 3].tolist(), rotation=rotation.elements.tolist())

    tables = {
        name: []
        for name in (
            'attribute',
            'instance',
            'sensor',
            'calibrated_sensor',
            'log',
            'scene',
            'sample',
            'sample_data',
            'sample_annotation',
        )
    }
    tables['category'] = [dict(token=name, name=name, description='') for name in sorted(set(categories))]
    tables['visibility'] = [dict(token='4', level='v80-100', description='')]
    tables['ego_pose'] = [dict(token='pose', timestamp=0, **split_pose(ego2global))]
    for channel in ('LIDAR_TOP', *CAMERAS):
        lidar = channel == 'LIDAR_TOP'
        tables['sensor'].append(dict(token=channel, channel=channel, modality='lidar' if lidar else 'camera'))
        tables['calibrated_sensor'].append(
            dict(
                token=channel,
                sensor_token=channel,
                **split_pose(lidar2ego),
                camera_intrinsic=[] if lidar else [[1000, 0, 800], [0, 1000, 450], [0, 0, 1]],
            )
        )
    for scene in ('scene-0061', 'scene-0103'):  # the first of mini_train, the first of mini_val
        tables['log'].append(dict(token=scene, logfile='', vehicle='', date_captured='', location='boston-seaport'))
        tables['scene'].append(
            dict(
                token=scene,
                log_token=scene,
                nbr_samples=1,
                first_sample_token=f'{scene}-sample',
                last_sample_token=f'{scene}-sample',
                name=scene,
                description='',
            )
        )
        tables['sample'].append(dict(token=f'{scene}-sample', timestamp=1_000_000, scene_token=scene, next='', prev=''))
        for channel in ('LIDAR_TOP', *CAMERAS):
            name = f'samples/{channel}/{scene}' + ('.pcd.bin' if channel == 'LIDAR_TOP' else '.jpg')
            (root / name).parent.mkdir(parents=True, exist_ok=True)
            tables['sample_data'].append(
                dict(
                    token=f'{scene}-{channel}',
                    sample_token=f'{scene}-sample',
                    ego_pose_token='pose',
                    is_key_frame=True,
                    calibrated_sensor_token=channel,
                    filename=name,
                    timestamp=1_000_000,
                    next='',
                    prev='',
                    width=1600,
                    height=900,
                    fileformat=name.split('.', 1)[1],
                )
            )
        points.tofile(root / f'samples/LIDAR_TOP/{scene}.pcd.bin')
        for index, (box, category) in enumerate(zip(boxes, categories, strict=True)):
            center = ego2global @ lidar2ego @ [*box[:3], 1]
            turn = Quaternion(matrix=(ego2global @ lidar2ego)[:3, :3], rtol=1e-3, atol=1e-3)
            token = f'{scene}-{index}'
            tables['instance'].append(
                dict(
                    token=token,
                    category_token=category,
                    nbr_annotations=1,
                    first_annotation_token=token,
                    last_annotation_token=token,
                )
            )
            tables['sample_annotation'].append(
                dict(
                    token=token,
                    sample_token=f'{scene}-sample',
                    instance_token=token,
                    visibility_token='4',
                    attribute_tokens=[],
                    translation=center[:3].tolist(),
                    size=[box[4], box[3], box[5]],
                    rotation=(turn * Quaternion(axis=[0, 0, 1], angle=box[6])).elements.tolist(),
                    prev='',
                    next='',
                    num_lidar_pts=10,
                    num_radar_pts=0,
                )
            )
    (root / 'maps').mkdir()
    Image.new('L', (8, 8)).save(root / 'maps' / 'map.png')
    tables['map'] = [
        dict(
            token='map',
            category='semantic_prior',
            filename='maps/map.png',
            log_tokens=[row['token'] for row in tables['log']],
        )
    ]
    (root / 'v1.0-mini').mkdir()
    for name, rows in tables.items():
        (root / 'v1.0-mini' / f'{name}.json').write_text(json.dumps(rows))
    return root
