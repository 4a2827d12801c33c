"""The sizes of a run: symbols solved from the shapes that are given, constraints checked.

In: a graph (or its inputs, parameters and constraints) and the shapes of its arrays.
Out: a number per size, or an `InputError` that says what was expected, what was given, and why.

    %x: f32[N, 2*H], given [8, 64]  →  {"N": 8, "H": 32}
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from stepwell.ir import size
from stepwell.ir.diagnostics import InputError
from stepwell.ir.graph.core import Constraint, Graph, Value
from stepwell.ir.size import Dim
from stepwell.ir.text import format_dim, format_type

Shape = Sequence[int]


def bind_sizes(graph: Graph, shapes: Mapping[str, Shape]) -> dict[str, int]:
    """The value of every size of the graph, from the shapes of its inputs and parameters.

    Raises InputError where a shape is missing or does not fit, or a constraint does not hold.
    """
    values = [*graph.inputs, *(parameter.value for parameter in graph.parameters)]
    return solve_sizes(graph.sizes, values, graph.constraints, shapes)


def solve_sizes(
    sizes: Iterable[str],
    values: Sequence[Value],
    constraints: Iterable[Constraint],
    shapes: Mapping[str, Shape],
) -> dict[str, int]:
    """`bind_sizes` for the parts of a graph."""
    for value in values:
        _check_rank(value, shapes)
    bound: dict[str, int] = {}
    origin: dict[str, str] = {}
    progress = True
    while progress:
        progress = False
        for value in values:
            for dim, given in zip(value.type.shape, shapes[value.name], strict=True):
                progress |= _solve(dim, given, value, bound, origin)
    for value in values:
        _check_shape(value, shapes[value.name], bound, origin)
    for name in sizes:
        if name not in bound:
            raise InputError(f"the size {name} cannot be told from the shapes of the inputs")
    for constraint in constraints:
        check_constraint(constraint, bound)
    return bound


def _check_rank(value: Value, shapes: Mapping[str, Shape]) -> None:
    if value.name not in shapes:
        raise InputError(f"{value.name} is missing: it is {format_type(value.type)}")
    given = shapes[value.name]
    if len(given) != value.type.rank:
        raise InputError(
            f"{value.name} is {format_type(value.type)}, with {value.type.rank} axes; "
            f"the shape given is {list(given)}, with {len(given)}"
        )


def _solve(
    dim: Dim, given: int, value: Value, bound: dict[str, int], origin: dict[str, str]
) -> bool:
    """Bind the one unknown of a dim, where it has one."""
    rest = size.substitute(dim, bound)
    solved = size.solve(rest, given)
    if solved is None or solved[0] in bound:
        return False
    name, solution = solved
    assert isinstance(solution, int), "a number over a number"
    bound[name] = solution
    origin[name] = value.name
    return True


def _check_shape(
    value: Value, given: Shape, bound: Mapping[str, int], origin: Mapping[str, str]
) -> None:
    for axis, (dim, actual) in enumerate(zip(value.type.shape, given, strict=True)):
        expected = size.substitute(dim, dict(bound))
        if isinstance(expected, int) and expected != actual:
            used = sorted(size.symbols(dim))
            why = ", ".join(f"{name} = {bound[name]} from {origin[name]}" for name in used)
            raise InputError(
                f"{value.name} is {format_type(value.type)}; the shape given is {list(given)}, "
                f"but axis {axis} must be {expected}" + (f" ({why})" if why else "")
            )
    for name in size_names(value):
        if bound.get(name, 0) < 0:
            raise InputError(
                f"{value.name} is {format_type(value.type)}; the shape given is {list(given)}, "
                f"which makes {name} negative"
            )


def size_names(value: Value) -> list[str]:
    """The sizes in a value's shape, in alphabetical order."""
    return sorted({name for dim in value.type.shape for name in size.symbols(dim)})


def check_constraint(constraint: Constraint, sizes: Mapping[str, int]) -> None:
    """Raise InputError where the constraint does not hold."""
    try:
        left, right = (size.evaluate(d, sizes) for d in (constraint.left, constraint.right))
        holds = _holds(left, constraint.relation, right)
    except ZeroDivisionError:
        holds, left, right = False, 0, 0
    if not holds:
        names = sorted(size.symbols(constraint.left) | size.symbols(constraint.right))
        values = ", ".join(f"{name} = {sizes[name]}" for name in names)
        ends = format_dim(constraint.left), format_dim(constraint.right)
        shown = f" {_WORDS[constraint.relation]} ".join(ends)
        place = f" ({constraint.span})" if constraint.span else ""
        raise InputError(f"{constraint.message}: {shown} does not hold for {values}{place}")


_WORDS = {"==": "==", "!=": "!=", "<=": "<=", "<": "<", "%": "divisible by"}


def _holds(left: int, relation: str, right: int) -> bool:
    match relation:
        case "==":
            return left == right
        case "!=":
            return left != right
        case "<=":
            return left <= right
        case "<":
            return left < right
    return right != 0 and left % right == 0
