"""What a mistake looks like: whole messages, several at once, origins, modules, the library."""

from __future__ import annotations

from pathlib import Path

import pytest

from stepwell.frontend import check, elaborate, models
from stepwell.ir.diagnostics import Diagnostic, InputError, UserError


def faults(source: str, file: str = "mlp.well") -> tuple[Diagnostic, ...]:
    with pytest.raises(UserError) as caught:
        check(source, file)
    return caught.value.diagnostics


def message(source: str, file: str = "mlp.well") -> str:
    with pytest.raises(UserError) as caught:
        check(source, file)
    return str(caught.value)


def test_both_operands_are_shown_with_their_origins() -> None:
    source = """\
model mlp(x: f32[N, 784]) -> f32[N, 256] {

    param w1: f32[512, 256] = glorot_uniform
    param b1: f32[256]      = zeros


    let h = x @ w1 + b1
    h
}
"""
    assert (
        message(source)
        == """\
error[SW0203]: matmul: inner dimensions differ, 784 and 512
  --> mlp.well:7:13
   |
 7 |     let h = x @ w1 + b1
   |             ^   ^^ f32[512, 256], from `param w1` at mlp.well:3
   |             |
   |             f32[N, 784], from the model's input `x` at mlp.well:1
   = help: declare `param w1: f32[784, 256]`"""
    )


def test_a_mistake_inside_the_library_is_told_at_the_call() -> None:
    source = """\
use nn
model m(x: f32[N, T, 10]) -> f32[N, T, 10] {
    nn.multi_head_attention(x, heads: 3)
}
"""
    (fault,) = faults(source)
    assert (fault.code, fault.span.file, fault.span.line) == ("SW0205", "mlp.well", 3)
    assert fault.labels[0].text == "in this call of `multi_head_attention`"
    assert fault.labels[1].span.file == "stdlib/nn.well"


def test_let_names_the_origin() -> None:
    source = "model m(x: f32[N, 4]) -> f32 {\n let h = x * 2\n let g = h\n g @ zeros([3])\n}"
    (fault,) = faults(source)
    assert fault.labels[0].text == "f32[N, 4], from `let h` at mlp.well:2"


def test_independent_mistakes_are_told_together() -> None:
    source = """\
fn broken(x: f32[N] -> f32[N] { x }
model one(x: f32[N, 4]) -> f32[N] {
    let a = rellu(x)
    let b = a + 1
    let c = x @ zeros([5])
    sum(b + c, axes: -1)
}
fn two(x: i32[N]) -> i32[N] { x / 2 }
model three(x: f32[N]) -> f32[N] { broken(x) }
layer never_called(x: f32[N], units: int) -> f32[N] { unknown(x) }
"""
    found = [(d.code, d.span.line) for d in faults(source)]
    assert sorted(found) == [
        *(("SW0101", 1), ("SW0203", 5), ("SW0212", 8), ("SW0301", 3), ("SW0301", 10))
    ]


