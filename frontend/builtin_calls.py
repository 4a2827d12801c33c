"""The functions that the compiler knows, under the names that programs use.

Each is a Python function `f(call, x, axis=None, *, keep=False)`: its signature is the signature in
the language. `call` gives the elaboration, the span, and the arguments in checked form.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, NoReturn

from stepwell.frontend.arguments import Given, assign
from stepwell.frontend.elaboration import Elaboration
from stepwell.frontend.numbers import as_dim
from stepwell.frontend.operators import number_tensor
from stepwell.frontend.values import Builtin, Scalar, Tensor, is_number, kind_of
from stepwell.ir.diagnostics import Label
from stepwell.ir.dtypes import F32, DType
from stepwell.ir.graph.core import Attribute
from stepwell.ir.size import Dim
from stepwell.ir.span import Span

BUILTINS: dict[str, Builtin] = {}


def builtin(function: Callable[..., Any]) -> Callable[..., Any]:
    """Register a function under its own name (a trailing underscore is dropped)."""
    name = function.__name__.rstrip("_")
    BUILTINS[name] = Builtin(name, function)
    return function


def run_builtin(e: Elaboration, callee: Builtin, given: list[Given], span: Span) -> Any:
    """Bind the arguments to the Python signature and run."""
    parameters = {p.name.rstrip("_"): p for p in _parameters(callee.run)}
    required = {n for n, p in parameters.items() if p.default is inspect.Parameter.empty}
    by_name = frozenset(
        n for n, p in parameters.items() if p.kind is inspect.Parameter.KEYWORD_ONLY
    )
    bound = assign(e, callee.name, list(parameters), required, given, span, by_name)
    call = BuiltinCall(e, callee.name, span, bound)
    return callee.run(call, **{parameters[name].name: g.value for name, g in bound.items()})


def _parameters(run: Callable[..., Any]) -> list[inspect.Parameter]:
    """Without the first, which is the call."""
    return list(inspect.signature(run).parameters.values())[1:]


@dataclass(frozen=True)
class BuiltinCall:
    """One call of a built-in: where it stands, and its arguments in checked form."""

    e: Elaboration
    name: str
    span: Span
    given: dict[str, Given]

    def where(self, argument: str) -> Span:
        """The place of an argument, or of the call where it was left out."""
        given = self.given.get(argument)
        return self.span if given is None else given.span

    def part(self, argument: str, i: int, count: int) -> Span:
        """The place of one item of a list, where the argument is a list literal."""
        parts = self.given[argument].parts if argument in self.given else ()
        return parts[i] if len(parts) == count else self.where(argument)

    def fail(
        self, code: str, message: str, argument: str = "", text: str = "", help: str | None = None
    ) -> NoReturn:
        self.e.fail(code, f"{self.name}: {message}", self.where(argument), text, help=help)

    def emit(
        self,
        op: str,
        operands: list[Tensor],
        names: list[str] | None = None,
        **attributes: Attribute,
    ) -> Tensor:
        """Append an op; `names` are the arguments that the operands came from."""
        spans = [self.where(name) for name in names or []]
        return self.e.emit(op, operands, span=self.span, spans=spans, what=self.name, **attributes)

    def tensor(self, value: Any, argument: str, dtype: DType = F32) -> Tensor:
        """A tensor; a number becomes one element."""
        if isinstance(value, Tensor):
            return value
        if is_number(value):
            return number_tensor(self.e, value, dtype, (), self.where(argument))
        help = None
        if isinstance(value, Scalar):
            help = "inside index notation only element-wise functions can take elements"
        self.e.fail(
            "SW0213",
            f"{self.name}: `{argument}` must be a tensor, not {kind_of(value)}",
            self.where(argument),
            help=help,
        )

    def tensors(self, value: Any, argument: str) -> list[Tensor]:
        """A list of tensors."""
        if not isinstance(value, (list, tuple)) or not value:
            self.fail(
                "SW0213",
                f"`{argument}` must be a list of tensors, not {kind_of(value)}",
                argument,
                help=f"write `{self.name}([a, b])`",
            )
        return [self.tensor(part, argument) for part in value]

    def integer(self, value: Any, argument: str, low: int | None = None) -> int:
        """A whole number that is known now."""
        if isinstance(value, bool) or not isinstance(value, int):
            self.fail(
                "SW0217", f"`{argument}` must be a whole number, not {kind_of(value)}", argument
            )
        if low is not None and value < low:
            self.fail("SW0217", f"`{argument}` must be at least {low}, not {value}", argument)
        return value

    def boolean(self, value: Any, argument: str) -> bool:
        """true or false, known now."""
        if not isinstance(value, bool):
            self.fail(
                "SW0217", f"`{argument}` must be true or false, not {kind_of(value)}", argument
            )
        return value

    def dim(self, value: Any, argument: str) -> Dim:
        """A size."""
        return as_dim(self.e, value, self.where(argument), f"`{argument}`")

    def shape(self, value: Any, argument: str) -> tuple[Dim, ...]:
        """A list of sizes."""
        if not isinstance(value, (list, tuple)):
            value = [value]
        count = len(value)
        return tuple(
            as_dim(self.e, part, self.part(argument, i, count), f"`{argument}`")
            for i, part in enumerate(value)
        )

    def dtype(self, value: Any, argument: str) -> DType:
        """A dtype."""
        if not isinstance(value, DType):
            more = is_number(value) and "shape" in self.given
            self.fail(
                "SW0217",
                f"`{argument}` must be an element type such as f32, not {kind_of(value)}",
                argument,
                help=f"a shape is a list: `{self.name}([N, H])`" if more else None,
            )
        return value

    def axis(self, value: Any, x: Tensor, argument: str = "axis", extra: int = 0) -> int:
        """One axis of `x`, counted from the end where negative."""
        axis, rank = self.integer(value, argument), len(x.shape) + extra
        if not -rank <= axis < rank:
            self.e.fail_labels(
                "SW0219",
                f"{self.name}: there is no axis {axis}",
                [
                    Label(
                        self.where(argument),
                        f"axes are {-rank} to {rank - 1}" if rank else "one element has no axes",
                    ),
                    Label(x.origin.span, x.describe()),
                ],
            )
        return axis % rank

    def axes(self, value: Any, x: Tensor, argument: str = "axis") -> tuple[int, ...]:
        """Some axes of `x`: one, a list, or all where none are given."""
        if value is None:
            return tuple(range(len(x.shape)))
        if not isinstance(value, (list, tuple)):
            return (self.axis(value, x, argument),)
        axes = sorted(self.axis(part, x, argument) for part in value)
        if len(set(axes)) < len(axes):
            self.fail("SW0219", "the same axis is named twice", argument)
        return tuple(axes)
