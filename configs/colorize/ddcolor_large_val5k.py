# DDColor as published, tested on val5k as in its ablations and its first ImageNet column: the first 5,000 images of the
# validation set, by file name, cropped rather than squeezed as the authors say they did for this set alone.
_base_ = ['./ddcolor_large.py']
test_dataloader = dict(dataset=dict(protocol='imagenet-val5k'))