@pytest.mark.parametrize(
    ("source", "hint"),
    [
        ("model m(x: f32[N]) -> f32[N] { rlu(x) }", "did you mean `relu`?"),
        ("use n\nmodel m(x: f32[N]) -> f32[N] { x }", "did you mean `nn`?"),
        ("use nn\nmodel m(x: f32[N, 4]) { nn.dens(x, 3) }", "did you mean `dense`?"),
        ("use nn\nmodel m(x: f32[N, 4]) { dense(x, 3) }", "did you mean `nn.dense`?"),
        ("model m(x: f32[N, 4]) { conv2d(x, 3) }", "write `use nn` at the top of the file, then"),
        ("model m(x: f32[N, 4]) { nn.dense(x, 3) }", "write `use nn` at the top of the file"),
        ("model m(x: float32[N]) { x }", "write `f32`"),
        ("model m(x: f32[Batch]) -> f32[Bach] { x }", "did you mean `Batch`?"),
        ("model m(x: f32[N]) { sum(x, axs: 0) }", "did you mean `axis`?"),
        ("model m(x: f32[N]) { x.sum }", "functions stand before their arguments"),
        ("model m(x: f32[N], y: i32[N]) { x + y }", "cast one of them: `cast(y, f32)`"),
        ("model m(x: f32[N, 3], y: f32[M, 3]) { x + y }", "give both the name `N`"),
        ("model m(x: f32[N]) { return x }", "there is no `return`"),
        ("model m(x: f32[N]) { relu(x, }", None),
        ("model m(x: f32[N]) { let y == x\n y }", "to bind a name, write a single `=`"),
        ("model m(x: f32[N]) { sum(x, axis = 0) }", "a named argument is written `name: value`"),
        ("model m(x: f32[N]) { max(x x) }", "is a comma missing?"),
        ("model m(x: f32[N]) -> { x }", "write the result's type after `->`"),
        ("def m(x: f32[N]) { x }", "functions begin with `fn`"),
        ("model m(x: f32[N]) { for i in x { x } }", "repeat a block with"),
        ("model m(x: f32[N]) { x ^ 2 }", "a power is written `**`"),
        ("model m(x: f32[H]) { [i: H] -> x[i + 1] }", "declare the index shorter: `i: H - 1`"),
        ("model m(x: f32[H]) { [i: H] -> x[i - 1] }", "leave terms out"),
        ("// a\nmodel m(x: f32[N]) { x }", "a comment begins with `#`"),
        ("model m(x: f32[N]) {\n // a\n x }", "a comment begins with `#`"),
        ("model m(x: f32[N]) { where(x > 0, x, 0) }", "`select(condition, a, b)` chooses"),
        ("model m(x: f32[N]) { x if true else x }", "`if condition { a } else { b }`"),
        ("model m(x: f32[N]) { let y = x\n y += 1\n y }", "`let x = x + …`"),
        ("model m(x: f32[N]): f32[N] { x }", "stands behind `->`"),
        ("model m(x: f32[N]) => f32[N] { x }", "stands behind `->`"),
        ("model m(f32 x) { x }", "the name comes first: `x: f32`"),
        ("Model m(x: f32[N]) { x }", "write `model`"),
        ("model m(use: f32[N]) { use }", "`use` is a word of the language: choose another"),
        ("model m(x: f32[N]) { let model = x\n model }", "`model` is a word of the language"),
        ("model m(x: f32[N]) {\n let y = (x * 2\n sum(y)\n}", "is the `(` of line 2 not closed"),
        ("model m(x: f32[N]) {\n let y = (x * 2\n let z = y\n z }", "is the `(` of line 2 not"),
        ("model m(x: f32[N]) { x\u200b + 1 }", "it can't be seen"),
        ("use “nn”\nmodel m(x: f32[N]) { x }", "straight quotes"),
        ("model m(x: f32[N]) { permute(x, [0]) }", "write `transpose(x, [1, 0])`"),
        ("model m(x: f32[N]) { np.exp(x) }", "functions have no prefix here: `exp`"),
        ("model m(x: f32[N]) { torch.cat(x) }", "write `concat([a, b], axis: 0)`"),
        ("model m(x: f32[N]) { x.permute(0) }", "write `transpose(x, [1, 0])`"),
        ("model m(x: f32[N]) { topk(x, 3) }", "sorting is not there yet"),
        ("model m(x: f32[N]) { let sum = x\n sum(sum) }", "hides the function"),
        ("fn f(x: f32[N]) { sum(x) }\nmodel m(x: f32[N]) { grad(f(x)) }", "write `grad(f)(x)`"),
        (
            "model f(x: f32[N, 3], y: f32[N]) -> f32 { cross_entropy(x, y) }",
            "`cast(…, i64)` converts",
        ),
    ],
)
def test_hint(source: str, hint: str | None) -> None:
    fault = faults(source)[0]
    assert (hint is None) or hint in (fault.help or ""), message(source)


