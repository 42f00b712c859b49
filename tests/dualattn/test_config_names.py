"""Configs by name from any folder, configs of users that stand on packaged ones, and what is refused at once."""

import pytest
from mmengine.config import Config
from mmengine.config.utils import MODULE2PACKAGE

from dualattn.commands.files import check_data, check_weights_files
from dualattn.configs import find_config, find_packaged_configs, read_config


@pytest.fixture(autouse=True)
def elsewhere(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


@pytest.mark.parametrize('name', ['colorize/mpt_demo.py', 'configs/colorize/mpt_demo.py'])
def test_packaged_config_from_any_folder(name):
    assert find_config(name) == find_packaged_configs() / 'colorize' / 'mpt_demo.py'


def test_own_file_wins(tmp_path):
    (tmp_path / 'colorize').mkdir()
    (tmp_path / 'colorize' / 'mpt_demo.py').write_text('mine = True\n')
    assert read_config('colorize/mpt_demo.py').mine


@pytest.mark.parametrize(
    ('name', 'said'),
    [
        ('colorize/mpt_dmo.py', r'did you mean colorize/mpt_demo\.py\?'),
        ('../../etc/passwd', 'no config file at'),
        ('/nowhere/a.py', 'no config file at /nowhere/a.py'),
        ('.', 'is a folder'),
    ],
)
def test_missing_config(name, said):
    with pytest.raises(FileNotFoundError, match=said):
        find_config(name)


def test_config_of_a_user_stands_on_a_packaged_one(tmp_path):
    (tmp_path / 'mine.py').write_text(
        "_base_ = 'dualattn::colorize/mpt_demo.py'\n"
        'train_cfg = dict(max_iters=3)\n'
        'model = dict(generator=dict(num_queries=7))\n'
        'seen = _base_.train_cfg.val_interval\n'
    )
    before = dict(MODULE2PACKAGE)
    mine, base = read_config('mine.py'), read_config('colorize/mpt_demo.py')
    assert before == MODULE2PACKAGE
    assert mine.train_cfg.max_iters == 3 and mine.seen == base.train_cfg.val_interval
    assert mine.model.generator.num_queries == 7 and mine.model.generator.type == base.model.generator.type
    assert mine.train_dataloader == base.train_dataloader
    with pytest.raises(AssertionError, match='dualattn'):  # what the documentation says of mmengine alone
        Config.fromfile('mine.py')


def test_options_and_broken_configs(tmp_path):
    assert read_config('colorize/mpt_demo.py', {'train_cfg.max_iters': 5}).train_cfg.max_iters == 5
    (tmp_path / 'broken.py').write_text('model = dict(\n')
    with pytest.raises(ValueError, match=r'broken\.py is no config'):
        read_config('broken.py')


def test_missing_data_names_the_entry(tmp_path):
    here = dict(dataset=dict(type='A', data_root=str(tmp_path)))
    cfg = Config(dict(
        train_dataloader=here, val_dataloader=dict(dataset=dict(datasets=[here['dataset'], dict(data_root=['gone'])])),
    ))  # fmt: skip
    check_data(cfg, ['train_dataloader', 'test_dataloader'])
    with pytest.raises(FileNotFoundError, match=r"'gone' does not exist.*val_dataloader\.dataset\.datasets\.1\.data_"):
        check_data(cfg, ['train_dataloader', 'val_dataloader'])
    (tmp_path / 'gone').touch()
    with pytest.raises(FileNotFoundError, match="'gone' is no folder"):
        check_data(cfg, ['val_dataloader'])


def test_missing_weights_name_the_command(tmp_path):
    loss = dict(type='PerceptualLoss', weights='weights/vgg19-dcbb9e9d.pth')
    cfg = Config(
        dict(model=dict(loss=loss, generator_weights='packaged', backbone=dict(init_cfg=dict(checkpoint='a.pth'))))
    )
    with pytest.raises(
        FileNotFoundError, match=r'model\.loss\.weights names; fetch it with: dualattn weights get vgg19$'
    ):
        check_weights_files(cfg, ['weights', 'generator_weights'])
    with pytest.raises(FileNotFoundError, match=r'no weights at a\.pth .*model\.backbone\.init_cfg\.checkpoint names$'):
        check_weights_files(cfg, ['checkpoint'])
    (tmp_path / 'weights').mkdir()
    (tmp_path / 'weights' / 'vgg19-dcbb9e9d.pth').touch()
    check_weights_files(cfg, ['weights', 'generator_weights'])
