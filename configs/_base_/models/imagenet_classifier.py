# Dual-Attention-T with what MPT Table VI leaves open taken from DaViT's training, with which its Table V compares:
# smoothing, mixup and CutMix. The depth drop is that of its detectors (MPT IV-F).
model = dict(
    type='ImageClassifier',
    backbone=dict(model_name='dualattn_tiny', num_classes=1000, drop_path_rate=0.1),
    smoothing=0.1,
    mixup=dict(mixup_alpha=0.8, cutmix_alpha=1.0),
)
