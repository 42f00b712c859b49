"""What detection data sets say of their preparation, in training as in tests."""

import pytest
from mmengine.config import Config
from mmengine.registry import TRANSFORMS, init_default_scope

pytestmark = pytest.mark.mm
pytest.importorskip('mmdet3d')

from transfer.protocol import _list_steps  # noqa: E402


@pytest.mark.parametrize(
    ('config', 'part', 'expected'),
    [
        ('det/mask_rcnn_dualattn_t', 'test', ['scaled to fit 1333 x 800']),
        ('det/mask_rcnn_dualattn_t', 'train', ['RandomChoiceResize', 'RandomFlip']),
        ('det/cascade_mask_rcnn_dualattn_t', 'train', ['RandomResize', 'RandomCrop', 'RandomFlip']),
        ('det3d/second_dualattn_kitti_3class', 'test', ['points within 0, -40, -3, 70.4, 40, 1 m']),
        ('det3d/second_dualattn_kitti_mini', 'train', ['points within 0, -8.8, -3, 57.6, 20, 1 m']),
        (
            'det3d/centerpoint_voxel01_dualattn_nus',
            'test',
            ['9 sweeps before each frame', 'points within -51.2, -51.2, -5, 51.2, 51.2, 3 m'],
        ),
    ],
)
def test_pipelines_are_described(repo_root, config, part, expected):
    import transfer  # noqa: F401  registers what the configs name

    cfg = Config.fromfile(repo_root / 'configs' / f'{config}.py')
    init_default_scope(cfg.default_scope)
    dataset = cfg[f'{part}_dataloader'].dataset
    while 'dataset' in dataset:
        dataset = dataset.dataset
    steps = [step for step in dataset.pipeline if step['type'] != 'ObjectSample']  # reads its database
    assert _list_steps([TRANSFORMS.build(step) for step in steps]) == expected
