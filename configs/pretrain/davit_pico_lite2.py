# DaViT of the same widths learns the same under the same budget, to compare with.
_base_ = ['./dualattn_mpt_pico_lite2.py']
model = dict(
    student=dict(model_name='davit_tiny', depths=(1, 1, 3, 1), embed_dims=(48, 96, 192, 384), num_heads=(2, 4, 8, 16)),
)
