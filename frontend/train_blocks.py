"""What a train block says: its loss, its metrics, its optimizer, and how gradients are used.

    loss = …    optimizer = sgd(lr: 0.1)    metric accuracy = …    clip_norm = 1.0   frozen = "stem"

Statements of a train block come here; `training` makes a step of what was collected.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from stepwell.frontend import syntax as s
from stepwell.frontend.elaboration import Elaboration
from stepwell.frontend.evaluation import evaluate
from stepwell.frontend.operators import number_tensor
from stepwell.frontend.suggest import did_you_mean
from stepwell.frontend.values import Optimizer, Tensor, is_number, kind_of
from stepwell.ir.dtypes import F32
from stepwell.ir.span import Span


@dataclass
class TrainParts:
    """The parts of a train block. Without `updates` (an evaluation) only results are read."""

    updates: bool
    results: dict[str, Tensor] = field(default_factory=dict)  # the loss, the metrics
    optimizer: Optimizer | None = None
    clip_norm: Tensor | float | None = None
    frozen: list[tuple[str, Span]] = field(default_factory=list)
    places: dict[str, Span] = field(default_factory=dict)

    def setting(self, e: Elaboration, statement: s.Assign) -> None:
        """`loss = …` and its like."""
        read = _SETTINGS.get(statement.name)
        if read is None:
            e.fail(
                "SW0705",
                f"a train block has no `{statement.name}`",
                statement.span,
                help=did_you_mean(statement.name, _SETTINGS)
                or f"it has {', '.join(_SETTINGS)} and metrics: `metric accuracy = …`",
            )
        self._once(e, statement.name, statement.span)
        if self.updates or statement.name == "loss":
            read(self, e, evaluate(e, statement.value), statement.value.span)

    def metric(self, e: Elaboration, statement: s.Metric) -> None:
        """`metric name = …`."""
        self._once(e, statement.name, statement.span)
        value = evaluate(e, statement.value)
        if is_number(value):
            value = number_tensor(e, value, F32, (), statement.value.span)
        if not isinstance(value, Tensor) or value.shape:
            shown = value.type if isinstance(value, Tensor) else kind_of(value)
            e.fail("SW0705", f"a metric is one number, not {shown}", statement.value.span)
        self.results[statement.name] = value

    def read_loss(self, e: Elaboration, value: Any, span: Span) -> None:
        """The loss: one float."""
        if isinstance(value, Tensor) and not value.shape and value.dtype.is_float:
            self.results = {"loss": value, **self.results}
            return
        shown = value.type if isinstance(value, Tensor) else kind_of(value)
        e.fail(
            "SW0701",
            f"a loss is one float, not {shown}",
            span,
            help="reduce it to one number, as with `mean`",
        )

    def read_optimizer(self, e: Elaboration, value: Any, span: Span) -> None:
        """The optimizer, with its arguments."""
        if not isinstance(value, Optimizer):
            message = f"`optimizer` must be an optimizer, not {kind_of(value)}"
            e.fail("SW0706", message, span, help="write `optimizer = sgd(lr: 0.1)`")
        self.optimizer = value

    def read_clip_norm(self, e: Elaboration, value: Any, span: Span) -> None:
        """The largest norm of all gradients together: a number, or computed from `step`."""
        one = isinstance(value, Tensor) and not value.shape and value.dtype.is_float
        if not one and (not isinstance(value, (int, float)) or isinstance(value, bool)):
            e.fail("SW0705", f"`clip_norm` must be a number, not {kind_of(value)}", span)
        self.clip_norm = value if isinstance(value, Tensor) else float(value)

    def read_frozen(self, e: Elaboration, value: Any, span: Span) -> None:
        """Paths of parameters that are not trained, or parts of them."""
        names = value if isinstance(value, list) else [value]
        for name in names:
            if not isinstance(name, str):
                message = f"`frozen` takes paths of parameters, not {kind_of(name)}"
                e.fail("SW0705", message, span, help='write `frozen = ["encoder"]`')
        self.frozen = [(name, span) for name in names]

    def _once(self, e: Elaboration, name: str, span: Span) -> None:
        if name in self.places:
            e.fail("SW0303", f"`{name}` is given twice", span, "again here")
        self.places[name] = span


_SETTINGS: dict[str, Callable[[TrainParts, Elaboration, Any, Span], None]] = {
    "loss": TrainParts.read_loss,
    "optimizer": TrainParts.read_optimizer,
    "clip_norm": TrainParts.read_clip_norm,
    "frozen": TrainParts.read_frozen,
}
