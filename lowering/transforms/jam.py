"""Jam a loop: push it inward, past the loops in its body, down to the statements.

    for l in 0..4 {                      alloc acc: f32[4] register
      alloc acc: f32 register            for l in 0..4 unrolled { acc[l] = 0.0 }
      acc[] = 0.0                        for k in 0..K {
      for k in 0..K {               →      for l_2 in 0..4 unrolled {
        acc[] = acc[] + x[k, l]              acc[l_2] = acc[l_2] + x[k, l_2]
      }                                    }
      y[l] = acc[]                       }
    }                                    for l_3 in 0..4 unrolled { y[l_3] = acc[l_3] }

With kind `unrolled` this is unroll-and-jam, with `vector` it is vectorisation of an outer loop.
Registers and lets that live across the pieces get one element per iteration: a vector loop as last
dimension, an unrolled one as first.
The loop's iterations must be independent, as those of a result's axes are, and its extent constant.
What stores at subscripts that depend on data is none of these.

A guard (`if` on the loop's index) goes down with it. A register needs no guard: its spare elements
are never stored to memory; loads for it from the kernel's parameters are guarded instead, and give
0. Scratch is allocated for whole tiles, so its loads need none. Scratch that each iteration uses
for itself (its subscripts do not depend on the loop) gets one element per iteration, too.
"""

from __future__ import annotations

from dataclasses import replace

from stepwell.ir.loop.analysis import (
    fresh_name,
    kernel_buffers,
    let_names,
    map_expressions,
    map_own_expressions,
    map_statements,
    own_expressions,
    register_names,
    stores_of,
    substitute_block,
    taken_names,
    writes,
)
from stepwell.ir.loop.core import (
    Alloc,
    Block,
    Buffer,
    Check,
    For,
    If,
    Kernel,
    Let,
    LoopKind,
    Prefetch,
    Statement,
    Store,
    statements,
)
from stepwell.ir.scalar import Binary, Expr, Horizontal, Load, Unary, Var, as_dim, loads, variables
from stepwell.ir.size import symbols
from stepwell.lowering.transforms.navigate import (
    ScheduleError,
    find_loop,
    replace_loop,
    rewrite,
)


def jam(kernel: Kernel, index: str, kind: LoopKind) -> Kernel:
    """Push the loop over `index` inward, as a loop of this kind around each run of statements."""
    loop = find_loop(kernel.body, index)
    jamming = _Jam(loop, kind, taken_names(kernel), kernel)
    body = replace_loop(kernel.body, index, lambda _: jamming.run())
    return replace(kernel, body=map_statements(body, jamming.allocation))


