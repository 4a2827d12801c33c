"""Matrix products with constants, as straight lines of multiply-adds.

In: a matrix m of numbers, and what reads the elements of d. Out: the elements of m d mᵀ, as lets,
in two passes over d: the columns first, then the rows. Zeros cost nothing, and ones no product.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from stepwell.ir.loop.analysis import fresh_name
from stepwell.ir.loop.core import Let
from stepwell.ir.scalar import Binary, Const, Expr, Unary, Var
from stepwell.lowering.strategies.winograd_matrices import Matrix


class Lines:
    """Lets with fresh names, in order."""

    def __init__(self, taken: set[str]) -> None:
        self.taken = taken
        self.lets: list[Let] = []

    def let(self, hint: str, value: Expr) -> Expr:
        """The value, by name."""
        name = fresh_name(self.taken, hint)
        self.lets.append(Let(name, value))
        return Var(name, value.dtype)

    def sandwich(
        self, matrix: Matrix, read: Callable[[int, int], Expr], hints: tuple[str, str, str]
    ) -> list[list[Expr]]:
        """matrix · d · matrixᵀ for the d whose elements `read` gives, column by column."""
        size = len(matrix[0])
        columns: list[list[Expr]] = []
        for s in range(size):
            column = [self.let(f"{hints[0]}{r}{s}", read(r, s)) for r in range(size)]
            columns.append(
                [self._dot(row, column, f"{hints[1]}{a}{s}") for a, row in _rows(matrix)]
            )
        return [
            [
                self._dot(row, [column[a] for column in columns], f"{hints[2]}{a}{b}")
                for b, row in _rows(matrix)
            ]
            for a in range(len(matrix))
        ]

    def _dot(self, coefficients: Sequence[float], values: Sequence[Expr], hint: str) -> Expr:
        """Σ coefficient · value; those of size 1 first, so that the others are multiply-adds."""
        terms = [(c, x) for c, x in zip(coefficients, values, strict=True) if c]
        terms.sort(key=lambda term: (term[0] != 1, term[0] != -1))
        (first, x), *rest = terms
        total = _scaled(first, x)
        for c, value in rest:
            if c in (1, -1):
                total = Binary("add" if c == 1 else "sub", total, value)
            else:
                total = Binary("add", total, _scaled(c, value))
        return total if total is x else self.let(hint, total)


def _rows(matrix: Matrix) -> list[tuple[int, tuple[float, ...]]]:
    return list(enumerate(matrix))


def _scaled(coefficient: float, value: Expr) -> Expr:
    if coefficient == 1:
        return value
    if coefficient == -1:
        return Unary("neg", value)
    return Binary("mul", Const(coefficient, value.dtype), value)
