"""Diagnostics: what is wrong, where, the facts, and a likely fix.

In: spans and sentences. Out: `Diagnostic` records, plain text as in

    error[SW0203]: matmul: inner dimensions differ, 784 and 512
      --> mlp.well:7:14
       |
     7 |     let h = x @ w1 + b1
       |             ^   ^^ f32[512, 256], from `param w1` at mlp.well:3
       |             |
       |             f32[N, 784], from the model's input `x` at mlp.well:1
       = help: declare `param w1: f32[784, 256]`

or JSON for tools. Three kinds of error: a `UserError` cannot be built without a span; a
`VerifyError` says that an IR text or a pass is at fault; an `InternalError` is a bug in Stepwell.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from stepwell.ir.span import Span


@dataclass(frozen=True)
class Label:
    """A caret under a span, with the fact that belongs there (may be empty)."""

    span: Span
    text: str = ""


@dataclass(frozen=True)
class Diagnostic:
    """One mistake. The first label is where it is; `code` is in the catalogue."""

    code: str
    message: str
    labels: tuple[Label, ...]
    notes: tuple[str, ...] = ()
    help: str | None = None
    severity: str = "error"

    def __post_init__(self) -> None:
        if not self.labels:
            raise ValueError(f"diagnostic {self.code} has no span")

    @property
    def span(self) -> Span:
        return self.labels[0].span

    def as_json(self) -> dict[str, Any]:
        """A plain dictionary for `--json`."""
        return {
            "code": self.code,
            "severity": self.severity,
            "message": self.message,
            "labels": [
                {
                    "file": label.span.file,
                    "line": label.span.line,
                    "column": label.span.column,
                    "end_line": label.span.end_line,
                    "end_column": label.span.end_column,
                    "text": label.text,
                }
                for label in self.labels
            ],
            "notes": list(self.notes),
            "help": self.help,
        }


class StepwellError(Exception):
    """Base of every error that Stepwell raises on purpose."""


class UserError(StepwellError):
    """The program (or IR text) is at fault; carries one or more diagnostics and the sources."""

    def __init__(
        self, diagnostics: Sequence[Diagnostic], sources: Mapping[str, str] | None = None
    ) -> None:
        if not diagnostics:
            raise ValueError("a UserError needs a diagnostic")
        self.diagnostics = tuple(diagnostics)
        self.sources = dict(sources or {})
        super().__init__("\n".join(render(d, self.sources) for d in self.diagnostics))


class InputError(StepwellError):
    """What was passed to a compiled model does not fit it: dtype, shape, name, or a size rule."""


class PassError(StepwellError):
    """A pass was asked for what it cannot do: a loop that is not there, an illegal interchange."""


class VerifyError(StepwellError):
    """An IR breaks its rules: `fault` is the printed line at fault, shown with a caret."""

    def __init__(self, message: str, fault: str = "", span: Span | None = None) -> None:
        self.message, self.fault, self.span = message, fault, span
        where = f"\n  | {fault}\n  | {'^' * len(fault)}" if fault else ""
        source = f"\n  source: {span}" if span else ""
        super().__init__(f"{message}{where}{source}")


@dataclass
class InternalError(StepwellError):
    """A bug in Stepwell. `reproducer` is IR text and `pipeline` what `stepwell opt` re-runs."""

    message: str
    reproducer: str = ""
    pipeline: str = ""
    notes: tuple[str, ...] = field(default=())

    def __str__(self) -> str:
        return f"bug in Stepwell: {self.message}"


def render(diagnostic: Diagnostic, sources: Mapping[str, str]) -> str:
    """The diagnostic as plain text, with source lines where `sources` has the file."""
    head = f"{diagnostic.severity}[{diagnostic.code}]: {diagnostic.message}"
    width = max(len(str(label.span.line)) for label in diagnostic.labels)
    gutter = " " * (width + 1) + " |"
    lines = [head, f"{' ' * (width + 1)}--> {diagnostic.span}"]
    for file, number in _places(diagnostic):
        text = _line(sources, file, number)
        if text is None:
            continue
        if file != diagnostic.span.file:
            lines.append(f"{' ' * (width + 1)}::: {file}:{number}")
        lines += [gutter, f" {number:>{width}} | {text}"]
        here = [x for x in diagnostic.labels if (x.span.file, x.span.line) == (file, number)]
        lines += [f"{gutter} {row}" for row in _carets(here, text)]
    lines += [f"{' ' * (width + 1)} = note: {note}" for note in diagnostic.notes]
    if diagnostic.help:
        lines.append(f"{' ' * (width + 1)} = help: {diagnostic.help}")
    return "\n".join(lines)


def _places(diagnostic: Diagnostic) -> list[tuple[str, int]]:
    """The (file, line) pairs of the labels: the main file first, lines in order."""
    main = diagnostic.span.file
    places = {(label.span.file, label.span.line) for label in diagnostic.labels}
    return sorted(places, key=lambda place: (place[0] != main, place))


def _line(sources: Mapping[str, str], file: str, number: int) -> str | None:
    lines = sources.get(file, "").split("\n")
    return lines[number - 1].replace("\t", " ").rstrip() if 0 < number <= len(lines) else None


def _carets(labels: list[Label], text: str) -> list[str]:
    """Rows under a source line: carets, the last label's text beside them, others hanging below."""
    labels = sorted(labels, key=lambda label: label.span.column)
    carets = [" "] * (max(_end(label, text) for label in labels) - 1)
    for label in labels:
        for column in range(label.span.column - 1, _end(label, text) - 1):
            carets[column] = "^"
    rows = [f"{''.join(carets)} {labels[-1].text}".rstrip()]
    pending = [label for label in labels[:-1] if label.text]
    while pending:
        last = pending.pop()
        bars = [label.span.column for label in [*pending, last]]
        rows.append(_bar_row(bars))
        above = _bar_row([label.span.column for label in pending])
        rows.append(f"{above:<{last.span.column - 1}}{last.text}")
    return rows


def _end(label: Label, text: str) -> int:
    span = label.span
    end = span.end_column if span.end_line == span.line else len(text) + 1
    return max(end, span.column + 1)


def _bar_row(columns: list[int]) -> str:
    row = [" "] * max(columns, default=0)
    for column in columns:
        row[column - 1] = "|"
    return "".join(row)
