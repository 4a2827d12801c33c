"""The command `stepwell`, also as `python -m stepwell`.

Its modules are loaded within, so that Ctrl-C is quiet from the first moment on.
"""

from __future__ import annotations

import sys


def main() -> int:
    """Run the command line; the exit code."""
    try:
        from stepwell.cli import main

        return main()
    except KeyboardInterrupt:
        return 130


if __name__ == "__main__":
    sys.exit(main())
