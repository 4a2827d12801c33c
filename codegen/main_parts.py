"""What the C programs beside a header are made of: files, arguments, sizes.

In: a program. Out: C text, and expressions for the bytes of its arrays.

    bytes_of(program, image)   →   "(int64_t)sizeof(*data_image) * size_N * 64"
"""

from __future__ import annotations

from collections.abc import Iterable

from stepwell.codegen import c_names
from stepwell.codegen.c_names import ArgumentNames
from stepwell.codegen.header import C_TYPES
from stepwell.ir.loop.core import Program, ProgramBuffer
from stepwell.ir.size import Atom, Dim

HEAD = """\
/* @WHAT@ on raw files: dense row-major arrays, nothing else in them.
 * Build: cc main.c -L. -l@LIBRARY@ -o main    (or: cc main.c @LIBRARY@.a -o main) */

#include "@HEADER@"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
"""

FILES = """
static void fail(const char *what, const char *about) {
    fprintf(stderr, "main: %s: %s\\n", about, what);
    exit(1);
}

static void *allocate(int64_t bytes) {
    size_t size = ((size_t)bytes + 63) / 64 * 64;
    void *memory = aligned_alloc(64, size ? size : 64);
    if (!memory) fail("out of memory", "allocate");
    return memory;
}

static void *read_file(const char *path, int64_t bytes) {
    FILE *file = fopen(path, "rb");
    void *memory;
    if (!file) fail("cannot be opened", path);
    memory = allocate(bytes);
    if (fread(memory, 1, (size_t)bytes, file) != (size_t)bytes) fail("is too short", path);
    if (fgetc(file) != EOF) fail("is too long", path);
    fclose(file);
    return memory;
}

static void write_file(const char *path, const void *data, int64_t bytes) {
    FILE *file = fopen(path, "wb");
    if (!file) fail("cannot be written", path);
    if (fwrite(data, 1, (size_t)bytes, file) != (size_t)bytes || fclose(file) != 0)
        fail("cannot be written", path);
}

/* The value of `name=value` among the arguments, or NULL. */
static const char *argument(int count, char **arguments, const char *name) {
    size_t length = strlen(name);
    int i;
    for (i = 1; i < count; i++)
        if (strncmp(arguments[i], name, length) == 0 && arguments[i][length] == '=')
            return arguments[i] + length + 1;
    return NULL;
}

static const char *required(int count, char **arguments, const char *name) {
    const char *value = argument(count, arguments, name);
    if (!value) fail("is missing; run without arguments for usage", name);
    return value;
}
"""

SIZE = """
static int64_t size_argument(int count, char **arguments, const char *name) {
    const char *text = required(count, arguments, name);
    char *end;
    long long value = strtoll(text, &end, 10);
    if (*text == 0 || *end != 0 || value < 0) fail("is no size", name);
    return (int64_t)value;
}
"""

_ARITHMETIC = {
    "floordiv": """
static int64_t floor_divide(int64_t x, int64_t y) {
    return y == 0 ? 0 : x / y - (x % y != 0 && (x % y < 0) != (y < 0));
}
""",
    "mod": """
static int64_t modulo(int64_t x, int64_t y) {
    int64_t rest = y == 0 ? 0 : x % y;
    return rest != 0 && (rest < 0) != (y < 0) ? rest + y : rest;
}
""",
    "max": "\nstatic int64_t larger(int64_t x, int64_t y) { return x > y ? x : y; }\n",
    "min": "\nstatic int64_t smaller(int64_t x, int64_t y) { return x < y ? x : y; }\n",
}
_NAMES = {"floordiv": "floor_divide", "mod": "modulo", "max": "larger", "min": "smaller"}


def head(what: str, header: str, library: str) -> str:
    """The first lines; `header` is the header's file name, `library` what -l names."""
    text = HEAD.replace("@WHAT@", what).replace("@HEADER@", header)
    return text.replace("@LIBRARY@", library)


def arithmetic(items: Iterable[ProgramBuffer]) -> str:
    """The functions that the arrays' dims use."""
    used = {name for item in items for dim in item.buffer.shape for name in _functions(dim)}
    return "".join(text for name, text in _ARITHMETIC.items() if name in used)


def type_of(item: ProgramBuffer) -> str:
    return C_TYPES[item.buffer.dtype.name]


def bytes_of(program: Program, item: ProgramBuffer, axes: int = 0) -> str:
    """The bytes of an array; of a part of it where the first axes are left out."""
    names = c_names.argument_names(program)
    factors = [_c_dim(dim, names) for dim in item.buffer.shape[axes:]]
    return " * ".join([f"(int64_t)sizeof(*data_{names.arrays[item.buffer.name]})", *factors])


def _functions(dim: Dim) -> set[str]:
    if isinstance(dim, int):
        return set()
    found: set[str] = set()
    for monomial, _ in dim.terms:
        for atom in monomial:
            if atom.function != "symbol":
                found |= {atom.function} | _functions(atom.left) | _functions(atom.right)
    return found


def _c_dim(dim: Dim, names: ArgumentNames) -> str:
    """A dim as a C expression, in parentheses where it needs them."""
    if isinstance(dim, int):
        return str(dim) if dim >= 0 else f"({dim})"
    terms = []
    for monomial, coefficient in dim.terms:
        factors = [_c_atom(atom, names) for atom in monomial]
        if coefficient != 1 or not factors:
            factors.insert(0, str(coefficient))
        terms.append(" * ".join(factors))
    return terms[0] if len(terms) == 1 and "*" not in terms[0] else f"({' + '.join(terms)})"


def _c_atom(atom: Atom, names: ArgumentNames) -> str:
    if atom.function == "symbol":
        return f"size_{names.sizes[atom.name]}"
    left, right = _c_dim(atom.left, names), _c_dim(atom.right, names)
    return f"{_NAMES[atom.function]}({left}, {right})"
