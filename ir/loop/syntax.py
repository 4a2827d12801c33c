"""The nodes of the loop IR's text, as the grammar `loop.lark` builds them.

In: Lark's rules. Out: small records with places, which `stepwell.ir.loop.parser` turns into IR.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

from lark.tree import Meta
from lark.visitors import v_args

from stepwell.ir.loop.core import ProgramRole
from stepwell.ir.syntax import (
    ExpressionBuilder,
    ExprNode,
    Name,
    Place,
    SpanNode,
    TypeNode,
    ValueNode,
    name_of,
    unquote,
)

START = Place(1, 1, 1, 2)


@dataclass(frozen=True)
class LoopNode:
    index: Name
    extent: ExprNode
    kind: str | None
    span: SpanNode | None
    body: tuple[StatementNode, ...]


@dataclass(frozen=True)
class BranchNode:
    condition: ExprNode
    span: SpanNode | None
    then: tuple[StatementNode, ...]
    otherwise: tuple[StatementNode, ...]


@dataclass(frozen=True)
class LetNode:
    name: Name
    dtype: Name
    value: ExprNode
    span: SpanNode | None


@dataclass(frozen=True)
class AllocNode:
    name: Name
    type: TypeNode
    space: str
    span: SpanNode | None


@dataclass(frozen=True)
class StoreNode:
    buffer: Name
    indices: tuple[ExprNode, ...]
    value: ExprNode
    stream: bool
    span: SpanNode | None


@dataclass(frozen=True)
class CheckNode:
    condition: ExprNode
    message: str
    span: SpanNode | None


@dataclass(frozen=True)
class PrefetchNode:
    buffer: Name
    indices: tuple[ExprNode, ...]
    span: SpanNode | None


StatementNode = LoopNode | BranchNode | LetNode | AllocNode | StoreNode | CheckNode | PrefetchNode


@dataclass(frozen=True)
class ParameterNode:
    name: Name
    type: TypeNode
    role: str


@dataclass(frozen=True)
class KernelNode:
    name: Name
    sizes: tuple[Name, ...]
    parameters: tuple[ParameterNode, ...]
    family: Name
    span: SpanNode | None
    ops: tuple[Name, ...]
    flops: ExprNode | None
    body: tuple[StatementNode, ...]


@dataclass(frozen=True)
class DeclarationNode:
    role: ProgramRole
    name: Name
    type: TypeNode
    value: ValueNode | None
    trained: bool
    offset: ExprNode | None


@dataclass(frozen=True)
class ConstraintNode:
    left: ExprNode
    relation: str
    right: ExprNode
    message: str
    span: SpanNode | None


@dataclass(frozen=True)
class WorkspaceNode:
    bytes: ExprNode
    preparing: bool


@dataclass(frozen=True)
class CallNode:
    kernel: Name
    sizes: tuple[ExprNode, ...]
    arguments: tuple[Name, ...]
    scratch: ExprNode | None
    span: SpanNode | None
    preparing: bool
    beside: bool = False


@dataclass(frozen=True)
class ProgramNode:
    name: Name
    sizes: tuple[Name, ...]
    declarations: tuple[DeclarationNode, ...]
    constraints: tuple[ConstraintNode, ...]
    workspaces: tuple[WorkspaceNode, ...]
    calls: tuple[CallNode, ...]


@dataclass(frozen=True)
class LoopsNode:
    sources: dict[str, str]
    program: ProgramNode | None
    kernels: tuple[KernelNode, ...]


@v_args(meta=True)
class LoopBuilder(ExpressionBuilder):
    """Rules of `loop.lark` to nodes."""

    def loops(self, meta: Meta, children: list[Any]) -> LoopsNode:
        sources, program, *kernels = children
        return LoopsNode(sources or {}, program, tuple(kernels))

    def program(self, meta: Meta, children: list[Any]) -> ProgramNode:
        name, sizes, *found = children
        items = [node for item in found for node in (item if isinstance(item, list) else [item])]

        def of(kind: type) -> tuple[Any, ...]:
            return tuple(item for item in items if isinstance(item, kind))

        kinds = (DeclarationNode, ConstraintNode, WorkspaceNode, CallNode)
        return ProgramNode(name_of(name), sizes or (), *(of(kind) for kind in kinds))

    def declaration(self, meta: Meta, children: list[Any]) -> DeclarationNode:
        role, name, type, value, trained, offset = children
        return DeclarationNode(role, name_of(name), type, value, trained is not None, offset)

    def require(self, meta: Meta, children: list[Any]) -> ConstraintNode:
        left, relation, right, message, span = children
        return ConstraintNode(left, str(relation), right, unquote(message), span)

    def workspace(self, meta: Meta, children: list[Any]) -> WorkspaceNode:
        return WorkspaceNode(children[0], False)

    def prepare_workspace(self, meta: Meta, children: list[Any]) -> WorkspaceNode:
        return WorkspaceNode(children[0], True)

    def call_kernel(self, meta: Meta, children: list[Any]) -> CallNode:
        return _call(children, False)

    def together(self, meta: Meta, children: list[Any]) -> list[CallNode]:
        first, *others = children
        return [first, *(replace(call, beside=True) for call in others)]

    def prepare_kernel(self, meta: Meta, children: list[Any]) -> CallNode:
        return _call(children, True)

    def kernel(self, meta: Meta, children: list[Any]) -> KernelNode:
        name, sizes, parameters, family, span, ops, flops, body = children
        return KernelNode(
            name_of(name),
            sizes or (),
            parameters or (),
            name_of(family),
            span,
            ops or (),
            flops,
            body,
        )

    def parameter(self, meta: Meta, children: list[Any]) -> ParameterNode:
        name, type, role = children
        return ParameterNode(name_of(name), type, role)

    def parameters(self, meta: Meta, children: list[Any]) -> tuple[ParameterNode, ...]:
        return tuple(children)

    def block(self, meta: Meta, children: list[Any]) -> tuple[StatementNode, ...]:
        return tuple(children)

    def loop(self, meta: Meta, children: list[Any]) -> LoopNode:
        index, _, extent, kind, span, body = children
        return LoopNode(name_of(index), extent, kind, span, body)

    def branch(self, meta: Meta, children: list[Any]) -> BranchNode:
        condition, span, then, otherwise = children
        return BranchNode(condition, span, then, otherwise or ())

    def let(self, meta: Meta, children: list[Any]) -> LetNode:
        name, dtype, value, span = children
        return LetNode(name_of(name), name_of(dtype), value, span)

    def alloc(self, meta: Meta, children: list[Any]) -> AllocNode:
        name, type, space, span = children
        return AllocNode(name_of(name), type, space, span)

    def store(self, meta: Meta, children: list[Any]) -> StoreNode:
        buffer, indices, value, stream, span = children
        return StoreNode(name_of(buffer), indices or (), value, stream is not None, span)

    def check(self, meta: Meta, children: list[Any]) -> CheckNode:
        condition, message, span = children
        return CheckNode(condition, unquote(message), span)

    def prefetch(self, meta: Meta, children: list[Any]) -> PrefetchNode:
        buffer, indices, span = children
        return PrefetchNode(name_of(buffer), indices or (), span)

    def names(self, meta: Meta, children: list[Any]) -> tuple[Name, ...]:
        return tuple(name_of(token) for token in children)

    def sizes(self, meta: Meta, children: list[Any]) -> tuple[Name, ...]:
        return tuple(children[0])

    def role(self, meta: Meta, children: list[Any]) -> str:
        return str(children[0])

    access = kind = space = role

    def ops(self, meta: Meta, children: list[Any]) -> tuple[Name, ...]:
        return tuple(children[0])

    def flops(self, meta: Meta, children: list[Any]) -> ExprNode:
        node: ExprNode = children[0]
        return node


def _call(children: list[Any], preparing: bool) -> CallNode:
    kernel, sizes, arguments, scratch, span = children
    return CallNode(name_of(kernel), sizes or (), arguments or (), scratch, span, preparing)
