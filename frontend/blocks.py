"""Statements and blocks: bindings, parameters, static repetition.

    repeat 2 as i { h = block(h) }   →   block's ops twice, with parameters block.0.… and block.1.…

In the body of what is being checked, a mistake spoils only the names that its statement binds: the
statements after it are still read, so that independent mistakes are told together.
"""

from __future__ import annotations

from typing import Any

from stepwell.frontend import syntax as s
from stepwell.frontend.elaboration import POISON, Elaboration, Poisoned, place
from stepwell.frontend.evaluation import evaluate, evaluates
from stepwell.frontend.limits import MAX_REPEAT
from stepwell.frontend.operators import number_tensor
from stepwell.frontend.parse_errors import RUNTIME_LATER, not_there_yet
from stepwell.frontend.pending import PendingParameter, declare
from stepwell.frontend.results import conform
from stepwell.frontend.signatures import is_static, static_argument, tensor_type
from stepwell.frontend.states import declare_state, hold
from stepwell.frontend.suggest import did_you_mean
from stepwell.frontend.traverse import walk
from stepwell.frontend.values import (
    Declared,
    Deferred,
    Held,
    Namespace,
    Origin,
    Scalar,
    Tensor,
    is_number,
    kind_of,
)
from stepwell.ir.diagnostics import UserError
from stepwell.ir.span import Span


@evaluates(s.If)
def _if(e: Elaboration, node: s.If) -> Any:
    block = node.then if condition(e, node.condition) else node.otherwise
    if block is None:
        return None
    _require_read(e, block)
    e.frame.assignable += 1
    try:
        return evaluate_block(e, block)
    finally:
        e.frame.assignable -= 1


def condition(e: Elaboration, node: s.Expr) -> bool:
    """A condition that is known at compile time."""
    value = evaluate(e, node)
    if isinstance(value, bool):
        return value
    if isinstance(value, (Tensor, Scalar, Deferred)):
        shown = value.describe() if isinstance(value, Tensor) else "known at run time only"
        e.fail(
            "SW0111",
            "`if` on a run-time value is not there yet",
            node.span,
            shown,
            help="`select(condition, a, b)` chooses between values",
        )
    e.fail(
        "SW0217", f"the condition of `if` must be true or false, not {kind_of(value)}", node.span
    )


def evaluate_block(e: Elaboration, block: s.Block) -> Any:
    """The value of a block, in a scope of its own; None where it has none."""
    e.frame.scopes.append({})
    try:
        return run_block(e, block)
    finally:
        e.frame.scopes.pop()


def run_block(e: Elaboration, block: s.Block) -> Any:
    """The value of a block, in the current scope."""
    result: Any = None
    spoiled = False
    for i, statement in enumerate(block.statements):
        last = i == len(block.statements) - 1
        try:
            result = run_statement(e, statement, last)
        except UserError as error:
            if len(e.frames) > 1:
                raise
            e.record(error)
            spoiled = last
            _spoil(e, statement)
        except Poisoned:
            if len(e.frames) > 1:
                raise
            spoiled = last
            _spoil(e, statement)
    if spoiled:
        raise Poisoned
    return result


def _spoil(e: Elaboration, statement: s.Statement) -> None:
    for node in walk(statement):
        if isinstance(node, (s.Let, s.Param, s.State)):
            names = [b.name for b in node.bindings] if isinstance(node, s.Let) else [node.name]
            e.frame.scopes[-1] |= dict.fromkeys(names, POISON)
        elif isinstance(node, s.Assign):
            scopes = (scope for scope in reversed(e.frame.scopes) if node.name in scope)
            next(scopes, e.frame.scopes[-1])[node.name] = POISON


def run_statement(e: Elaboration, statement: s.Statement, last: bool) -> Any:
    """Run one statement; the value where it is an expression."""
    match statement:
        case s.Let():
            _let(e, statement)
        case s.Param():
            _param(e, statement)
        case s.State():
            declare_state(e, statement)
        case s.Metric():
            _metric(e, statement)
        case s.Assign():
            _assign(e, statement)
        case s.Repeat():
            _repeat(e, statement)
        case _:
            value = evaluate(e, statement)
            if not last and value is not None:
                e.fail(
                    "SW0401",
                    "the value of this expression is not used",
                    statement.span,
                    help="bind it with `let`, or leave it out",
                )
            return value
    return None


