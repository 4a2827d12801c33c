"""Running passes: timed, traced, and checked where that is asked for.

In: IR and the notation of `--passes`. Out: IR. A pass that raises, or that changes the meaning of
what it is given, is a bug in Stepwell: InternalError, with the IR before it as reproducer.
"""

from __future__ import annotations

