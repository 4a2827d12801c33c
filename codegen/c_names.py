"""Names of a program as C knows them.

In: names of models, sizes and arrays. Out: C identifiers that neither C, C++ nor their headers use.

    symbol("int")   →   "int", as in int_run          identifier("float")   →   "float_"
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from stepwell.ir.loop.core import Program

# Keywords of C and C++; the types of a header; what compilers and the library define as macros.
_WORDS = """
auto break case char const continue default do double else enum extern float for goto if inline
int long register restrict return short signed sizeof static struct switch typedef union
unsigned void volatile while bool true false nullptr class new delete this template typename
namespace using operator private public protected virtual try catch throw friend main
alignas alignof and and_eq asm bitand bitor char8_t char16_t char32_t compl concept consteval
constexpr constinit const_cast co_await co_return co_yield decltype dynamic_cast explicit export
mutable noexcept not not_eq or or_eq reinterpret_cast requires static_assert static_cast
thread_local typeid typeof typeof_unqual wchar_t xor xor_eq
int8_t int16_t int32_t int64_t uint8_t uint16_t uint32_t uint64_t size_t
linux unix i386 NULL EOF BUFSIZ NAN INFINITY I stdin stdout stderr errno assert complex
imaginary offsetof signals slots emit
"""
_RESERVED = re.compile(r"_[A-Z]|__|[A-Z0-9_]+_(MAX|MIN|WIDTH|C)$")


def symbol(name: str) -> str:
    """What a model's functions and files begin with."""
    word = re.sub(r"[^A-Za-z0-9_]", "_", name)
    return f"_{word}" if not word or word[0].isdigit() else word


def identifier(name: str) -> str:
    """A C identifier like the name, for an argument."""
    word = symbol(name)
    if _RESERVED.match(word):
        word = re.sub("_+", "_", word).strip("_") + "_"
    return f"{word}_" if word in _WORDS.split() else word


@dataclass(frozen=True)
class ArgumentNames:
    """A distinct C identifier for each size, and for each input and output."""

    sizes: dict[str, str]
    arrays: dict[str, str]


def argument_names(program: Program) -> ArgumentNames:
    """The identifiers; a size and an array may have the same name in the program."""
    taken = {"weights", "state", "workspace", "status", "argument", "pool", "threads"}
    arrays = [*program.with_role("input"), *program.with_role("output")]
    return ArgumentNames(
        {size: _free(size, taken) for size in program.sizes},
        {item.buffer.name: _free(item.buffer.name, taken) for item in arrays},
    )


def _free(name: str, taken: set[str]) -> str:
    """An identifier like the name that was not taken; now it is."""
    word, count = identifier(name), 0
    while word in taken:
        count += 1
        word = f"{identifier(name)}_{count}"
    taken.add(word)
    return word
