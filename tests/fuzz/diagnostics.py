"""What a good error is: a code, a sentence, and spans that lie inside the text."""

from __future__ import annotations

import re

from stepwell.ir.diagnostics import UserError


def assert_good(error: UserError, source: str, file: str) -> None:
    """Every label of the error lies in a text that the error knows."""
    texts = {file: source, **error.sources}
    for diagnostic in error.diagnostics:
        assert re.fullmatch(r"SW\d{4}", diagnostic.code), diagnostic
        assert diagnostic.message, diagnostic
        for label in diagnostic.labels:
            span = label.span
            assert span.file in texts, f"a span in {span.file}"
            lines = texts[span.file].split("\n")
            assert 1 <= span.line <= span.end_line <= len(lines), f"{span} of {len(lines)} lines"
            assert 1 <= span.column <= len(lines[span.line - 1]) + 1, f"{span} is no column"
            assert 1 <= span.end_column <= len(lines[span.end_line - 1]) + 2, f"{span} ends outside"
            assert span.line < span.end_line or span.column <= span.end_column, f"{span} is empty"
        assert diagnostic.as_json()["labels"]
    assert str(error)
