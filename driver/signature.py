"""What a compiled model takes and gives, and what the sizes are in one call.

In: an object's description (JSON that the object holds itself). Out: a `Signature`, which binds the
symbolic sizes to the shapes of the arrays of a call, or says what does not fit:

    digits[N](image: f32[N, 1, 8, 8]) -> (out: f32[N, 10])

    InputError: input `image` is f32[7, 1, 8, 9], but the model wants f32[N, 1, 8, 8]: axis 3 is 9,
    not 8
"""

from __future__ import annotations

import ast
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from stepwell.ir.diagnostics import InputError
from stepwell.ir.dtypes import BY_NAME, I64
from stepwell.ir.size import (
    Dim,
    evaluate,
    floordiv,
    maximum,
    minimum,
    mod,
    solve,
    substitute,
    symbol,
)
from stepwell.ir.types import TensorType
from stepwell.weights import ParameterSpec, StateSpec


@dataclass(frozen=True)
class Argument:
    """An input or an output."""

    name: str
    type: TensorType

    def __str__(self) -> str:
        return f"{self.name}: {self.type}"


# The seed of random numbers: the one input that a call may leave out. It is 0 then.
SEED = Argument("seed", TensorType(I64))


@dataclass(frozen=True)
class SizeRule:
    """What must hold of the sizes; `relation` is one of == != <= < and % (is divided by)."""

    left: Dim
    relation: str
    right: Dim
    message: str

    def holds(self, sizes: Mapping[str, int]) -> bool:
        """Whether it does for these sizes."""
        left, right = evaluate(self.left, sizes), evaluate(self.right, sizes)
        match self.relation:
            case "==":
                return left == right
            case "!=":
                return left != right
            case "<=":
                return left <= right
            case "<":
                return left < right
            case _:
                return left == 0 if right == 0 else left % right == 0

    def __str__(self) -> str:
        if self.relation == "%":
            return f"{self.right} divides {self.left}"
        return f"{self.left} {self.relation} {self.right}"


