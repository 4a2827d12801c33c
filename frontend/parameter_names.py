"""Paths of parameters: what a call of a layer or model is named.

    let h = pair(x)        →   h.…            repeat 2 { y = pair(y) }   →   pair.0.…, pair.1.…
    pair(x, name: "up")    →   up.…           pair(x) twice              →   pair.…, pair_2.…

A model called by a model keeps its own paths where it is the caller's only source of parameters.
"""

from __future__ import annotations

from stepwell.frontend import syntax as s
from stepwell.frontend.arguments import Given
from stepwell.frontend.blocks import declared
from stepwell.frontend.elaboration import Elaboration, Naming
from stepwell.frontend.traverse import walk
from stepwell.frontend.values import Declared, Tensor, kind_of
from stepwell.ir.span import Span


def naming_of_call(
    e: Elaboration, callee: Declared, given: list[Given], span: Span
) -> tuple[Naming, bool, list[Given]]:
    """Where the callee's parameters go, whether they may exist already, the arguments left."""
    frame = e.frame
    if callee.kind == "fn":
        return Naming(), False, given
    if frame.function.kind in ("fn", "optimizer"):
        e.fail(
            "SW0403",
            f"a `{frame.function.kind}` cannot call the {callee.kind} `{callee.name}`",
            span,
            help=f"a `fn` has no parameters: declare `layer {frame.function.name}(…)`"
            if frame.function.kind == "fn"
            else None,
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
            if found is None or found.kind not in ("layer", "model"):
                continue
            if found.function != callee.function:
                return False
    return True
