"""A kernel to the source of a Python function that runs it, scalar by scalar.

In: a kernel. Out: Python text, and the namespace in which it is compiled. The interpreter runs it;
a tree-walker would be ten times slower. Each subscript that is not in range beyond doubt is
checked; everything is computed as `stepwell.ir.loop.arithmetic` says.

    for i in 0..N {                          for i_3 in range(N_0):
      let t: f32 = x[i] * 2.0          →         t_4 = (x_1[i_3] * K0)
      y[i] = exp(t)                              y_2[i_3] = exp_f32(t_4)
    }

In a vector loop each statement becomes a loop over the active lanes, `for l in L:`; a `let` there
is a list with a number per lane, and an `if` splits the active lanes in two.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from stepwell.ir.dtypes import I64, DType
from stepwell.ir.loop import arithmetic
from stepwell.ir.loop.core import (
    Alloc,
    Block,
    Buffer,
    Check,
    For,
    If,
    Kernel,
    Let,
    Prefetch,
    Statement,
    Store,
)
from stepwell.ir.scalar import (
    PREDICATES,
    Binary,
    Cast,
    Const,
    Expr,
    Horizontal,
    Load,
    Philox,
    Reduce,
    Select,
    Unary,
    Var,
    as_dim,
    from_dim,
    loads,
    walk,
)
from stepwell.ir.size import Dim, product, provably_le

_INFIX = {"add": "+", "sub": "-", "mul": "*", "div": "/", "and": "&", "or": "|", "xor": "^"}
_INFIX |= {"eq": "==", "ne": "!=", "lt": "<", "le": "<=", "gt": ">", "ge": ">="}
_LONG = 400  # characters: a longer expression is computed in parts (Python limits nesting)


@dataclass(frozen=True)
class Site:
    """Where a buffer is accessed: for the message of an access out of bounds."""

    buffer: Buffer
    statement: Statement


@dataclass
class PythonKernel:
    """Source of `kernel(sizes, memory, scratch)`, its namespace, and its access sites.

    sizes: name → int; memory: parameter → flat array; scratch: name → flat array.
    """

    source: str
    namespace: dict[str, Any]
    sites: list[Site]


@dataclass(frozen=True)
class _Place:
    """A buffer in the Python function: its variable, and the texts of extents and strides."""

    buffer: Buffer
    variable: str
    extents: tuple[str, ...]
    strides: tuple[str, ...]

    @property
    def in_list(self) -> bool:
        return self.buffer.space == "register"


@dataclass(frozen=True)
class _Lanes:
    """The vector loop around: its index, the Python variables of a lane and of those active."""

    index: str
    lane: str
    active: str
    extent: int


@dataclass
class _Writer:
    kernel: Kernel
    lines: list[str] = field(default_factory=list)
    depth: int = 0
    names: dict[str, str] = field(default_factory=dict)  # size, index or let → Python text
    places: dict[str, _Place] = field(default_factory=dict)
    small: set[str] = field(default_factory=set)  # sizes and indices: no overflow in practice
    ranges: dict[str, Dim] = field(default_factory=dict)  # index → extent
    namespace: dict[str, Any] = field(default_factory=dict)
    constants: dict[Const, str] = field(default_factory=dict)
    sites: list[Site] = field(default_factory=list)
    lanes: _Lanes | None = None
    count: int = 0

    # ------------------------------------------------------------------ lines and names

    def line(self, text: str) -> None:
        self.lines.append("    " * self.depth + text)

    @contextmanager
    def block(self, head: str) -> Iterator[None]:
        """A line that ends in a colon, and what is written inside the `with` under it."""
        self.line(head)
        self.depth += 1
        start = len(self.lines)
        yield
        if len(self.lines) == start:
            self.line("pass")
        self.depth -= 1

    def fresh(self, hint: str) -> str:
        """A new Python variable; all end in `_` and a number, functions and constants do not."""
        clean = re.sub(r"\W", "_", hint, flags=re.ASCII)
        self.count += 1
        return f"{'v' if clean[:1].isdigit() else ''}{clean}_{self.count - 1}"

    def function(self, name: str, make: Callable[[], Any]) -> str:
        """A function of the namespace, made at its first use."""
        if name not in self.namespace:
            self.namespace[name] = make()
        return name

    # ------------------------------------------------------------------ the kernel

    def run(self) -> PythonKernel:
        with self.block("def kernel(sizes, memory, scratch):"):
            for name in self.kernel.sizes:
                variable = self.names[name] = self.fresh(name)
                self.small.add(name)
                self.line(f"{variable} = sizes[{name!r}]")
            for parameter in self.kernel.parameters:
                self.place(parameter.buffer, f"memory[{parameter.buffer.name!r}]")
            self.statements(self.kernel.body)
        return PythonKernel("\n".join(self.lines) + "\n", self.namespace, self.sites)

    def place(self, buffer: Buffer, value: str) -> None:
        """Bind a buffer to a Python variable, its symbolic extents and strides to others."""
        variable = self.fresh(buffer.name)
        self.line(f"{variable} = {value}")
        if not buffer.dtype.is_float and buffer.space != "register":
            self.line(f"{variable}_item = {variable}.item")
        extents = [self.static(dim) for dim in buffer.shape]
        strides = [
            self.static(product(buffer.shape[axis + 1 :])) for axis in range(len(buffer.shape))
        ]
        self.places[buffer.name] = _Place(buffer, variable, tuple(extents), tuple(strides))

    def static(self, dim: Dim) -> str:
        """A dim as a literal or as a variable computed here."""
        if isinstance(dim, int):
            return str(dim)
        variable = self.fresh("size")
        self.line(f"{variable} = {self.expr(from_dim(dim), None)}")
        return variable

    # ------------------------------------------------------------------ statements

    def statements(self, block: Block) -> None:
        for statement in block:
            match statement:
                case For():
                    self.loop(statement)
                case If():
                    self.branch(statement)
                case Let():
                    self.let(statement)
                case Alloc():
                    self.alloc(statement.buffer)
                case Store():
                    self.store(statement)
                case Check():
                    with self.each_lane():
                        condition = self.expr(statement.condition, statement)
                        self.line(f"if not {condition}: fail({statement.message!r})")
                case Prefetch():
                    self.line("pass")

    @contextmanager
    def each_lane(self) -> Iterator[None]:
        """What is written inside is done for all active lanes; outside vector loops, once."""
        if self.lanes is None:
            yield
        else:
            with self.block(f"for {self.lanes.lane} in {self.lanes.active}:"):
                yield

    def loop(self, loop: For) -> None:
        self.small.add(loop.index)
        self.ranges[loop.index] = loop.extent
        extent = self.expr(from_dim(loop.extent), loop)
        variable = self.names[loop.index] = self.fresh(loop.index)
        if loop.kind == "vector":
            assert isinstance(loop.extent, int) and self.lanes is None
            active = self.fresh("active")
            self.line(f"{active} = range({extent})")
            self.lanes = _Lanes(loop.index, variable, active, loop.extent)
            self.statements(loop.body)
            self.lanes = None
            return
        if loop.kind == "parallel":
            self.parallel(loop, variable, extent)
            return
        with self.block(f"for {variable} in range({extent}):"):
            self.statements(loop.body)

    def parallel(self, loop: For, variable: str, extent: str) -> None:
        """Backwards: an order that parallel code must stand. All iterations run; where checks fail
        in several, the first of these tells."""
        failure = self.fresh("failure")
        self.line(f"{failure} = None")
        with self.block(f"for {variable} in range({extent} - 1, -1, -1):"):
            with self.block("try:"):
                self.statements(loop.body)
            with self.block("except Failure as error:"):
                self.line(f"{failure} = error")
        self.line(f"if {failure} is not None: raise {failure}")

    def branch(self, branch: If) -> None:
        if self.lanes is None:
            with self.block(f"if {self.expr(branch.condition, branch)}:"):
                self.statements(branch.then)
            if branch.otherwise:
                with self.block("else:"):
                    self.statements(branch.otherwise)
            return
        outer = self.lanes
        yes, no = self.fresh("active"), self.fresh("active")
        self.line(f"{yes}, {no} = [], []")
        with self.each_lane():
            condition = self.expr(branch.condition, branch)
            self.line(f"({yes} if {condition} else {no}).append({outer.lane})")
        for active, block in ((yes, branch.then), (no, branch.otherwise)):
            self.lanes = _Lanes(outer.index, outer.lane, active, outer.extent)
            self.statements(block)
        self.lanes = outer

    def let(self, let: Let) -> None:
        variable = self.fresh(let.name)
        if self.lanes is not None:
            self.line(f"{variable} = [None] * {self.lanes.extent}")
            variable = f"{variable}[{self.lanes.lane}]"
        with self.each_lane():
            self.line(f"{variable} = {self.expr(let.value, let)}")
        self.names[let.name] = variable

    def alloc(self, buffer: Buffer) -> None:
        if buffer.space == "register":
            name = self.function(
                f"GARBAGE_{buffer.dtype}", lambda: arithmetic.garbage(buffer.dtype)
            )
            count = self.expr(from_dim(product(buffer.shape)), None)
            self.place(buffer, f"[{name}] * {count}")
        else:
            self.place(buffer, f"uninitialised(scratch[{buffer.name!r}])")

    def store(self, store: Store) -> None:
        place = self.places[store.buffer]
        if self.lanes is None:
            flat = self.checked_place(place, store)
            self.line(f"{place.variable}[{flat}] = {self.expr(store.value, store)}")
        elif self.lanes_are_independent(store, self.lanes):
            with self.each_lane():
                flat = self.checked_place(place, store)
                self.line(f"{place.variable}[{flat}] = {self.expr(store.value, store)}")
        else:
            pending = self.fresh("pending")
            self.line(f"{pending} = []")
            with self.each_lane():
                flat = self.checked_place(place, store)
                self.line(f"{pending}.append(({flat}, {self.expr(store.value, store)}))")
            with self.block(f"for where, value in {pending}:"):
                self.line(f"{place.variable}[where] = value")

    def lanes_are_independent(self, store: Store, lanes: _Lanes) -> bool:
        """Whether no lane reads what another one writes, so that lanes can be done one by one."""
        read = [e for expr in (*store.indices, store.value) for e in loads(expr)]
        own = [load for load in read if load.buffer == store.buffer]
        if any(isinstance(e, Horizontal) and e.buffer == store.buffer for e in walk(store.value)):
            return False
        same = all(load.indices == store.indices for load in own)
        return not own or (same and Var(lanes.index) in store.indices)

    def checked_place(self, place: _Place, store: Store) -> str:
        checks, flat = self.flat(place, store.indices, store)
        for check in checks:
            self.line(check)
        return flat

    # ------------------------------------------------------------------ places in buffers

    def flat(
        self, place: _Place, indices: Sequence[Expr], site: Statement | None
    ) -> tuple[list[str], str]:
        """Tests that raise where a subscript is out of range, then the flat subscript's text."""
        checks: list[str] = []
        terms: list[str] = []
        for axis, (index, extent) in enumerate(zip(indices, place.extents, strict=True)):
            text = self.expr(index, site)
            if not self.surely_inside(index, place.buffer.shape[axis]):
                name = text
                if not text.isidentifier():
                    name, text = (t := self.fresh("at")), f"({t} := {text})"
                number = self.site(place.buffer, site)
                fail = f"out_of_bounds({number}, {axis}, {name}, {extent})"
                checks.append(f"(0 <= {text} < {extent} or {fail})")
                text = name
            stride = place.strides[axis]
            terms.append(text if stride == "1" else f"{text} * {stride}")
        return checks, " + ".join(terms) or "0"

    def surely_inside(self, index: Expr, extent: Dim) -> bool:
        if isinstance(index, Const) and isinstance(extent, int):
            return 0 <= index.value < extent
        if isinstance(index, Var) and index.name in self.ranges:
            return provably_le(self.ranges[index.name], extent)
        return False

    def site(self, buffer: Buffer, statement: Statement | None) -> int:
        assert statement is not None
        self.sites.append(Site(buffer, statement))
        return len(self.sites) - 1

    # ------------------------------------------------------------------ expressions

    def expr(self, expr: Expr, site: Statement | None) -> str:
        """The Python text of an expression; parts that are long get a line of their own."""
        text = self._expr(expr, site)
        if len(text) < _LONG:
            return text
        variable = self.fresh("part")
        self.line(f"{variable} = {text}")
        return variable

    def _expr(self, expr: Expr, site: Statement | None) -> str:
        match expr:
            case Const():
                return self.constant(expr)
            case Var(name=name):
                return self.names[name]
            case Load():
                return self.load(expr, site)
            case Unary(op=op, x=x):
                return self.unary(op, x.dtype, self.expr(x, site))
            case Binary(op=op, x=x, y=y):
                texts = self.expr(x, site), self.expr(y, site)
                exact = as_dim(expr) is not None and self.is_small(expr)
                return self.binary(op, x.dtype, *texts, exact)
            case Select(condition=c, x=x, y=y):
                function = self.function("select", lambda: arithmetic.select)
                return f"{function}({', '.join(self.expr(e, site) for e in (c, x, y))})"
            case Cast(x=x, dtype=dtype):
                return self.cast(x.dtype, dtype, self.expr(x, site))
            case Philox():
                function = self.function("philox", lambda: arithmetic.philox)
                arguments = ", ".join(self.expr(e, site) for e in (expr.low, expr.high, expr.key))
                return f"{function}({arguments}, {expr.word})"
            case Horizontal(kind=kind, dtype=dtype):
                name = self.function(f"h{kind}_{dtype}", lambda: arithmetic.horizontal(kind, dtype))
                return f"{name}({self.combined(expr, site)})"
            case Reduce():
                raise ValueError("a reduction stands in formulas only")

    def combined(self, expr: Horizontal, site: Statement | None) -> str:
        """What a horizontal operation combines: the array, or the part at its subscripts."""
        place = self.places[expr.buffer]
        if not expr.indices:
            return place.variable
        stride = place.strides[len(expr.indices) - 1]
        pairs = zip(expr.indices, place.strides, strict=False)
        start = " + ".join(f"{self.expr(index, site)} * {step}" for index, step in pairs)
        first = self.fresh("first")
        return f"{place.variable}[({first} := {start}) : {first} + {stride}]"

    def is_small(self, expr: Expr) -> bool:
        return all(e.name in self.small for e in walk(expr) if isinstance(e, Var))

    def constant(self, const: Const) -> str:
        if const.dtype.is_bool:
            return str(bool(const.value))
        if const.dtype.is_int:
            return f"({const.value})" if const.value < 0 else str(const.value)
        if const not in self.constants:
            name = self.constants[const] = f"K{len(self.constants)}"
            self.namespace[name] = const.dtype.numpy.type(const.value)
        return self.constants[const]

    def load(self, load: Load, site: Statement | None) -> str:
        place = self.places[load.buffer]
        if load.guard is not None:  # guards spare the load, not the loads in its subscripts
            self.force(load, site)
        checks, flat = self.flat(place, load.indices, site)
        element = f"{place.variable}[{flat}]"
        if not place.in_list and not load.dtype.is_float:
            element = f"{place.variable}_item({flat})"
        if load.guard is not None:
            checks.insert(0, self.expr(load.guard, site))
        if not checks:
            return element
        zero = 0.0 if load.dtype.is_float else 0
        other = self.constant(Const(zero, load.dtype))
        return f"({element} if {' and '.join(checks)} else {other})"

    def force(self, load: Load, site: Statement | None) -> None:
        for index in load.indices:
            for inner in loads(index):
                self.line(self._expr(inner, site))

    def wrapped(self, dtype: DType, text: str) -> str:
        return f"{self.function(f'wrap_{dtype}', lambda: arithmetic.wrap(dtype))}({text})"

    def unary(self, op: str, dtype: DType, x: str) -> str:
        if op in ("neg", "abs"):
            text = f"(-{x})" if op == "neg" else f"abs({x})"
            return text if dtype.is_float else self.wrapped(dtype, text)
        if op == "not":
            return f"(not {x})" if dtype.is_bool else self.wrapped(dtype, f"~{x}")
        if not dtype.is_float:
            if op == "sign":
                return f"{self.function('sign', lambda: arithmetic.sign)}({x})"
            assert op in PREDICATES, f"{op} of {dtype}"
            return "True" if op == "is_finite" else "False"
        name = self.function(f"{op}_{dtype}", lambda: arithmetic.float_unary(op, dtype))
        return f"{name}({x})"

    def binary(self, op: str, dtype: DType, x: str, y: str, exact: bool) -> str:
        if op in ("min", "max"):
            if not dtype.is_float:
                return f"{op}({x}, {y})"
            function = arithmetic.minimum if op == "min" else arithmetic.maximum
            return f"{self.function(f'{op}imum', lambda: function)}({x}, {y})"
        if op in _INFIX:
            text = f"({x} {_INFIX[op]} {y})"
            wraps = dtype.is_int and op in ("add", "sub", "mul") and not exact
            return self.wrapped(dtype, text) if wraps else text
        if dtype.is_float:
            if op == "pow":
                name = self.function(f"pow_{dtype}", lambda: arithmetic.float_power(dtype))
            else:
                name = self.function(f"float_{op}", lambda: getattr(arithmetic, f"float_{op}"))
            return f"{name}({x}, {y})"
        name = "power" if op == "pow" else op
        text = f"{self.function(name, lambda: getattr(arithmetic, name))}({x}, {y})"
        return text if exact or op == "mod" else self.wrapped(dtype, text)

    def cast(self, source: DType, result: DType, x: str) -> str:
        if source == result:
            return x
        if result.is_bool:
            return f"({x} != 0)"
        if result.is_float:
            return f"{self.function(f'to_{result}', lambda: arithmetic.to_float(result))}({x})"
        if source.is_float:
            name = self.function(f"saturate_{result}", lambda: arithmetic.saturate(result))
            return f"{name}({x})"
        return f"int({x})" if source.is_bool or result == I64 else self.wrapped(result, x)


def to_python(kernel: Kernel) -> PythonKernel:
    """The kernel as Python source. It has passed the verifier: nothing is checked here."""
    return _Writer(kernel).run()
