"""States: tensors that are carried from one run to the next.

    state calls: i64 = zeros    →   state %calls: i64 = zeros
    calls = calls + 1           →   %add = add(%calls, 1), update %calls = %add

What stands after such a line reads the new value; the next run begins with the last one.
"""

from __future__ import annotations

from stepwell.frontend import syntax as s
from stepwell.frontend.elaboration import Elaboration, place
from stepwell.frontend.evaluation import evaluate
from stepwell.frontend.initializers import initializer_text
from stepwell.frontend.results import conform
from stepwell.frontend.signatures import tensor_type
from stepwell.frontend.values import Held, Origin, Tensor


def declare_state(e: Elaboration, statement: s.State) -> None:
    """Bind a state in the current scope."""
    frame = e.frame
    if frame.function.kind == "fn":
        e.fail(
            "SW0402",
            "a `fn` has no state",
            statement.span,
            help=f"declare `layer {frame.function.name}(…)` instead",
        )
    type = frame.like if statement.type is None else tensor_type(e, statement.type)
    if type is None:
        e.fail(
            "SW0410",
            f"the state `{statement.name}` needs a type",
            statement.span,
            help=f"write `state {statement.name}: f32[C] = zeros`",
        )
    text = "zeros"
    if statement.initializer is not None:
        text = initializer_text(e, statement.initializer, type)
    path = frame.naming.path(statement.name)
    tensor = e.parameter(path, type, text, statement.span, statement.name, "state")
    new = e.builder.updates.get(tensor.value, tensor.value)  # by an earlier call of the model
    frame.scopes[-1][statement.name] = Held(tensor, Tensor(new, tensor.origin))


def hold(e: Elaboration, held: Held, statement: s.Assign) -> None:
    """Give a state its value for after the run."""
    span, name = statement.span, statement.name
    value = evaluate(e, statement.value)
    new = conform(e, value, held.tensor.type, statement.value.span, f"`{name}`", span)
    held.current = Tensor(new.value, Origin(span, f"from `{name} = …` at {place(span)}"))
    e.builder.update(held.tensor.value, new.value)
