"""A kernel of the loop IR to an LLVM function.

In: a `Kernel`, what is known of its arguments. Out: a function in the module,

    define hidden i32 @NAME.kernel(ptr noalias %x, …, i64 %N, …, ptr noalias %scratch)

that returns 0, or the status of the check that failed. Serial loops become blocks, register arrays
and nothing else are carried around them by phis; unrolled loops are emitted once per index; vector
loops become explicit vectors.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from llvmlite import ir
from stepwell.codegen import memory
from stepwell.codegen.debug import DebugInfo
from stepwell.codegen.expressions import (
    dim_value,
    evaluate,
    is_nonnegative,
    llvm_value,
    register_subscripts,
)
from stepwell.codegen.registers import RegisterArray
from stepwell.codegen.state import (
    CodegenError,
    Emission,
    MemoryBuffer,
    alike,
    conjunction,
    materialise,
    scalar,
    spread,
)
from stepwell.codegen.values import (
    I8,
    I32,
    I64,
    POINTER,
    Linear,
    LLVMValue,
    constant,
    constant_number,
    lanes_of,
)
from stepwell.ir.loop.core import (
    ALIGNMENT,
    Alloc,
    Block,
    Buffer,
    Check,
    For,
    If,
    Kernel,
    Let,
    Store,
    scratch_buffers,
    statements,
)
from stepwell.ir.scalar import Cast, Expr, Load, Unary, Var, walk
from stepwell.ir.span import Span
from stepwell.ir.target import Target

MOST_LANES = 512  # wider vectors make LLVM slow, and help nobody


@dataclass(frozen=True)
class ArgumentFacts:
    """What all calls of a kernel have in common about one argument."""

    noalias: bool
    alignment: int


def declare_kernel(
    module: Any, kernel: Kernel, symbol: str, facts: Sequence[ArgumentFacts]
) -> Any:
    """The kernel's function, without a body."""
    arguments = [POINTER] * len(kernel.parameters) + [I64] * len(kernel.sizes) + [POINTER]
    function = ir.Function(module, ir.FunctionType(I32, arguments), symbol)
    function.attributes.add("nounwind")
    function.attributes.add("noinline")
    for parameter, argument, fact in zip(kernel.parameters, function.args, facts, strict=False):
        argument.name = parameter.buffer.name
        argument.attributes.align = fact.alignment
        if fact.noalias:
            argument.add_attribute("noalias")
        size = parameter.buffer.bytes
        if isinstance(size, int) and size > 0:
            argument.attributes.dereferenceable = size
            argument.add_attribute("nonnull")
    for name, argument in zip(kernel.sizes, function.args[len(kernel.parameters) :], strict=False):
        argument.name = name
    function.args[-1].name = "scratch"
    function.args[-1].add_attribute("noalias")
    return function


def emit_kernel(
    function: Any,
    kernel: Kernel,
    facts: Sequence[ArgumentFacts],
    codes: dict[str, int],
    target: Target,
    debug: DebugInfo,
) -> None:
    """The function's body."""
    entry = ir.IRBuilder(function.append_basic_block("entry"))
    start = function.append_basic_block("start")
    subprogram = debug.subprogram(kernel.name, kernel.span)
    if subprogram is not None:
        function.set_metadata("dbg", subprogram)
        entry.debug_metadata = debug.location(kernel.span, subprogram)
    builder = ir.IRBuilder(start)
    builder.debug_metadata = entry.debug_metadata
    e = Emission(builder, function, entry, target, codes, sizes=frozenset(kernel.sizes))
    for parameter, argument, fact in zip(kernel.parameters, function.args, facts, strict=False):
        buffer = parameter.buffer
        e.memory[buffer.name] = MemoryBuffer(buffer, argument, fact.alignment)
    for name, argument in zip(kernel.sizes, function.args[len(kernel.parameters) :], strict=False):
        e.variables[name] = Linear(argument)
        e.nonnegative.add(name)
    _place_scratch(e, kernel)
    emitter = _Statements(e, _vector_arrays(kernel), debug, subprogram)
    emitter.block(kernel.body)
    e.builder.ret(constant(I32, 0))
    entry.branch(start)


def _place_scratch(e: Emission, kernel: Kernel) -> None:
    """The kernel's scratch buffers, at their offsets from the last argument."""
    for buffer, offset in scratch_buffers(kernel):
        place = materialise(e, dim_value(e, offset))
        pointer = e.entry.gep(e.function.args[-1], [place], source_etype=I8)
        e.memory[buffer.name] = MemoryBuffer(buffer, pointer, ALIGNMENT)


