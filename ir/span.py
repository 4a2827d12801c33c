"""Source spans: where in a text a thing was written. They survive every step down."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Span:
    """A range of a file: 1-based lines and columns, the end column exclusive.

    `file` is the name shown to people; the text itself is kept by the diagnostics' renderer.
    """

    file: str
    line: int
    column: int
    end_line: int
    end_column: int

    def __str__(self) -> str:
        return f"{self.file}:{self.line}:{self.column}"

    def to(self, end: Span) -> Span:
        """From the start of this span to the end of another in the same file."""
        return Span(self.file, self.line, self.column, end.end_line, end.end_column)
