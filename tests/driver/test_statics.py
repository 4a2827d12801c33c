"""Static arguments of a model, from the API and the command line."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

import stepwell as sw
from stepwell.cli import main
from stepwell.ir.diagnostics import UserError

SOURCE = """
model scaled(x: f32[N], times: int = 2, power: float = 1.0, name: string = "a") -> f32[N] {
    let y = x
    repeat times as i { y = y * power }
    if name == "b" { -y } else { y }
}
model needs(x: f32[N, D], heads: int) -> f32[N, heads, D/heads] { reshape(x, [N, heads, D/heads]) }
"""


def test_values_by_name() -> None:
    x = np.arange(3, dtype=np.float32)
    assert (sw.compile(SOURCE, "scaled")(x) == x).all()
    m = sw.compile(SOURCE, "scaled", statics={"times": 3, "power": 2.0, "name": "b"})
    assert (m(x) == -8 * x).all()


def test_a_model_that_needs_one() -> None:
    with pytest.raises(UserError, match="`heads` needs a value"):
        sw.compile(SOURCE, "needs")
    m = sw.compile(SOURCE, "needs", statics={"heads": 3})
    assert m(np.zeros((2, 6), np.float32)).shape == (2, 3, 2)


def test_mistakes() -> None:
    with pytest.raises(UserError, match="did you mean `times`"):
        sw.compile(SOURCE, "scaled", statics={"time": 3})
    with pytest.raises(UserError, match="must be a whole number"):
        sw.compile(SOURCE, "scaled", statics={"times": "many"})


def test_from_the_command_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "s.well").write_text(SOURCE)
    np.save(tmp_path / "x.npy", np.float32([1, 2]))
    run = ["run", str(tmp_path / "s.well"), "-m", "scaled", "-i", f"x={tmp_path / 'x.npy'}"]
    assert main([*run, "--static", "power=3.0", "--static", "name=b"]) == 0
    assert "-9" in capsys.readouterr().out
    assert main([*run, "--static", "power"]) == 2
    assert "name=value" in capsys.readouterr().err
