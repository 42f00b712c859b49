# L1 and DDColor's colourfulness loss.
_base_ = ['./l1.py']
model = dict(colorfulness_loss=dict(type='ColorfulnessLoss', loss_weight=0.5))
