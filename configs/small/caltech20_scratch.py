# caltech20.py from random weights.
_base_ = ['./caltech20.py']
model = dict(init_cfg=None)