WORDS = {
    "model m(x: f32[T, N]) { scan x_t in x with h = 0 { yield h } }": "scan",
    "model m(x: f32[N]) { while true { x } }": "while",
    'model m(x: f32[N]) { print("x", x)\n x }': "print",
    'model m(x: f32[N]) { assert true, "no"\n x }': "assert",
    "model m(x: f32[N]) { let yield = x\n x }": "yield",
}


@pytest.mark.parametrize("source", WORDS)
def test_reserved_word(source: str) -> None:
    fault = faults(source)[0]
    assert fault.code == "SW0110"
    assert fault.message.startswith(f"`{WORDS[source]}` is not there yet")


def test_run_time_if_is_not_there_yet() -> None:
    for condition in ("x > 0", "sum(x) > 0", "size(x) > 4"):
        source = f"model m(x: f32[N]) -> f32[N] {{ if {condition} {{ x }} else {{ -x }} }}"
        assert [d.code for d in faults(source)] == ["SW0111"]


def test_json_has_every_label() -> None:
    (fault,) = faults("model m(x: f32[N, 3], y: f32[N, 4]) -> f32[N, 3] { x + y }")
    shown = fault.as_json()
    assert shown["code"] == "SW0201"
    assert [label["text"].split(",")[0] for label in shown["labels"]] == ["f32[N", "f32[N"]


def test_a_name_without_let_is_told_once() -> None:
    (fault,) = faults("model m(x: f32[N]) -> f32[N] {\n    y = x * 2\n    y + 1\n}\n")
    assert (fault.code, fault.help) == ("SW0301", "bind it first: `let y = …`")


def test_a_limit_is_told_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("stepwell.frontend.elaboration.MAX_OPS", 7)
    lines = "\n".join(f"let a{i} = x + {i}" for i in range(20))
    (fault,) = faults(f"model m(x: f32[N]) -> f32[N] {{\n{lines}\nx\n}}")
    assert (fault.code, fault.span.line) == ("SW0502", 5)


def test_a_file_that_hides_the_library(tmp_path: Path) -> None:
    (tmp_path / "nn.well").write_text("fn mine(x: f32[N]) -> f32[N] { x }\n")
    source = "use nn\nmodel m(x: f32[N, 4]) -> f32[N, 2] { nn.dense(x, units: 2) }"
    (fault,) = faults(source, str(tmp_path / "m.well"))
    assert "nn.well hides the library's `nn`" in (fault.help or "")


def test_modules_are_text(tmp_path: Path) -> None:
    (tmp_path / "a.well").write_bytes(b"\xef\xbb\xbffn f(x: f32[N]) -> f32[N] { 2 * x }\r\n")
    source = "use a\nmodel m(x: f32[N]) -> f32[N] { a.f(x) }"
    assert models(check(source, str(tmp_path / "m.well"))) == ("m",)
    (tmp_path / "a.well").write_bytes(b"\xff\xfe")
    with pytest.raises(InputError, match=r"a\.well is not UTF-8 text: byte 0 is bad"):
        check(source, str(tmp_path / "m.well"))


def test_modules_beside_the_file(tmp_path: Path) -> None:
    (tmp_path / "parts").mkdir()
    (tmp_path / "parts" / "layers.well").write_text(
        "use nn\nlayer head(x: f32[N, 4]) -> f32[N, 2] { nn.dense(x, units: 2) }\n"
    )
    (tmp_path / "nn.well").write_text("use nn\nfn mine(x: f32[N]) -> f32[N] { x }\n")
    source = (
        'use "parts/layers.well" as parts\nuse nn\n'
        "model m(x: f32[N, 4], y: f32[N]) -> (f32[N, 2], f32[N]) { (parts.head(x), nn.mine(y)) }"
    )
    program = check(source, str(tmp_path / "m.well"))
    graph = elaborate(program, "m")
    assert [p.path for p in graph.parameters] == ["head.dense.weight", "head.dense.bias"]
    assert models(program) == ("m",)


