"""Bounds on programs, so that no source can exhaust the stack or the memory of the compiler.

Each has a diagnostic: `f(f(f(…)))` nested a thousand times is a user's mistake, never a traceback.
"""

from __future__ import annotations

MAX_SOURCE = 4_000_000  # characters of one file
MAX_SYNTAX_DEPTH = 240  # levels of nesting in one declaration
MAX_EVALUATION_DEPTH = 600  # nested expressions, calls included
MAX_CALL_DEPTH = 40  # calls inside calls
MAX_SELF_CALLS = 8  # calls of one function inside each other
MAX_REPEAT = 10_000  # turns of one `repeat`
MAX_OPS = 10_000  # ops of one graph
MAX_STEPS = 200_000  # expressions evaluated for one model
MAX_FORMULA = 4_000  # operations of one element of a formula, written out
MAX_SIZE = 2_000  # characters of a size, written out
MAX_RANK = 16  # axes of one tensor
MAX_NUMBER = 2**63 - 1  # whole numbers known at compile time
