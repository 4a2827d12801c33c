"""The same program gives the same code, in whatever order Python's sets and hashes are."""

from __future__ import annotations

import hashlib
import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
SCRIPT = """
import sys
from stepwell.compilation import Compilation, Options
from stepwell.source import read_source
compilation = Compilation(read_source(sys.argv[1]), Options(mode=sys.argv[2]))
sys.stdout.write(compilation.stage("llvm"))
"""


def _llvm(source: str, mode: str, seed: int) -> str:
    """A digest of the LLVM IR that a process with this seed for its hashes makes."""
    command = [sys.executable, "-c", SCRIPT, str(ROOT / source), mode]
    environment = {**os.environ, "PYTHONHASHSEED": str(seed)}
    text = subprocess.run(command, env=environment, capture_output=True, check=True).stdout
    return hashlib.sha256(text).hexdigest()


@pytest.mark.parametrize(
    ("source", "mode"),
    [("benchmarks/peers/lenet_b32.well", "model"), ("examples/digits/digits.well", "step")],
)
def test_code_does_not_depend_on_hashes(source: str, mode: str) -> None:
    assert _llvm(source, mode, 1) == _llvm(source, mode, 2)
