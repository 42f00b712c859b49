"""Small stand-ins for COCO and for the detectors of configs/det."""

import json

import numpy as np
import pytest
from mmengine.config import Config
from mmengine.registry import init_default_scope
from PIL import Image


@pytest.fixture
def coco(tmp_path):
    """A folder in COCO's layout, `data/{annotations,train2017,val2017}`: three images with a red and a blue rectangle.

    Returns:
        The folder, and the content of the training annotations.
    """
    root = tmp_path / 'data'
    for split in ('train2017', 'val2017'):
        images, annotations = [], []
        (root / split).mkdir(parents=True)
        for i in range(3):
            pixels = np.full((64, 96, 3), 200, np.uint8)
            for j, color in enumerate([(220, 30, 30), (30, 30, 220)]):
                x, y, w, h = 6 + 44 * j + 3 * i, 8 + 5 * i, 30, 26 + 4 * j
                pixels[y : y + h, x : x + w] = color
                annotations.append(
                    dict(
                        id=10 * (i + 1) + j,
                        image_id=i + 1,
                        category_id=[3, 7][j],
                        bbox=[x, y, w, h],
                        area=w * h,
                        iscrowd=0,
                        segmentation=[[x, y, x + w, y, x + w, y + h, x, y + h]],
                    )
                )
            Image.fromarray(pixels).save(root / split / f'{i}.png')
            images.append(dict(id=i + 1, file_name=f'{i}.png', width=96, height=64))
        content = dict(
            images=images, annotations=annotations, categories=[dict(id=3, name='red'), dict(id=7, name='blue')]
        )
        write_annotations(root, content, split)
    return root, content


def write_annotations(root, content, split='train2017'):
    path = root / 'annotations' / f'instances_{split}.json'
    path.parent.mkdir(exist_ok=True)
    path.write_text(json.dumps(content))
    return path


@pytest.fixture
def detector_config(coco, tmp_path, repo_root, monkeypatch, request):
    """Function that reads a config of configs/det and makes it tiny, for the stand-in of COCO."""
    monkeypatch.chdir(repo_root)
    root, _ = coco
    count = 0

    def make(name='mask_rcnn_dualattn_t', **options):
        nonlocal count
        count += 1
        cfg = Config.fromfile(f'configs/det/{name}.py')
        model, dim = cfg.model, 16
        model.backbone.update(depths=(1, 1, 1, 1), embed_dims=(16, 16, 32, 32), stem_dim=8, head_dim=8, init_cfg=None)
        model.neck.update(in_channels=[16, 16, 32, 32], out_channels=dim)
        model.rpn_head.update(in_channels=dim, feat_channels=dim)
        heads = model.roi_head.bbox_head, model.roi_head.mask_head
        for box_head in heads[0] if isinstance(heads[0], list) else [heads[0]]:
            box_head.update(in_channels=dim, fc_out_channels=dim, num_classes=2)
            if 'conv_out_channels' in box_head:
                box_head.conv_out_channels = dim
        for mask_head in heads[1] if isinstance(heads[1], list) else [heads[1]]:
            mask_head.update(in_channels=dim, conv_out_channels=dim, num_classes=2)
        for extractor in (model.roi_head.bbox_roi_extractor, model.roi_head.mask_roi_extractor):
            extractor.out_channels = dim
        for split, part in (('train', 'train2017'), ('val', 'val2017'), ('test', 'val2017')):
            loader = cfg[f'{split}_dataloader']
            loader.update(num_workers=0, persistent_workers=False)
            loader.dataset.update(
                data_root=str(root),
                ann_file=f'annotations/instances_{part}.json',
                data_prefix=dict(img=f'{part}/'),
                metainfo=dict(classes=('red', 'blue')),
            )
            for step in loader.dataset.pipeline:
                for key, value in dict(scales=[(96, 96)], scale=(96, 96), size=(96, 96), crop_size=(96, 96)).items():
                    if key in step:
                        step[key] = value
        for evaluator in (cfg.val_evaluator, cfg.test_evaluator):
            evaluator.ann_file = str(root / 'annotations' / 'instances_val2017.json')
        cfg.merge_from_dict(
            {
                'work_dir': str(tmp_path / 'run'),
                'log_level': 'WARNING',
                'default_hooks.logger.interval': 1,
                'experiment_name': f'{request.node.name}_{count}',
                'visualizer.name': f'{request.node.name}_{count}',
                'train_cfg.max_epochs': 1,
                'param_scheduler.0.end': 1,
                **options,
            }
        )
        return cfg

    yield make
    init_default_scope('mmengine')
