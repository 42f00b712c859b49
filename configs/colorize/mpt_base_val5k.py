# MPT as published, tested on val5k: the first 5,000 images of ImageNet's validation set, by file name.
_base_ = ['./mpt_base.py']
test_dataloader = dict(dataset=dict(protocol='imagenet-val5k'))
test_protocol = 'ImageNet val5k, short side resized to 256 (bilinear, antialiased), centre crop 256 x 256'
