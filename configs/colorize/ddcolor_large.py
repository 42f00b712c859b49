# DDColor as published (DDColor 4.1): 256 px, batch 16, 400k iterations on ImageNet. Training images are squeezed to a
# square rather than cropped.
_base_ = [
    '../_base_/models/ddcolor.py',
    '../_base_/datasets/imagenet_256.py',
    '../_base_/schedules/ddcolor_400k.py',
    '../_base_/runtime/colorize.py',
]
squeeze = [dict(type='torchvision/Resize', size=(256, 256), antialias=True)]
train_dataloader = dict(dataset=dict(prepare=squeeze, augment=[dict(type='torchvision/RandomHorizontalFlip')]))
