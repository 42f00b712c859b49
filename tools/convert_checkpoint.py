"""`dualattn convert`, from a checkout."""

import sys

from colorization.commands.convert import main

if __name__ == '__main__':
    sys.exit(main())
