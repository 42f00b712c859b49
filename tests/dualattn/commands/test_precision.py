"""Mixed precision of `dualattn train`: which optimizers it reaches, and which models it is refused for."""

import pytest
import torch

mmengine = pytest.importorskip('mmengine')
from mmengine.config import Config  # noqa: E402

from dualattn.commands import train  # noqa: E402
from dualattn.engine import OptionError  # noqa: E402


@pytest.mark.mm
@pytest.mark.parametrize('says', ['command', 'config', 'torch'])
@pytest.mark.parametrize('name', ['det/mask_rcnn_dualattn_t', 'det3d/centerpoint_voxel01_dualattn_nus'])
def test_what_has_no_bfloat16_is_refused(repo_root, name, says):
    pytest.importorskip('mmdet3d')
    cfg = Config.fromfile(repo_root / 'configs' / f'{name}.py', import_custom_modules=False)
    train.check_precision(cfg)
    if says == 'command':
        train.use_amp(cfg.optim_wrapper, 'bfloat16')
    else:
        cfg.optim_wrapper.update(type='AmpOptimWrapper', dtype='bfloat16' if says == 'config' else torch.bfloat16)
    with pytest.raises(OptionError, match='mmcv.*no bfloat16' if 'rcnn' in name else 'spconv.*SparseEncoder.*bfloat16'):
        train.check_precision(cfg)


def test_sparse_parts_are_found_wherever_they_are():
    amp = dict(type='OptimWrapper', optimizer=dict(type='SGD'))
    nested = Config(dict(optim_wrapper=amp, model=dict(a=[dict(type='B', c=dict(type='Asymm3DSpconv'))])))
    train.use_amp(nested.optim_wrapper, 'bfloat16')
    with pytest.raises(OptionError, match='Asymm3DSpconv'):
        train.check_precision(nested)
    networks = Config(dict(optim_wrapper=dict(constructor='C', a=amp), model=dict(a=dict(type='Pillars'))))
    train.use_amp(networks.optim_wrapper, 'bfloat16')
    train.check_precision(networks)


def test_float16_reaches_every_network(monkeypatch):
    monkeypatch.setattr(torch.cuda, 'is_available', lambda: True)
    entries = dict(constructor='C', a=dict(type='OptimWrapper', optimizer={}), b=dict(optimizer={}), c=None)
    train.use_amp(entries, 'float16')
    assert [entries[name]['type'] for name in 'ab'] == ['AmpOptimWrapper'] * 2 and entries['c'] is None
    single = dict(type='OptimWrapper', optimizer=dict(type='SGD'))
    train.use_amp(single, 'bfloat16')
    assert single == dict(type='BFloat16OptimWrapper', optimizer=dict(type='SGD'))
