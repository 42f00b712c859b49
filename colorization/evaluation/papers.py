"""The rows of the papers' tables of colourization, as they are printed, errors included."""

from dataclasses import dataclass, field

__all__ = ['PAPER_TABLES', 'PaperTable', 'parse_rows']

# heading in the papers -> name of the figure in a record. Their CF is the variant with absolute opponent colours.
COLUMNS = {'FID': 'FID', 'CF': 'CF_abs', 'ΔCF': 'CF_abs_delta', 'PSNR': 'PSNR'}


@dataclass(frozen=True)
class PaperTable:
    """A table: rows under the protocols whose numbers they are.

    Attributes:
        title: of the table.
        protocols: name of the protocol of each group of columns.
        columns: the columns of each group, keys of `COLUMNS`.
        rows: method -> protocol -> numbers, in the order of `columns`; None where the paper has a dash.
        configs: the config of this repository for a row, where there is one.
        refused: why a row has none.
        parameters: of the methods, in millions, where the paper has a column of them.
        figures: of the columns of recognition, the ends of the names of those figures of a record whose mean stands
            there, and what it is multiplied by.
    """

    title: str
    protocols: tuple[str, ...]
    columns: tuple[str, ...]
    rows: dict[str, dict[str, tuple[float | None, ...]]]
    configs: dict[str, str]
    refused: dict[str, str]
    parameters: dict[str, float] = field(default_factory=dict)
    figures: dict[str, tuple[tuple[str, ...], float]] = field(default_factory=dict)


def parse_rows(text: str, protocols: tuple[str, ...], width: int) -> dict[str, dict[str, tuple[float | None, ...]]]:
    """Read rows of 'NAME | NUMBERS | NUMBERS': a group of numbers for each protocol, '-' for none."""
    rows = {}
    for line in text.strip().splitlines():
        name, *cells = (cell.strip() for cell in line.split('|'))
        groups = {}
        for protocol, cell in zip(protocols, cells, strict=True):
            numbers = tuple(None if number == '-' else float(number) for number in cell.split())
            groups[protocol] = numbers if len(numbers) == width else (None,) * width
        rows[name] = groups
    return rows


def _table(
    title: str,
    protocols: str,
    columns: str,
    text: str,
    configs: dict[str, str] | None = None,
    refused: dict[str, str] | None = None,
    parameters: dict[str, float] | None = None,
) -> PaperTable:
    names, headings = tuple(protocols.split()), tuple(columns.split())
    rows = parse_rows(text, names, len(headings))
    return PaperTable(title, names, headings, rows, configs or {}, refused or {}, parameters or {})


_ABLATIONS = 'configs/colorize/ablations/'

