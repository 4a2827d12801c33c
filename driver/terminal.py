"""What a person sees: colours on a terminal, plain text everywhere else.

In: diagnostics, IR text, messages. Out: text on a stream. `NO_COLOR` turns colours off; `rich` is
imported only where there are some.
"""

from __future__ import annotations

import os
import re
import sys
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
    stream = stream or sys.stderr
    text = f"error: {message}"
    if coloured(stream):
        _show(_styled(text, _DIAGNOSTIC_STYLES), stream)
    else:
        stream.write(text + "\n")


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
