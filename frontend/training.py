"""A train block elaborated: one step (forward, backward, update), or the evaluation of its loss.

    train digits(image: f32[N, 64], label: i32[N]) { loss = …  optimizer = sgd(lr: 0.1) }
    →   %loss, %d_w = gradient(%image, %label, %w) {wrt = [2]} { … }
        %new = …    update %w = %new    update %optimizer.step = …    return loss = %loss

Loss, metrics and whatever the optimizer's arguments are computed from stand in the region of one
`gradient`. An evaluation has `training` false and leaves everything as it is.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any, Literal

from stepwell.frontend import syntax as s
from stepwell.frontend.arguments import Given
from stepwell.frontend.blocks import evaluate_block
from stepwell.frontend.calls import call_declared
from stepwell.frontend.elaboration import Poisoned
from stepwell.frontend.entries import Entry
from stepwell.frontend.gradient_flow import reached_by_gradient
from stepwell.frontend.modules import CheckedProgram, LoadedModule, prelude
from stepwell.frontend.operators import binary
from stepwell.frontend.optimizers import update_parameter
from stepwell.frontend.random_source import RandomSource
from stepwell.frontend.regions import Region
from stepwell.frontend.train_blocks import TrainParts
from stepwell.frontend.transformations import names_path, refuse_stopped
from stepwell.frontend.values import Declared, Optimizer, Tensor
from stepwell.ir.dtypes import F32, F64, I64, DType
from stepwell.ir.graph.core import Op, Parameter, Value
from stepwell.ir.span import Span
from stepwell.ir.types import TensorType

Mode = Literal["step", "evaluate"]
MODES: tuple[Mode, ...] = ("step", "evaluate")
STEP = "optimizer.step"
RANDOM = ("random.seed", "random.step")


class TrainEntry(Entry):
    """One train block, elaborated in one of its two modes."""

    def __init__(
        self,
        program: CheckedProgram,
        module: LoadedModule,
        function: s.Function,
        statics: Mapping[str, Any],
        mode: Mode,
    ) -> None:
        super().__init__(program, module, function, statics, None, training=mode == "step")
        self.mode = mode
        self.parts = self.e.train = TrainParts(updates=mode == "step")

    def evaluate(self) -> list[tuple[str, Value]]:
        if self.mode == "step":
            results = self._step()
        else:
            self._read()
            results = self.parts.results
            self.e.builder.updates.clear()
            self._drop_unused_step()
        return [(name, tensor.value) for name, tensor in results.items()]

    def _read(self) -> None:
        """Evaluate the block: its parts are in `self.parts` then."""
        e = self.e
        type = TensorType(I64, ())
        span = self.function.head
        self.steps = e.parameter(STEP, type, "zeros", span, "step", "state")
        self.frame.scopes[0].setdefault("step", self.steps)
        self._draw_from_states()
        if evaluate_block(e, self.function.body) is not None:
            e.fail(
                "SW0705",
                "a train block has no value",
                self.function.body.statements[-1].span,
                help="write `loss = …`",
            )
        self._states_last()
        if e.faults:
            raise Poisoned
        for name in ("loss", *(["optimizer"] if self.parts.updates else [])):
            if name not in self.parts.places:
                e.fail("SW0705", f"the train block has no `{name}`", self.function.head,
                       help=f"write `{name} = …`")  # fmt: skip

    def _draw_from_states(self) -> None:
        """Random numbers are of a seed that is kept as a state, and of how often it was used."""
        e, span, type = self.e, self.function.head, TensorType(I64, ())
        seed, step = (e.parameter(path, type, "zeros", span, path, "state") for path in RANDOM)
        self.source = e.random = RandomSource(seed, step)

    def _states_last(self) -> None:
        """The step's own states go behind the model's, those of random numbers only if drawn."""
        parameters = self.e.builder.parameters
        drawn = [STEP, *RANDOM] if self.source.places else [STEP]
        own = [p for p in parameters if p.path in drawn]
        parameters[:] = [p for p in parameters if p.path not in (STEP, *RANDOM)] + own

    def _step(self) -> dict[str, Tensor]:
        parts = self.parts
        with Region(self.e, "loss") as region:
            self._read()
        if parts.optimizer is None or "loss" not in parts.results:
            raise Poisoned
        trained = self._trained(region.ops, parts.results["loss"].value)
        rates = [*parts.optimizer.arguments.values(), parts.clip_norm]
        leaving = [*parts.results.values(), *(r for r in rates if isinstance(r, Tensor))]
        by = [parameter.value for parameter in trained]
        outside = region.emit(
            "gradient", leaving, self.function.head, by=by, names=list(parts.results)
        )
        outer = dict(zip((tensor.value for tensor in leaving), outside, strict=False))
        optimizer = replace(
            parts.optimizer,
            arguments={n: _outer(v, outer) for n, v in parts.optimizer.arguments.items()},
        )
        gradients = outside[len(leaving) :]
        if parts.clip_norm is not None:
            gradients = self._clipped(gradients, _outer(parts.clip_norm, outer))
        self._update(optimizer, trained, gradients)
        return {name: outer[tensor.value] for name, tensor in parts.results.items()}

    def _update(
        self, optimizer: Optimizer, trained: Sequence[Parameter], gradients: Sequence[Tensor]
    ) -> None:
        e = self.e
        for parameter, gradient in zip(trained, gradients, strict=True):
            tensor = e.parameters[parameter.path]
            update_parameter(e, optimizer, tensor, gradient, self.steps)
        span = optimizer.span
        counts = [self.steps]
        if self.source.places and self.source.step is not None:
            counts.append(self.source.step)
            seed = self.source.seed.value
            e.builder.update(seed, seed)  # a state that the caller sets, not a constant
        for count in counts:
            following = binary(e, "+", count, 1, span, (span, span))
            e.builder.update(count.value, following.value)

    def _trained(self, ops: Sequence[Op], loss: Value) -> list[Parameter]:
        """The parameters that the loss depends on, but for frozen ones."""
        e, parts = self.e, self.parts
        held = [p for p in e.builder.parameters if p.kind == "param"]
        for name, span in parts.frozen:
            if not any(names_path(name, p.path) for p in held):
                paths = ", ".join(p.path for p in held[:5])
                e.fail("SW0702", f"no parameter is named by `{name}`", span,
                       help=f"parameters: {paths}" if paths else None)  # fmt: skip
        frozen = [name for name, _ in parts.frozen]
        meant = [p for p in held if not any(names_path(name, p.path) for name in frozen)]
        reached = reached_by_gradient(ops, [loss])
        for parameter in meant:
            if parameter.value not in reached:
                refuse_stopped(e, ops, loss, parameter.value, parts.places["loss"])
        trained = [p for p in meant if p.value in reached]
        if not trained:
            which = "that is not frozen" if frozen else ""
            message = f"the loss depends on no parameter {which}".rstrip()
            e.fail("SW0705", message, parts.places["loss"], help="there is nothing to train")
        return trained

    def _clipped(self, gradients: Sequence[Tensor], limit: Tensor | float) -> list[Tensor]:
        """Every gradient times one factor, so that their norm together is within the limit."""
        span = self.parts.places["clip_norm"]
        dtypes = {g.dtype for g in gradients}
        wide = F64 if F64 in dtypes else F32
        squares = [
            self._library("squared_norm", [self._as(g, wide, span)], span) for g in gradients
        ]
        total = squares[0]
        for square in squares[1:]:
            total = binary(self.e, "+", total, square, span, (span, span))
        if isinstance(limit, Tensor):
            limit = self._as(limit, wide, span)
        factor = self._library("clip_factor", [total, limit], span)
        return [self._scaled(gradient, factor, span) for gradient in gradients]

    def _scaled(self, gradient: Tensor, factor: Tensor, span: Span) -> Tensor:
        factor = self._as(factor, gradient.dtype, span)
        product = binary(self.e, "*", gradient, factor, span, (span, span))
        assert isinstance(product, Tensor)
        return product

    def _as(self, x: Tensor, dtype: DType, span: Span) -> Tensor:
        return x if x.dtype == dtype else self.e.emit("cast", [x], span=span, dtype=dtype)

    def _library(self, name: str, arguments: Sequence[Tensor | float], span: Span) -> Tensor:
        """The value of a function of the prelude."""
        callee = prelude().names[name]
        assert isinstance(callee, Declared)
        given = [Given(argument, span) for argument in arguments]
        value = call_declared(self.e, callee, given, span, span)
        assert isinstance(value, Tensor)
        return value

    def _drop_unused_step(self) -> None:
        """An evaluation has the count of steps only where a result depends on it."""
        builder = self.e.builder
        used = {value for op in builder.ops for value in op.operands}
        used |= {tensor.value for tensor in self.parts.results.values()}
        if self.steps.value not in used:
            builder.parameters[:] = [p for p in builder.parameters if p.path != STEP]


def _outer(value: Any, outer: Mapping[Value, Tensor]) -> Any:
    """What a tensor of the region is outside of it; numbers are themselves."""
    return outer[value.value] if isinstance(value, Tensor) else value
