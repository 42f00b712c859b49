# mpt_small.py with a Dual-Attention encoder, which begins with the weights of pretrain/dualattn_mpt_pico_lite2.py.
_base_ = ['./mpt_small.py']
model = dict(
    generator=dict(
        encoder='dualattn_mpt_pico',
        encoder_weights='work_dirs/dualattn_mpt_pico_lite2/student.safetensors',
    ),
)
