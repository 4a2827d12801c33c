"""The catalogue is complete: every code has an entry, a failing program, and a current page."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from stepwell.frontend import check
from stepwell.ir.catalogue import CATALOGUE, document, explain
from stepwell.ir.catalogue_language import LANGUAGE as PROGRAMS
from stepwell.ir.catalogue_training import TRAINING
from stepwell.ir.diagnostics import UserError

LANGUAGE = (*PROGRAMS, *TRAINING)
ROOT = Path(__file__).parents[2]
CODE = re.compile(r"SW\d{4}")


def test_every_code_in_the_frontend_is_in_the_catalogue() -> None:
    used = {
        code
        for path in (ROOT / "frontend").glob("*.py")
        for code in CODE.findall(path.read_text(encoding="utf-8"))
    }
    assert used == {entry.code for entry in LANGUAGE}


def test_every_code_has_a_failing_program() -> None:
    programs = {path.stem for path in (ROOT / "tests/language/fail").glob("SW*.well")}
    assert {entry.code for entry in LANGUAGE} <= programs


@pytest.mark.parametrize("entry", LANGUAGE, ids=lambda entry: entry.code)
def test_the_example_fails_with_its_code(entry) -> None:  # type: ignore[no-untyped-def]
    with pytest.raises(UserError) as caught:
        check(entry.example, "example.well")
    assert {d.code for d in caught.value.diagnostics} == {entry.code}


def test_the_document_is_current() -> None:
    written = (ROOT / "docs" / "errors.md").read_text(encoding="utf-8")
    assert written == document(), "run: python -m stepwell.ir.catalogue > docs/errors.md"


def test_explain_has_cause_example_and_fix() -> None:
    for code in CATALOGUE:
        text = explain(code)
        assert text.startswith(code)
        assert "An example" in text and "What to do:" in text
