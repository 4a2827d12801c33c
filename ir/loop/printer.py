"""Loop IR to text that reads as mathematics; `stepwell.ir.loop.parser` reads it back, equal.

    program sums[N] {                     kernel row[N](x: f32[N, 4] in, y: f32[N] out) reduction {
      input x: f32[N, 4]                    for i in 0..N parallel {
      output y: f32[N]                        alloc acc: f32 register
                                              acc[] = 0.0
      call row[N](x, y)                       …
    }                                       }

Nothing is left out: literals and constants' data are exact, spans stand at the ends of lines.
"""

from __future__ import annotations

import base64
from collections.abc import Iterator, Mapping, Sequence

import numpy as np

from stepwell.ir.graph.core import Constraint
from stepwell.ir.loop.core import (
    Alloc,
    Block,
    Buffer,
    Call,
    Check,
    For,
    If,
    Kernel,
    Let,
    Prefetch,
    Program,
    ProgramBuffer,
    Statement,
    Store,
    statements,
)
from stepwell.ir.size import Dim
from stepwell.ir.span import Span
from stepwell.ir.text import (
    format_access,
    format_dim,
    format_expr,
    format_name,
    format_number,
    format_sources,
    format_span,
    format_string,
    format_type,
    short_names,
)

INDENT = "  "
# Words that may follow an expression: a store to a buffer of such a name begins with a backquote.
KEYWORDS = frozenset(
    (
        *("for", "if", "let", "alloc", "check", "prefetch", "ops", "flops", "at"),
        *("parallel", "unrolled", "vector", "stream", "require", "divisible"),
        *("workspace", "call", "together", "prepare", "prepare_workspace"),
        *("input", "parameter", "state", "trained", "output", "constant", "prepared", "temporary"),
    )
)
_SHORT = 16  # elements: a longer constant is written as base64


def format_loops(ir: Program | Kernel) -> str:
    """A program with its kernels, or one kernel alone."""
    return format_program(ir) if isinstance(ir, Program) else format_kernel(ir)


def format_kernel(kernel: Kernel) -> str:
    """One kernel, with the sources of its spans."""
    short = short_names({span.file for span in _kernel_spans(kernel)})
    return format_sources(short) + "\n".join(_Printer(short).kernel(kernel)) + "\n"


def format_program(program: Program) -> str:
    """A program: its buffers, constraints and calls, then its kernels."""
    short = short_names({span.file for span in _program_spans(program)})
    printer = _Printer(short)
    parts = [printer.program(program), *(printer.kernel(kernel) for kernel in program.kernels)]
    return format_sources(short) + "\n\n".join("\n".join(lines) for lines in parts) + "\n"


def statement_line(statement: Statement) -> str:
    """The line of a statement, or the first line of a loop or branch, without its span."""
    return _Printer(None).head(statement)


def format_block(block: Block) -> str:
    """The lines of a block, without spans."""
    return "\n".join(_Printer(None).block(block, 0))


def signature_line(kernel: Kernel) -> str:
    """The first line of a kernel, without its span."""
    return _Printer(None).kernel_head(kernel)


def call_line(call: Call, word: str = "call") -> str:
    """The line of a call, or of a preparation (`prepare`), without its span."""
    return _Printer(None).call(call, word)


def buffer_line(item: ProgramBuffer) -> str:
    """The line of a program's buffer; without data."""
    return _declaration(item)


def _kernel_spans(kernel: Kernel) -> Iterator[Span]:
    spans = [kernel.span, *(statement.span for statement in statements(kernel.body))]
    yield from (span for span in spans if span is not None)


def _program_spans(program: Program) -> Iterator[Span]:
    calls = (*program.preparations, *program.calls)
    spans = [*(c.span for c in program.constraints), *(call.span for call in calls)]
    yield from (span for span in spans if span is not None)
    for kernel in program.kernels:
        yield from _kernel_spans(kernel)


