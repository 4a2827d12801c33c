"""Calls: of functions, layers and models written in the language, and of built-ins.

A call is inlined: its arguments are matched against the signature, then the body is evaluated in a
frame of its own. A layer's parameters are named by the call (`name:`), else by the `let` that it is
bound in, else by the layer's own name.
"""

from __future__ import annotations

from typing import Any

from stepwell.frontend import syntax as s
from stepwell.frontend.arguments import Given, assign
from stepwell.frontend.blocks import declared, evaluate_block
from stepwell.frontend.builtin_calls import run_builtin
from stepwell.frontend.elaboration import Elaboration, Frame, Naming, Poisoned, computed
from stepwell.frontend.evaluation import evaluate, evaluates
from stepwell.frontend.limits import MAX_CALL_DEPTH, MAX_SELF_CALLS
from stepwell.frontend.operators import number_tensor
from stepwell.frontend.printer import expression
from stepwell.frontend.results import conform
from stepwell.frontend.signatures import (
    STATIC_TYPES,
    Matcher,
    dtype_of,
    free_names,
    is_static,
    static_argument,
    tensor_type,
)
from stepwell.frontend.traverse import walk
from stepwell.frontend.values import Builtin, Declared, Scalar, Tensor, is_number, kind_of
from stepwell.ir.diagnostics import Diagnostic, Label, UserError
from stepwell.ir.span import Span


@evaluates(s.Pipe)
def _pipe(e: Elaboration, node: s.Pipe) -> Any:
    first = Given(evaluate(e, node.value), node.value.span)
    target = node.target
    if isinstance(target, s.Call):
        function = evaluate(e, target.function)
        return call_value(
            e, function, target.function, [first, *_arguments(e, target)], node.span, target.span
        )
    return call_value(e, evaluate(e, target), target, [first], node.span, target.span)


def _arguments(e: Elaboration, node: s.Call) -> list[Given]:
    given = [
        Given(evaluate(e, argument), argument.span, None, _parts(argument))
        for argument in node.arguments
    ]
    for named in node.named:
        value = evaluate(e, named.value)
        given.append(Given(value, named.value.span, named.name, _parts(named.value), named.span))
    return given


def _parts(node: s.Expr) -> tuple[Span, ...]:
    return tuple(item.span for item in node.items) if isinstance(node, s.ListOf) else ()


@evaluates(s.Call)
def _call(e: Elaboration, node: s.Call) -> Any:
    function = evaluate(e, node.function)
    return call_value(e, function, node.function, _arguments(e, node), node.span, node.span)


def call_value(
    e: Elaboration, function: Any, node: s.Expr, given: list[Given], span: Span, call: Span
) -> Any:
    """Call a value. `span` is the whole expression, `call` the part with the callee's name."""
    if isinstance(function, Builtin):
        return run_builtin(e, function, given, span)
    if isinstance(function, Declared):
        return call_declared(e, function, given, span, call)
    e.fail(
        "SW0310",
        f"{kind_of(function)} is not a function",
        node.span,
        help=f"`{expression(node)}` cannot be called",
    )


def call_declared(
    e: Elaboration, callee: Declared, given: list[Given], span: Span, call: Span
) -> Any:
    """Inline a call of a function, layer or model."""
    function = callee.function
    _bound_recursion(e, callee, span)
    naming, shares, given = _naming(e, callee, given, span)
    frame = Frame(function, callee.module, naming, call_span=span, shares=shares)
    enters_library = callee.module.is_library and not e.frame.module.is_library
    formula = e.formula
    if not any(isinstance(g.value, Scalar) for g in given):
        e.formula = None
    try:
        bind_formals(e, frame, given, call)
        e.frames.append(frame)
        try:
            value = finish_body(e, frame)
        finally:
            e.frames.pop()
    except UserError as error:
        raise _seen_from_outside(error, function.name, call) if enters_library else error  # noqa: B904
    finally:
        e.formula = formula
    return _reorigin(value, function.name, span)


def _bound_recursion(e: Elaboration, callee: Declared, span: Span) -> None:
    if any(function is callee.function for function in e.program.endless):
        raise Poisoned
    active = sum(frame.function is callee.function for frame in e.frames)
    if active > MAX_SELF_CALLS or len(e.frames) > MAX_CALL_DEPTH:
        e.fail(
            "SW0503",
            f"`{callee.name}` calls itself",
            span,
            "here again",
            help="there is no recursion; `repeat` repeats a block",
        )


def _reorigin(value: Any, name: str, span: Span) -> Any:
    if isinstance(value, tuple):
        return tuple(_reorigin(part, name, span) for part in value)
    if isinstance(value, Tensor):
        return Tensor(value.value, computed(span)) if _inner(value, span) else value
    return value


def _inner(value: Tensor, span: Span) -> bool:
    phrase = value.origin.phrase
    return value.origin.computed or phrase.startswith("from `let ")


