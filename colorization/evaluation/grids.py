"""The grids that `dualattn ablate` trains: those of the papers' tables, and our own, of which no paper has numbers."""

from colorization.evaluation.papers import PAPER_TABLES, PaperTable

__all__ = ['GRIDS', 'OWN']

_LOSSES = 'configs/colorize/losses/'
_LOSS_ROWS = {
    'L1': f'{_LOSSES}l1.py',
    'L1, perceptual': f'{_LOSSES}l1_perceptual.py',
    'L1, perceptual, clipped critic (MPT Eq. 16)': f'{_LOSSES}l1_wgan.py',
    'L1, perceptual, critic with penalty': f'{_LOSSES}l1_wgan_gp.py',
    'L1, colourfulness': f'{_LOSSES}l1_colorfulness.py',
    'palette': f'{_LOSSES}palette.py',
    'palette, perceptual': f'{_LOSSES}palette_perceptual.py',
    'palette, critic with penalty': f'{_LOSSES}palette_gp.py',
}
OWN = {
    'losses': PaperTable(
        title='Losses of the small network under one budget',
        protocols=('folder',),
        columns=(),
        rows={row: {'folder': ()} for row in _LOSS_ROWS},
        configs=_LOSS_ROWS,
        refused={},
    )
}
GRIDS = PAPER_TABLES | OWN
