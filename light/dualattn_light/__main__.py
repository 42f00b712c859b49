"""`python -m dualattn_light`."""

import sys

from dualattn_light.command import main

if __name__ == '__main__':
    sys.exit(main())
