"""The package's names, loaded when they are used: the same in whatever order that is."""

from __future__ import annotations

import subprocess
import sys

import pytest

from stepwell import frontend


@pytest.mark.parametrize("first", frontend.__all__)
def test_the_first_name_used_spoils_no_other(first: str) -> None:
    names = [f"frontend.{name}" for name in (first, *frontend.__all__)]
    check = f"assert all(map(callable, [{', '.join(names)}]))"
    subprocess.run([sys.executable, "-c", f"from stepwell import frontend; {check}"], check=True)
