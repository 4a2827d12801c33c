"""Which argument is meant by which formal name: positional, then named, then defaults.

conv2d(x, channels: 32)   with formals (x, channels, kernel, stride = 1)
    →  SW0307: `conv2d` needs `kernel`
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from stepwell.frontend.elaboration import Elaboration
from stepwell.frontend.suggest import did_you_mean
from stepwell.ir.span import Span


@dataclass(frozen=True)
class Given:
    """An argument as given: its value and its place; `name` is None where it is positional.

    `parts` are the places of a list's items, `whole` of `name: value`.
    """

    value: Any
    span: Span
    name: str | None = None
    parts: tuple[Span, ...] = ()
    whole: Span | None = None


def assign(
    e: Elaboration,
    callee: str,
    formals: Sequence[str],
    required: set[str],
    given: Sequence[Given],
    span: Span,
    by_name_only: frozenset[str] = frozenset(),
) -> dict[str, Given]:
    """The argument of each formal name; names that keep their default are absent."""
    bound: dict[str, Given] = {}
    positions = [name for name in formals if name not in by_name_only]
    placed = [argument for argument in given if argument.name is None]
    for i, argument in enumerate(placed):
        if i >= len(positions):
            e.fail(
                "SW0306",
                f"`{callee}` takes {_count(len(positions))}, not {len(placed)}",
                argument.span,
                "one too many" if len(placed) == len(positions) + 1 else "from here on",
                help=_signature(callee, formals),
            )
        bound[positions[i]] = argument
    for argument in given:
        if argument.name is None:
            continue
        if argument.name not in formals:
            e.fail(
                "SW0308",
                f"`{callee}` has no argument `{argument.name}`",
                argument.whole or argument.span,
                help=did_you_mean(argument.name, formals) or _signature(callee, formals),
            )
        if argument.name in bound:
            e.fail(
                "SW0309",
                f"`{argument.name}` is given twice",
                argument.whole or argument.span,
                "again here",
                help=_signature(callee, formals),
            )
        bound[argument.name] = argument
    missing = [name for name in formals if name in required and name not in bound]
    if missing:
        names = " and ".join(f"`{name}`" for name in missing)
        e.fail("SW0307", f"`{callee}` needs {names}", span, help=_signature(callee, formals))
    return bound


def _count(n: int) -> str:
    return "no arguments" if n == 0 else "1 argument" if n == 1 else f"{n} arguments"


def _signature(callee: str, formals: Sequence[str]) -> str:
    shown = (f"{name}: {_LISTS[name]}" if name in _LISTS else name for name in formals)
    return f"its arguments are {callee}({', '.join(shown)})"


_LISTS = {"parts": "[a, b]", "permutation": "[1, 0]", "shape": "[N, H]"}