def _let(e: Elaboration, statement: s.Let) -> None:
    names = [binding.name for binding in statement.bindings]
    for i, binding in enumerate(statement.bindings):
        if binding.name in names[:i]:
            e.fail("SW0303", f"`{binding.name}` is bound twice", binding.span)
        if binding.name in RUNTIME_LATER:
            raise UserError([not_there_yet(binding.name, binding.span)])
    outer = e.frame.let_name
    single = len(names) == 1 and _layer_calls(e, statement.value) == 1
    e.frame.let_name = names[0] if single else None
    try:
        value = evaluate(e, statement.value)
    finally:
        e.frame.let_name = outer
    if value is None:
        e.fail("SW0405", "this has no value to bind", statement.value.span)
    if len(names) == 1:
        value = _annotated(e, statement.bindings[0], value, statement.value.span)
        e.frame.scopes[-1][names[0]] = _named(e, statement.bindings[0], value)
        return
    if not isinstance(value, (tuple, list)):
        e.fail("SW0405", f"{len(names)} names for one value", statement.value.span, kind_of(value))
    if len(value) != len(names):
        e.fail(
            "SW0405",
            f"{len(names)} names for {len(value)} values",
            statement.bindings[0].span.to(statement.bindings[-1].span),
        )
    for binding, part in zip(statement.bindings, value, strict=True):
        part = _annotated(e, binding, part, statement.value.span)
        e.frame.scopes[-1][binding.name] = _named(e, binding, part)


def _annotated(e: Elaboration, binding: s.Binding, value: Any, span: Span) -> Any:
    """The value, checked against the type written after the name."""
    if binding.type is None:
        return value
    if is_static(binding.type) and not isinstance(value, (Tensor, Scalar)):
        formal = s.Formal(binding.span, binding.name, binding.type, None)
        return static_argument(e, formal, value, span)
    return conform(e, value, tensor_type(e, binding.type), span, f"`{binding.name}`", binding.span)


def _named(e: Elaboration, binding: s.Binding, value: Any) -> Any:
    if not isinstance(value, Tensor) or not value.origin.computed:
        return value
    tensor = e.rename(value, binding.name)
    return Tensor(
        tensor.value, Origin(binding.span, f"from `let {binding.name}` at {place(binding.span)}")
    )


def _layer_calls(e: Elaboration, node: s.Expr) -> int:
    """How many calls of layers an expression holds."""
    count = 0
    for part in walk(node):
        target: Any = None
        if isinstance(part, s.Call):
            target = part.function
            while isinstance(target, s.Call) and target.arguments:  # checkpoint(block)(x)
                target = target.arguments[0]
        elif isinstance(part, s.Pipe) and not isinstance(part.target, s.Call):
            target = part.target
        found = declared(e, target)
        count += found is not None and found.kind == "layer"
    return count


def declared(e: Elaboration, node: Any) -> Declared | None:
    """The function that a name or `module.name` means, without evaluating anything else."""
    found: Any = None
    if isinstance(node, s.Name):
        found = e.frame.lookup(node.name) or e.frame.module.names.get(node.name)
    elif isinstance(node, s.Attribute) and isinstance(node.base, s.Name):
        space = e.frame.module.names.get(node.base.name)
        found = space.module.names.get(node.name) if isinstance(space, Namespace) else None
    return found if isinstance(found, Declared) else None


def _param(e: Elaboration, statement: s.Param) -> None:
    frame = e.frame
    if statement.name in RUNTIME_LATER:
        raise UserError([not_there_yet(statement.name, statement.span)])
    if frame.function.kind in ("fn", "optimizer"):
        instead = "layer" if frame.function.kind == "fn" else "state"
        e.fail(
            "SW0402",
            f"{_a(frame.function.kind)} has no parameters",
            statement.span,
            help=f"declare a `{instead}` instead",
        )
    pending = PendingParameter(statement, frame, frame.naming.path(statement.name))
    if any(isinstance(dim, s.Name) and dim.name in pending.unknown() for dim in _dims(statement)):
        frame.scopes[-1][statement.name] = pending
        frame.pending.append(pending)
        return
    frame.scopes[-1][statement.name] = declare(e, statement, pending.path)


