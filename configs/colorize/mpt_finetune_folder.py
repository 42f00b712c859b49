# Your own photographs, starting from the weights that ship with the package. Put colour photographs into
# data/my_photos/train and a few others into data/my_photos/val; a few hundred give the network a taste of their
# colours, a few thousand its own.
_base_ = ['./mpt_small.py']

model = dict(generator_weights='packaged', generator=dict(encoder_weights=None))
train_dataloader = dict(
    num_workers=2,
    persistent_workers=True,
    dataset=dict(data_root='data/my_photos/train', cache=False))
val_dataloader = dict(dataset=dict(data_root='data/my_photos/val'))
test_dataloader = val_dataloader
train_cfg = dict(max_iters=5000, val_interval=500)
default_hooks = dict(checkpoint=dict(interval=500))
