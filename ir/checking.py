"""Checking what a pass did: the text reads back, the IR verifies, and the answers are the same.

In: the IR before and after a pass. Out: nothing, or an `InternalError` that names the pass, with
the IR before it as reproducer.

Each IR has a `Kind`: how to print, parse and verify it, and how to run it on small random
inputs. What is too large to interpret is checked for form only.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cache
from itertools import product
from typing import Any

import numpy as np

from stepwell.ir.diagnostics import InternalError, StepwellError
from stepwell.ir.dtypes import BF16, F16, F64, DType, from_numpy
from stepwell.ir.graph.core import Constraint
from stepwell.ir.graph.sizes import check_constraint
from stepwell.ir.numerics import Array
from stepwell.ir.types import TensorType

Inputs = Mapping[str, Array]


@dataclass(frozen=True)
class Kind:
    """What checking needs to know of an IR.

    sample      (IR, random numbers) → inputs by name; None where interpreting would take too long
    interpret   (IR, inputs) → results by name
    """

    name: str
    types: tuple[type[Any], ...]
    print: Callable[[Any], str]
    parse: Callable[[str], Any]
    verify: Callable[[Any], None]
    sample: Callable[[Any, np.random.Generator], Inputs | None]
    interpret: Callable[[Any, Inputs], Mapping[str, Array]]


@cache
def kinds() -> tuple[Kind, ...]:
    """Both IRs' kinds; a kernel of the loop IR by itself is one of its own."""
    # The IRs' own checking builds on this module.
    from stepwell.ir.graph.checking import GRAPHS  # noqa: PLC0415
    from stepwell.ir.loop.checking import KERNELS, PROGRAMS  # noqa: PLC0415

    return (GRAPHS, PROGRAMS, KERNELS)


def kind_of(ir: Any) -> Kind:
    """The kind of an IR."""
    for kind in kinds():
        if isinstance(ir, kind.types):
            return kind
    raise TypeError(f"{type(ir).__name__} is not an IR")


def check_pass(name: str, pipeline: str, before: Any, after: Any, seed: int = 0) -> None:
    """Raise InternalError where the pass broke its IR or changed the answer."""
    if after is before:
        return
    kind = kind_of(before)
    form = _form_fault(kind, after)
    answer = None if form else _answer_fault(kind, before, after, seed)
    if form or answer:
        message = f"the pass {name} {form or answer}"
        raise InternalError(message, kind.print(before), pipeline)


def _form_fault(kind: Kind, ir: Any) -> str | None:
    """What is wrong with the IR itself."""
    try:
        kind.verify(ir)
    except StepwellError as error:
        return f"broke a rule: {error}"
    text = kind.print(ir)
    try:
        again = kind.parse(text)
    except StepwellError as error:
        return f"made what does not read back: {error}"
    if again != ir or kind.print(again) != text:
        return "made what reads back as something else"
    return None


def _answer_fault(kind: Kind, before: Any, after: Any, seed: int) -> str | None:
    """How the answers differ, on the same random inputs."""
    inputs = kind.sample(before, np.random.default_rng(seed))
    if inputs is None:
        return None
    expected, found = (_run(kind, ir, inputs) for ir in (before, after))
    if isinstance(expected, str):
        return None if isinstance(found, str) else f"hid an error: {expected}"
    if isinstance(found, str):
        return f"made it fail: {found}"
    if list(expected) != list(found):
        return f"changed the results from {list(expected)} to {list(found)}"
    for name, array in expected.items():
        problem = difference(array, found[name])
        if problem:
            return f"changed the answer: `{name}` {problem}"
    return None


def _run(kind: Kind, ir: Any, inputs: Inputs) -> Mapping[str, Array] | str:
    """The results, or what went wrong at run time: an index out of range, a failed check."""
    try:
        return kind.interpret(ir, inputs)
    except (StepwellError, IndexError) as error:
        return str(error)


_TOLERANCE = {F64.name: 1e-9, F16.name: 2e-2, BF16.name: 1e-1}


def difference(expected: Array, found: Array) -> str | None:
    """How two arrays differ beyond rounding; None where they do not."""
    if expected.dtype != found.dtype or expected.shape != found.shape:
        return f"is {found.dtype}{list(found.shape)}, not {expected.dtype}{list(expected.shape)}"
    dtype = from_numpy(expected.dtype)
    if dtype is None or not dtype.is_float:
        return None if np.array_equal(expected, found) else "differs"
    x, y = expected.astype(np.float64), found.astype(np.float64)
    finite = np.isfinite(x) & np.isfinite(y)
    if not np.array_equal(x[~finite], y[~finite], equal_nan=True):
        return "differs where it is not finite"
    error = float(np.abs(x[finite] - y[finite]).max(initial=0.0))
    scale = float(np.abs(x[finite]).max(initial=0.0)) + 1e-6
    limit = _TOLERANCE.get(dtype.name, 1e-4)
    return f"differs by {error:.3g}, numbers being {scale:.3g}" if error > limit * scale else None


def random_sizes(
    names: tuple[str, ...], constraints: tuple[Constraint, ...], random: np.random.Generator
) -> dict[str, int] | None:
    """Small sizes that meet the constraints; None where none are found."""
    small = random.permutation([1, 2, 3, 4, 5]).tolist()
    choices = [*small, 6, 8, 12, 16]
    for count, values in enumerate(product(choices, repeat=len(names))):
        sizes = dict(zip(names, values, strict=True))
        if _allowed(constraints, sizes):
            return sizes
        if count > 5000:
            break
    return None


def _allowed(constraints: tuple[Constraint, ...], sizes: Mapping[str, int]) -> bool:
    try:
        for constraint in constraints:
            check_constraint(constraint, sizes)
    except StepwellError:
        return False
    return True


def random_array(type: TensorType, random: np.random.Generator) -> Array:
    """Numbers of moderate size, none of them near 0; integers from 0 to 2, to be subscripts."""
    shape = [int(dim) for dim in type.shape if isinstance(dim, int)]
    return _numbers(type.dtype, shape, random)


def _numbers(dtype: DType, shape: list[int], random: np.random.Generator) -> Array:
    if dtype.is_bool:
        return np.asarray(random.random(shape) < 0.5)
    if dtype.is_int:
        return np.asarray(random.integers(0, 3, shape)).astype(dtype.numpy)
    return np.asarray(random.uniform(0.1, 1.0, shape)).astype(dtype.numpy)