def _a(kind: str) -> str:
    return f"an `{kind}`" if kind == "optimizer" else f"a `{kind}`"


def _dims(statement: s.Param) -> tuple[Any, ...]:
    return statement.type.dims or ()


def _metric(e: Elaboration, statement: s.Metric) -> None:
    if e.train is None or e.frame.function.kind != "train":
        e.fail("SW0705", "a `metric` stands in a `train` block", statement.span)
    e.train.metric(e, statement)


def _assign(e: Elaboration, statement: s.Assign) -> None:
    frame = e.frame
    scope = next((x for x in reversed(frame.scopes) if statement.name in x), None)
    if scope is not None and scope[statement.name] is POISON:
        raise Poisoned
    if scope is not None and isinstance(held := scope[statement.name], Held):
        hold(e, held, statement)
        return
    if scope is None and frame.function.kind == "train" and e.train is not None:
        e.train.setting(e, statement)
        return
    if scope is None:
        e.fail(
            "SW0301",
            f"there is no `{statement.name}` to give a new value",
            statement.span,
            help=did_you_mean(statement.name, frame.names())
            or f"bind it first: `let {statement.name} = …`",
        )
    if not frame.assignable:
        e.fail(
            "SW0406",
            f"`{statement.name}` cannot be given a new value here",
            statement.span,
            help=f"bindings are immutable: write `let {statement.name} = …`; only inside "
            "`repeat` and `if` a name can get a new value",
        )
    before = scope[statement.name]
    value = evaluate(e, statement.value)
    if isinstance(before, Tensor) and is_number(value):
        value = number_tensor(e, value, before.dtype, before.shape, statement.value.span)
    binding = s.Binding(statement.span, statement.name, None)
    scope[statement.name] = _named(e, binding, value)


def _repeat(e: Elaboration, statement: s.Repeat) -> None:
    frame = e.frame
    count = evaluate(e, statement.count)
    if not isinstance(count, int) or isinstance(count, bool):
        e.fail(
            "SW0504",
            f"the count of `repeat` must be a whole number, not {kind_of(count)}",
            statement.count.span,
            help="it must be known at compile time",
        )
    if not 0 <= count <= MAX_REPEAT:
        e.fail(
            "SW0504", f"`repeat` takes 0 to {MAX_REPEAT} turns, not {count}", statement.count.span
        )
    _require_read(e, statement.body)
    naming, turns = frame.naming, frame.naming.turns
    before, after = dict(naming.counts), dict(naming.counts)
    frame.assignable += 1
    try:
        for turn in range(count):
            naming.turns, naming.counts = (*turns, turn), dict(before)
            frame.scopes.append({statement.index: turn} if statement.index else {})
            try:
                _turn(e, statement.body)
            finally:
                frame.scopes.pop()
            after = {k: max(after.get(k, 0), v) for k, v in (after | naming.counts).items()}
    finally:
        frame.assignable -= 1
        naming.turns, naming.counts = turns, after


def _require_read(e: Elaboration, block: s.Block) -> None:
    """Refuse a `let` that hides a name from outside for nothing: it was meant to change that."""
    for i, statement in enumerate(block.statements):
        rest = block.statements[i + 1 :]
        for binding in statement.bindings if isinstance(statement, s.Let) else ():
            name = binding.name
            if e.frame.lookup(name) is None or _mentions(rest, name):
                continue
            e.fail(
                "SW0401",
                f"this `{name}` is not used: it ends with the block, and the one outside stays",
                binding.span,
                help=f"to give `{name}` a new value, write `{name} = …`",
            )


def _mentions(statements: tuple[s.Statement, ...], name: str) -> bool:
    return any(isinstance(node, s.Name) and node.name == name for node in walk(statements))


def _turn(e: Elaboration, body: s.Block) -> None:
    for statement in body.statements:
        run_statement(e, statement, last=False)
