"""Every example in README and `docs/` is run, and prints what the document says it prints.

`python docs/regenerate.py` writes the outputs anew.
"""

from __future__ import annotations

import difflib
import importlib.util
import re
import sys
from pathlib import Path
from types import ModuleType

import pytest

from stepwell.frontend import check
from stepwell.ir.diagnostics import UserError
from stepwell.pipeline import STAGES

ROOT = Path(__file__).parents[2]


def _script() -> ModuleType:
    spec = importlib.util.spec_from_file_location("regenerate", ROOT / "docs" / "regenerate.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules["regenerate"] = module
    spec.loader.exec_module(module)
    return module


regenerate = _script()


def _name(path: Path) -> str:
    return str(path.relative_to(ROOT))


@pytest.mark.parametrize("document", regenerate.documents(), ids=_name)
def test_document(document: Path) -> None:
    written, now = document.read_text(encoding="utf-8"), regenerate.regenerated(document)
    difference = difflib.unified_diff(
        written.splitlines(), now.splitlines(), "written", "now", lineterm=""
    )
    assert written == now, "\n".join(difference)


WELL = re.compile(r"^```well([^\n`]*)\n(.*?)^```$", re.DOTALL | re.MULTILINE)


@pytest.mark.parametrize("document", regenerate.documents(), ids=_name)
def test_programs_in_documents_are_right(document: Path) -> None:
    """All but those in files called `wrong`."""
    for option, text in WELL.findall(document.read_text(encoding="utf-8")):
        if "wrong" in option:
            with pytest.raises(UserError):
                check(text, option.strip())
        else:
            check(text, option.strip() or "example.well")


def test_a_stale_output_is_found(tmp_path: Path) -> None:
    """A check of the check."""
    text = (
        "```well a.well\nmodel m() {}\n```\n"
        "```console\n$ cat a.well | wc -l\n2\n$ echo a \\\n>     b\n```\n"
        "```console any\n$ echo now\nthen\n$ echo kept\n```\n"
        "```python\n>>> x = 1\n>>> for i in range(2):\n...     print(i + x)\nold\n>>> 1 / 0\n```\n"
    )
    (tmp_path / "d.md").write_text(text)
    assert regenerate.regenerated(tmp_path / "d.md") == (
        "```well a.well\nmodel m() {}\n```\n"
        "```console\n$ cat a.well | wc -l\n1\n$ echo a \\\n>     b\na b\n```\n"
        "```console any\n$ echo now\nthen\n$ echo kept\nkept\n```\n"
        "```python\n>>> x = 1\n>>> for i in range(2):\n...     print(i + x)\n1\n2\n>>> 1 / 0\n"
        "Traceback (most recent call last):\n  ...\nZeroDivisionError: division by zero\n```\n"
    )


def test_the_tutorial_walks_down_every_step() -> None:
    text = (ROOT / "docs" / "tutorial.md").read_text(encoding="utf-8")
    assert "relu(x @ w + b)" in text
    missing = [stage for stage in STAGES if f"--stage {stage}" not in text]
    assert not missing
