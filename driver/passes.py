"""Running passes: timed, traced, and checked where that is asked for.

In: IR and the notation of `--passes`. Out: IR. A pass of the pipeline that fails, or that changes
the meaning of what it is given, is a bug in Stepwell: InternalError, with the IR before it as
reproducer.
"""

from __future__ import annotations

import re
import time
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from stepwell.debug import Trace
from stepwell.ir.diagnostics import InputError, InternalError, PassError
from stepwell.ir_texts import read_ir, text_of, verify
from stepwell.pipeline import Step, pipeline
from stepwell.source import Source

if TYPE_CHECKING:
    from stepwell.ir.passes import Pass


def parse(text: str) -> tuple[Pass, ...]:
    """The passes that a text names. UserError with a span in the text."""
    from stepwell.ir.passes import parse_pipeline
    from stepwell.lowering import passes  # noqa: F401  registers them

    return parse_pipeline(text)


def known_passes() -> list[tuple[str, str, str]]:
    """(name, "graph" or "loops", the first sentence of what it does) of every pass."""
    from stepwell.lowering.passes import GRAPH_PASSES, LOOP_PASSES

    return [
        (cls.name, kind, _first_sentence(cls.__doc__ or ""))
        for kind, classes in (("graph", GRAPH_PASSES), ("loops", LOOP_PASSES))
        for cls in classes
    ]


def _first_sentence(text: str) -> str:
    return re.split(r"(?<=\.)\s", " ".join(text.split()), maxsplit=1)[0].rstrip(".")


def run_steps(steps: tuple[Step, ...], ir: Any, trace: Trace, checking: bool) -> Any:
    """The IR after every step of the pipeline."""
    from stepwell.ir.passes import format_pass

    for item in parse(pipeline(steps)):
        before = ir
        try:
            ir = _run([item], ir, trace, checking)
        except PassError as error:
            message = f"the pass {item.name} failed: {error}"
            raise InternalError(message, text_of(before), format_pass(item)) from error
    return ir


def _run(items: Sequence[Pass], ir: Any, trace: Trace, checking: bool) -> Any:
    from stepwell.ir.passes import run_pipeline

    started = time.perf_counter()

    def observe(item: Pass, before: Any, after: Any) -> None:
        nonlocal started
        seconds = time.perf_counter() - started
        changed = None
        if after is not before:
            changed = text_of(after) if trace.wants_text else ""
        trace.ran(item.name, seconds, changed)
        started = time.perf_counter()

    return run_pipeline(ir, items, checking, observe)


def apply_passes(source: Source, passes: str, trace: Trace, checking: bool) -> str:
    """`stepwell opt`: a text after the named passes. InputError where one is for the other IR."""
    items = parse(passes)
    ir = read_ir(source)
    kinds = {name: kind for name, kind, _ in known_passes()}
    for item in items:
        kind = kinds[item.name]
        if kind != source.kind:
            raise InputError(f"{item.name} works on {kind}, but {source.file} holds {source.kind}")
    ir = _run(items, ir, trace, checking)
    verify(ir)
    return text_of(ir)
