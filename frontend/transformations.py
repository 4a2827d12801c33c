"""Functions made from functions: `grad(f)`, `value_and_grad(f)`, `checkpoint(f)`.

    grad(f, wrt: x)(x, y)   →   %loss, %d_x = gradient(%x, %y) {wrt = [0]} { f's ops }

The call of such a function elaborates the function inside it in a region. `wrt` names arguments, or
parameters: a string of a path's parts, or `params` for all that the function uses.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

from stepwell.frontend import syntax as s
from stepwell.frontend.arguments import Given, assign
from stepwell.frontend.builtin_calls import BuiltinCall, builtin
from stepwell.frontend.elaboration import Elaboration
from stepwell.frontend.gradient_flow import stopping_path
from stepwell.frontend.operators import number_tensor
from stepwell.frontend.regions import Region
from stepwell.frontend.suggest import did_you_mean
from stepwell.frontend.values import (
    Builtin,
    Declared,
    Scalar,
    Tensor,
    Transformed,
    is_number,
    kind_of,
)
from stepwell.ir.diagnostics import Label
from stepwell.ir.dtypes import F32
from stepwell.ir.graph.core import Op, Value
from stepwell.ir.span import Span

Inner = Callable[[list[Given]], Any]  # calls the function that is transformed


@builtin
def grad(call: BuiltinCall, f: Any, *, wrt: Any = None) -> Any:
    """A function that gives the gradients of `f`'s first result."""
    return _transformed(call, f, wrt)


@builtin
def value_and_grad(call: BuiltinCall, f: Any, *, wrt: Any = None) -> Any:
    """A function that gives `f`'s results, then the gradients of the first."""
    return _transformed(call, f, wrt)


@builtin
def checkpoint(call: BuiltinCall, f: Any) -> Any:
    """A function that computes what `f` does; its gradient computes `f` again."""
    return _transformed(call, f, None)


@builtin
def stop_gradient(call: BuiltinCall, x: Any) -> Any:
    """`x`, through which no gradient flows."""
    if is_number(x):
        return x
    return call.emit("stop_gradient", [call.tensor(x, "x")], ["x"])


def _transformed(call: BuiltinCall, f: Any, wrt: Any) -> Transformed:
    if not isinstance(f, (Declared, Builtin, Transformed)) or kind_of(f) == "an optimizer":
        help = f"write `{call.name}(f)(x)`, not `{call.name}(f(x))`"
        call.fail("SW0310", f"takes a function, not {kind_of(f)}", "f", help=help)
    wanted = () if wrt is None else wrt.items if isinstance(wrt, s.ListOf) else (wrt,)
    return Transformed(call.name, f, tuple(wanted), call.span)


def call_transformed(
    e: Elaboration, function: Transformed, inner: Inner, given: list[Given], span: Span
) -> Any:
    """Call a transformed function: `inner` calls the one inside."""
    for argument in given:
        if isinstance(argument.value, Scalar):
            e.fail(
                "SW0604",
                f"`{function.kind}` takes tensors, not one element of a formula",
                argument.span,
            )
    if function.kind == "checkpoint":
        return _checkpoint(e, function, inner, given, span)
    return _gradient(e, function, inner, given, span)


def _checkpoint(
    e: Elaboration, function: Transformed, inner: Inner, given: list[Given], span: Span
) -> Any:
    with Region(e, name_of(function)) as region:
        value = inner(given)
    parts = value if isinstance(value, (tuple, list)) else (value,)
    tensors = [part for part in parts if isinstance(part, Tensor)]
    outside = iter(region.emit("checkpoint", tensors, span))
    results = tuple(next(outside) if isinstance(part, Tensor) else part for part in parts)
    return results if isinstance(value, (tuple, list)) else results[0]


def _gradient(
    e: Elaboration, function: Transformed, inner: Inner, given: list[Given], span: Span
) -> Any:
    given = _by_name(e, function, given, span)
    wanted = function.wrt or _first_argument(e, function, span)
    own = {n: _argument(e, function, n, given) for n in _arguments_among(function, wanted)}
    with Region(e, name_of(function), list(own.values())) as region:
        inside = dict(zip(own, region.own, strict=True))
        value = inner([replace(g, value=inside.get(g.name or "", g.value)) for g in given])
        results = _results(e, function, value, span)
    by: list[Value] = []
    for node in wanted:
        name = node.name if isinstance(node, s.Name) else ""
        found = [inside[name].value] if name in inside else _parameters(e, node, region, results)
        by += [value for value in found if value not in by]
    for value in by:
        refuse_stopped(e, region.ops, results[0].value, value, span)
    outside = region.emit("gradient", results, span, by=by)
    kept = outside[len(results) if function.kind == "grad" else 0 :]
    return tuple(kept) if len(kept) > 1 else kept[0]


