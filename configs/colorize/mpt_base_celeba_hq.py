# MPT, trained on ImageNet and tested as it is on the 30,000 images of CelebA-HQ.
_base_ = ['./mpt_base.py']
test_dataloader = dict(dataset=dict(data_root='data/celeba_hq', protocol='celeba-hq'))
