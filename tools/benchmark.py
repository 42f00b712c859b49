"""Measure speed and memory: `dualattn benchmark`."""

import sys

from dualattn.commands.benchmark import main

if __name__ == '__main__':
    sys.exit(main())
