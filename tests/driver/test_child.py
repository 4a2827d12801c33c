"""Compiling in a child process: what comes back, what stays out of this process."""

from __future__ import annotations

import subprocess
import sys
import threading

import llvmlite.binding as llvm
import pytest

from stepwell import child
from stepwell.child import in_child
from stepwell.memory import release_code

linux = pytest.mark.skipif(sys.platform != "linux", reason="a child is forked on Linux only")


@pytest.fixture
def alone(monkeypatch: pytest.MonkeyPatch) -> None:
    """As if no other thread ran; those of the test runner only wait."""
    monkeypatch.setattr(child.threading, "active_count", lambda: 1)


@linux
def test_bytes_come_back(alone: None) -> None:
    done: list[int] = []
    data = in_child(lambda: b"x" * 3_000_000, meanwhile=lambda: done.append(1))
    assert data == b"x" * 3_000_000, "more than a pipe holds"
    assert done == [1]
    assert in_child(lambda: b"") == b""


@linux
def test_a_child_that_fails_gives_nothing(alone: None) -> None:
    assert in_child(lambda: b"%d" % (1 // 0)) is None
    assert in_child(lambda: sys.exit(0)) is None


def test_no_child_beside_other_threads() -> None:
    """A lock that one of them held would be taken in it for ever."""
    stop = threading.Event()
    other = threading.Thread(target=stop.wait)
    other.start()
    try:
        assert in_child(lambda: b"x") is None
    finally:
        stop.set()
        other.join()


SCRIPT = """
import sys
import numpy as np
import stepwell as sw

try:
    sw.compile("model f(x: f32[N]) -> f32[N] { x + y }", cache=False)
except sw.UserError as error:
    assert "`y`" in str(error), error
else:
    raise AssertionError("no error")
"""
FIRST = """
import sys
import numpy as np
import stepwell as sw

x = np.ones(3, np.float32)
first = sw.compile("model f(x: f32[N]) -> f32[N] { x + 1.0 }", cache=False)
assert "stepwell.lowering.schedule" not in sys.modules
assert (first(x) == 2).all()
assert "fadd" in first.stage("llvm")
second = sw.compile("model g(x: f32[N]) -> f32[N] { x + 2.0 }", cache=False)
assert "stepwell.lowering.schedule" in sys.modules
assert (second(x) == 3).all()
"""


@linux
@pytest.mark.parametrize("script", [SCRIPT, FIRST], ids=["error", "first"])
def test_the_first_model_of_a_process(script: str) -> None:
    done = subprocess.run([sys.executable, "-W", "error", "-c", script], capture_output=True,
                          text=True, check=False)  # fmt: skip
    assert (done.returncode, done.stderr) == (0, "")


def test_code_that_was_given_back_runs() -> None:
    release_code()
    assert str(llvm.parse_assembly("define void @f() { ret void }")).count("@f") == 1
