"""Parameters whose size is told by their first use.

    param w: f32[K, 256]        with x f32[N, 784] and no K in the signature
    x @ w                       →   K = 784, from the inner dimension of the product

A pending parameter becomes one when it is the right operand of `@`; anything else needs its sizes.
"""

from __future__ import annotations

from dataclasses import dataclass

from stepwell.frontend import syntax as s
from stepwell.frontend.elaboration import Elaboration, Frame
from stepwell.frontend.initializers import initializer_text
from stepwell.frontend.signatures import free_names, tensor_type
from stepwell.frontend.suggest import did_you_mean
from stepwell.frontend.values import Tensor, is_dim
from stepwell.ir.size import Dim
from stepwell.ir.span import Span


@dataclass(eq=False)
class PendingParameter:
    """A `param` of which some size is not known yet."""

    statement: s.Param
    frame: Frame
    path: str
    tensor: Tensor | None = None

    def unknown(self) -> list[str]:
        """The names in its type that nothing has bound."""
        dims = self.statement.type.dims or ()
        names = {name for dim in dims for name in free_names(dim)}
        return sorted(name for name in names if self.frame.lookup(name) is None)

    def as_right_operand(self, e: Elaboration, inner: Dim, span: Span) -> Tensor:
        """The parameter, its inner dimension bound by what it is multiplied with."""
        if self.tensor is None:
            dims = self.statement.type.dims or ()
            dim = dims[-2] if len(dims) > 1 else dims[0]
            if isinstance(dim, s.Name) and dim.name in self.unknown():
                self.frame.scopes[0][dim.name] = inner
            if self.unknown():
                self.refuse(e)
            self.tensor = declare(e, self.statement, self.path)
        return self.tensor

    def refuse(self, e: Elaboration) -> None:
        """The size cannot be told."""
        name = self.unknown()[0]
        sizes = [n for n in self.frame.names() if is_dim(self.frame.lookup(n))]
        e.fail(
            "SW0305",
            f"there is no size `{name}`",
            self.statement.type.span,
            "not bound by the signature, nor told by `@`",
            help=did_you_mean(name, sizes)
            or (f"sizes in scope: {', '.join(sizes)}" if sizes else "write a number"),
        )


def declare(e: Elaboration, statement: s.Param, path: str) -> Tensor:
    """Declare a parameter whose sizes are known."""
    type = tensor_type(e, statement.type)
    text = initializer_text(e, statement.initializer, type)
    return e.parameter(path, type, text, statement.span, statement.name)