def _results(e: Elaboration, function: Transformed, value: Any, span: Span) -> list[Tensor]:
    """The results of the function inside; the first must be one float."""
    parts = list(value) if isinstance(value, (tuple, list)) else [value]
    parts = [number_tensor(e, p, F32, (), span) if is_number(p) else p for p in parts]
    name = name_of(function)
    for part in parts:
        if not isinstance(part, Tensor):
            e.fail("SW0701", f"`{name}` gives {kind_of(part)}, not a tensor", span)
    if parts[0].shape or not parts[0].dtype.is_float:
        e.fail(
            "SW0701",
            f"a gradient is of one float; `{name}` gives {parts[0].type}",
            span,
            parts[0].describe(),
            help="reduce it to one number, as with `sum` or `mean`",
        )
    return parts


def _by_name(e: Elaboration, function: Transformed, given: list[Given], span: Span) -> list[Given]:
    """The arguments, each with the name of its formal."""
    formals = formals_of(function)
    layer_name = [g for g in given if g.name == "name" and "name" not in formals]
    rest = [g for g in given if g not in layer_name]
    bound = assign(e, name_of(function), formals, set(), rest, span)
    return [*(replace(g, name=n) for n, g in bound.items()), *layer_name]


def _first_argument(e: Elaboration, function: Transformed, span: Span) -> tuple[s.Expr, ...]:
    formals = formals_of(function)
    if not formals:
        e.fail("SW0702", f"`{name_of(function)}` has no argument to differentiate by", span)
    return (s.Name(function.span, formals[0]),)


def _arguments_among(function: Transformed, wanted: Sequence[s.Expr]) -> list[str]:
    formals = formals_of(function)
    names = [node.name for node in wanted if isinstance(node, s.Name) and node.name in formals]
    return list(dict.fromkeys(names))


def _argument(e: Elaboration, function: Transformed, name: str, given: list[Given]) -> Tensor:
    """The argument of a name, which must be a tensor of floats."""
    found = next((g for g in given if g.name == name), None)
    if found is None:
        message = f"`{name}`, to differentiate by, is not given"
        e.fail("SW0702", message, function.span, help="a gradient is by an argument that is given")
    value = found.value
    if is_number(value) and not isinstance(value, bool):
        value = number_tensor(e, value, F32, (), found.span)
    if not isinstance(value, Tensor) or not value.dtype.is_float:
        e.fail(
            "SW0703",
            f"there is no gradient by `{name}`, which is {kind_of(value)}",
            found.span,
            help="only floats have gradients",
        )
    return value


def _parameters(
    e: Elaboration, node: s.Expr, region: Region, results: Sequence[Tensor]
) -> list[Value]:
    """The parameters that a part of `wrt` names, in the order in which they are declared."""
    used = set(region.captured(tensor.value for tensor in results))
    known = [p for p in e.builder.parameters if p.kind == "param" and p.value in used]
    floats = [p for p in known if p.value.type.dtype.is_float]
    if isinstance(node, s.Name) and node.name == "params" and floats:
        return [p.value for p in floats]
    if isinstance(node, s.String):
        found = [p.value for p in floats if names_path(node.value, p.path)]
        if found:
            return found
    name = node.name if isinstance(node, (s.Name,)) else getattr(node, "value", "this")
    paths = [p.path for p in floats]
    e.fail(
        "SW0702",
        f"`{name}` is neither an argument nor a parameter here",
        node.span,
        help=did_you_mean(str(name), paths)
        or (f"parameters: {', '.join(paths[:5])}" if paths else "name an argument"),
    )


def refuse_stopped(
    e: Elaboration, ops: Sequence[Op], loss: Value, target: Value, span: Span
) -> None:
    """Refuse a value that the loss depends on only through what has no gradient."""
    path = stopping_path(ops, loss, target)
    if not path:
        return
    stop = path[-1]
    shown = " ← ".join([loss.name, *(op.name for op in path), target.name])
    labels = [Label(span), *([Label(stop.span, f"`{stop.name}`")] if stop.span else [])]
    e.fail_labels(
        "SW0707",
        f"no gradient flows from the loss to `{target.name}`: `{stop.name}` has none",
        labels,
        notes=[f"the loss depends on it through {shown}"],
        help="`stop_gradient` says that this is meant",
    )


def names_path(name: str, path: str) -> bool:
    """Whether the dotted parts of `name` stand one after another in a parameter's path."""
    return f".{name}." in f".{path}."


def formals_of(function: Any) -> list[str]:
    """The names of a function's arguments."""
    if isinstance(function, Transformed):
        return formals_of(function.function)
    if isinstance(function, Declared):
        return [formal.name for formal in function.function.formals]
    names = list(inspect.signature(function.run).parameters)[1:]
    return [name.rstrip("_") for name in names]


def name_of(function: Any) -> str:
    """The name of the function inside."""
    return name_of(function.function) if isinstance(function, Transformed) else function.name
