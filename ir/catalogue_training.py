"""The catalogue's part about gradients and training: codes SW07xx.

Each example is a whole program that is refused with the code, and with nothing else.
"""

from __future__ import annotations

from stepwell.ir.catalogue_entry import Entry

TRAINING = (
    Entry(
        "SW0701",
        "a gradient of something that is not one float",
        "What is differentiated, and so the loss of a train block, is a single float.",
        """\
fn squares(x: f32[N]) -> f32[N] { x * x }
fn slope(x: f32[N]) -> f32[N] {
    grad(squares, wrt: x)(x)
}
""",
        "Reduce it to one number, as with `sum` or `mean`.",
    ),
    Entry(
        "SW0702",
        "parameters or arguments that are not there",
        (
            "`wrt` and `frozen` name arguments, or parameters by parts of their paths. The name "
            "matches none that is used."
        ),
        """\
fn square(x: f32[]) -> f32[] { x * x }
fn slope(x: f32[]) -> f32[] {
    grad(square, wrt: y)(x)
}
""",
        (
            'Write the name of an argument, a string such as `"dense.weight"` or `"encoder"`, '
            "or `params` for all parameters."
        ),
    ),
    Entry(
        "SW0703",
        "a gradient by something that has none",
        "Only tensors of floats have gradients: integers and bools do not vary smoothly.",
        """\
fn scaled(x: f32[N], k: i32[N]) -> f32[] { sum(x * cast(k, f32)) }
fn slope(x: f32[N], k: i32[N]) -> f32[N] {
    grad(scaled, wrt: k)(x, k)
}
""",
        "Differentiate by another argument, or cast before the call.",
    ),
    Entry(
        "SW0704",
        "a gradient of one's own that does not fit",
        (
            "After `fn f(…) { … }`, `gradient(dy) { … }` names a cotangent for each float result; "
            "its value is a cotangent for each float argument, of the argument's type."
        ),
        """\
fn product(x: f32[N], y: f32[N]) -> f32[N] {
    x * y
} gradient(d) {
    d * y
}
""",
        "Give one value for each float argument, in order: `(d * y, d * x)`.",
    ),
    Entry(
        "SW0705",
        "a malformed train block",
        (
            "A train block has a `loss` and an `optimizer`, and may have `clip_norm`, `frozen` and "
            "metrics; a loss depends on parameters; a metric is one number."
        ),
        """\
use nn
model line(x: f32[N, 3]) -> f32[N, 1] { nn.dense(x, units: 1) }
train line(x: f32[N, 3], y: f32[N, 1]) {
    loss = mse(line(x), y)
}
""",
        "Write what the message asks for.",
    ),
    Entry(
        "SW0706",
        "a malformed optimizer",
        (
            "An optimizer gives `parameter` a new value, has no value itself, takes numbers, and "
            "is used in a train block as `optimizer = …`."
        ),
        """\
optimizer still(lr: float) {
    let change = lr * gradient
}
""",
        "Write `parameter = parameter - …`.",
    ),
    Entry(
        "SW0707",
        "something on the way has no gradient",
        (
            "The loss depends on the parameter or argument only through operators that give "
            "integers or bools: positions of maxima, comparisons. These do not vary smoothly."
        ),
        """\
fn best(x: f32[N]) -> f32[] { cast(argmax(x), f32) }
fn slope(x: f32[N]) -> f32[N] {
    grad(best, wrt: x)(x)
}
""",
        (
            "Make the loss from the numbers themselves, as with `softmax` in place of `argmax`; "
            "where no gradient is meant, say so by `stop_gradient`."
        ),
    ),
)
