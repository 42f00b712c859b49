"""`dualattn classify`, from a checkout."""

import sys

from transfer.commands.classify import main

if __name__ == '__main__':
    sys.exit(main())
