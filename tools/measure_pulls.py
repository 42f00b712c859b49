"""Train a colorizer for a few iterations and print how strongly each of its losses pulls at the colours.

python tools/measure_pulls.py configs/colorize/mpt_base.py --iters 60 --photos FOLDER
"""

import argparse
import sys
from collections.abc import Sequence

from dualattn.commands.parser import add_options_argument, parse_options
from dualattn.configs import read_config


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('config')
    parser.add_argument('--photos', required=True, help='folder of colour photographs')
    parser.add_argument('--iters', type=int, default=60)
    parser.add_argument('--every', type=int, default=20, help='print after so many iterations')
    parser.add_argument('--size', type=int, default=64)
    parser.add_argument('--batch-size', type=int, default=7)
    add_options_argument(parser)
    args = parser.parse_args(argv)
    import torch
    from mmengine.registry import MODELS
    from torch.utils.data import DataLoader

    from colorization.data import ColorImageDataset
    from colorization.systems import PerNetworkOptimWrapperConstructor
    from colorization.systems.gradients import measure_pulls

    cfg = read_config(args.config, parse_options(parser, args.cfg_options))
    torch.manual_seed(0)
    system = MODELS.build(cfg.model).train()
    optim = cfg.optim_wrapper.to_dict()
    optim.pop('constructor')
    wrapper = PerNetworkOptimWrapperConstructor(optim)(system)
    photos = ColorImageDataset(
        args.photos, prepare=[dict(type='torchvision/Resize', size=(args.size, args.size), antialias=True)]
    )
    if len(photos) < args.batch_size:
        parser.error(f'--photos {args.photos} holds {len(photos)} photographs, less than a batch of {args.batch_size}')
    loader = DataLoader(photos, args.batch_size, shuffle=True, drop_last=True)
    done = 0
    while done < args.iters:
        for data in loader:
            system.train_step(data, wrapper)
            done += 1
            if done % args.every == 0:
                pulls = measure_pulls(system, data)
                print(f'{done:6}  ' + '  '.join(f'{name} {pull:.2e}' for name, pull in pulls.items()), flush=True)
            if done == args.iters:
                break
    return 0


if __name__ == '__main__':
    sys.exit(main())
