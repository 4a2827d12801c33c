"""Split a nest by the remainders of its loops, where terms count or not by a remainder.

    for t in 0..8 {
      acc[] = 0.0
      for p in 0..3 { acc[] = acc[] + select((t + p + 1) % 2 == 0, f((t + 1 - p) // 2, p), 0.0) }
      dx[t] = acc[]
    }
      →
    for t in 0..4 { acc[] = 0.0;  acc[] = acc[] + f(t, 1);  dx[2*t] = acc[] }
    for t in 0..4 {
      acc[] = 0.0
      for p in 0..2 { acc[] = acc[] + f(t + 1 - p, 2*p) }
      dx[2*t + 1] = acc[]
    }

So the gradient of a convolution of stride s becomes convolutions of stride 1: s along each axis,
each with every s-th tap. Legal where the loops are those of a nest's results, and what does not
count adds nothing: the parts do the same work in another order, a term less where it was zero.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import product as every

from stepwell.ir.loop.analysis import expressions_of, fresh_name, substitute_block, taken_names
from stepwell.ir.loop.core import For, Kernel
from stepwell.ir.scalar import Binary, Const, Expr, as_dim, coefficient, from_dim, walk
from stepwell.ir.size import Atom, ceildiv, substitute, symbol, symbols
from stepwell.lowering.transforms.navigate import find_loop, replace_loop
from stepwell.lowering.transforms.simplify import simplify_kernel


@dataclass(frozen=True)
class _Test:
    """`(scale*result + step*tap + rest) % modulus == 0`; no tap where the step is 0."""

    result: str
    tap: str
    modulus: int
    scale: int
    step: int
    rest: int

    def holds(self, result: int, tap: int) -> bool:
        return (self.scale * result + self.step * tap + self.rest) % self.modulus == 0


def phases(kernel: Kernel, nest: Sequence[str], reduction: Sequence[str]) -> list[Kernel]:
    """One kernel for each combination of remainders; the kernel alone where there is no test."""
    tests = _tests(kernel, nest, reduction)
    moduli = {test.result: test.modulus for test in tests}
    if any(moduli[test.result] != test.modulus for test in tests):
        return [kernel]
    parts = []
    for remainders in every(*(range(modulus) for modulus in moduli.values())):
        part = _phase(kernel, tests, dict(zip(moduli, remainders, strict=True)), reduction[0])
        if part is None:
            return [kernel]
        parts.append(simplify_kernel(part))
    return parts


def _tests(kernel: Kernel, nest: Sequence[str], reduction: Sequence[str]) -> list[_Test]:
    found: dict[_Test, None] = {}
    for expr in expressions_of(find_loop(kernel.body, reduction[-1]).body):
        for inner in walk(expr):
            test = _test(inner, nest, reduction)
            if test is not None:
                found[test] = None
    return list(found)


def _test(expr: Expr, nest: Sequence[str], reduction: Sequence[str]) -> _Test | None:
    match expr:
        case Binary(op="eq", x=x, y=Const(value=0)):
            dim = as_dim(x)
        case _:
            return None
    match dim:
        case None | int():
            return None
        case _ if len(dim.terms) != 1 or dim.terms[0][1] != 1 or len(dim.terms[0][0]) != 1:
            return None
    (atom,) = dim.terms[0][0]
    return _parts(atom, nest, reduction) if atom.function == "mod" else None


def _parts(atom: Atom, nest: Sequence[str], reduction: Sequence[str]) -> _Test | None:
    used = symbols(atom.left)
    results, taps = used & set(nest), used & set(reduction)
    if len(results) != 1 or len(taps) > 1 or used != results | taps:
        return None
    (result,), tap = results, next(iter(taps), "")
    scale, step = (coefficient(atom.left, name) for name in (result, tap))
    rest, modulus = substitute(atom.left, dict.fromkeys(used, 0)), atom.right
    if not (isinstance(scale, int) and isinstance(step, int)):
        return None
    if not (isinstance(rest, int) and isinstance(modulus, int)):
        return None
    return _Test(result, tap, modulus, scale, step, rest)


def _phase(
    kernel: Kernel, tests: Sequence[_Test], remainders: dict[str, int], outermost: str
) -> Kernel | None:
    """The iterations with these remainders, and the taps that count in them."""
    taken = taken_names(kernel)
    for test in {test.result: test for test in tests}.values():
        kernel = _every(kernel, test.result, remainders[test.result], test.modulus, taken)
    if not all(test.tap or test.holds(remainders[test.result], 0) for test in tests):
        return _every(kernel, outermost, 0, 1, taken, 0)
    for tap in dict.fromkeys(test.tap for test in tests if test.tap):
        extent = find_loop(kernel.body, tap).extent
        if not isinstance(extent, int):
            return None
        own = [test for test in tests if test.tap == tap]
        counts = [v for v in range(extent) if all(t.holds(remainders[t.result], v) for t in own)]
        start = counts[0] if counts else 0
        step = counts[1] - start if len(counts) > 1 else 1
        if counts != list(range(start, start + step * len(counts), step)):
            return None
        kernel = _every(kernel, tap, start, step, taken, len(counts))
    return kernel


def _every(
    kernel: Kernel, name: str, start: int, step: int, taken: set[str], count: int | None = None
) -> Kernel:
    """Of the loop every `step`-th iteration from `start` on, `count` or all of them."""
    index = fresh_name(taken, name)

    def thinned(loop: For) -> tuple[For, ...]:
        body = substitute_block(loop.body, {name: from_dim(symbol(index) * step + start)})
        extent = ceildiv(loop.extent - start, step) if count is None else count
        return (replace(loop, index=index, extent=extent, body=body),)

    return replace(kernel, body=replace_loop(kernel.body, name, thinned))
