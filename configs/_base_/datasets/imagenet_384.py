# ImageNet-1K at 384 x 384 for fine-tuning; 8 processes make the batch of 512. Tests crop nothing (MPT Table VI).
_base_ = ['./imagenet_224.py']
train_dataloader = dict(batch_size=64, dataset=dict(transform=dict(input_size=384)))
val_dataloader = dict(batch_size=64, dataset=dict(transform=dict(input_size=384, crop_pct=1.0, crop_mode='squash')))
test_dataloader = dict(batch_size=64, dataset=dict(transform=dict(input_size=384, crop_pct=1.0, crop_mode='squash')))
