"""The catalogue's entries for what goes wrong while a model is trained."""

from __future__ import annotations

from stepwell.ir.catalogue_entry import Entry

RUNS = (
    Entry(
        "SW0801",
        "a number that is not finite",
        (
            "The loss, or a parameter after a step, became nan or infinite. The steps since the "
            "last checkpoint were done again, and the one at fault op by op in the interpreter: "
            "the place is the first op that gave such a number of finite operands. The checkpoint "
            "is from before that step."
        ),
        """\
model scale(x: f32[N]) -> f32[N] {
    param w: f32 = ones
    w * x
}

train scale(x: f32[N]) {
    loss      = mean(log(scale(x)))
    optimizer = sgd(lr: 10.0)
}
""",
        (
            "Keep the operand in the operator's domain (`log(p + 1e-6)`, or a loss made of "
            "logits), lower the learning rate, clip gradients, or look for such numbers in the "
            "data."
        ),
    ),
)
