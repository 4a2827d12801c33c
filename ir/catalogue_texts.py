"""The catalogue's part about IR texts: codes SW09xx.

Each example is a graph's text that is refused with the code.
"""

from __future__ import annotations

from stepwell.ir.catalogue_entry import Entry

IR_TEXTS = (
    Entry(
        "SW0901",
        "something else was expected in an IR text",
        "The text does not fit the grammar of the IR at this place, or is nested too deeply.",
        """\
graph @f(%x: f32[4]) {
  %y = exp(%x : f32[4]
  return y = %y
}
""",
        "Write one of the things that the message names; a bracket may be missing before.",
    ),
    Entry(
        "SW0902",
        "not an element type",
        "Element types are f64 f32 f16 bf16 i64 i32 i16 i8 u8 bool.",
        """\
graph @f(%x: float[4]) {
  return y = %x
}
""",
        "Use one of the ten names, such as `f32`.",
    ),
    Entry(
        "SW0903",
        "an unknown name in an IR text",
        "A value, buffer, size, function or source file is used that nothing before declares.",
        """\
graph @f(%x: f32[4]) {
  %y = exp(%z) : f32[4]
  return y = %y
}
""",
        "Declare it before its use, or correct the name.",
    ),
    Entry(
        "SW0904",
        "types in an expression do not fit",
        (
            "The operands of an operator have one element type, conditions and guards are bool, "
            "subscripts are i64; nothing is converted silently."
        ),
        """\
graph @f(%x: f32[4]) {
  %y = index(%x) {formula = [i: 4] -> x0[i] + i} : f32[4]
  return y = %y
}
""",
        "Convert with the name of the type, as in `f32(i)`.",
    ),
    Entry(
        "SW0905",
        "not a size",
        "A size is made of integers, names of sizes, and + - * // % max min.",
        """\
graph @f(%x: f32[2.5]) {
  return y = %x
}
""",
        "Write an integer expression over sizes.",
    ),
    Entry(
        "SW0906",
        "a number that does not fit",
        "A literal is outside the range of its type, or its suffix is no type.",
        """\
graph @f(%x: u8[4]) {
  %y = index(%x) {formula = [i: 4] -> max(x0[i], 300_u8)} : u8[4]
  return y = %y
}
""",
        "Without a suffix a number with a point is f32 and one without is i64: `1.5_f64`, `3_i32`.",
    ),
    Entry(
        "SW0907",
        "defined twice in an IR text",
        "A value or an attribute is defined a second time; a value has one definition.",
        """\
graph @f(%x: f32[4]) {
  %x = exp(%x) : f32[4]
  return y = %x
}
""",
        "Give the second another name.",
    ),
    Entry(
        "SW0908",
        "a part of an IR text that is not allowed",
        "An attribute that the operator does not have or cannot read, or a malformed statement.",
        """\
graph @f(%x: f32[4]) {
  %y = exp(%x) {speed = 3} : f32[4]
  return y = %y
}
""",
        "`docs/graph-ir.md` lists every operator with its attributes.",
    ),
    Entry(
        "SW0909",
        "an unknown operator",
        "The graph IR has no operator of this name.",
        """\
graph @f(%x: f32[4]) {
  %y = exponential(%x) : f32[4]
  return y = %y
}
""",
        "`docs/graph-ir.md` lists every operator.",
    ),
    Entry(
        "SW0910",
        "a rule of the IR is broken",
        (
            "The text can be read, but the operator refuses its operands, or the type written "
            "is not the one that follows from them."
        ),
        """\
graph @f(%x: f32[4]) {
  %y = exp(%x) : f32[5]
  return y = %y
}
""",
        "Correct the operands or the type; the message says what follows.",
    ),
)

PIPELINES = (
    Entry(
        "SW0920",
        "an unknown pass",
        "A pipeline names a pass that does not exist.",
        "canonicalise,cse\n",
        "The message lists the passes, or the one that was probably meant.",
    ),
    Entry(
        "SW0921",
        "a malformed pipeline",
        "A pipeline is passes with commas between; options stand in braces: `split{loop=i,by=16}`.",
        "fold{limit=many}\n",
        "Correct the option's name or value, or the comma or brace that is missing.",
    ),
)