PAPER_TABLES = {
    'mpt-1': _table(
        'MPT Table I, comparison on benchmark data sets',
        'imagenet-val50k coco-stuff celeba-hq ade20k',
        'FID CF ΔCF PSNR',
        """
        CIC | 19.17 43.92 4.83 20.86 | 27.88 33.84 3.01 22.73 | 14.97 38.21 4.54 24.54 | 15.31 31.92 3.12 23.14
        Zhang et al. | 7.30 27.23 11.86 24.13 | 17.43 25.95 10.90 24.66 | 11.81 36.98 5.77 26.56 | -
        InstColor | 7.36 27.05 12.04 22.91 | 13.09 27.45 9.40 23.38 | 13.28 37.08 5.67 24.77 | 15.44 23.54 11.50 24.27
        ChromaGAN | 5.16 27.49 11.60 23.12 | 25.65 27.86 8.99 23.56 | 14.43 45.93 3.18 24.54 | -
        DeOldify | 3.87 22.83 16.26 22.97 | 13.86 24.99 11.86 24.19 | 9.48 43.93 1.18 25.20 | 12.41 17.98 17.06 24.40
        ColTran | 6.14 35.50 3.59 22.30 | 14.94 36.27 0.58 21.72 | 10.05 43.62 0.87 22.98 | 12.03 34.58 0.46 21.86
        GCP | 3.62 35.13 3.96 21.81 | 12.10 28.58 8.27 21.58 | - | 13.27 27.57 7.47 22.03
        BigColor | 1.24 40.01 0.92 21.24 | 9.07 39.84 2.99 20.46 | - | -
        ColorFormer | 1.71 39.76 0.67 23.00 | 8.68 36.34 0.51 23.91 | 7.54 42.43 0.32 25.62 | 8.83 32.27 2.77 23.97
        DDColor | 1.23 37.72 1.37 23.63 | 7.24 38.48 1.63 23.45 | - | 10.03 35.27 0.23 24.39
        MPT | 1.21 39.33 0.24 23.37 | 7.56 36.57 0.28 23.85 | 5.68 42.96 0.21 25.94 | 9.51 34.82 0.22 24.31
        """,
        {'MPT': 'configs/colorize/mpt_base.py', 'DDColor': 'configs/colorize/ddcolor_tiny.py'},
    ),
    'mpt-2': _table(
        'MPT Table II, effect of Dual-Attention and Color-Attention',
        'imagenet-val50k',
        'FID CF ΔCF',
        """
        GLH, Color-Attention | 1.42 39.51 0.42
        GLH, encoder blocks | 1.85 36.70 2.39
        ResNet-50, Color-Attention | 3.23 36.23 2.86
        ResNet-50, encoder blocks | 4.10 34.27 4.82
        Swin-T, Color-Attention | 2.44 38.15 0.94
        Swin-T, encoder blocks | 2.68 36.03 3.06
        Twins-S, Color-Attention | 2.21 38.21 0.88
        Twins-S, encoder blocks | 2.48 36.46 2.63
        Dual-Attention, Color-Attention | 1.21 39.33 0.24
        Dual-Attention, encoder blocks | 1.77 37.42 1.67
        GLH, CM | 1.71 39.76 0.67
        Dual-Attention, CM | 1.55 39.44 0.35
        """,
        {
            'GLH, Color-Attention': f'{_ABLATIONS}mpt_glh.py',
            'GLH, encoder blocks': f'{_ABLATIONS}mpt_glh_blocks.py',
            'ResNet-50, Color-Attention': f'{_ABLATIONS}mpt_resnet50.py',
            'ResNet-50, encoder blocks': f'{_ABLATIONS}mpt_resnet50_blocks.py',
            'Swin-T, Color-Attention': f'{_ABLATIONS}mpt_swin.py',
            'Swin-T, encoder blocks': f'{_ABLATIONS}mpt_swin_blocks.py',
            'Twins-S, Color-Attention': f'{_ABLATIONS}mpt_twins.py',
            'Twins-S, encoder blocks': f'{_ABLATIONS}mpt_twins_blocks.py',
            'Dual-Attention, Color-Attention': 'configs/colorize/mpt_base.py',
            'Dual-Attention, encoder blocks': f'{_ABLATIONS}mpt_blocks.py',
            'GLH, CM': f'{_ABLATIONS}mpt_glh_memory.py',
            'Dual-Attention, CM': f'{_ABLATIONS}mpt_memory.py',
        },
    ),
    'mpt-3': _table(
        'MPT Table III, attention arrangement',
        'imagenet-val50k',
        'FID CF ΔCF',
        """
        FCA-SDA | 1.21 39.33 0.24
        FCA-DA | 1.60 39.43 0.34
        CA-SDA | 2.52 39.95 0.86
        SDA-FCA | 2.32 39.62 0.53
        DA-FCA | 2.58 40.17 1.08
        SDA-CA | 2.88 40.44 1.35
        FCA-FCA | 2.66 40.63 1.54
        SDA-SDA | 2.75 40.89 1.80
        FCA | 3.68 42.13 3.04
        SDA | 3.95 42.26 3.17
        """,
        {
            'FCA-SDA': 'configs/colorize/mpt_base.py',
            **{
                name: f'{_ABLATIONS}mpt_{name.lower().replace("-", "_")}.py'
                for name in ['FCA-DA', 'CA-SDA', 'SDA-FCA', 'DA-FCA', 'SDA-CA', 'FCA-FCA', 'SDA-SDA', 'FCA', 'SDA']
            },
        },
    ),
    'mpt-4': _table(
        'MPT Table IV, number of queries',
        'imagenet-val50k',
        'FID CF ΔCF',
        """
        50 | 1.33 38.57 0.52
        100 | 1.27 38.72 0.37
        150 | 1.21 39.33 0.24
        200 | 1.27 38.43 0.66
        500 | 1.24 38.50 0.49
        """,
        {
            '150': 'configs/colorize/mpt_base.py',
            **{name: f'{_ABLATIONS}mpt_queries_{name}.py' for name in ['50', '100', '200', '500']},
        },
    ),
    'dd-1': _table(
        'DDColor Table 1, comparison on benchmark data sets',
        'imagenet-val5k imagenet-val50k coco-stuff ade20k',
        'FID CF ΔCF PSNR',
        """
        CIC | 8.72 31.60 6.61 22.64 | 19.17 43.92 4.83 20.86 | 27.88 33.84 4.40 22.73 | 15.31 31.92 3.12 23.14
        InstColor | 8.06 24.87 13.34 23.28 | 7.36 27.05 12.04 22.91 | 13.09 27.45 10.79 23.38 | 15.44 23.54 11.50 24.27
        DeOldify | 6.59 21.29 16.92 24.11 | 3.87 22.83 16.26 22.97 | 13.86 24.99 13.25 24.19 | 12.41 17.98 17.06 24.40
        Wu et al. | 5.95 32.98 5.23 21.68 | 3.62 35.13 3.96 21.81 | - | 13.27 27.57 7.47 22.03
        ColTran | 6.44 34.50 3.71 20.95 | 6.14 35.50 3.59 22.30 | 14.94 36.27 1.97 21.72 | 12.03 34.58 0.46 21.86
        CT2 | 5.51 38.48 0.27 23.50 | 4.95 39.96 0.87 22.93 | - | 11.42 35.95 0.91 23.90
        BigColor | 5.36 39.74 1.53 21.24 | 1.24 40.01 0.92 21.24 | - | 11.23 35.85 0.81 21.33
        ColorFormer | 4.91 38.00 0.21 23.10 | 1.71 39.76 0.67 23.00 | 8.68 36.34 1.90 23.91 | 8.83 32.27 2.77 23.97
        DDColor-tiny | 4.38 37.66 0.55 23.54 | 1.23 37.72 1.37 23.63 | 7.24 38.48 0.24 23.45 | 10.03 35.27 0.23 24.39
        DDColor-large | 3.92 38.26 0.05 23.85 | 0.96 38.65 0.44 23.74 | 5.18 38.48 0.24 22.85 | 8.21 34.80 0.24 24.13
        """,
        {'DDColor-tiny': 'configs/colorize/ddcolor_tiny.py', 'DDColor-large': 'configs/colorize/ddcolor_large.py'},
        parameters={
            'CIC': 32.2,
            'InstColor': 69.4,
            'DeOldify': 63.6,
            'Wu et al.': 310.9,
            'ColTran': 74.0,
            'CT2': 463.0,
            'BigColor': 105.2,
            'ColorFormer': 44.8,
            'DDColor-tiny': 55.0,
            'DDColor-large': 227.9,
        },
    ),
    'dd-2a': _table(
        'DDColor Table 2a, color decoder and colorfulness loss',
        'imagenet-val5k',
        'FID CF ΔCF',
        """
        neither | 6.04 33.07 5.14
        colorfulness loss | 5.93 36.14 2.07
        color decoder | 4.01 35.69 2.52
        both | 3.92 38.26 0.05
        """,
        {
            'neither': f'{_ABLATIONS}ddcolor_no_color_decoder_no_colorfulness.py',
            'colorfulness loss': f'{_ABLATIONS}ddcolor_no_color_decoder.py',
            'color decoder': f'{_ABLATIONS}ddcolor_no_colorfulness.py',
            'both': 'configs/colorize/ddcolor_large_val5k.py',
        },
    ),
    'dd-2b': _table(
        'DDColor Table 2b, feature scales',
        'imagenet-val5k',
        'FID CF ΔCF',
        """
        1/16 | 5.09 37.22 0.99
        1/8 | 4.49 37.58 0.63
        1/4 | 4.44 37.74 0.47
        3 scales | 3.92 38.26 0.05
        """,
        {
            **{f'1/{scale}': f'{_ABLATIONS}ddcolor_scale_{scale}.py' for scale in (16, 8, 4)},
            '3 scales': 'configs/colorize/ddcolor_large_val5k.py',
        },
    ),
    'dd-2c': _table(
        'DDColor Table 2c, color decoder architecture',
        'imagenet-val5k',
        'FID CF ΔCF',
        """
        self-self | 8.74 51.98 13.77
        cross-cross | 4.55 39.93 1.72
        self-cross | 3.98 37.70 0.51
        cross-self | 3.92 38.26 0.05
        """,
        {
            **{
                name: f'{_ABLATIONS}ddcolor_{name.replace("-", "_")}.py'
                for name in ('self-self', 'cross-cross', 'self-cross', 'cross-self')
            }
        },
    ),
    'dd-3': _table(
        'DDColor Table 3, number of color queries',
        'imagenet-val5k',
        'FID CF ΔCF',
        """
        20 | 4.02 37.86 0.35
        50 | 3.96 38.00 0.21
        100 | 3.92 38.26 0.05
        200 | 3.96 37.71 0.50
        500 | 3.93 37.88 0.33
        """,
        {name: f'{_ABLATIONS}ddcolor_queries_{name}.py' for name in ['20', '50', '100', '200', '500']},
    ),
}
