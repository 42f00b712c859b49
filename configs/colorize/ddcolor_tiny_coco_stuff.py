# DDColor-tiny, trained on ImageNet and tested as it is on the 5,000 images of COCO's val2017.
_base_ = ['./ddcolor_tiny.py']
test_dataloader = dict(dataset=dict(data_root='data/coco/val2017', protocol='coco-stuff'))
