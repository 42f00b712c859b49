"""Read damaged photographs by the thousand; exit code 1 where one of them ends or hangs a process."""

import argparse
import sys

from colorization.fuzzing import fuzz_command
from dualattn.io.photos.fuzzing import fuzz


def main(argv=None):
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument('--count', type=int, default=50_000, help='files to read (50000, some minutes)')
    parser.add_argument('--first', type=int, default=0, help='seed of the first one; a seed always gives the same file')
    parser.add_argument('--processes', type=int, default=2, help='that read (2)')
    parser.add_argument('--allow-truncated', action='store_true', help='read what is there of each file')
    parser.add_argument('--command', action='store_true', help='colorize them by `dualattn colorize`, 500 at a time')
    args = parser.parse_args(argv)
    options = ['--allow-truncated'] if args.allow_truncated else []
    if args.command:
        told = fuzz_command(args.count, args.first, *options)
        states = ', '.join(f'{count} {state}' for state, count in told.states.most_common())
        print(f'{told.states.total()} given to the command: {states}; {len(told.faults)} faults')
        for fault in told.faults:
            print(f'fault: {fault}')
        return 1 if told.faults else 0
    report = fuzz(args.count, args.first, args.processes, args.allow_truncated)
    print(
        f'{report.total} read, {report.decoded / report.total:.0%} decoded, {len(report.faults)} faults, '
        f'at most {report.peak_bytes / 2**20:.0f} MiB'
    )
    for reason, count in report.reasons.most_common(20):
        print(f'  {count:6} {reason}')
    for seed, reason in report.faults:
        print(f'fault: seed {seed}, {reason}')
    return 1 if report.faults else 0


if __name__ == '__main__':
    sys.exit(main())
