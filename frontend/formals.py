"""Binding a call's arguments to the formals of a function, in the function's frame.

Static arguments come first, in order, so that a default may use those before it; then tensors,
which bind the names in their types; then numbers given for tensors, which take the shape found.
"""

from __future__ import annotations

from typing import Any

from stepwell.frontend import syntax as s
from stepwell.frontend.arguments import Given, assign
from stepwell.frontend.elaboration import Elaboration, Frame
from stepwell.frontend.evaluation import evaluate
from stepwell.frontend.matching import Matcher
from stepwell.frontend.operators import number_tensor
from stepwell.frontend.results import conform
from stepwell.frontend.signatures import (
    dtype_of,
    free_names,
    is_static,
    static_argument,
    tensor_type,
)
from stepwell.frontend.values import Scalar, Tensor, is_number, kind_of
from stepwell.ir.span import Span


def bind_formals(e: Elaboration, frame: Frame, given: list[Given], call: Span) -> None:
    """Bind a call's arguments in the callee's frame."""
    function = frame.function
    names = [formal.name for formal in function.formals]
    required = {formal.name for formal in function.formals if formal.default is None}
    bound = assign(e, function.name, names, required, given, call)
    bind_statics(e, frame, bound)
    matcher = Matcher(e, frame, call)
    tensors = [f for f in function.formals if not is_static(f.type)]
    numbers = []
    for formal in tensors:
        argument = bound.get(formal.name)
        if argument is None:
            continue
        if isinstance(argument.value, (Tensor, Scalar)):
            matcher.tensor(formal, argument.value, argument.span)
            frame.scopes[0][formal.name] = argument.value
        elif is_number(argument.value):
            numbers.append((formal, argument))
        else:
            e.fail(
                "SW0217",
                f"`{formal.name}` of `{function.name}` must be a tensor, not "
                f"{kind_of(argument.value)}",
                argument.span,
            )
    matcher.finish()
    for formal, argument in numbers:
        frame.scopes[0][formal.name] = _number_argument(e, frame, formal, argument)
    for formal in tensors:
        if formal.name not in bound and formal.default is not None:
            e.frames.append(frame)
            try:
                value = Given(evaluate(e, formal.default), formal.default.span)
            finally:
                e.frames.pop()
            frame.scopes[0][formal.name] = _number_argument(e, frame, formal, value)


def bind_statics(e: Elaboration, frame: Frame, bound: dict[str, Given]) -> None:
    """Bind the arguments known at compile time, in order: a default may use those before it."""
    for formal in frame.function.formals:
        if not is_static(formal.type) or formal.name in frame.scopes[0]:
            continue
        argument = bound.get(formal.name)
        if argument is None and formal.default is None:
            continue
        if argument is None:
            assert formal.default is not None
            e.frames.append(frame)
            try:
                argument = Given(evaluate(e, formal.default), formal.default.span)
            finally:
                e.frames.pop()
        frame.scopes[0][formal.name] = static_argument(e, formal, argument.value, argument.span)


def _number_argument(e: Elaboration, frame: Frame, formal: s.Formal, argument: Given) -> Any:
    """A number for a tensor: it takes the shape where that is known, else it is one element."""
    if any(isinstance(x, Scalar) for x in frame.scopes[0].values()):
        return argument.value
    e.frames.append(frame)
    try:
        dims = formal.type.dims or ()
        known = all(
            frame.lookup(d.name) is not None
            if isinstance(d, s.Pack)
            else all(frame.lookup(n) is not None for n in free_names(d))
            for d in dims
        )
        if known:
            return conform(
                e,
                argument.value,
                tensor_type(e, formal.type),
                argument.span,
                f"`{formal.name}`",
                argument.span,
            )
        one = number_tensor(e, argument.value, dtype_of(e, frame, formal.type), (), argument.span)
        Matcher(e, frame, argument.span).tensor(formal, one, argument.span)
        return one
    finally:
        e.frames.pop()
