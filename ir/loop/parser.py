"""Text of the loop IR back to its records, equal to those that were printed.

In: what `stepwell.ir.loop.printer` writes, or a person. Out: a `Program` with its kernels, or a
`Kernel` where the text holds nothing else. Every mistake is a `UserError` with a span. What reads
well but is forbidden (names used twice, a register used as memory) is the verifier's to find.

    parse_loops("kernel f[N](x: f32[N] inout) pointwise { for i in 0..N { x[i] = x[i] * 2.0 } }")
"""

from __future__ import annotations

import base64
import binascii
from collections.abc import Sequence
from functools import cache
from typing import Any, cast

import numpy as np

from stepwell.ir.graph.core import Constraint
from stepwell.ir.loop import syntax
from stepwell.ir.loop.core import (
    THREADS,
    Alloc,
    Block,
    Buffer,
    Call,
    Check,
    For,
    If,
    Kernel,
    KernelParameter,
    Let,
    LoopKind,
    Prefetch,
    Program,
    ProgramBuffer,
    Role,
    Space,
    Statement,
    Store,
)
from stepwell.ir.parse import Parser
from stepwell.ir.resolve import Resolver, Scope
from stepwell.ir.scalar import Const
from stepwell.ir.size import Dim
from stepwell.ir.syntax import Data, ListNode, Name, Number, Prefix, String

Array = np.ndarray[Any, np.dtype[Any]]


@cache
def _parser() -> Parser:
    return Parser("loop.lark", syntax.LoopBuilder(visit_tokens=False), ("loops",))


def parse_loops(text: str, file: str = "<loops>") -> Program | Kernel:
    """A program with its kernels, or one kernel. Raises UserError."""
    nodes: syntax.LoopsNode = _parser().parse(text, "loops", file)
    reader = _Reader(file, text, nodes.sources)
    try:
        return _read(reader, nodes)
    except RecursionError:
        reader.resolver.fail(syntax.START, "SW0901", "the text is nested too deeply")


def _read(reader: _Reader, nodes: syntax.LoopsNode) -> Program | Kernel:
    kernels = tuple(reader.kernel(node) for node in nodes.kernels)
    if nodes.program is not None:
        return reader.program(nodes.program, kernels)
    if len(kernels) != 1:
        at = nodes.kernels[1].name.at if kernels else syntax.START
        found = f"{len(kernels)} kernels" if kernels else "neither"
        message = f"a text holds a program with its kernels, or one kernel; this one has {found}"
        reader.resolver.fail(at, "SW0901", message)
    return kernels[0]


def parse_kernel(text: str, file: str = "<kernel>") -> Kernel:
    """One kernel. Raises UserError."""
    ir = parse_loops(text, file)
    if isinstance(ir, Program):
        reader = Resolver(file, text)
        reader.fail(syntax.START, "SW0901", "a kernel is expected here, not a program")
    return ir


