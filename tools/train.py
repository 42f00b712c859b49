"""`dualattn train`, from a checkout."""

import sys

from dualattn.commands.train import main

if __name__ == '__main__':
    sys.exit(main())
