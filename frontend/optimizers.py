"""Optimizers: binding their arguments, and running their bodies once per parameter.

    optimizer sgd(lr: float) { parameter = parameter - lr * gradient }
    →   %step = mul(%lr, %d_w), %new = sub(%w, %step), update %w = %new

In a body `parameter`, `gradient` and `step` (how many steps went before, i64) are in scope. A
`float` argument may also be one float at run time, such as a schedule computes from `step`.
"""

from __future__ import annotations

from stepwell.frontend import syntax as s
from stepwell.frontend.arguments import Given, assign
from stepwell.frontend.blocks import evaluate_block
from stepwell.frontend.elaboration import Elaboration, Frame, Naming, seen_from_outside
from stepwell.frontend.formals import bind_statics
from stepwell.frontend.signatures import is_static
from stepwell.frontend.values import Declared, Held, Optimizer, Tensor
from stepwell.ir.diagnostics import UserError
from stepwell.ir.dtypes import DType
from stepwell.ir.span import Span


def call_optimizer(
    e: Elaboration, callee: Declared, given: list[Given], span: Span, call: Span
) -> Optimizer:
    """An optimizer with its arguments bound."""
    function = callee.function
    if e.frame.function.kind != "train":
        e.fail(
            "SW0706",
            f"the optimizer `{callee.name}` is called outside of a train block",
            span,
            help="in a train block, write `optimizer = …`",
        )
    names = [formal.name for formal in function.formals]
    required = {formal.name for formal in function.formals if formal.default is None}
    bound = assign(e, callee.name, names, required, given, call)
    frame = Frame(function, callee.module, Naming())
    for formal in function.formals:
        argument = bound.get(formal.name)
        if argument is not None and _is_rate(formal, argument.value):
            frame.scopes[0][formal.name] = argument.value
    bind_statics(e, frame, bound)
    return Optimizer(callee, frame.scopes[0], span)


def _is_rate(formal: s.Formal, value: object) -> bool:
    """Whether a float argument is given as one float at run time."""
    one = isinstance(value, Tensor) and not value.shape and value.dtype.is_float
    return one and is_static(formal.type) and formal.type.name == "float"


def update_parameter(
    e: Elaboration, optimizer: Optimizer, parameter: Tensor, gradient: Tensor, step: Tensor
) -> None:
    """Run an optimizer's body for one parameter; its states are named after that."""
    callee = optimizer.callee
    naming = Naming(f"optimizer.{parameter.value.name}.")
    frame = Frame(callee.function, callee.module, naming, like=parameter.type)
    held = Held(parameter, parameter)
    frame.scopes[0] = {
        name: _as(e, value, parameter.dtype, optimizer.span)
        for name, value in optimizer.arguments.items()
    } | {"parameter": held, "gradient": gradient, "step": step}
    e.frames.append(frame)
    try:
        run_optimizer(e, frame, parameter)
    except UserError as error:
        raise seen_from_outside(error, callee.name, optimizer.span) from None
    finally:
        e.frames.pop()


def run_optimizer(e: Elaboration, frame: Frame, parameter: Tensor) -> None:
    """Evaluate a body in its frame: it must give the parameter a new value."""
    function = frame.function
    if evaluate_block(e, function.body) is not None:
        last = function.body.statements[-1].span
        e.fail("SW0706", "an optimizer has no value", last, help="write `parameter = …`")
    if parameter.value not in e.builder.updates:
        e.fail(
            "SW0706",
            f"the optimizer `{function.name}` gives `parameter` no new value",
            function.head,
            help="write `parameter = parameter - …`",
        )


def _as(e: Elaboration, value: object, dtype: DType, span: Span) -> object:
    """A rate in the parameter's element type."""
    if not isinstance(value, Tensor) or value.dtype == dtype:
        return value
    return e.emit("cast", [value], span=span, dtype=dtype)
