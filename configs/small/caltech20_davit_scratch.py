# caltech20_davit.py from random weights.
_base_ = ['./caltech20_davit.py']
model = dict(init_cfg=None)