def _seen_from_outside(error: UserError, name: str, call: Span) -> UserError:
    """A mistake inside a library function, told at the user's call of it."""
    told = []
    for fault in error.diagnostics:
        if fault.span.file == call.file:
            told.append(fault)
            continue
        labels = (Label(call, f"in this call of `{name}`"), *fault.labels)
        told.append(Diagnostic(fault.code, fault.message, labels, fault.notes, fault.help))
    return UserError(told, error.sources)


# arguments


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
        if not is_static(formal.type):
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


# bodies


def finish_body(e: Elaboration, frame: Frame) -> Any:
    """Evaluate the body in its frame and check the results."""
    function = frame.function
    value = evaluate_block(e, function.body)
    last = function.body.statements[-1].span if function.body.statements else function.body.span
    if value is None:
        e.fail(
            "SW0405",
            f"`{function.name}` has no value",
            function.head,
            help="the last expression of the body is the value",
        )
    for pending in frame.pending:
        if pending.tensor is None:
            pending.refuse(e)
    if not function.results:
        return value
    values = value if isinstance(value, tuple) else (value,)
    if isinstance(value, list) and len(function.results) > 1:
        values = tuple(value)
    if len(values) != len(function.results):
        e.fail(
            "SW0218",
            f"`{function.name}` declares {_results(len(function.results))} and has "
            f"{_results(len(values))}",
            last,
        )
    checked = tuple(
        _result(e, function, i, values[i], _part_span(function, i)) for i in range(len(values))
    )
    return checked if len(checked) > 1 else checked[0]


def _results(count: int) -> str:
    return "1 result" if count == 1 else f"{count} results"


def _part_span(function: s.Function, i: int) -> Span:
    last = function.body.statements[-1]
    if isinstance(last, s.TupleOf) and len(last.items) == len(function.results):
        return last.items[i].span
    return last.span


def _result(e: Elaboration, function: s.Function, i: int, value: Any, span: Span) -> Any:
    declared_type = function.results[i].type
    if is_static(declared_type) and not isinstance(value, (Tensor, Scalar)):
        formal = s.Formal(span, "the result", declared_type, None)
        return static_argument(e, formal, value, span)
    what = f"the result of `{function.name}`"
    if (
        declared_type.dims is None
        and declared_type.name in STATIC_TYPES
        and (declared_type.name != "bool")
    ):
        e.fail(
            "SW0218",
            f"{what} is declared `{declared_type.name}`, known at compile time, but "
            f"is {kind_of(value)}",
            span,
            help=f"write `{declared_type.name}[]` for one element at run time",
        )
    return conform(e, value, tensor_type(e, declared_type), span, what, declared_type.span)


# names of parameters


def _naming(
    e: Elaboration, callee: Declared, given: list[Given], span: Span
) -> tuple[Naming, bool, list[Given]]:
    """Where the callee's parameters go, whether they may exist already, the arguments left."""
    frame = e.frame
    if callee.kind == "fn":
        return Naming(), False, given
    if frame.function.kind == "fn":
        e.fail(
            "SW0403",
            f"a `fn` cannot call the {callee.kind} `{callee.name}`",
            span,
            help=f"a `fn` has no parameters: declare `layer {frame.function.name}(…)`",
        )
    name = None
    if not any(formal.name == "name" for formal in callee.function.formals):
        named = [g for g in given if g.name == "name"]
        given = [g for g in given if g.name != "name"]
        name = _explicit_name(e, named[0]) if named else None
    if callee.kind == "model":
        return *_model_naming(e, callee, given, name), given
    path = frame.naming.fresh(name or frame.let_name or callee.name)
    shares = frame.shares
    return Naming(path + "."), shares, given


def _explicit_name(e: Elaboration, given: Given) -> str:
    name = given.value
    if (
        isinstance(name, str)
        and name
        and all(p.isidentifier() or p.isdigit() for p in name.split("."))
    ):
        return name
    e.fail(
        "SW0408",
        f"a name for parameters must be a string, not {kind_of(name)}"
        if not isinstance(name, str)
        else f"`{name}` cannot name parameters",
        given.span,
        help='write `name: "encoder"`',
    )


def _model_naming(
    e: Elaboration, callee: Declared, given: list[Given], name: str | None
) -> tuple[Naming, bool]:
    statics = tuple((g.name, repr(g.value)) for g in given if not isinstance(g.value, Tensor))
    key = (callee.function.name, callee.module.file, statics, name, e.frame.naming.prefix)
    if key in e.models:
        return Naming(e.models[key]), True
    if name is None and _only_model(e, callee):
        prefix = e.frame.naming.prefix
    else:
        prefix = e.frame.naming.fresh(name or callee.name) + "."
    e.models[key] = prefix
    return Naming(prefix), False


def _only_model(e: Elaboration, callee: Declared) -> bool:
    """Whether the caller has no parameters but this model's."""
    for node in walk(e.frame.function.body):
        if isinstance(node, s.Param):
            return False
        if isinstance(node, (s.Name, s.Attribute)):
            found = declared(e, node)
            if found is not None and found.kind != "fn" and found.function != callee.function:
                return False
    return True
