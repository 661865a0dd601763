"""`python -m keyface`: the same as the console script."""

import sys

from keyface.cli.main import main

sys.exit(main())
