"""The seed of a search: the same on every run, unless another is asked for.

STEPWELL_FUZZ_SEED=7 python -m pytest tests/fuzz
"""

from __future__ import annotations

import os

from hypothesis import note


def seed_of(share: int) -> int:
    """The seed of one share of a test's cases."""
    return 1000 * int(os.environ.get("STEPWELL_FUZZ_SEED", "0")) + share


def note_seed(share: int) -> None:
    """Prints the seed with a counterexample."""
    note(f"seed {seed_of(share)}, STEPWELL_FUZZ_SEED={seed_of(share) // 1000}")
