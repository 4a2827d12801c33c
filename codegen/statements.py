"""The statements of a kernel to blocks and instructions.

In: statements, the state of emission. Out: instructions; what is in scope changes with them.

    for k in 0..K { acc[l] = acc[l] + x[k, l] }
      →   k.body:  %acc = phi <16 x float> [ %zero, %start ], [ %sum, %k.body ]
                   %sum = fadd <16 x float> %acc, %x_k

Register arrays stored in a loop or a branch, and nothing else, are carried by phis. A condition
that differs between lanes is a mask; one that does not is a branch.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from stepwell.codegen import memory
from stepwell.codegen.debug import DebugInfo
from stepwell.codegen.expressions import (
    dim_value,
    evaluate,
    is_nonnegative,
    llvm_value,
    register_subscripts,
)
from stepwell.codegen.parallel import emit_parallel
from stepwell.codegen.register_store import store_register
from stepwell.codegen.registers import RegisterArray
from stepwell.codegen.state import CodegenError, Emission, MemoryBuffer, alike, scalar
from stepwell.codegen.transpose import transposes
from stepwell.codegen.values import (
    I32,
    I64,
    Linear,
    LLVMValue,
    Value,
    constant,
    constant_number,
    lanes_of,
)
from stepwell.ir.loop.core import (
    Alloc,
    Block,
    Buffer,
    Check,
    For,
    If,
    Let,
    Prefetch,
    Store,
    statements,
)
from stepwell.ir.scalar import Cast, Expr
from stepwell.ir.span import Span

MOST_LANES = 512  # wider vectors make LLVM slow, and help nobody


def _stored(block: Block) -> set[str]:
    return {s.buffer for s in statements(block) if isinstance(s, Store)}


@dataclass
class Statements:
    """Emits statements; `e` holds what is in scope."""

    e: Emission
    vector_arrays: dict[str, int]
    debug: DebugInfo
    subprogram: Any

    def block(self, block: Block) -> None:
        for statement in block:
            self._locate(statement.span)
            match statement:
                case For():
                    self._for(statement)
                case If():
                    self._if(statement)
                case Let(name=name, value=value):
                    self.e.variables[name] = evaluate(self.e, value)
                    if is_nonnegative(self.e, value):
                        self.e.nonnegative.add(name)
                    else:
                        self.e.nonnegative.discard(name)
                case Alloc(buffer=buffer):
                    self._alloc(buffer)
                case Store():
                    self._store(statement)
                case Check(condition=condition, message=message):
                    self._check(condition, self.e.codes[message])
                case Prefetch():
                    self._prefetch(statement)

    def _locate(self, span: Span | None) -> None:
        if span is not None and self.subprogram is not None:
            self.e.builder.debug_metadata = self.debug.location(span, self.subprogram)

    def _alloc(self, buffer: Buffer) -> None:
        if buffer.space == "register":
            lanes = self.vector_arrays.get(buffer.name)
            self.e.registers[buffer.name] = RegisterArray.undefined(buffer, lanes)
        elif buffer.space != "scratch":
            raise CodegenError(f"{buffer.name}: a local buffer is in scratch or in registers")

    def _for(self, loop: For) -> None:
        e = self.e
        e.nonnegative.add(loop.index)
        extent = dim_value(e, loop.extent)
        if loop.kind in ("unrolled", "vector"):
            if not (isinstance(extent, Linear) and extent.is_constant):
                raise CodegenError(f"the {loop.kind} loop over {loop.index} has no constant extent")
            if loop.kind == "vector" and extent.constant > 1:
                self._vector(loop, extent.constant)
            else:
                self._unrolled(loop, extent.constant)
            return
        if not isinstance(extent, Linear) or extent.step:
            raise CodegenError(f"the extent of the loop over {loop.index} differs between lanes")
        if extent.is_constant and extent.constant <= 1:
            self._unrolled(loop, extent.constant)
        elif loop.kind == "parallel" and e.pool is not None:
            emit_parallel(self, loop, extent)
        else:
            self._serial(loop, extent)

    def _unrolled(self, loop: For, extent: int) -> None:
        if transposes(self.e, loop):
            return
        for i in range(extent):
            self.e.variables[loop.index] = Linear(None, i)
            self.block(loop.body)

    def _vector(self, loop: For, lanes: int) -> None:
        e = self.e
        if e.lanes is not None:
            raise CodegenError(f"the vector loop over {loop.index} is inside another")
        if lanes > MOST_LANES:
            raise CodegenError(f"a vector loop has {lanes} lanes, more than {MOST_LANES}")
        e.lanes, e.lane = lanes, loop.index
        e.variables[loop.index] = Linear(None, 0, 1)
        self.block(loop.body)
        e.lanes, e.lane = None, ""

    def _serial(self, loop: For, extent: Linear) -> None:
        """Entry test, body, latch with the back edge, exit; phis for the registers stored."""
        e = self.e
        count = scalar(e, extent)
        before = e.builder.block
        body, done = e.block(f"{loop.index}.body"), e.block(f"{loop.index}.done")
        guarded = not extent.is_constant
        if guarded:
            positive = e.builder.icmp_signed(">", count, constant(I64, 0))
            e.builder.cbranch(positive, body, done)
        else:
            e.builder.branch(body)
        arrays = [e.registers[name] for name in sorted(_stored(loop.body) & e.registers.keys())]
        initial = [list(array.values) for array in arrays]
        e.enter(body)
        index = e.builder.phi(I64, name=loop.index)
        index.add_incoming(constant(I64, 0), before)
        phis = self._phis(arrays, initial, before)
        e.variables[loop.index] = Linear(index)
        self.block(loop.body)
        following = e.builder.add(index, constant(I64, 1), flags=("nuw", "nsw"))
        again = e.builder.icmp_signed("<", following, count)
        latch = e.builder.block
        e.builder.cbranch(again, body, done)
        index.add_incoming(following, latch)
        final = [list(array.values) for array in arrays]
        for array_phis, values in zip(phis, final, strict=True):
            for phi, value in zip(array_phis, values, strict=True):
                phi.add_incoming(value, latch)
        e.enter(done)
        if guarded:
            self._merge(arrays, [(initial, before), (final, latch)])

    def _phis(
        self, arrays: list[RegisterArray], values: list[list[LLVMValue]], block: Any
    ) -> list[list[Any]]:
        """A phi for each value of each array, with one incoming edge; they become the values."""
        made = []
        for array, olds in zip(arrays, values, strict=True):
            phis = []
            for old in olds:
                phi = self.e.builder.phi(array.type, name=array.buffer.name)
                phi.add_incoming(old, block)
                phis.append(phi)
            array.values = list(phis)
            made.append(phis)
        return made

    def _merge(
        self, arrays: list[RegisterArray], edges: list[tuple[list[list[LLVMValue]], Any]]
    ) -> None:
        """The arrays' values where control flow meets."""
        (first, first_block), *others = edges
        for a, array in enumerate(arrays):
            for v, value in enumerate(first[a]):
                incoming = [(value, first_block), *((vs[a][v], block) for vs, block in others)]
                if all(x is value for x, _ in incoming):
                    array.values[v] = value
                    continue
                phi = self.e.builder.phi(array.type, name=array.buffer.name)
                for x, block in incoming:
                    phi.add_incoming(x, block)
                array.values[v] = phi

    def _if(self, statement: If) -> None:
        e = self.e
        condition = llvm_value(e, statement.condition)
        number = constant_number(condition)
        if number is not None:
            self.block(statement.then if number else statement.otherwise)
        elif lanes_of(condition) is not None:
            with e.masked(condition):
                self.block(statement.then)
            if statement.otherwise:
                with e.masked(e.builder.not_(condition)):
                    self.block(statement.otherwise)
        else:
            self._branch(statement, condition)

    def _branch(self, statement: If, condition: LLVMValue) -> None:
        e = self.e
        names = _stored(statement.then) | _stored(statement.otherwise)
        arrays = [e.registers[name] for name in sorted(names & e.registers.keys())]
        before = [list(array.values) for array in arrays]
        then, done = e.block("then"), e.block("done")
        otherwise = e.block("else") if statement.otherwise else done
        edges = [] if statement.otherwise else [(before, e.builder.block)]
        e.builder.cbranch(condition, then, otherwise)
        for block, body in ((then, statement.then), (otherwise, statement.otherwise)):
            if block is done:
                continue
            for array, values in zip(arrays, before, strict=True):
                array.values = list(values)
            e.enter(block)
            self.block(body)
            edges.append(([list(array.values) for array in arrays], e.builder.block))
            e.builder.branch(done)
        e.enter(done)
        self._merge(arrays, edges)

    def _check(self, condition: Expr, code: int) -> None:
        """Returns the status where the condition fails on an active lane."""
        e = self.e
        holds = llvm_value(e, condition)
        if e.mask is not None:
            inactive = e.builder.not_(e.mask)
            holds = e.builder.or_(*alike(e, inactive, holds))
        if lanes_of(holds) is not None:
            holds = e.builder.not_(memory.any_lane(e, e.builder.not_(holds)))
        if constant_number(holds):
            return
        failed, fine = e.block("failed"), e.block("checked")
        e.builder.cbranch(holds, fine, failed)
        e.enter(failed)
        e.builder.ret(constant(I32, code))
        e.enter(fine)

    def _store(self, statement: Store) -> None:
        e, value = self.e, statement.value
        if statement.buffer in e.registers:
            places = register_subscripts(e, statement.buffer, statement.indices)
            store_register(e, e.registers[statement.buffer], places, llvm_value(e, value))
            return
        buffer = e.memory.get(statement.buffer)
        if buffer is None:
            raise CodegenError(f"{statement.buffer} is no buffer of the kernel")
        dtype = buffer.buffer.dtype
        if isinstance(value, Cast) and value.dtype == dtype and value.x.dtype == dtype.compute:
            value = value.x  # storing rounds: the cast need not round first
        offset = self._offset(buffer, statement.indices)
        memory.store(e, buffer, offset, llvm_value(e, value), statement.stream)

    def _prefetch(self, hint: Prefetch) -> None:
        buffer = self.e.memory[hint.buffer]
        offset = self._offset(buffer, hint.indices)
        assert isinstance(offset, Linear), "subscripts are made of indices"
        memory.prefetch(self.e, buffer, offset)

    def _offset(self, buffer: MemoryBuffer, indices: tuple[Expr, ...]) -> Value:
        subscripts = [evaluate(self.e, subscript) for subscript in indices]
        shape = buffer.buffer.shape
        return memory.element_offset(self.e, shape, subscripts, lambda dim: dim_value(self.e, dim))
