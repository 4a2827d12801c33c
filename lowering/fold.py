"""Constant folding: compute at compile time what depends on constants alone.

%two = constant {value = 2.0, dtype = f32, shape = []}
%half = sqrt(%two)                →      %half = constant {value = 1.4142135, dtype = f32, …}

A constant is one number for a whole shape, which may be symbolic, or an array. Values come from
the operators' references, in the dtype of the op: what the interpreter would have computed.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np

from stepwell.ir.dtypes import DType
from stepwell.ir.graph.core import Array, Attributes, Graph, Op, Value
from stepwell.ir.graph.rewrite import Editor, remove_dead, rewrite
from stepwell.ir.scalar import BINARY, UNARY
from stepwell.ir.size import Size
from stepwell.ir.types import TensorType

_ELEMENTWISE = frozenset((*UNARY, *BINARY, "select", "cast"))


@dataclass(frozen=True)
class Fold:
    """Replace ops on constants by constants.

    Nothing is made that is larger than the constants it came from and `limit` bytes more.

    Before: `%c = constant {value = 2.0, …}`, `%d = mul(%c, %c)`.
    After: `%d = constant {value = 4.0, …}`.
    """

    name: ClassVar[str] = "fold"
    limit: int = 64 * 1024

    def run(self, graph: Graph) -> Graph:
        return remove_dead(rewrite(graph, self._fold))

    def _fold(self, op: Op, editor: Editor) -> Sequence[Value] | None:
        producers = [editor.producer(value) for value in op.operands]
        constants = [p for p in producers if p is not None and p.name == "constant"]
        if not constants or len(constants) != len(producers) or len(op.results) != 1 or op.regions:
            return None
        folded = self._value(op, constants)
        if folded is None:
            return None
        type = op.result.type
        return [
            editor.op(
                "constant", hint=op.result.name, span=op.span, value=folded, dtype=type.dtype,
                shape=type.shape,
            )
        ]  # fmt: skip

    def _value(self, op: Op, constants: Sequence[Op]) -> Any:
        """The number or array that the op computes; None where it is not worth it."""
        values = [constant.attributes["value"] for constant in constants]
        splat = not any(isinstance(value, np.ndarray) for value in values)
        if splat and op.name in _ELEMENTWISE:
            types = [TensorType(value.type.dtype) for value in op.operands]
            arrays = [_array(value, type) for value, type in zip(values, types, strict=True)]
            result = _reference(op, arrays, TensorType(op.result.type.dtype))
            return _number(result, op.result.type.dtype)
        if not _static(op) or not self._fits(op, values):
            return None
        arrays = [_array(v, o.type) for v, o in zip(values, op.operands, strict=True)]
        try:
            result = _reference(op, arrays, op.result.type)
        except IndexError:  # a subscript out of range is the running program's error to report
            return None
        return _number(result, op.result.type.dtype) if result.ndim == 0 else result

    def _fits(self, op: Op, values: Sequence[Any]) -> bool:
        """Whether the result and, for the computation, its operands are small enough."""
        held = sum(value.nbytes for value in values if isinstance(value, np.ndarray))
        sizes = [value.type.bytes for value in (*op.operands, op.result)]
        return all(isinstance(size, int) and size <= held + self.limit for size in sizes)


def _reference(op: Op, arrays: Sequence[Array], type: TensorType) -> Array:
    with np.errstate(all="ignore"):
        (result,) = op.definition.reference(arrays, op.attributes, [type])
    return np.asarray(result, dtype=type.dtype.numpy)


def _array(value: Any, type: TensorType) -> Array:
    if isinstance(value, np.ndarray):
        return value
    return np.full([int(d) for d in type.shape if isinstance(d, int)], value, type.dtype.numpy)


def _number(array: Array, dtype: DType) -> float | int | bool:
    item = array.reshape(())
    return float(item) if dtype.is_float else int(item) if dtype.is_int else bool(item)


def _static(op: Op) -> bool:
    shapes = [value.type.shape for value in (*op.operands, op.result)]
    return not _symbolic(shapes) and not _symbolic(op.attributes)


def _symbolic(attribute: Any | Attributes) -> bool:
    match attribute:
        case Size():
            return True
        case tuple() | list():
            return any(_symbolic(item) for item in attribute)
        case dict():
            return any(_symbolic(item) for item in attribute.values())
    return False
