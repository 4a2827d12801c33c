"""The table of operators: name → OpDef. The files beside this one register theirs on import."""

from __future__ import annotations

from stepwell.ir.graph.core import OpDef

REGISTRY: dict[str, OpDef] = {}


def register(definition: OpDef) -> OpDef:
    """Add an operator; its name must be new."""
    if definition.name in REGISTRY:
        raise ValueError(f"operator {definition.name} is defined twice")
    REGISTRY[definition.name] = definition
    return definition


def lookup(name: str) -> OpDef:
    """The operator called `name`. KeyError where there is none."""
    return REGISTRY[name]
