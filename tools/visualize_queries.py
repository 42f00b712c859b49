"""`dualattn queries`, from a checkout."""

import sys

from colorization.commands.queries import main

if __name__ == '__main__':
    sys.exit(main())