class _Printer:
    """`short` gives the short names of the spans' files; None leaves spans out."""

    def __init__(self, short: Mapping[str, str] | None) -> None:
        self.short = short

    def at(self, text: str, span: Span | None) -> str:
        if span is None or self.short is None:
            return text
        return f"{text}   {format_span(span, self.short)}"

    # ------------------------------------------------------------------ programs

    def program(self, program: Program) -> list[str]:
        lines = [f"program {format_name(program.name)}{_sizes(program.sizes)} {{"]
        lines += [INDENT + _declaration(item) + _data(item) for item in program.buffers]
        lines += [INDENT + self.constraint(item) for item in program.constraints]
        if program.workspace is not None:
            lines.append(f"{INDENT}workspace {format_dim(program.workspace)}")
        if program.preparation_workspace is not None:
            lines.append(f"{INDENT}prepare_workspace {format_dim(program.preparation_workspace)}")
        if len(lines) > 1 and (program.calls or program.preparations):
            lines.append("")
        lines += [INDENT + self.call(call, "prepare") for call in program.preparations]
        for step in program.steps:
            lines += self.step(step)
        return [*lines, "}"]

    def step(self, calls: Sequence[Call]) -> list[str]:
        if len(calls) == 1:
            return [INDENT + self.call(calls[0])]
        inner = [INDENT * 2 + self.call(call) for call in calls]
        return [f"{INDENT}together {{", *inner, f"{INDENT}}}"]

    def constraint(self, item: Constraint) -> str:
        relation = "divisible by" if item.relation == "%" else item.relation
        condition = f"{format_dim(item.left)} {relation} {format_dim(item.right)}"
        return self.at(f"require {condition}, {format_string(item.message)}", item.span)

    def call(self, call: Call, word: str = "call") -> str:
        arguments = ", ".join(map(format_name, call.arguments))
        text = f"{word} {format_name(call.kernel)}{_dims(call.sizes)}({arguments})"
        if call.scratch is not None:
            text += f" scratch {format_dim(call.scratch)}"
        return self.at(text, call.span)

    # ------------------------------------------------------------------ kernels

    def kernel(self, kernel: Kernel) -> list[str]:
        lines = [self.at(self.kernel_head(kernel), kernel.span)]
        if kernel.ops:
            lines.append(f"{INDENT}ops {', '.join(map(format_name, kernel.ops))}")
        if kernel.flops != 0:
            lines.append(f"{INDENT}flops {format_dim(kernel.flops)}")
        return [*lines, *self.block(kernel.body, 1), "}"]

    def kernel_head(self, kernel: Kernel) -> str:
        parameters = ", ".join(
            f"{_typed(parameter.buffer)} {parameter.role}" for parameter in kernel.parameters
        )
        name = f"{format_name(kernel.name)}{_sizes(kernel.sizes)}"
        return f"kernel {name}({parameters}) {format_name(kernel.family)} {{"

    def block(self, block: Block, depth: int) -> list[str]:
        return [line for statement in block for line in self.statement(statement, depth)]

    def statement(self, statement: Statement, depth: int) -> list[str]:
        indent = INDENT * depth
        lines = [indent + self.at(self.head(statement), statement.span)]
        match statement:
            case For(body=body):
                lines += [*self.block(body, depth + 1), f"{indent}}}"]
            case If(then=then, otherwise=otherwise):
                lines += self.block(then, depth + 1)
                if otherwise:
                    lines += [f"{indent}}} else {{", *self.block(otherwise, depth + 1)]
                lines.append(f"{indent}}}")
        return lines

    def head(self, statement: Statement) -> str:
        match statement:
            case For(index=index, extent=extent, kind=kind):
                suffix = "" if kind == "serial" else f" {kind}"
                return f"for {format_name(index)} in 0..{format_dim(extent)}{suffix} {{"
            case If(condition=condition):
                return f"if {format_expr(condition)} {{"
            case Let(name=name, value=value):
                return f"let {format_name(name)}: {value.dtype} = {format_expr(value)}"
            case Alloc(buffer=buffer):
                return f"alloc {_typed(buffer)} {buffer.space}"
            case Store(buffer=buffer, indices=indices, value=value, stream=stream):
                place = format_access(buffer, indices)
                if buffer in KEYWORDS:
                    place = f"`{buffer}`{place[len(buffer) :]}"
                return f"{place} = {format_expr(value)}{' stream' if stream else ''}"
            case Check(condition=condition, message=message):
                return f"check {format_expr(condition)}, {format_string(message)}"
            case Prefetch(buffer=buffer, indices=indices):
                return f"prefetch {format_access(buffer, indices)}"


def _sizes(names: Sequence[str]) -> str:
    return f"[{', '.join(map(format_name, names))}]" if names else ""


def _dims(dims: Sequence[Dim]) -> str:
    return f"[{', '.join(map(format_dim, dims))}]" if dims else ""


def _typed(buffer: Buffer) -> str:
    return f"{format_name(buffer.name)}: {format_type(buffer.type)}"


def _declaration(item: ProgramBuffer) -> str:
    text = f"{item.role} {_typed(item.buffer)}"
    if item.initializer:
        plain = item.initializer.isidentifier()
        text += f" = {item.initializer if plain else format_string(item.initializer)}"
    if item.trained:
        text += " trained"
    if item.offset is not None:
        text += f" at {format_dim(item.offset)}"
    return text


def _data(item: ProgramBuffer) -> str:
    """A constant's elements in row-major order: numbers, or the base64 of their bytes."""
    if item.data is None:
        return ""
    data = np.ascontiguousarray(item.data, item.buffer.dtype.numpy)
    dtype = item.buffer.dtype
    with np.errstate(invalid="ignore"):  # signalling NaNs
        finite = not dtype.is_float or bool(np.isfinite(data.astype(np.float64)).all())
    if data.size <= _SHORT and finite:
        numbers = ", ".join(format_number(value.item(), dtype) for value in data.reshape(-1))
        return f" = [{numbers}]"
    return f" = base64 {format_string(base64.b64encode(data.tobytes()).decode('ascii'))}"
