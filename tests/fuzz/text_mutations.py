"""Broken texts: a handful of edits of a text that was well formed.

In: a text and edits drawn by Hypothesis. Out: the text with tokens deleted, doubled, swapped and
replaced, numbers changed, characters flipped, the end cut off, brackets nested.

    mutated("x[i] + 1", [Edit("number", 0, 1)])   →   "x[i] + 9223372036854775808"
"""

from __future__ import annotations

import re
import signal
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from types import FrameType

from hypothesis import strategies as st

_TOKEN = re.compile(
    r"[A-Za-z_]\w*|\d+\.\d+(?:[eE][+-]?\d+)?|\d+|\"[^\"\n]*\"|\n[ \t]*|[ \t]+|#[^\n]*|//"
    r"|->|\|>|\*\*|\.\.|[<>=!]=|."
)
NUMBERS = (
    *("0", "1", "-1", "2", "3", "7", "64", "-5", "9223372036854775808", "1e400", "0.5", "nan"),
    *("99999999999999999999999999999999", "1000000", "123456789", "-9223372036854775808", "1e-9"),
)
CHARACTERS = "@#$%^&*()[]{}<>|\\/\"'`~;:,.?!=+-_ \t\n\r\0\x7f\u00a0\u2212\u03b1\ud7ff\U0001f600%0aN"
OPERATORS = ("+", "-", "*", "/", "//", "%", "**", "@", "<", ">=", "==", "and", "or", "|>", ",", ":")
WRAPPERS = (("(", ")"), ("[", "]"), ("{", "}"), ("-", ""), ("not ", ""), ("f(", ")"), ("x[", "]"))
DEPTHS = (1, 2, 3, 50, 300, 3000)
LIMIT_S = 2.0
HANG_S = 20.0


@dataclass(frozen=True)
class Edit:
    """One change: where (a token's or a character's number, modulo how many there are) and how."""

    kind: str
    at: int
    how: int


def _delete(tokens: list[str], at: int, how: int) -> None:
    del tokens[at : at + 1 + how % 3]


def _double(tokens: list[str], at: int, how: int) -> None:
    end = at + 1 + how % 12
    tokens[at:at] = [*tokens[at:end], *([" "] if how % 2 else [])]


def _swap(tokens: list[str], at: int, how: int) -> None:
    other = how % len(tokens)
    tokens[at], tokens[other] = tokens[other], tokens[at]


def _replace(tokens: list[str], at: int, how: int) -> None:
    tokens[at] = tokens[how % len(tokens)]


def _insert(tokens: list[str], at: int, how: int) -> None:
    tokens.insert(at, tokens[how % len(tokens)])


def _number(tokens: list[str], at: int, how: int) -> None:
    found = [i for i, token in enumerate(tokens) if token[0].isdigit()] or [at]
    tokens[found[at % len(found)]] = NUMBERS[how % len(NUMBERS)]


def _rename(tokens: list[str], at: int, how: int) -> None:
    """One name becomes another of the text: what follows still parses more often than not."""
    names = [i for i, token in enumerate(tokens) if token[0].isalpha()]
    often = [i for i in names if tokens.count(tokens[i]) > 1] or names or [at]
    tokens[often[at % len(often)]] = tokens[often[how % len(often)]]


def _operator(tokens: list[str], at: int, how: int) -> None:
    """One operator becomes another of the text, now and then one that it has not."""
    found = [i for i, token in enumerate(tokens) if token in OPERATORS] or [at]
    others = [*(tokens[i] for i in found), *(OPERATORS if how % 4 == 0 else ())]
    tokens[found[at % len(found)]] = others[how // 4 % len(others)]


def _flip(tokens: list[str], at: int, how: int) -> None:
    middle = how % (len(tokens[at]) + 1)
    flipped = CHARACTERS[how % len(CHARACTERS)]
    tokens[at] = tokens[at][:middle] + flipped + tokens[at][middle + how % 2 :]


def _truncate(tokens: list[str], at: int, how: int) -> None:
    del tokens[at + 1 :]


def _nest(tokens: list[str], at: int, how: int) -> None:
    left, right = WRAPPERS[how % len(WRAPPERS)]
    depth = DEPTHS[how // len(WRAPPERS) % len(DEPTHS)]
    tokens[at] = left * depth + tokens[at] + right * depth


def _line(tokens: list[str], at: int, how: int) -> None:
    """Delete, double or move a line."""
    lines = "".join(tokens).split("\n")
    line = lines[at % len(lines)]
    if how % 3 != 1:
        del lines[at % len(lines)]
    if how % 3 != 0:
        lines.insert(how % (len(lines) + 1), line)
    tokens[:] = _TOKEN.findall("\n".join(lines))


KINDS: dict[str, Callable[[list[str], int, int], None]] = {
    "rename": _rename,
    "number": _number,
    "operator": _operator,
    "replace": _replace,
    "delete": _delete,
    "double": _double,
    "swap": _swap,
    "insert": _insert,
    "flip": _flip,
    "line": _line,
    "nest": _nest,
    "truncate": _truncate,
}


# A broken bracket is found by the parser at once: more cases for what lies behind it.
_DRAWN = (*sorted(KINDS), *("rename", "number", "operator") * 8)


def edits(most: int = 3) -> st.SearchStrategy[list[Edit]]:
    """A few edits."""
    number = st.integers(0, 2**16)
    return st.lists(
        st.builds(Edit, st.sampled_from(_DRAWN), number, number), min_size=1, max_size=most
    )


def mutated(text: str, changes: Sequence[Edit]) -> str:
    """The text with the edits made, one after the other."""
    for change in changes:
        tokens = _TOKEN.findall(text)
        if tokens:
            KINDS[change.kind](tokens, change.at % len(tokens), change.how)
        text = "".join(tokens)
    return text


class Hang(Exception):
    """Something took longer than HANG_S; the traceback shows where it was."""


@contextmanager
def no_hang() -> Iterator[None]:
    """Interrupts what takes longer than HANG_S."""

    def interrupt(signum: int, frame: FrameType | None) -> None:
        raise Hang(f"not done after {HANG_S:g} s")

    before = signal.signal(signal.SIGALRM, interrupt)
    signal.setitimer(signal.ITIMER_REAL, HANG_S)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)
