"""The catalogue's part about the language: codes SW01xx to SW06xx.

Each example is a whole program that is refused with the code, and with nothing else.
"""

from __future__ import annotations

from stepwell.ir.catalogue_entry import Entry

LANGUAGE = (
    # What can be read: characters, grammar, words that are reserved
    Entry(
        "SW0101",
        "something else was expected here",
        (
            "The text does not fit the grammar at this place. The message names what "
            "could stand here."
        ),
        """\
fn double(x: f32[N]) -> f32[N] {
    x *
}
""",
        (
            "Write one of the things that the message names; often a bracket, a comma "
            "or an operand is missing just before."
        ),
    ),
    Entry(
        "SW0102",
        "a character that means nothing",
        ("The character begins no word, number, string, operator or comment of the language."),
        """\
fn flag(a: bool[N], b: bool[N]) -> bool[N] {
    a & b
}
""",
        (
            "Use the words `and`, `or`, `not`, the operator `**` for powers, and double "
            "quotes for strings."
        ),
    ),
    Entry(
        "SW0103",
        "a string without an end",
        'A string begins with `"` and must end with `"` on the same line.',
        """\
use "layers.well
""",
        "Close the string.",
    ),
    Entry(
        "SW0104",
        "well-formed, but not here",
        (
            "The parts are in an order that the grammar can read but that has no "
            "meaning: a positional argument after a named one, an expression where an "
            "index name is needed, a size in a list."
        ),
        """\
fn f(x: f32[N]) -> f32[N] {
    [i + 1] -> x[i]
}
""",
        ("Put named arguments last; write index notation as `[i, j] -> …` with plain names."),
    ),
    Entry(
        "SW0105",
        "a bracket is not closed",
        ("The file, or the part in which the mistake was found, ends inside of a bracket."),
        """\
fn f(x: f32[N]) -> f32[N] {
    relu(x)
""",
        "Close the bracket that the message names.",
    ),
    Entry(
        "SW0106",
        "too large, or nested too deeply to read",
        (
            "A file has more characters, or an expression more levels of nesting, than "
            "the compiler reads."
        ),
        "fn f(x: f32[N]) -> f32[N] {\n    " + "(" * 250 + "x" + ")" * 250 + "\n}\n",
        (
            "Give parts of the expression names with `let`, or spread the program over "
            "several files."
        ),
    ),
    Entry(
        "SW0110",
        "a reserved word: not there yet",
        (
            "`scan`, `while`, `print`, `assert` and their relatives are words of the language "
            "that this version does not have yet."
        ),
        """\
model f(x: f32[N]) -> f32[N] {
    let y = print(x)
    y
}
""",
        "Leave that part out for now; as a name of your own, choose another word.",
    ),
    Entry(
        "SW0111",
        "`if` on a run-time value: not there yet",
        (
            "The condition of an `if` depends on a tensor, or on a size that is known "
            "only at run time. Today `if` chooses while compiling."
        ),
        """\
model f(x: f32[N]) -> f32[N] {
    if sum(x) > 0 { x } else { -x }
}
""",
        "`select(condition, a, b)` computes both and chooses element by element.",
    ),
    # Shapes, sizes and element types
    Entry(
        "SW0201",
        "shapes do not fit together",
        (
            "Operands are aligned at their last axis, as in NumPy. Two axes fit where "
            "their sizes are equal, or where one is the number 1. Two different names, "
            "such as N and M, are different sizes."
        ),
        """\
model f(a: f32[N, 3], b: f32[N, 4]) -> f32[N, 3] {
    a + b
}
""",
        ("Reshape or slice one operand; give sizes that are always equal the same name."),
    ),
    Entry(
        "SW0202",
        "too few axes",
        (
            "`@` multiplies vectors, matrices and batches of matrices. Other operators, "
            "too, need operands with enough axes, and axis numbers that exist."
        ),
        """\
model f(a: f32[N, 3], b: f32[]) -> f32[N, 3] {
    a @ b
}
""",
        "`*` multiplies by one number.",
    ),
    Entry(
        "SW0203",
        "inner dimensions differ",
        (
            "The last axis of the left operand and the last but one of the right "
            "operand (or the channels of a convolution and of its weight) must have the "
            "same size."
        ),
        """\
model mlp(x: f32[N, 784]) -> f32[N, 256] {
    param w1: f32[512, 256] = glorot_uniform
    x @ w1
}
""",
        "Declare the weight with the size of the data.",
    ),
    Entry(
        "SW0204",
        "not a size, or a setting that is not valid",
        (
            "A size, a count or a subscript must be a whole number known at compile "
            "time, or arithmetic on sizes. Settings of an operator, such as strides, "
            "windows and the spec of an einsum, follow its rules."
        ),
        """\
model f(x: f32[N, 4]) -> f32[N, 4] {
    reshape(x, [N, 2.5])
}
""",
        "`//` divides and rounds down.",
    ),
    Entry(
        "SW0205",
        "a division that is not exact",
        (
            "Where a size is needed, `/` must leave no remainder. (If only the run can "
            "tell, it is checked on entry.)"
        ),
        """\
model f(x: f32[N, 10]) -> f32[N, 3, 3] {
    reshape(x, [N, 3, 10/3])
}
""",
        "Choose sizes that divide, or use `//`, which rounds down.",
    ),
    Entry(
        "SW0206",
        "a negative size",
        (
            "A size came out below 0: a window is larger than what it moves over, or "
            "too much was cut off."
        ),
        """\
model f(x: f32[N, 3]) -> f32[N, 3] {
    window_max(x, [5])
}
""",
        "Make the window smaller or pad the operand.",
    ),
    Entry(
        "SW0207",
        "two shape packs in one type",
        (
            "With two packs, `f32[..A, ..B]`, it could not be told where one ends and "
            "the other begins."
        ),
        """\
fn f(x: f32[..A, ..B]) -> f32[..A] { x }
model m(x: f32[N, M]) -> f32[N] {
    f(x)
}
""",
        "Name the other dimensions one by one.",
    ),
    Entry(
        "SW0208",
        "a size that no whole number gives",
        "The type says, for example, `2*H`, and the argument's axis is odd.",
        """\
fn halve(x: f32[2*H]) -> f32[H] { x[:H] }
model f(x: f32[7]) -> f32[3] {
    halve(x)
}
""",
        "Pad or slice the argument to a size that fits.",
    ),
    Entry(
        "SW0209",
        "a size that cannot be told",
        (
            "A name in a type is bound where it stands alone, or in a form that can be "
            "solved for it, such as `2*H + 1`."
        ),
        """\
model f(x: f32[N*M]) -> f32[N*M] {
    x
}
""",
        ("Use the name by itself as a dimension of some argument, or pass it as an `int`."),
    ),
    Entry(
        "SW0210",
        "the wrong number of axes",
        "The function's signature says how many axes the argument has.",
        """\
use nn
model f(x: f32[N, 784]) -> f32[N, 10] {
    nn.conv2d(x, channels: 10, kernel: 3)
}
""",
        "Reshape the argument.",
    ),
    Entry(
        "SW0211",
        "element types are mixed",
        (
            "Nothing is converted silently: both operands need the same element type. "
            "Only number literals adapt."
        ),
        """\
model f(x: f32[N], k: i32[N]) -> f32[N] {
    x * k
}
""",
        "`cast(k, f32)` converts.",
    ),
    Entry(
        "SW0212",
        "`/` on integers",
        "`/` divides floats.",
        """\
model f(x: i32[N]) -> i32[N] {
    x / 2
}
""",
        "`x // 2` rounds down; `cast(x, f32) / 2` gives a fraction.",
    ),
    Entry(
        "SW0213",
        "an operand of the wrong kind",
        (
            "The operator or function does not take such a value: a bool where numbers "
            "are needed, an integer where floats are, a list where a tensor is."
        ),
        """\
model f(x: i32[N]) -> i32[N] {
    exp(x)
}
""",
        "`cast(x, f32)` makes floats; comparisons make bools.",
    ),
    Entry(
        "SW0214",
        "a number that does not fit",
        (
            "A number literal takes the element type of the tensor that it meets. A "
            "fraction does not fit an integer type, nor 300 the type u8, nor a number "
            "the type bool. A float is rounded, but a number too large for its type would "
            "be infinite, and one too small would be 0: those are mistakes, too."
        ),
        """\
model f(x: i32[N]) -> i32[N] {
    x * 0.5
}
""",
        "Cast the tensor, or write another number; infinity is written `inf`.",
    ),
    Entry(
        "SW0215",
        "an argument's element type",
        "The signature asks for another element type.",
        """\
fn scale(x: f32[N]) -> f32[N] { 2 * x }
model f(x: f64[N]) -> f32[N] {
    scale(x)
}
""",
        ("Cast the argument, or declare the function for a class of types: `float[N]`."),
    ),
    Entry(
        "SW0216",
        "an argument's size",
        (
            "A name in a signature stands for one size. Where it is used again, the "
            "sizes must be equal."
        ),
        """\
fn add_rows(x: f32[N, K], row: f32[K]) -> f32[N, K] { x + row }
model f(x: f32[N, 4], row: f32[5]) -> f32[N, 4] {
    add_rows(x, row)
}
""",
        ("Pass an argument of that size, or give the sizes different names in the signature."),
    ),
    Entry(
        "SW0217",
        "an argument of the wrong kind",
        (
            "The function takes another kind of value here: a whole number, true or "
            "false, a string, a function, a tensor."
        ),
        """\
use nn
model f(x: f32[N, 4]) -> f32[N, 10] {
    nn.dense(x, units: "ten")
}
""",
        "Look at the types in the function's signature.",
    ),
    Entry(
        "SW0218",
        "not the declared type",
        (
            "What was computed differs from the type that is declared for it, after "
            "`->` or after a name in `let`."
        ),
        """\
model f(x: f32[N, 4]) -> f32[N, 5] {
    relu(x)
}
""",
        "Correct the declaration or the computation.",
    ),
    Entry(
        "SW0219",
        "no such axis",
        "Axes are counted from 0, or from the end with -1.",
        """\
model f(x: f32[N, 4]) -> f32[N] {
    sum(x, axis: 2)
}
""",
        "Name one of the axes that there are.",
    ),
    Entry(
        "SW0220",
        "not possible in this place",
        (
            "A model is an entry point: its inputs have a fixed element type and number "
            "of axes. Also: an argument that makes no sense with the others."
        ),
        """\
model f(x: f32[..S]) -> f32[..S] {
    x
}
""",
        "Write out the axes: `f32[N, D]`.",
    ),
    Entry(
        "SW0221",
        "the elements do not add up",
        (
            "A reshape keeps the number of elements; the parts of a split make the "
            "whole; a squeezed axis has size 1."
        ),
        """\
model f(x: f32[N, 6]) -> f32[N, 2, 4] {
    reshape(x, [N, 2, 4])
}
""",
        "Correct the sizes; `-1` stands for what is left.",
    ),
    # Names and arguments
    Entry(
        "SW0301",
        "an unknown name",
        (
            "Nothing in scope has this name: no binding, argument, size, function of "
            "the file, module, or function of the library."
        ),
        """\
model f(x: f32[N]) -> f32[N] {
    rleu(x)
}
""",
        "Correct the spelling, or `use` the module that has it.",
    ),
    Entry(
        "SW0302",
        "an unknown module",
        ("Modules are looked for in the folder of the file, then in the standard library."),
        """\
use neural
model f(x: f32[N]) -> f32[N] { x }
""",
        "Correct the name, or the path in quotes.",
    ),
    Entry(
        "SW0303",
        "declared twice",
        (
            "A file declares each function, and a function each argument and result, once. What "
            "a model holds has other names than its results, or a train block's metrics."
        ),
        """\
fn f(x: f32[N]) -> f32[N] { x }
fn f(x: f32[N]) -> f32[N] { -x }
""",
        "Give one of them another name.",
    ),
    Entry(
        "SW0304",
        "an unknown type",
        (
            "Element types are f64 f32 f16 bf16 i64 i32 i16 i8 u8 bool; `float[…]`, "
            "`int[…]`, `num[…]` and `tensor[…]` are classes of them; `int float bool "
            "string fn layer` without brackets are known at compile time."
        ),
        """\
model f(x: float32[N]) -> f32[N] {
    x
}
""",
        "Use one of these.",
    ),
    Entry(
        "SW0305",
        "an unknown size",
        "A size in a result or a `param` must be bound by the arguments' types.",
        """\
model f(x: f32[N, 4]) -> f32[N, H] {
    x
}
""",
        "Use a size that the arguments name, or a number.",
    ),
    Entry(
        "SW0306",
        "too many arguments",
        "The function takes fewer.",
        """\
model f(x: f32[N]) -> f32[N] {
    relu(x, 0)
}
""",
        "Leave out what is too much.",
    ),
    Entry(
        "SW0307",
        "a missing argument",
        "An argument without a default was not given.",
        """\
use nn
model f(x: f32[N, 4]) -> f32[N, 10] {
    nn.dense(x)
}
""",
        "Give it, by place or by name.",
    ),
    Entry(
        "SW0308",
        "an unknown argument",
        "The function has no argument of this name.",
        """\
use nn
model f(x: f32[N, 4]) -> f32[N, 10] {
    nn.dense(x, unit: 10)
}
""",
        "Correct the spelling; the message lists the names.",
    ),
    Entry(
        "SW0309",
        "an argument given twice",
        "Once by place and once by name, or twice by name.",
        """\
use nn
model f(x: f32[N, 4]) -> f32[N, 10] {
    nn.dense(x, 10, units: 10)
}
""",
        "Leave one out.",
    ),
    Entry(
        "SW0310",
        "not a function",
        "Only functions, layers and models can be called.",
        """\
model f(x: f32[N]) -> f32[N] {
    x(0)
}
""",
        "`x[0]` takes an element; `2 * (x + 1)` needs its `*`.",
    ),
    Entry(
        "SW0311",
        "nothing after the dot",
        ("A dot leads into a module. Tensors have no parts: functions take them as arguments."),
        """\
model f(x: f32[N]) -> f32[N] {
    x.relu
}
""",
        "Write `relu(x)` or `x |> relu`.",
    ),
    # Functions, layers, parameters
    Entry(
        "SW0401",
        "a value that is not used",
        (
            "Functions are pure: an expression whose value goes nowhere has no effect. Nor has "
            "a `let` at the end of a `repeat` or `if` that hides a name from outside: it ends "
            "with the block."
        ),
        """\
model f(x: f32[N]) -> f32[N] {
    relu(x)
    x
}
""",
        "Bind it with `let`, or leave it out; inside `repeat`, `h = …` gives `h` a new value.",
    ),
    Entry(
        "SW0402",
        "a parameter where there is none",
        "A `fn` is pure. Parameters belong to layers and models.",
        """\
fn f(x: f32[N, 4]) -> f32[N, 4] {
    param w: f32[4, 4]
    x @ w
}
""",
        "Declare a `layer`.",
    ),
    Entry(
        "SW0403",
        "a layer called in a `fn`",
        "A layer has parameters, which a `fn` has no place for.",
        """\
use nn
fn f(x: f32[N, 4]) -> f32[N, 4] {
    nn.dense(x, units: 4)
}
""",
        "Declare a `layer`.",
    ),
    Entry(
        "SW0404",
        "two parameters of one path",
        (
            "Parameters are told apart by their paths. Two came out the same, or a "
            "model called twice would share parameters of different shapes."
        ),
        """\
model f(x: f32[N, 4]) -> f32[N, 4] {
    param w: f32[4, 4]
    param w: f32[4, 4]
    x @ w
}
""",
        'Rename one; name a layer call with `name: "…"`.',
    ),
    Entry(
        "SW0405",
        "names and values do not match",
        (
            "`let a, b = …` needs as many values as names; a function's body must end "
            "in an expression."
        ),
        """\
model f(x: f32[N, 4]) -> f32[N, 2] {
    let a, b, c = split(x, 2, axis: 1)
    a
}
""",
        "Bind every value, or none too many.",
    ),
    Entry(
        "SW0406",
        "a binding cannot change",
        (
            "Bindings are immutable. Only inside `repeat` and `if` can a name from "
            "outside get a new value."
        ),
        """\
model f(x: f32[N]) -> f32[N] {
    let h = relu(x)
    h = h + 1
    h
}
""",
        "Write `let h = …` again: the new binding hides the old one.",
    ),
    Entry(
        "SW0407",
        "an unknown initialiser",
        (
            "Initialisers are zeros, ones, constant(value), uniform(bound), normal(std), "
            "truncated_normal(std), glorot_uniform, glorot_normal, he_uniform, he_normal, "
            "lecun_normal, orthogonal, or a number."
        ),
        """\
model f(x: f32[N, 4]) -> f32[N, 4] {
    param w: f32[4, 4] = xavier
    x @ w
}
""",
        "Use one of these.",
    ),
    Entry(
        "SW0408",
        "not a name for parameters",
        (
            "`name:` in a layer's call names its parameters: a string of letters, "
            "digits and `_`, with dots between."
        ),
        """\
use nn
model f(x: f32[N, 4]) -> f32[N, 4] {
    nn.dense(x, units: 4, name: "my layer")
}
""",
        'Write, for example, `name: "my_layer"`.',
    ),
    Entry(
        "SW0409",
        "a parameter of unknown size",
        "Parameters are trained and stored: their sizes must be numbers in a model.",
        """\
use nn
model f(x: f32[N, D]) -> f32[N, 4] {
    nn.dense(x, units: 4)
}
""",
        "Write a number for the size in the model's signature: `x: f32[N, 784]`.",
    ),
    Entry(
        "SW0410",
        "a state without a type",
        "A `state` of a layer or model says what it is; in an optimizer it is like the parameter.",
        """\
layer counted(x: f32[N]) -> f32[N] {
    state calls = zeros
    calls = calls + 1
    x
}
""",
        "Write its type: `state calls: i64[] = zeros`.",
    ),
    Entry(
        "SW0415",
        "`seed` is the seed of random numbers",
        (
            "A model that draws random numbers has an input `seed: i64`, which is added "
            "behind the others. An input or a parameter of that name and another type "
            "is in its way."
        ),
        """\
model f(seed: f32[N]) -> f32[N] {
    seed + uniform([N])
}
""",
        "Give yours another name; or declare the seed yourself, as `seed: i64[]`.",
    ),
    # Arithmetic at compile time, and limits
    Entry(
        "SW0501",
        "arithmetic at compile time failed",
        (
            "A division by zero, a number beyond 64 bits, a root of a negative number, "
            "in an expression that is computed while compiling."
        ),
        """\
model f(x: f32[N]) -> f32[N] {
    x * (1 / 0)
}
""",
        "Correct the expression.",
    ),
    Entry(
        "SW0502",
        "too much",
        (
            "A model has more operations, or more to do at compile time, or a tensor "
            "more axes, than the compiler takes on."
        ),
        """\
model f(x: f32[N]) -> f32[N] {
    repeat 10000 { repeat 10000 { x = x + 1 } }
    x
}
""",
        "Make the repetition smaller.",
    ),
    Entry(
        "SW0503",
        "recursion",
        (
            "A function calls itself, directly or through others, or an expression is "
            "nested too deeply."
        ),
        """\
fn f(x: f32[N]) -> f32[N] {
    f(x) + 1
}
""",
        "`repeat` repeats a block a known number of times.",
    ),
    Entry(
        "SW0504",
        "the count of a `repeat`",
        "`repeat` takes a whole number known at compile time, from 0 to 10000.",
        """\
model f(x: f32[N]) -> f32[N] {
    repeat N { x = x + 1 }
    x
}
""",
        "Use a number or an `int` argument.",
    ),
    # Subscripts and index notation
    Entry(
        "SW0601",
        "a subscript that can leave its axis",
        (
            "In index notation every subscript is shown to stay in its axis before "
            "anything runs. This one cannot be, or does not."
        ),
        """\
fn step(x: f32[N]) -> f32[N] {
    [i: N] -> x[i + 1] - x[i]
}
""",
        (
            "Declare the index shorter (`[i: N - 1]`), or guard the term: `sum[d: 3 "
            "where i + d - 1 >= 0] …`."
        ),
    ),
    Entry(
        "SW0602",
        "a subscript outside of its axis",
        "An element, or the bound of a slice, lies outside of the axis.",
        """\
model f(x: f32[N, 4]) -> f32[N] {
    x[:, 4]
}
""",
        "Subscripts run from 0 to the size less 1, or from -size to -1.",
    ),
    Entry(
        "SW0603",
        "an index of unknown size",
        (
            "The size of an index is told by its uses as a subscript. This one has none "
            "that tells it."
        ),
        """\
model f(x: f32[N]) -> i64[N] {
    [i] -> i * 2
}
""",
        "Declare it: `[i: N] -> …`.",
    ),
    Entry(
        "SW0604",
        "an element where a tensor is needed",
        (
            "Inside index notation a subscripted tensor is one element. Element-wise "
            "functions take elements; reductions and matrix products need whole "
            "tensors."
        ),
        """\
fn f(x: f32[N, K]) -> f32[N] {
    [i] -> sum(x[i, 0])
}
""",
        "Use `sum[k] …` inside index notation, or compute the tensor outside.",
    ),
    Entry(
        "SW0605",
        "a malformed subscript",
        (
            "A subscript is a whole number, a slice, `...`, an integer tensor, or, "
            "inside index notation, integer arithmetic on indices: one for each axis."
        ),
        """\
fn f(x: f32[N, K]) -> f32[N] {
    [i] -> x[i]
}
""",
        "Give one subscript for each axis.",
    ),
    Entry(
        "SW0606",
        "a malformed index",
        (
            "An index is named once in its formula; its size does not depend on other "
            "indices; a reduction has at least one, an argmax exactly one."
        ),
        """\
fn f(x: f32[N, N]) -> f32[N, N] {
    [i, i] -> x[i, i]
}
""",
        ("Give each index a name of its own; bound one index by another with `where`."),
    ),
    Entry(
        "SW0607",
        "a guard that is no condition",
        "After `where` stands a comparison, or several joined by `and` and `or`.",
        """\
fn f(x: f32[N]) -> f32[] {
    sum[i where i + 1] x[i]
}
""",
        "Compare: `where i + 1 < N`.",
    ),
    Entry(
        "SW0608",
        "an index with two sizes",
        "The index stands alone as a subscript of two axes whose sizes differ.",
        """\
fn f(a: f32[N], b: f32[M]) -> f32[N] {
    [i] -> a[i] * b[i]
}
""",
        "Give the sizes one name in the signature, or declare the index's size.",
    ),
)
