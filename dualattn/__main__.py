"""`python -m dualattn VERB`, the command `dualattn` where no script of that name is on the path."""

import sys

from dualattn.commands.front import main

if __name__ == '__main__':
    sys.exit(main())
