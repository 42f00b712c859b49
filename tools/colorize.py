"""`dualattn colorize`, from a checkout."""

import sys

from colorization.commands.colorize import main

if __name__ == '__main__':
    sys.exit(main())