class _Jam:
    def __init__(self, loop: For, kind: LoopKind, taken: set[str], kernel: Kernel) -> None:
        if kind == "vector" and any(isinstance(s, Prefetch) for s in statements(loop.body)):
            raise ScheduleError("a vector loop holds no prefetch")
        if not isinstance(loop.extent, int):
            raise ScheduleError(f"the extent of {loop.index} is not constant")
        self.loop, self.kind, self.taken = loop, kind, taken
        self.extent = loop.extent
        self.expanded: dict[str, Buffer] = {}  # register → the same with one more dimension
        self.lets: dict[str, Buffer] = {}  # let that lives across pieces → its register
        self.parameters = {parameter.buffer.name for parameter in kernel.parameters}
        self.registers = register_names(kernel)
        self.scratch: set[str] = set()
        inside = set(let_names(loop.body))
        for store in stores_of(loop.body):
            if any(loads(e) or variables(e) & inside for e in store.indices):
                raise ScheduleError(f"{store.buffer} is stored where data says")
            buffer = kernel_buffers(kernel)[store.buffer]
            used = frozenset().union(*map(variables, store.indices))
            if buffer.space == "scratch" and loop.index not in used:
                self.scratch.add(buffer.name)
                self._expand_buffer(buffer)

    def _expand_buffer(self, buffer: Buffer) -> None:
        shape = buffer.shape
        shape = (*shape, self.extent) if self.kind == "vector" else (self.extent, *shape)
        self.expanded[buffer.name] = replace(buffer, shape=shape)

    def _expand_indices(self, indices: tuple[Expr, ...]) -> tuple[Expr, ...]:
        own = Var(self.loop.index)
        return (*indices, own) if self.kind == "vector" else (own, *indices)

    def allocation(self, statement: Statement) -> Statement:
        """Scratch allocated outside the loop, with its new shape."""
        if isinstance(statement, Alloc) and statement.buffer.name in self.scratch:
            return replace(statement, buffer=self.expanded[statement.buffer.name])
        return statement

    def run(self) -> Block:
        body = _inline_index_lets(self.loop.body)
        for statement in statements(body):
            if isinstance(statement, Alloc):
                if statement.buffer.space != "register":
                    raise ScheduleError(f"scratch {statement.buffer.name} is inside the loop")
                self._expand_buffer(statement.buffer)
        for name in sorted(writes(body) & self.registers):
            if name not in self.expanded:
                raise ScheduleError(f"{name} carries a value from one iteration to the next")
        for let in _crossing_lets(body):
            name = fresh_name(self.taken, f"{let.name}_all")
            self.lets[let.name] = Buffer(name, let.value.dtype, (self.extent,), "register")
        return self._block(body, ())

    # ------------------------------------------------------------------ walking down

    def _block(self, block: Block, guards: tuple[Expr, ...]) -> Block:
        result: list[Statement] = []
        for piece in _pieces(block):
            if isinstance(piece, tuple):
                for statement in piece:
                    if isinstance(statement, Let) and statement.name in self.lets:
                        result.append(Alloc(self.lets[statement.name], statement.span))
                result.append(self._leaf(piece, guards))
                continue
            match piece:
                case Alloc(buffer=buffer):
                    result.append(replace(piece, buffer=self.expanded[buffer.name]))
                case For(index=name, extent=extent, body=body):
                    if self.loop.index in symbols(extent):
                        raise ScheduleError(f"the extent of {name} depends on {self.loop.index}")
                    result.append(replace(piece, body=self._block(body, guards)))
                case If(condition=condition, then=then, otherwise=otherwise):
                    if self._varies(condition):
                        if otherwise:
                            raise ScheduleError("a branch with two sides depends on the loop")
                        result.extend(self._block(then, (*guards, condition)))
                    else:
                        yes, no = self._block(then, guards), self._block(otherwise, guards)
                        result.append(replace(piece, then=yes, otherwise=no))
        return tuple(result)

    def _varies(self, condition: Expr) -> bool:
        used = variables(condition) | {load.buffer for load in loads(condition)}
        return bool(used & {self.loop.index, *self.lets, *self.expanded})

    def _leaf(self, run: Block, guards: tuple[Expr, ...]) -> Statement:
        """A loop of the kind asked for around a run of simple statements."""
        guard: Expr | None = None
        for condition in guards:
            guard = condition if guard is None else Binary("and", guard, condition)
        local = {s.name for s in statements(run) if isinstance(s, Let)}
        inside: list[Statement] = []
        for statement in run:
            inside.append(statement if guard is None else self._guarded(statement, guard))
            if isinstance(statement, Let) and statement.name in self.lets:
                value = Var(statement.name, statement.value.dtype)
                register = self.lets[statement.name].name
                lane = Var(self.loop.index)
                inside.append(Store(register, (lane,), value, statement.span))
        body = map_expressions(
            tuple(inside), lambda e: rewrite(e, lambda x: self._expand(x, local))
        )
        body = map_statements(body, self._expand_store)
        index = fresh_name(self.taken, self.loop.index)
        body = substitute_block(body, {self.loop.index: Var(index)})
        return For(index, self.extent, self.kind, body, self.loop.span)

    def _guarded(self, statement: Statement, guard: Expr) -> Statement:
        """A statement that touches memory only where the guard holds."""
        match statement:
            case Store(buffer=buffer) if buffer in self.parameters:
                return If(guard, (statement,), (), statement.span)
            case If():
                return If(guard, (statement,), (), statement.span)
        masked = map_own_expressions(
            statement, lambda e: rewrite(e, lambda x: self._mask(x, guard))
        )
        if isinstance(masked, Check):
            either = Binary("or", Unary("not", guard), masked.condition)
            return replace(masked, condition=either)
        return masked

    def _mask(self, expr: Expr, guard: Expr) -> Expr:
        if not isinstance(expr, Load) or expr.buffer not in self.parameters:
            return expr
        both = guard if expr.guard is None else Binary("and", guard, expr.guard)
        return replace(expr, guard=both)

    def _expand(self, expr: Expr, local: set[str]) -> Expr:
        match expr:
            case Load(buffer=buffer, indices=indices) if buffer in self.expanded:
                return replace(expr, indices=self._expand_indices(indices))
            case Horizontal(buffer=buffer, indices=indices) if buffer in self.expanded:
                if self.kind == "vector":
                    raise ScheduleError(f"{buffer} already has its lanes")
                return replace(expr, indices=self._expand_indices(indices))
            case Var(name=name) if name in self.lets and name not in local:
                return Load(self.lets[name].name, (Var(self.loop.index),), expr.dtype)
        return expr

    def _expand_store(self, statement: Statement) -> Statement:
        if isinstance(statement, Store) and statement.buffer in self.expanded:
            return replace(statement, indices=self._expand_indices(statement.indices))
        return statement


