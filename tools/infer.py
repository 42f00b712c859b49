"""`dualattn infer`, from a checkout."""

import sys

from transfer.commands.infer import main

if __name__ == '__main__':
    sys.exit(main())
