"""`dualattn test`, from a checkout."""

import sys

from dualattn.commands.test import main

if __name__ == '__main__':
    sys.exit(main())
