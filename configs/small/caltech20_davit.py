# caltech20.py with DaViT of the same widths, from the weights of pretrain/davit_pico_lite2.py.
_base_ = ['./caltech20.py']
model = dict(
    backbone=dict(model_name='davit_tiny', depths=(1, 1, 3, 1), embed_dims=(48, 96, 192, 384), num_heads=(2, 4, 8, 16)),
    init_cfg=dict(checkpoint='work_dirs/davit_pico_lite2/student.safetensors'),
)
