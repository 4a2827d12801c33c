"""`python -m stepwell` is the command `stepwell`."""

from __future__ import annotations

import sys

from stepwell.cli import main

sys.exit(main())
