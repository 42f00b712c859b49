"""Score any method's folder of colourized pictures against the photographs, under a named protocol.

Pictures are paired by name, suffixes aside. Every picture that is missing, extra, misnamed, misshapen or unreadable is
named; the others are scored all the same, and the record says that it is incomplete.
"""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from dualattn.commands.parser import CommandParser, explain

EPILOG = """examples:
  # what needs no network: PSNR on RGB and ab, CIEDE2000, SSIM, colourfulness in both variants, all with intervals
  dualattn evaluate --pred colorized --gt photographs

  # a row of the papers' tables: FID and LPIPS take the published weights from files at hand
  dualattn evaluate --pred others/val5k --gt data/imagenet/val --protocol imagenet-val5k --match name \\
      --inception weights-inception-2015-12-05-6726825d.pth --lpips-alex alexnet-owt-7be5be79.pth \\
      --name OtherMethod --out runs/other_val5k.json
  dualattn tables runs/*.json --beside dd-1

exit codes: 0 every picture of the protocol was scored, 1 some were left out (they are named, and the record is
written), 2 nothing could be scored
"""
SHOWN = 10  # names that are printed; the record has all of them
WEIGHTS = {'inception': 'FID', 'dinov2': 'FD_DINOv2', 'lpips-alex': 'LPIPS_alex', 'lpips-vgg': 'LPIPS_vgg'}


def parse_args(argv: Sequence[str] | None = None) -> argparse.Namespace:
    """Parse the command line; ends the process with exit code 2 where it cannot be."""
    parser = CommandParser('evaluate', __doc__, EPILOG)
    parser.add_argument('--pred', required=True, type=Path, metavar='DIR', help='folder of the colourized pictures')
    parser.add_argument('--gt', required=True, type=Path, metavar='DIR', help='folder of the photographs')
    parser.add_argument(
        '--protocol',
        default='folder',
        choices=['imagenet-val5k', 'imagenet-val50k', 'coco-stuff', 'ade20k', 'celeba-hq', 'folder'],
        help='which photographs count and how they are resized (default: folder, all of them as they are)',
    )
    parser.add_argument(
        '--match',
        default='path',
        choices=['path', 'name'],
        help='pair pictures by their paths below the folders (default), or by the names of the files alone',
    )
    parser.add_argument('--name', help="name of the method, for tables (default: the predictions' folder)")
    parser.add_argument('--out', type=Path, metavar='FILE', help='JSON record to write (default: NAME_PROTOCOL.json)')
    parser.add_argument('--overwrite', action='store_true', help='replace the record if it exists')
    networks = parser.add_argument_group('networks', 'each figure needs its published weights; nothing is downloaded')
    for kind, figure in WEIGHTS.items():
        networks.add_argument(f'--{kind}', metavar='FILE', help=f'measure {figure} with the weights in this file')
    networks.add_argument('--device', help='where networks run (default: cuda where there is one)')
    networks.add_argument('--batch-size', type=int, default=16, metavar='N', help='pictures at a time (default: 16)')
    parser.add_argument('--clips', action='store_true', help="sub-folders hold a film's frames: measure flicker (CDC)")
    parser.add_argument('--resamples', type=int, default=1000, metavar='N', help='bootstrap draws; 0: no intervals')
    parser.add_argument(
        '--frechet-resamples', type=int, default=50, metavar='N', help='draws for FID and the like; 0: no interval'
    )
    parser.add_argument('--seed', type=int, default=0, help='seed of the draws (default: 0)')
    parser.add_argument('--workers', type=int, default=2, metavar='N', help='processes that read (default: 2)')
    args = parser.parse_args(argv)
    for name, least in (('batch_size', 1), ('resamples', 0), ('frechet_resamples', 0), ('workers', 0), ('seed', 0)):
        if getattr(args, name) < least:
            parser.error(f'--{name.replace("_", "-")} takes at least {least}, got {getattr(args, name)}')
    if args.frechet_resamples == 1:
        parser.error('--frechet-resamples takes 0 or at least 2: one draw has no spread')
    args.name = args.name or args.pred.resolve().name
    args.out = args.out or Path(f'{args.name}_{args.protocol}.json')
    if args.out.suffix != '.json':
        parser.error(f'--out takes a .json file, got {args.out}')
    if args.out.exists() and not args.overwrite:
        parser.error(f'{args.out} exists; name another --out, or use --overwrite')
    if not args.out.parent.is_dir():
        parser.error(f'--out: no folder {args.out.parent}')
    return args


def _report(kind: str, names: Sequence[str], advice: str = '') -> None:
    if names:
        shown = ''.join(f'\n  {name}' for name in names[:SHOWN])
        more = f'\n  ... and {len(names) - SHOWN} more, see the record' if len(names) > SHOWN else ''
        print(f'{len(names)} {kind}{advice}:{shown}{more}', file=sys.stderr)


