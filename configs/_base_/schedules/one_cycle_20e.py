# Rate and momentum of one cycle over 20 epochs (MPT IV-G); `param_scheduler` of the configs that name it.
one_cycle = [
    dict(type='CosineAnnealingLR', T_max=8, eta_min_ratio=10, end=8, convert_to_iter_based=True),
    dict(type='CosineAnnealingLR', T_max=12, eta_min_ratio=1e-3, begin=8, end=20, convert_to_iter_based=True),
    dict(type='CosineAnnealingMomentum', T_max=8, eta_min=0.85, end=8, convert_to_iter_based=True),
    dict(type='CosineAnnealingMomentum', T_max=12, eta_min=0.95, begin=8, end=20, convert_to_iter_based=True),
]
