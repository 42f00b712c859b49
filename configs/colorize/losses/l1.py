# L1 alone under the budget of `dualattn ablate losses`: the small network with the paper's head, 64 px.
_base_ = ['./palette.py']
model = dict(
    generator=dict(head='linear', palette=None, temperature=1.0, gain=1.0, recovery=0.0),
    pixel_loss=dict(loss_weight=0.1),
    palette_loss=None,
)