@dataclass(frozen=True)
class Signature:
    """A model's name, sizes, inputs, outputs, parameters, states, and rules on the sizes."""

    name: str
    sizes: tuple[str, ...]
    inputs: tuple[Argument, ...]
    outputs: tuple[Argument, ...]
    parameters: tuple[ParameterSpec, ...]
    rules: tuple[SizeRule, ...]
    workspace: Dim
    states: tuple[StateSpec, ...] = ()
    state_size: int = 0

    @staticmethod
    def of(description: Mapping[str, Any]) -> Signature:
        """From the description of an object."""
        return Signature(
            description["name"],
            tuple(description["sizes"]),
            tuple(Argument(item["name"], _type(item)) for item in description["inputs"]),
            tuple(Argument(item["name"], _type(item)) for item in description["outputs"]),
            tuple(
                ParameterSpec(item["name"], _type(item), item["initializer"])
                for item in description["parameters"]
            ),
            tuple(
                SizeRule(
                    parse_dim(item["left"]), item["relation"], parse_dim(item["right"]),
                    item["message"],
                )
                for item in description["constraints"]
            ),
            parse_dim(description["workspace"]),
            tuple(
                StateSpec(
                    item["name"], _type(item), item["initializer"], item["kind"] == "param",
                    item["offset"],
                )
                for item in description["states"]
            ),
            description["state_size"],
        )  # fmt: skip

    def __str__(self) -> str:
        sizes = f"[{', '.join(self.sizes)}]" if self.sizes else ""
        inputs = ", ".join(map(str, self.inputs))
        return f"{self.name}{sizes}({inputs}) -> ({', '.join(map(str, self.outputs))})"

    def bind(self, shapes: Sequence[tuple[int, ...]]) -> dict[str, int]:
        """Each size's value, given the inputs' shapes. InputError where these do not fit."""
        for argument, shape in zip(self.inputs, shapes, strict=True):
            if len(shape) != argument.type.rank:
                wanted = argument.type.rank
                axes = "1 axis" if len(shape) == 1 else f"{len(shape)} axes"
                raise self._misfit(argument, shape, f"{axes}, not {wanted}")
        origins = self._solved(shapes)
        sizes = {name: value for name, (value, _) in origins.items()}
        self._compare(shapes, origins, sizes)
        for name, value in sizes.items():
            if value < 0:
                raise InputError(f"{self.name}: {name} would be {value}, from {origins[name][1]}")
        for rule in self.rules:
            if not rule.holds(sizes):
                given = ", ".join(f"{name} = {value}" for name, value in sizes.items())
                raise InputError(f"{self.name}: {rule.message} (here {given})")
        return sizes

    def _solved(self, shapes: Sequence[tuple[int, ...]]) -> dict[str, tuple[int, str]]:
        """Each size's value and where it was found, from the plain dims first."""
        found: dict[str, tuple[int, str]] = {}
        dims = [
            (dim, shape[axis], f"axis {axis} of `{argument.name}`")
            for argument, shape in zip(self.inputs, shapes, strict=True)
            for axis, dim in enumerate(argument.type.shape)
        ]
        for _ in range(len(self.sizes) + 1):
            for dim, value, origin in dims:
                known = {name: number for name, (number, _) in found.items()}
                solved = solve(substitute(dim, known), value)
                if solved is not None and isinstance(solved[1], int):
                    found.setdefault(solved[0], (solved[1], origin))
        missing = [name for name in self.sizes if name not in found]
        if missing:
            raise InputError(f"{self.name}: the inputs do not say what size `{missing[0]}` is")
        return {name: found[name] for name in self.sizes}

    def _compare(
        self,
        shapes: Sequence[tuple[int, ...]],
        origins: Mapping[str, tuple[int, str]],
        sizes: Mapping[str, int],
    ) -> None:
        for argument, shape in zip(self.inputs, shapes, strict=True):
            for axis, dim in enumerate(argument.type.shape):
                wanted = evaluate(dim, sizes)
                if shape[axis] == wanted:
                    continue
                detail = f"axis {axis} is {shape[axis]}, not {wanted}"
                if not isinstance(dim, int):
                    facts = [
                        f"{n} = {v} from {o}" for n, (v, o) in origins.items() if n in str(dim)
                    ]
                    detail += f" ({', '.join(facts)})"
                raise self._misfit(argument, shape, detail)

    def _misfit(self, argument: Argument, shape: tuple[int, ...], detail: str) -> InputError:
        given = TensorType(argument.type.dtype, shape)
        return InputError(
            f"input `{argument.name}` is {given}, but the model wants {argument.type}: {detail}"
        )


def _type(item: Mapping[str, Any]) -> TensorType:
    return TensorType(BY_NAME[item["dtype"]], tuple(parse_dim(dim) for dim in item["shape"]))


_NAME = re.compile(r"[A-Za-z_]\w*(?!\w|\s*\()")
_OPERATORS = {ast.Add: "+", ast.Sub: "-", ast.Mult: "*", ast.FloorDiv: "//", ast.Mod: "%"}


def parse_dim(text: int | str) -> Dim:
    """A dim from its text, which is that of a Python expression: `2*H + max(N, 1) // 3`."""
    if isinstance(text, int):
        return text
    # A size may be called as a keyword of Python is: all names get a prefix.
    return _dim(ast.parse(_NAME.sub(r"n_\g<0>", text), mode="eval").body)


def _dim(node: ast.expr) -> Dim:
    match node:
        case ast.Constant(value=int(value)):
            return value
        case ast.Name(id=name):
            return symbol(name.removeprefix("n_"))
        case ast.Attribute(value=ast.Name(id=group), attr=name):
            return symbol(f"{group.removeprefix('n_')}.{name.removeprefix('n_')}")
        case ast.UnaryOp(op=ast.USub(), operand=operand):
            return 0 - _dim(operand)
        case ast.Call(func=ast.Name(id=function), args=[left, right]):
            return (maximum if function == "max" else minimum)(_dim(left), _dim(right))
        case ast.BinOp(left=left, op=op, right=right):
            return _binary(_OPERATORS[type(op)], _dim(left), _dim(right))
    raise ValueError(f"not a size: {ast.unparse(node)}")


def _binary(op: str, left: Dim, right: Dim) -> Dim:
    match op:
        case "+":
            return left + right
        case "-":
            return left - right
        case "*":
            return left * right
        case "//":
            return floordiv(left, right)
        case _:
            return mod(left, right)
