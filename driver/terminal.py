"""What a person sees: colours on a terminal, plain text everywhere else.

In: diagnostics, IR text, messages. Out: text on a stream. `NO_COLOR` turns colours off; `rich` is
imported only where there are some.
"""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING, TextIO

from stepwell.ir.diagnostics import UserError, render

if TYPE_CHECKING:
    from rich.text import Text

# What stands out in each kind of text: (pattern, style); later ones win.
_OUR_STYLES = (
    (r"\b\d+(\.\d+)?([eE][-+]?\d+)?\b", "cyan"),
    (r"\b(graph|program|kernel|param|buffer|call|return|for|in|if|else|let|alloc|check)\b", "bold"),
    (r"\b(vector|unrolled|parallel|register|scratch|where)\b", "magenta"),
    (r"\b(f64|f32|f16|bf16|i64|i32|i16|i8|u8|bool)\b", "green"),
    (r"%[\w.]+", "yellow"),
    (r"\"[^\"\n]*\"", "green"),
    (r"(?m)(?<=\s)@[\w./-]+:\d+[:\d-]*$", "dim"),
    (r"(?m)//.*$", "dim"),
)
_DIAGNOSTIC_STYLES = (
    (r"(?m)^error(\[\w+\])?:", "bold red"),
    (r"(?m)^warning(\[\w+\])?:", "bold yellow"),
    (r"(?m)^\s*\d* \|", "blue"),
    (r"(?m)^\s*-->.*$", "blue"),
    (r"\^+", "bold red"),
    (r"(?m)^\s*= help:", "bold green"),
    (r"(?m)^\s*= note:", "bold cyan"),
)
_PYGMENTS = {"llvm": "llvm", "llvm-opt": "llvm", "asm": "gas"}


def coloured(stream: TextIO) -> bool:
    """Whether colours go to this stream."""
    if os.environ.get("NO_COLOR") or os.environ.get("TERM") == "dumb":
        return False
    return stream.isatty()


def print_text(text: str, stage: str = "", stream: TextIO | None = None) -> None:
    """A stage's text, highlighted on a terminal; ends with one newline."""
    stream = stream or sys.stdout
    if not coloured(stream):
        stream.write(text.rstrip("\n") + "\n")
        return
    if stage in _PYGMENTS:
        from rich.syntax import Syntax

        syntax = Syntax("", _PYGMENTS[stage], theme="ansi_dark", background_color="default")
        _show(syntax.highlight(text.rstrip("\n")), stream)
    else:
        _show(_styled(text.rstrip("\n"), _OUR_STYLES), stream)


def print_error(message: str, stream: TextIO | None = None) -> None:
    """A message that is no diagnostic: what Stepwell, the file system or the caller says."""
    _print_message(f"error: {message}", stream or sys.stderr)


def print_warning(message: str, stream: TextIO | None = None) -> None:
    """A message about what may be wrong, and did not stop us."""
    _print_message(f"warning: {message}", stream or sys.stderr)


def _print_message(text: str, stream: TextIO) -> None:
    if coloured(stream):
        _show(_styled(text, _DIAGNOSTIC_STYLES), stream)
    else:
        stream.write(text + "\n")


def print_note(message: str) -> None:
    """What is worth knowing, on stderr."""
    sys.stderr.write(f"note: {message}\n")


def print_diagnostics(error: UserError, stream: TextIO | None = None) -> None:
    """Every diagnostic of a UserError, a blank line between."""
    stream = stream or sys.stderr
    text = "\n\n".join(render(item, error.sources) for item in error.diagnostics)
    if coloured(stream):
        _show(_styled(text, _DIAGNOSTIC_STYLES), stream)
    else:
        stream.write(text + "\n")


def _styled(text: str, styles: tuple[tuple[str, str], ...]) -> Text:
    from rich.text import Text

    styled = Text(text)
    for pattern, style in styles:
        for match in re.finditer(pattern, text):
            styled.stylize(style, *match.span())
    return styled


def _show(text: Text, stream: TextIO) -> None:
    from rich.console import Console

    console = Console(file=stream, force_terminal=True, highlight=False)
    console.print(text, soft_wrap=True)


def print_table(
    rows: Sequence[Sequence[str]], title: str = "", stream: TextIO | None = None
) -> None:
    """Rows under a heading, columns of numbers to the right; ruled and coloured on a terminal."""
    stream = stream or sys.stdout
    if title:
        stream.write(f"{title}\n")
    columns = list(zip(*rows, strict=True))
    right = [all(cell[:1].isdigit() for cell in column[1:] if cell) for column in columns]
    if not coloured(stream):
        stream.write(_aligned(columns, right) + "\n")
        return
    from rich import box
    from rich.console import Console
    from rich.table import Table

    grid = Table(box=box.SIMPLE_HEAD, header_style="bold")
    for (name, *_), number in zip(columns, right, strict=True):
        grid.add_column(name, justify="right" if number else "left")
    for row in rows[1:]:
        grid.add_row(*row)
    # Wide enough: a terminal breaks long lines, where rich would cut numbers short.
    Console(file=stream, force_terminal=True, highlight=False, width=1000).print(grid)


def _aligned(columns: list[tuple[str, ...]], right: list[bool]) -> str:
    padded = []
    for column, number in zip(columns, right, strict=True):
        width = max(map(len, column))
        padded.append([cell.rjust(width) if number else cell.ljust(width) for cell in column])
    return "\n".join("  ".join(row).rstrip() for row in zip(*padded, strict=True))


class Progress:
    """One line on stderr that says what is being done, where that is a terminal."""

    def __init__(self, stream: TextIO | None = None) -> None:
        self._stream = stream or sys.stderr
        self._shown = self._stream.isatty()

    def say(self, text: str) -> None:
        """Instead of what was said before; an empty text clears the line."""
        if self._shown:
            self._stream.write(f"\r\x1b[K{text}")
            self._stream.flush()

    def __enter__(self) -> Progress:
        return self

    def __exit__(self, *_: object) -> None:
        self.say("")
