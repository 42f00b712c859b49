"""`dualattn flops`, from a checkout."""

import sys

from dualattn.commands.flops import main

if __name__ == '__main__':
    sys.exit(main())