def _is_simple(statement: Statement) -> bool:
    """Whether a statement can stand in a vector loop: no loop or allocation in it."""
    return not any(isinstance(s, (Alloc, For)) for s in statements((statement,)))


def _pieces(block: Block) -> list[Block | Statement]:
    """The block as runs of simple statements, and the other statements one by one."""
    pieces: list[Block | Statement] = []
    run: list[Statement] = []
    for statement in block:
        if not _is_simple(statement):
            if run:
                pieces.append(tuple(run))
                run = []
            pieces.append(statement)
        else:
            run.append(statement)
    return [*pieces, tuple(run)] if run else pieces


def _crossing_lets(block: Block) -> list[Let]:
    """The lets used outside the run of statements that holds them."""
    defined: dict[str, tuple[int, Let]] = {}
    used: dict[str, set[int]] = {}
    count = 0

    def use(expr: Expr, run: int) -> None:
        for name in variables(expr):
            used.setdefault(name, set()).add(run)

    def visit(inner: Block) -> None:
        nonlocal count
        for piece in _pieces(inner):
            count += 1
            if isinstance(piece, For):
                visit(piece.body)
            elif isinstance(piece, If):
                use(piece.condition, count)
                visit(piece.then)
                visit(piece.otherwise)
            elif isinstance(piece, tuple):
                for statement in statements(piece):
                    for expr in own_expressions(statement):
                        use(expr, count)
                    if isinstance(statement, Let):
                        defined[statement.name] = (count, statement)

    visit(block)
    return [let for name, (run, let) in defined.items() if used.get(name, set()) - {run}]


def _inline_index_lets(block: Block) -> Block:
    """Lets that are index arithmetic replaced by what they are."""
    values: dict[str, Expr] = {}

    def visit(inner: Block) -> Block:
        result: list[Statement] = []
        for statement in inner:
            (new,) = substitute_block((statement,), values) if values else (statement,)
            match new:
                case Let(name=name, value=value) if as_dim(value) is not None:
                    values[name] = value
                    continue
                case For(body=body):
                    new = replace(new, body=visit(body))
                case If(then=then, otherwise=otherwise):
                    new = replace(new, then=visit(then), otherwise=visit(otherwise))
            result.append(new)
        return tuple(result)

    return visit(block)
