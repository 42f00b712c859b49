"""`dualattn create-data`, from a checkout."""

import sys

from transfer.commands.create_data import main

if __name__ == '__main__':
    sys.exit(main())
