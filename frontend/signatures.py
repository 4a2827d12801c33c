"""Types in signatures: element types and their classes, shapes, static arguments.

    float[..S, 2*K]   with float = f32, S = (N,), K = 8   →   TensorType(f32, (N, 16))

`float`, `int`, `num` and `tensor` before brackets stand for one dtype each, bound in the frame.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from stepwell.frontend import dims as rules
from stepwell.frontend import syntax
from stepwell.frontend.elaboration import Elaboration, Frame
from stepwell.frontend.evaluation import evaluate
from stepwell.frontend.numbers import as_dim
from stepwell.frontend.printer import expression
from stepwell.frontend.suggest import did_you_mean
from stepwell.frontend.traverse import walk
from stepwell.frontend.values import (
    Builtin,
    Declared,
    Deferred,
    Pack,
    Scalar,
    Tensor,
    Transformed,
    is_dim,
    kind_of,
)
from stepwell.ir.dtypes import BY_NAME, F32, I32, DType
from stepwell.ir.size import Dim
from stepwell.ir.span import Span
from stepwell.ir.types import TensorType

STATIC_TYPES = ("int", "float", "bool", "string", "fn", "layer")
CLASSES: dict[str, Callable[[DType], bool]] = {
    "float": lambda d: d.is_float,
    "int": lambda d: d.is_int,
    "num": lambda d: d.is_float or d.is_int,
    "tensor": lambda d: True,
}
ALIASES = {
    **{f"float{bits}": f"f{bits}" for bits in (16, 32, 64)},
    **{f"int{bits}": f"i{bits}" for bits in (8, 16, 32, 64)},
    "bfloat16": "bf16",
    "uint8": "u8",
    "double": "f64",
    "half": "f16",
    "str": "string",
}
CLASS_EXAMPLE = {"float": F32, "int": I32, "num": F32, "tensor": F32}


def is_static(type: syntax.TypeRef) -> bool:
    """Whether a formal's type means a value known at compile time."""
    return type.dims is None and type.name in STATIC_TYPES


def check_type_name(e: Elaboration, type: syntax.TypeRef) -> None:
    """Refuse a type that there is not."""
    if type.name in BY_NAME or (type.dims is not None and type.name in CLASSES):
        return
    if is_static(type):
        return
    known = [*BY_NAME, *CLASSES, *STATIC_TYPES]
    alias = ALIASES.get(type.name)
    if alias is not None:
        e.fail("SW0304", f"there is no type `{type.name}`", type.span, help=f"write `{alias}`")
    e.fail(
        "SW0304",
        f"there is no type `{type.name}`",
        type.span,
        help=did_you_mean(type.name, known) or f"element types are {' '.join(BY_NAME)}",
    )


def dtype_of(e: Elaboration, frame: Frame, type: syntax.TypeRef) -> DType:
    """The dtype that a type names, with its class bound already (or bound now to an example)."""
    check_type_name(e, type)
    if type.name in BY_NAME:
        return BY_NAME[type.name]
    bound = frame.scopes[0].get(class_key(type.name))
    if isinstance(bound, DType):
        return bound
    if type.name not in CLASSES:
        e.fail(
            "SW0304",
            f"`{type.name}` is not an element type",
            type.span,
            help=f"element types are {' '.join(BY_NAME)}",
        )
    dtype: DType = CLASS_EXAMPLE[type.name]
    frame.scopes[0][class_key(type.name)] = dtype
    return dtype


def class_key(name: str) -> str:
    """The name in a frame for the dtype that a class stands for."""
    return f"{name}[]"


def free_names(node: Any) -> set[str]:
    """The plain names in an expression."""
    called = {id(n.function) for n in walk(node) if isinstance(n, syntax.Call)}
    return {n.name for n in walk(node) if isinstance(n, syntax.Name) and id(n) not in called}