def _show(figures: dict[str, dict]) -> None:
    for name, figure in figures.items():
        interval = '' if figure['low'] is None else f'  [{figure["low"]:.4g}, {figure["high"]:.4g}]'
        print(f'  {name:14}{figure["value"]:10.4f}{interval} {figure["unit"]}'.rstrip())


def _progress(items, label: str):
    from tqdm import tqdm

    return tqdm(items, desc=label, disable=not sys.stderr.isatty())


def main(argv: Sequence[str] | None = None) -> int:
    """Score two folders; see the exit codes in EPILOG."""
    args = parse_args(argv)
    from colorization.evaluation.pairs import find_compared_with_itself, pair_folders
    from colorization.evaluation.protocols import get_protocol
    from colorization.evaluation.record import make_record, write_record
    from colorization.evaluation.scoring import score_pairs
    from colorization.metrics.networks import DINOv2, Inception, LPIPSDistance, describe_source
    from dualattn.devices import DeviceError, choose_device

    try:
        device = str(choose_device(args.device, metal=False))  # figures are to be the same on every machine
    except DeviceError as error:
        print(f'evaluate: {error}', file=sys.stderr)
        return 2
    protocol = get_protocol(args.protocol)
    try:
        pairing = pair_folders(args.pred, args.gt, protocol, args.match)
        features = [
            network(path) for network, path in ((Inception, args.inception), (DINOv2, args.dinov2)) if path is not None
        ]
        distances = [
            LPIPSDistance(trunk, path)
            for trunk, path in (('alex', args.lpips_alex), ('vgg', args.lpips_vgg))
            if path is not None
        ]
        itself = find_compared_with_itself(args.pred, args.gt, pairing)
        _report(
            'predictions are the photographs themselves',
            list(map(str, itself)),
            ': their figures say nothing of a method',
        )
        scores = score_pairs(
            args.pred,
            args.gt,
            pairing,
            protocol,
            features,
            distances,
            resamples=args.resamples,
            frechet_resamples=args.frechet_resamples,
            seed=args.seed,
            workers=args.workers,
            batch_size=args.batch_size,
            device=device,
            clips=args.clips,
            progress=_progress,
        )
        networks = {network.kind: network.weights for network in (*features, *distances)}
        record = make_record(
            args.name,
            protocol,
            pairing,
            scores,
            networks,
            {
                WEIGHTS[kind]: f'needs --{kind} FILE, {describe_source(kind)}'
                for kind in WEIGHTS
                if kind not in networks
            },
            dict(
                match=args.match,
                resamples=args.resamples,
                frechet_resamples=args.frechet_resamples,
                seed=args.seed,
                device=device,
            ),
        )
    except (ValueError, OSError) as error:
        print(f'evaluate: {explain(error)}', file=sys.stderr)
        return 2
    try:
        write_record(record, args.out)
        kept = f'record: {args.out}'
    except OSError as error:  # hours of measuring are not to be lost for a full disk: the figures are still printed
        kept = f'evaluate: no record was kept: {error}'

    pictures = record['pictures']
    _report('photographs have no prediction', pictures['missing'])
    _report('predictions have no photograph in this protocol', pictures['extra'], ' and were not scored')
    _report(
        'predictions are misnamed',
        [f'{entry["prediction"]} (meant for {entry["photograph"]}?)' for entry in pictures['misnamed']],
        ' and were not scored',
    )
    for kind in ('misshapen', 'unreadable'):
        names = [f'{entry["prediction"]}: {entry["reason"]}' for entry in pictures[kind]]
        _report(f'predictions are {kind}', names, ' and were not scored')
    _report('predictions are gray', pictures['gray'], '; they were scored')
    measured, count = pictures['measured'], protocol.count
    if count is not None and count != measured:
        print(f'{args.protocol} has {count:,} pictures: {measured:,} of them are not that protocol', file=sys.stderr)
    print(f'{args.name}: {measured:,} pictures, {protocol.describe()}')
    _show(record['figures'])
    if record['unverified']:
        print('made with weights that nobody published, so no scores:')
        _show(record['unverified'])
    for name, clip in record['clips'].items():
        print(
            f'  clip {name}: CDC on ab {clip["CDC_ab"]:.5f} (photographs {clip["CDC_ab_truth"]:.5f}) at CF '
            f'{clip["CF"]:.1f} (photographs {clip["CF_truth"]:.1f}), {clip["frames"]} frames'
        )
    for figure, reason in record['not_measured'].items():
        print(f'  {figure}: {reason}')
    if not kept.startswith('record'):
        print(kept, file=sys.stderr)
        return 2
    print(kept)
    return 0 if pictures['complete'] else 1