def _vector_arrays(kernel: Kernel) -> dict[str, int]:
    """Register arrays whose last subscript is some vector loop's index, with its extent."""
    extents: dict[str, int] = {}
    arrays: dict[str, int] = {}

    def see(name: str, indices: Sequence[Expr]) -> None:
        if indices and isinstance(indices[-1], Var) and indices[-1].name in extents:
            arrays[name] = extents[indices[-1].name]

    for statement in statements(kernel.body):
        match statement:
            case For(index=index, kind="vector", extent=int(extent)) if extent > 1:
                extents[index] = extent
            case Store(buffer=buffer, indices=indices, value=value):
                see(buffer, indices)
                _see_loads(value, see)
            case Let(value=value) | If(condition=value) | Check(condition=value):
                _see_loads(value, see)
    return arrays


def _see_loads(value: Expr, see: Any) -> None:
    for expr in walk(value):
        if isinstance(expr, Load):
            see(expr.buffer, expr.indices)


def _stored(block: Block) -> set[str]:
    return {s.buffer for s in statements(block) if isinstance(s, Store)}


@dataclass
class _Statements:
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
        else:
            self._serial(loop, extent)

    def _unrolled(self, loop: For, extent: int) -> None:
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
            self._store_register(statement, llvm_value(e, value))
            return
        buffer = e.memory.get(statement.buffer)
        if buffer is None:
            raise CodegenError(f"{statement.buffer} is no buffer of the kernel")
        dtype = buffer.buffer.dtype
        if isinstance(value, Cast) and value.dtype == dtype and dtype.is_float:
            # Storing rounds: the cast need not round first.
            if value.x.dtype == dtype.compute:
                value = value.x
        subscripts = [evaluate(e, subscript) for subscript in statement.indices]
        offset = memory.element_offset(
            e, buffer.buffer.shape, subscripts, lambda dim: dim_value(e, dim)
        )
        memory.store(e, buffer, offset, llvm_value(e, value))

    def _store_register(self, statement: Store, value: LLVMValue) -> None:
        """A new SSA value for the element or row; on inactive lanes the old one stays."""
        e, array = self.e, self.e.registers[statement.buffer]
        places = register_subscripts(e, statement.buffer, statement.indices)
        if array.lanes is not None and places[-1] == -1:
            place = array.position([p for p in places[:-1] if p is not None])
            new = spread(e, value, array.lanes)
            if e.mask is not None:
                mask = spread(e, e.mask, array.lanes)
                new = e.builder.select(mask, new, array.values[place])
            array.values[place] = new
            return
        if lanes_of(value) is not None or e.mask is not None:
            value = self._last_active(value, _Element(e, array, places).read())
        _Element(e, array, places).write(value)

    def _last_active(self, value: LLVMValue, old: LLVMValue) -> LLVMValue:
        """What one element holds after all lanes stored to it in order."""
        e = self.e
        if e.mask is None:
            return e.builder.extract_element(value, constant(I32, value.type.count - 1))
        if lanes_of(e.mask) is None:
            if lanes_of(value) is not None:
                value = e.builder.extract_element(value, constant(I32, value.type.count - 1))
            return e.builder.select(e.mask, value, old)
        value = spread(e, value, e.mask.type.count)
        for lane in range(e.mask.type.count):
            active = e.builder.extract_element(e.mask, constant(I32, lane))
            element = e.builder.extract_element(value, constant(I32, lane))
            old = e.builder.select(active, element, old)
        return old


@dataclass(frozen=True)
class _Element:
    """One element of a register array with constant subscripts."""

    e: Emission
    array: RegisterArray
    places: list[int | None]

    def _numbers(self) -> list[int]:
        return [p for p in self.places if p is not None]

    def read(self) -> LLVMValue:
        if self.array.lanes is None:
            return self.array.values[self.array.position(self._numbers())]
        *leading, last = self._numbers()
        row = self.array.values[self.array.position(leading)]
        return self.e.builder.extract_element(row, constant(I32, last))

    def write(self, value: LLVMValue) -> None:
        if self.array.lanes is None:
            self.array.values[self.array.position(self._numbers())] = value
            return
        *leading, last = self._numbers()
        place = self.array.position(leading)
        row = self.array.values[place]
        self.array.values[place] = self.e.builder.insert_element(row, value, constant(I32, last))


__all__ = ["ArgumentFacts", "Unary", "conjunction", "declare_kernel", "emit_kernel"]
