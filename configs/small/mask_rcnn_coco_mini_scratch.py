# mask_rcnn_coco_mini.py from random weights.
_base_ = ['./mask_rcnn_coco_mini.py']
model = dict(backbone=dict(init_cfg=None))
