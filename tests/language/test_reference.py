"""`docs/language.md` tells the truth: its programs work, its grammar and names are current."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from stepwell.frontend import check, elaborate, elaborate_train, models, trains
from stepwell.frontend.builtins import BUILTINS
from stepwell.frontend.library import library_source
from stepwell.frontend.modules import LoadedModule, prelude
from stepwell.frontend.parser import parse

ROOT = Path(__file__).parents[2]
TEXT = (ROOT / "docs" / "language.md").read_text(encoding="utf-8")
PROGRAMS = re.findall(r"^```well[^\n]*\n(.*?)^```$", TEXT, re.MULTILINE | re.DOTALL)


@pytest.mark.parametrize("number", range(len(PROGRAMS)))
def test_program(number: int) -> None:
    program = check(PROGRAMS[number], "language.md")
    for model in models(program):
        elaborate(program, model)
    for train in trains(program):
        elaborate_train(program, train)


def test_grammar_is_current() -> None:
    grammar = (ROOT / "frontend" / "grammar.lark").read_text(encoding="utf-8")
    (shown,) = re.findall(r"^```lark\n(.*?)^```$", TEXT, re.MULTILINE | re.DOTALL)
    assert shown.strip() == grammar.strip()


def _names(module: LoadedModule | None, library: str) -> set[str]:
    if module is not None:
        return set(module.names)
    found = library_source(library)
    assert found is not None
    return {f.name for f in parse(found[1], found[0]).functions}


def test_every_name_in_scope_is_named() -> None:
    words = set(re.findall(r"\w+", TEXT))
    assert set(BUILTINS) | _names(prelude(), "prelude") | _names(None, "nn") <= words
