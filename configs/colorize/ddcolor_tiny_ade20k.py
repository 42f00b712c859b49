# DDColor-tiny, trained on ImageNet and tested as it is on the 2,000 images of ADE20K's validation set.
_base_ = ['./ddcolor_tiny.py']
test_dataloader = dict(dataset=dict(data_root='data/ade20k/images/validation', protocol='ade20k'))
