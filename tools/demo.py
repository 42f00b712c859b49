"""`dualattn demo`, from a checkout."""

import sys

from colorization.commands.demo import main

if __name__ == '__main__':
    sys.exit(main())
