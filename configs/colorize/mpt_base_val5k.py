# MPT as published, tested on val5k: the first 5,000 images of ImageNet's validation set, by file name.
_base_ = ['./mpt_base.py']
test_dataloader = dict(dataset=dict(protocol='imagenet-val5k'))