def test_a_mistake_in_a_module_is_told_in_its_file(tmp_path: Path) -> None:
    (tmp_path / "layers.well").write_text("fn f(x: f32[N]) -> f32[N] { y }\n")
    (fault,) = faults("use layers\nmodel m(x: f32[N]) { x }", str(tmp_path / "m.well"))
    assert (fault.code, fault.span.file) == ("SW0301", str(tmp_path / "layers.well"))


def test_files_that_use_each_other(tmp_path: Path) -> None:
    (tmp_path / "a.well").write_text("use b\nfn f(x: f32[N]) -> f32[N] { b.g(x) }\n")
    source = "use a\nfn g(x: f32[N]) -> f32[N] { 2 * x }\nmodel m(x: f32[N]) { a.f(x) }"
    (tmp_path / "b.well").write_text(source)
    program = check(source, str(tmp_path / "b.well"))
    assert elaborate(program, "m").results


def test_own_declarations_hide_the_library() -> None:
    source = "fn relu(x: f32[N]) -> f32[N] { x * 3 }\nmodel m(x: f32[N]) -> f32[N] { relu(x) }"
    assert [op.name for op in elaborate(check(source, "m.well"), "m").ops] == ["constant", "mul"]


@pytest.mark.parametrize(
    "body",
    [
        "(" * 3000 + "x" + ")" * 3000,
        "-" * 3000 + "x",
        "+".join(["x"] * 3000),
        "x" + "[0]" * 3000,
        "x" + " |> relu" * 3000,
        "f(" * 3000 + "x" + ")" * 3000,
        "if true { " * 1000 + "x" + " }" * 1000,
        "9" * 5000,
        "2 ** 2 ** 2 ** 2 ** 2 ** 2 * x",
        "1e308 * 1e308 * x",
        "repeat 999999999 { let y = x }; x",
        "zeros([1" + ", 1" * 300 + "])",
        "split(x, 100000000)",
    ],
    ids=range(13),
)
def test_extremes_are_diagnostics(body: str) -> None:
    assert message(f"fn g(x: f32[4]) {{ {body} }}")


@pytest.mark.parametrize(
    ("start", "step"),
    [
        ("N / 3", "{} * {}"),
        ("N // 3", "({} * {}) // 7"),
        ("N // 3", "max({} // 5, {} // 7)"),
        ("sqrt(N)", "{} + {}"),
    ],
)
def test_sizes_that_double_end(start: str, step: str) -> None:
    lines = [f"let a0 = {start}"]
    lines += [f"let a{i + 1} = {step.format(f'a{i}', f'a{i}')}" for i in range(60)]
    body = "; ".join(lines)
    assert "SW050" in message(f"model m(x: f32[N]) -> f32[N] {{ {body}; x * a60 }}")


def test_elements_that_double_end() -> None:
    nested = "double(" * 60 + "x[i]" + ")" * 60
    source = f"fn double(x: f32[]) -> f32[] {{ x + x }}\nmodel m(x: f32[N]) {{ [i] -> {nested} }}"
    assert "SW0502" in message(source)


def test_what_is_too_large_with_sample_arguments_is_told_where_it_is_called() -> None:
    source = """
    layer parts(x: f32[N, K], count: int) -> f32[N] { split(x, 5000 * count)[0] }
    model m(x: f32[N, 4]) { parts(x, count: 1) }"""
    assert "SW0502" in message(source)


def test_doubling_calls_end() -> None:
    calls = "\n".join(
        f"fn f{i}(x: f32[N]) -> f32[N] {{ f{i - 1}(f{i - 1}(x)) }}" for i in range(1, 39)
    )
    assert message(f"fn f0(x: f32[N]) -> f32[N] {{ x + 1 }}\n{calls}")