def type_text(type: syntax.TypeRef) -> str:
    """A type as it is written."""
    if type.dims is None:
        return type.name
    dims = (f"..{d.name}" if isinstance(d, syntax.Pack) else expression_text(d) for d in type.dims)
    return f"{type.name}[{', '.join(dims)}]"


def expression_text(node: syntax.Expr) -> str:
    """An expression as it is written."""
    return expression(node)


def resolve_shape(e: Elaboration, type: syntax.TypeRef) -> tuple[Dim, ...]:
    """The shape of a type whose names are all bound in the current frame."""
    shape: list[Dim] = []
    for dim in type.dims or ():
        if isinstance(dim, syntax.Pack):
            pack = e.frame.lookup(dim.name)
            if not isinstance(pack, Pack):
                e.fail(
                    "SW0305",
                    f"there is no shape pack `{dim.name}`",
                    dim.span,
                    help="packs are named by the arguments' types, as in `x: f32[..S]`",
                )
            shape += pack.dims
        else:
            _check_known(e, dim)
            shape.append(as_dim(e, evaluate(e, dim), dim.span, "a dimension"))
            rules.require_nonnegative(e, shape[-1], dim.span, f"`{expression_text(dim)}`")
    return tuple(shape)


def _check_known(e: Elaboration, dim: syntax.Expr) -> None:
    if not isinstance(dim, syntax.Name) or e.frame.lookup(dim.name) is not None:
        return
    sizes = [n for n in e.frame.names() if is_dim(e.frame.lookup(n))]
    e.fail(
        "SW0305",
        f"there is no size `{dim.name}`",
        dim.span,
        "not bound by the signature",
        help=did_you_mean(dim.name, sizes)
        or (
            f"sizes in scope: {', '.join(sizes)}"
            if sizes
            else "sizes are bound by the types of the arguments"
        ),
    )


def tensor_type(e: Elaboration, type: syntax.TypeRef) -> TensorType:
    """A type whose names are all bound in the current frame."""
    if is_static(type) and type.name != "bool":
        e.fail(
            "SW0304",
            f"`{type.name}` is not a tensor type",
            type.span,
            help=f"write `{type.name}[]` for one element" if type.name in CLASSES else None,
        )
    dtype = dtype_of(e, e.frame, type)
    return TensorType(dtype, resolve_shape(e, type))


def static_argument(e: Elaboration, formal: syntax.Formal, value: Any, span: Span) -> Any:
    """A value for a formal of static type, converted where that loses nothing."""
    wanted = formal.type.name
    ok = {
        "int": is_dim(value) or _is_quotient(value),
        "float": isinstance(value, float) or is_dim(value) or _is_quotient(value),
        "bool": isinstance(value, bool),
        "string": isinstance(value, str),
        "fn": _callable(value, ("fn", "builtin", "model")),
        "layer": _callable(value, ("layer", "fn", "builtin")),
    }[wanted]
    if not ok:
        help = None
        if isinstance(value, (Tensor, Scalar)):
            help = "static arguments are known at compile time: a tensor cannot be one"
            if wanted == "bool":
                help = "declare it as `bool[]` to take one at run time"
        e.fail(
            "SW0217",
            f"`{formal.name}` must be {_STATIC_WORDS[wanted]}, not {kind_of(value)}",
            span,
            help=help,
        )
    if wanted == "int":
        return as_dim(e, value, span, f"`{formal.name}`")
    return float(value) if wanted == "float" and isinstance(value, int) else value


_STATIC_WORDS = {
    "int": "a whole number",
    "float": "a number",
    "bool": "true or false",
    "string": "a string",
    "fn": "a function",
    "layer": "a layer",
}


def _is_quotient(value: Any) -> bool:
    return isinstance(value, Deferred)


def _callable(value: Any, kinds: tuple[str, ...]) -> bool:
    if isinstance(value, Builtin):
        return "builtin" in kinds
    if isinstance(value, Transformed):
        return _callable(value.function, kinds)
    return isinstance(value, Declared) and value.kind in kinds
