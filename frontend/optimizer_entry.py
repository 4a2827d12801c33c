"""An optimizer elaborated by itself, to find its mistakes without a train block.

optimizer sgd(lr: float) { … }   →   its body, with an f32[D0, D1] as the parameter
"""

from __future__ import annotations

from stepwell.frontend.elaboration import computed
from stepwell.frontend.entries import Entry
from stepwell.frontend.optimizers import run_optimizer
from stepwell.frontend.signatures import is_static
from stepwell.frontend.values import Held, Tensor
from stepwell.ir import size
from stepwell.ir.dtypes import F32, I64
from stepwell.ir.graph.core import Value
from stepwell.ir.types import TensorType


class OptimizerEntry(Entry):
    """An optimizer by itself, with a made-up parameter, to find its mistakes."""

    def evaluate(self) -> list[tuple[str, Value]]:
        e, frame, function = self.e, self.frame, self.function
        for formal in function.formals:
            if not is_static(formal.type):
                e.fail(
                    "SW0706",
                    f"`{formal.name}`: an optimizer's arguments are known at compile time",
                    formal.span,
                    help=f"write `{formal.name}: float`",
                )
        sizes = [f"D{axis}" for axis in range(self.pack_rank or 0)]
        e.builder.sizes += sizes
        frame.like = TensorType(F32, tuple(map(size.symbol, sizes)))
        types = {"parameter": frame.like, "gradient": frame.like, "step": TensorType(I64, ())}
        for name, type in types.items():
            frame.scopes[0][name] = Tensor(e.builder.input(name, type), computed(function.head))
        parameter = frame.scopes[0]["parameter"]
        frame.scopes[0]["parameter"] = Held(parameter, parameter)
        run_optimizer(e, frame, parameter)
        return []