class _Reader:
    """Nodes to records."""

    def __init__(self, file: str, text: str, sources: dict[str, str]) -> None:
        self.resolver = Resolver(file, text, sources)

    # ------------------------------------------------------------------ programs

    def program(self, node: syntax.ProgramNode, kernels: tuple[Kernel, ...]) -> Program:
        sizes = tuple(name.text for name in node.sizes)
        scope, planned = Scope().with_names(sizes), Scope().with_names((*sizes, THREADS))
        workspace, preparing = (self.workspace(node, planned, kind) for kind in (False, True))
        return Program(
            node.name.text,
            sizes,
            tuple(self.declaration(item, scope, planned) for item in node.declarations),
            tuple(self.constraint(item, scope) for item in node.constraints),
            tuple(self.call(item, planned) for item in node.calls if not item.preparing),
            kernels,
            workspace,
            tuple(self.call(item, scope) for item in node.calls if item.preparing),
            preparing,
        )

    def workspace(self, node: syntax.ProgramNode, scope: Scope, preparing: bool) -> Dim | None:
        """The bytes of the calls' workspace, or of the preparations'."""
        found = [item.bytes for item in node.workspaces if item.preparing == preparing]
        if len(found) > 1:
            message = f"a program has one workspace{' to prepare in' if preparing else ''}"
            self.resolver.fail(found[1].at, "SW0901", message)
        return self.resolver.dim(found[0], scope) if found else None

    def declaration(
        self, node: syntax.DeclarationNode, scope: Scope, planned: Scope
    ) -> ProgramBuffer:
        buffer = self.buffer(node.name, node.type, "memory", scope)
        offset = None if node.offset is None else self.resolver.dim(node.offset, planned)
        data, initializer = None, ""
        match node.value:
            case Name(text=text) | String(text=text):
                initializer = text
            case ListNode() | Data() as value:
                data = self.data(buffer, value)
            case None:
                pass
            case other:
                message = "here stands an initialiser's name, or a constant's data"
                self.resolver.fail(other.at, "SW0901", message)
        return ProgramBuffer(buffer, node.role, data, offset, initializer, node.trained)

    def data(self, buffer: Buffer, node: ListNode | Data) -> Array:
        """A constant's elements: numbers, or the base64 of their bytes, little-endian."""
        if not all(isinstance(dim, int) for dim in buffer.shape):
            message = f"`{buffer.name}` has data, so its shape must be numbers"
            self.resolver.fail(node.at, "SW0905", message)
        if isinstance(node, Data):
            flat = self.decoded(buffer, node)
        else:
            flat = np.array(self.elements(buffer, node), buffer.dtype.numpy)
        try:
            return flat.reshape(cast("tuple[int, ...]", buffer.shape))
        except ValueError:
            message = f"`{buffer.name}` is {buffer.type}, its data has {flat.size} elements"
            self.resolver.fail(node.at, "SW0905", message)

    def decoded(self, buffer: Buffer, node: Data) -> Array:
        try:
            if node.encoding != "base64":
                raise ValueError(node.encoding)
            data = base64.b64decode(node.text, validate=True)
            return np.frombuffer(data, buffer.dtype.numpy).copy()
        except (ValueError, binascii.Error):
            message = f"this is not {buffer.dtype} data in base64"
            self.resolver.fail(node.at, "SW0906", message)

    def elements(self, buffer: Buffer, node: ListNode) -> list[float | int | bool]:
        values: list[float | int | bool] = []
        for item in node.items:
            if not isinstance(item, (Number, Name, Prefix)):
                self.resolver.fail(item.at, "SW0901", "an element is a number")
            expr = self.resolver.expr(item, Scope())
            if not isinstance(expr, Const) or expr.dtype != buffer.dtype:
                message = f"an element of `{buffer.name}` is {buffer.dtype}"
                self.resolver.fail(item.at, "SW0904", message)
            values.append(expr.value)
        return values

    def constraint(self, node: syntax.ConstraintNode, scope: Scope) -> Constraint:
        left, right = self.resolver.dim(node.left, scope), self.resolver.dim(node.right, scope)
        relation = "%" if node.relation.startswith("div") else node.relation
        if relation in (">", ">="):
            left, right, relation = right, left, "<" if relation == ">" else "<="
        return Constraint(left, relation, right, node.message, self.resolver.span(node.span))

    def call(self, node: syntax.CallNode, scope: Scope) -> Call:
        return Call(
            node.kernel.text,
            tuple(self.resolver.dim(size, scope) for size in node.sizes),
            tuple(name.text for name in node.arguments),
            None if node.scratch is None else self.resolver.dim(node.scratch, scope),
            self.resolver.span(node.span),
            node.beside,
        )

    # ------------------------------------------------------------------ kernels

    def kernel(self, node: syntax.KernelNode) -> Kernel:
        sizes = tuple(name.text for name in node.sizes)
        scope = Scope().with_names(sizes)
        parameters: list[KernelParameter] = []
        for item in node.parameters:
            buffer = self.buffer(item.name, item.type, "memory", scope)
            parameters.append(KernelParameter(buffer, cast(Role, item.role)))
        for parameter in parameters:
            scope = scope.with_buffer(parameter.buffer.name, parameter.buffer.dtype)
        flops: Dim = 0 if node.flops is None else self.resolver.dim(node.flops, scope)
        return Kernel(
            node.name.text,
            sizes,
            tuple(parameters),
            self.block(node.body, scope),
            node.family.text,
            tuple(name.text for name in node.ops),
            flops,
            self.resolver.span(node.span),
        )

    def buffer(self, name: Name, type: Any, space: Space, scope: Scope) -> Buffer:
        tensor = self.resolver.type(type, scope)
        return Buffer(name.text, tensor.dtype, tensor.shape, space)

    def block(self, nodes: Sequence[syntax.StatementNode], scope: Scope) -> Block:
        statements: list[Statement] = []
        for node in nodes:
            statement = self.statement(node, scope)
            statements.append(statement)
            match statement:
                case Let(name=name, value=value):
                    scope = scope.with_names([name], value.dtype)
                case Alloc(buffer=buffer):
                    scope = scope.with_buffer(buffer.name, buffer.dtype)
        return tuple(statements)

    def statement(self, node: syntax.StatementNode, scope: Scope) -> Statement:
        resolver, span = self.resolver, self.resolver.span(node.span)
        match node:
            case syntax.LoopNode():
                extent = resolver.dim(node.extent, scope)
                kind = cast(LoopKind, node.kind or "serial")
                inner = scope.with_names([node.index.text])
                return For(node.index.text, extent, kind, self.block(node.body, inner), span)
            case syntax.BranchNode():
                condition = resolver.condition(node.condition, scope)
                then, otherwise = self.block(node.then, scope), self.block(node.otherwise, scope)
                return If(condition, then, otherwise, span)
            case syntax.LetNode():
                return self.let(node, scope)
            case syntax.AllocNode():
                space = cast(Space, node.space)
                return Alloc(self.buffer(node.name, node.type, space, scope), span)
            case syntax.StoreNode():
                resolver.buffer(node.buffer, scope)
                indices = tuple(resolver.expr(index, scope) for index in node.indices)
                value = resolver.expr(node.value, scope)
                return Store(node.buffer.text, indices, value, span, node.stream)
            case syntax.CheckNode():
                return Check(resolver.condition(node.condition, scope), node.message, span)
            case syntax.PrefetchNode():
                resolver.buffer(node.buffer, scope)
                indices = tuple(resolver.expr(index, scope) for index in node.indices)
                return Prefetch(node.buffer.text, indices, span)

    def let(self, node: syntax.LetNode, scope: Scope) -> Let:
        value, dtype = self.resolver.expr(node.value, scope), self.resolver.dtype(node.dtype)
        if value.dtype != dtype:
            message = f"`{node.name.text}` is declared {dtype}, its value is {value.dtype}"
            self.resolver.fail(node.value.at, "SW0904", message)
        return Let(node.name.text, value, self.resolver.span(node.span))
