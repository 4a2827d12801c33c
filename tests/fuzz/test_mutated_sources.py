"""Broken programs: whatever is done to a source, the answer is a program or diagnostics.

Every .well source of the house, a few edits each. No exception but UserError, each of its labels
inside its file, no case more than two seconds of a processor.
"""

from __future__ import annotations

import re
import time
from functools import cache
from pathlib import Path

import pytest
from diagnostics import assert_good
from hypothesis import given, note, seed, settings
from hypothesis import strategies as st
from seeds import note_seed, seed_of
from text_mutations import LIMIT_S, Edit, edits, mutated, no_hang

from stepwell.frontend import check, elaborate, elaborate_train, models, parse, render_ast, trains
from stepwell.ir.diagnostics import UserError
from stepwell.ir.graph import verify_graph

ROOT = Path(__file__).parents[2]
FOLDERS = ("examples", "frontend/stdlib", "tests/language")
CASES = 5000
SHARES = 4  # so that parallel runs can share the work
DECLARATION = re.compile(r"^(?=(?:fn|layer|model|train|optimizer)\b)", re.MULTILINE)


@cache
def seeds() -> tuple[tuple[str, str], ...]:
    """(name, source) of every file; of long files their declarations one by one too."""
    found: list[tuple[str, str]] = []
    for path in sorted(p for folder in FOLDERS for p in (ROOT / folder).rglob("*.well")):
        source, name = path.read_text(encoding="utf-8"), str(path.relative_to(ROOT))
        found.append((name, source))
        head, *rest = DECLARATION.split(source)
        uses = "".join(line + "\n" for line in head.split("\n") if line.startswith("use"))
        if len(rest) > 2:
            found += [(name, uses + piece) for piece in rest]
    return tuple(found)


def understood(source: str, file: str) -> bool:
    """Everything the front end does with a source; False where it gave diagnostics."""
    try:
        program = check(source, file)
        for model in models(program):
            verify_graph(elaborate(program, model))
        for train in trains(program):
            verify_graph(elaborate_train(program, train))
    except UserError as error:
        assert_good(error, source, file)
        return False
    render_ast(parse(source, file))
    return True


def test_the_seeds_are_well_formed() -> None:
    """What is mutated is right before; failing programs of the language's tests aside."""
    for name, source in seeds():
        if "/fail/" not in name and (ROOT / name).read_text(encoding="utf-8") == source:
            assert understood(source, str(ROOT / name)), name


@pytest.mark.parametrize("share", range(SHARES))
def test_mutated_sources(share: int) -> None:
    mine = seeds()[share::SHARES]

    @seed(seed_of(share))
    @settings(max_examples=CASES // SHARES)
    @given(st.sampled_from(mine), edits())
    def one(start: tuple[str, str], changes: list[Edit]) -> None:
        note_seed(share)
        name, source = start
        source = mutated(source, changes)
        note(f"{name}, {changes}:\n{source}\nrepr: {source!r}"[:6000])
        begin = time.process_time()
        with no_hang():
            understood(source, str(ROOT / name))
        spent = time.process_time() - begin
        assert spent < LIMIT_S, f"took {spent:.1f} s"

    one()
