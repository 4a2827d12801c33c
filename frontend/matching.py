"""Matching arguments against a signature: what its names stand for, and what must be equal.

    fn f(x: float[..S, K], w: float[K, 2*H])   with f32[N, T, 8] and f32[8, 10]
        →  S = (N, T), K = 8, H = 5, float = f32

A name is bound at its first use, from left to right; what is written with unbound names waits until
the others are known.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NoReturn

from stepwell.frontend import dims as rules
from stepwell.frontend import syntax
from stepwell.frontend.elaboration import Elaboration, Frame, place
from stepwell.frontend.evaluation import evaluate
from stepwell.frontend.numbers import as_dim
from stepwell.frontend.signatures import (
    CLASSES,
    check_type_name,
    class_key,
    expression_text,
    free_names,
    type_text,
)
from stepwell.frontend.values import Pack, Scalar, Tensor
from stepwell.ir import size
from stepwell.ir.diagnostics import Label
from stepwell.ir.dtypes import BY_NAME, DType
from stepwell.ir.size import Dim
from stepwell.ir.span import Span


@dataclass
class _Waiting:
    """A dimension whose pattern has names that are not bound yet."""

    pattern: syntax.Expr
    actual: Dim
    argument: Tensor | Scalar
    span: Span
    formal: syntax.Formal
    axis: int


class Matcher:
    """Binds one call's tensors to the formals of a function, in its frame."""

    def __init__(self, e: Elaboration, frame: Frame, call_span: Span) -> None:
        self.e, self.frame, self.call_span = e, frame, call_span
        self.waiting: list[_Waiting] = []
        self.bound_by: dict[str, str] = {}
        self.places: dict[str, Label] = {}

    def tensor(self, formal: syntax.Formal, argument: Tensor | Scalar, span: Span) -> None:
        """Match one argument's dtype and shape."""
        self.places[formal.name] = Label(span, _describe(argument))
        self._dtype(formal, argument, span)
        shape = argument.shape if isinstance(argument, Tensor) else ()
        self._shape(formal, shape, argument, span)

    def finish(self) -> None:
        """Settle what had to wait for other arguments."""
        for item in self.waiting:
            self._dim(item, last=True)

    def _dtype(self, formal: syntax.Formal, argument: Tensor | Scalar, span: Span) -> None:
        type = formal.type
        check_type_name(self.e, type)
        dtype = argument.dtype
        if type.name in CLASSES and type.dims is not None:
            key = class_key(type.name)
            bound = self.frame.scopes[0].get(key)
            if isinstance(bound, DType) and bound != dtype:
                self._refuse_dtype(formal, argument, span, f"{bound}, as the arguments before it")
            if not CLASSES[type.name](dtype):
                self._refuse_dtype(formal, argument, span, _CLASS_WORDS[type.name])
            self.frame.scopes[0][key] = dtype
        elif BY_NAME.get(type.name) != dtype:
            self._refuse_dtype(formal, argument, span, type.name)

    def _refuse_dtype(
        self, formal: syntax.Formal, argument: Tensor | Scalar, span: Span, wanted: str
    ) -> NoReturn:
        name = self.frame.function.name
        short = wanted.split(",", maxsplit=1)[0]
        if short not in BY_NAME:  # the words of a class: a type of it
            short = "i64" if wanted == _CLASS_WORDS["int"] else "f32"
        self.e.fail_labels(
            "SW0215",
            f"`{formal.name}` of `{name}` must be {wanted}, not {argument.dtype}",
            [Label(span, _describe(argument))],
            help=f"`cast(…, {short})` converts",
        )

    def _shape(
        self,
        formal: syntax.Formal,
        shape: tuple[Dim, ...],
        argument: Tensor | Scalar,
        span: Span,
    ) -> None:
        patterns = formal.type.dims or ()
        packs = [i for i, p in enumerate(patterns) if isinstance(p, syntax.Pack)]
        if len(packs) > 1:
            self.e.fail("SW0207", "a type has at most one shape pack", patterns[packs[1]].span)
        fixed = len(patterns) - len(packs)
        if len(shape) < fixed or (not packs and len(shape) != fixed):
            self._refuse_rank(formal, shape, argument, span, bool(packs), fixed)
        if not packs:
            pairs = list(zip(patterns, range(len(shape)), strict=True))
        else:
            at, after = packs[0], len(patterns) - packs[0] - 1
            end = len(shape) - after
            self._pack(formal, patterns[at], shape[at:end], argument, span)  # type: ignore[arg-type]
            pairs = list(zip(patterns[:at], range(at), strict=True))
            pairs += list(zip(patterns[at + 1 :], range(end, len(shape)), strict=True))
        for pattern, axis in pairs:
            assert not isinstance(pattern, syntax.Pack)
            item = _Waiting(pattern, shape[axis], argument, span, formal, axis)
            self._dim(item, last=False)

    def _refuse_rank(
        self,
        formal: syntax.Formal,
        shape: tuple[Dim, ...],
        argument: Tensor | Scalar,
        span: Span,
        packed: bool,
        fixed: int,
    ) -> NoReturn:
        name = self.frame.function.name
        least = "at least " if packed else ""
        axes = "1 axis" if fixed == 1 else f"{fixed} axes"
        self.e.fail_labels(
            "SW0210",
            f"`{formal.name}` of `{name}` has {least}{axes}, "
            f"{type_text(formal.type)}; this has {len(shape)}",
            [Label(span, _describe(argument))],
        )

    def _pack(
        self,
        formal: syntax.Formal,
        pack: syntax.Pack,
        dims: tuple[Dim, ...],
        argument: Tensor | Scalar,
        span: Span,
    ) -> None:
        bound = self.frame.scopes[0].get(pack.name)
        if not isinstance(bound, Pack):
            self.frame.scopes[0][pack.name] = Pack(dims)
            self.bound_by[pack.name] = formal.name
            return
        same = len(bound.dims) == len(dims) and all(
            rules.agree(self.e, a, b, span) for a, b in zip(bound.dims, dims, strict=True)
        )
        if not same:
            self._differ(
                f"..{pack.name}",
                _shape_text(bound.dims),
                _shape_text(dims),
                pack.name,
                formal,
                argument,
                span,
                None,
            )

    def _dim(self, item: _Waiting, last: bool) -> None:
        unbound = sorted(self._unbound(item.pattern))
        if not unbound:
            expected = self._evaluate(item.pattern)
            if not rules.agree(self.e, expected, item.actual, item.span):
                self._mismatch(item, expected)
            return
        if isinstance(item.pattern, syntax.Name):
            self._bind(item.pattern.name, item.actual, item.formal)
            return
        if len(unbound) > 1 or not self._solve(item, unbound[0]):
            if last:
                self._cannot_solve(item, unbound)
            self.waiting.append(item)

    def _bind(self, name: str, dim: Dim, formal: syntax.Formal) -> None:
        self.frame.scopes[0][name] = dim
        self.bound_by[name] = formal.name

    def _solve(self, item: _Waiting, name: str) -> bool:
        hidden = size.symbol(f"?{name}")
        self.frame.scopes[0][name] = hidden
        pattern = self._evaluate(item.pattern)
        del self.frame.scopes[0][name]
        solution = size.solve(pattern, item.actual)
        if solution is None:
            return False
        self._bind(name, solution[1], item.formal)
        expected = size.substitute(pattern, {f"?{name}": solution[1]})
        if not rules.agree(self.e, expected, item.actual, item.span):
            del self.frame.scopes[0][name]
            self.e.fail_labels(
                "SW0208",
                f"axis {item.axis} of `{item.formal.name}` is {item.actual}, which no whole "
                f"`{name}` makes `{expression_text(item.pattern)}`",
                [Label(item.span, _describe(item.argument))],
            )
        return True

    def _evaluate(self, pattern: syntax.Expr) -> Dim:
        self.e.frames.append(self.frame)
        try:
            return as_dim(self.e, evaluate(self.e, pattern), pattern.span)
        finally:
            self.e.frames.pop()

    def _unbound(self, pattern: syntax.Expr) -> set[str]:
        scope = self.frame.scopes[0]
        return {name for name in free_names(pattern) if name not in scope}

    def _cannot_solve(self, item: _Waiting, unbound: Sequence[str]) -> NoReturn:
        names = " and ".join(f"`{name}`" for name in unbound)
        self.e.fail(
            "SW0209",
            f"the size `{expression_text(item.pattern)}` does not tell {names}",
            item.pattern.span,
            "cannot be solved",
            help="use the name by itself as a dimension before this one, or pass it as an `int`",
        )

    def _mismatch(self, item: _Waiting, expected: Dim) -> NoReturn:
        text = expression_text(item.pattern)
        names = [n for n in free_names(item.pattern) if n in self.bound_by]
        self._differ(
            text,
            str(expected),
            str(item.actual),
            names[0] if names else None,
            item.formal,
            item.argument,
            item.span,
            item.axis,
            rules.hint_same_name(expected, item.actual),
        )

    def _differ(
        self,
        pattern: str,
        expected: str,
        actual: str,
        name: str | None,
        formal: syntax.Formal,
        argument: Tensor | Scalar,
        span: Span,
        axis: int | None,
        help: str | None = None,
    ) -> NoReturn:
        callee = self.frame.function.name
        where = f"axis {axis} of `{formal.name}`" if axis is not None else f"`{formal.name}`"
        source = self.bound_by.get(name or "")
        labels = [Label(span, _describe(argument))]
        if source in self.places and source != formal.name:
            labels.append(self.places[source])
        because = f", as in `{source}`" if source and source != formal.name else ""
        shown = f" (`{pattern}`)" if pattern != expected else ""
        notes = (
            []
            if self.frame.module.is_library
            else [
                f"`{callee}` declares `{formal.name}: {type_text(formal.type)}` at "
                f"{place(formal.span)}"
            ]
        )
        self.e.fail_labels(
            "SW0216",
            f"{where} of `{callee}` must be {expected}{shown}{because}, not {actual}",
            labels,
            help=help,
            notes=notes,
        )


_CLASS_WORDS = {
    "float": "a float type",
    "int": "an integer type",
    "num": "a number type",
    "tensor": "any type",
}


def _describe(argument: Tensor | Scalar) -> str:
    return argument.describe() if isinstance(argument, Tensor) else f"one {argument.dtype}"


def _shape_text(dims: Sequence[Dim]) -> str:
    return f"[{', '.join(map(str, dims))}]"
