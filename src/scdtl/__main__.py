"""``python -m scdtl`` is the command ``scdtl``."""

import sys

from scdtl.cli import main

sys.exit(main())
