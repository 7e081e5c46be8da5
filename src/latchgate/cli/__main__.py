"""``python -m latchgate.cli``."""

import sys

from latchgate.cli.main import main

if __name__ == "__main__":
    sys.exit(main())
