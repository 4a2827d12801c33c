"""A small C program beside the header that runs a model on raw files.

In: a program, its header's name. Out: the text of `main.c`,

    ./main weights=digits.weights N=360 image=image.raw out=out.raw threads=4

which reads dense row-major arrays, runs the model, and writes the outputs.
"""

from __future__ import annotations

from stepwell.codegen import c_names
from stepwell.codegen.c_names import ArgumentNames
from stepwell.codegen.header import C_TYPES
from stepwell.ir.loop.core import Program, ProgramBuffer
from stepwell.ir.size import Atom, Dim

_HEAD = """\
/* Runs `@MODEL@` on raw files: dense row-major arrays, nothing else in them.
 * Build: cc main.c -L. -l@LIBRARY@ -o main    (or: cc main.c @LIBRARY@.a -o main) */

#include "@HEADER@"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
"""

_FILES = """
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

_SIZE = """
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


def main_text(program: Program, header: str, library: str) -> str:
    """The whole of `main.c`; `header` is the header's file name, `library` what -l names."""
    head = _HEAD.replace("@MODEL@", program.name).replace("@HEADER@", header)
    parts = [head.replace("@LIBRARY@", library), _FILES]
    if program.sizes:
        parts.append(_SIZE)
    items = (*program.with_role("input"), *program.with_role("output"))
    used = {name for item in items for dim in item.buffer.shape for name in _functions(dim)}
    parts += [text for name, text in _ARITHMETIC.items() if name in used]
    parts.append(_main(program))
    return "".join(parts)


def _main(program: Program) -> str:
    name, names = c_names.symbol(program.name), c_names.argument_names(program)
    inputs, outputs = program.with_role("input"), program.with_role("output")
    sizes = [names.sizes[size] for size in program.sizes]
    usage = [f"{size}=SIZE" for size in sizes]
    usage += [f"{names.arrays[item.buffer.name]}=FILE" for item in (*inputs, *outputs)]
    lines = [
        "int main(int count, char **arguments) {",
        *(f"    int64_t size_{size};" for size in sizes),
        "    int64_t workspace_size;",
        *(f"    int64_t bytes_{names.arrays[i.buffer.name]};" for i in (*inputs, *outputs)),
        *(f"    {_type(i)} *data_{names.arrays[i.buffer.name]};" for i in (*inputs, *outputs)),
        "    const char *weights_path, *threads;",
        "    stepwell_pool pool = {NULL, NULL, 0};",
        "    void *weights = NULL, *workspace;",
        "    int32_t status;",
        "    if (count < 2) {",
        f'        fprintf(stderr, "usage: %s [weights=FILE] [threads=N] {" ".join(usage)}\\n",',
        "                arguments[0]);",
        "        return 2;",
        "    }",
    ]
    for size in sizes:
        lines.append(f'    size_{size} = size_argument(count, arguments, "{size}");')
    arguments = ", ".join([*(f"size_{size}" for size in sizes), "&pool"])
    lines += [
        '    threads = argument(count, arguments, "threads");',
        "    if (threads) pool.threads = strtoll(threads, NULL, 10);",
        '    if (threads && pool.threads < 1) fail("is no number of threads", "threads");',
        f"    workspace_size = {name}_workspace_size({arguments});",
        '    if (workspace_size < 0) fail("these sizes are refused", "sizes");',
        "    workspace = allocate(workspace_size);",
        '    weights_path = argument(count, arguments, "weights");',
        f"    if (weights_path) weights = read_file(weights_path, {name}_weights_size());",
        f"    else if ({name}_weights_size() > 0 && !{name}_weights())",
        '        fail("is missing; run without arguments for usage", "weights");',
    ]
    for item in inputs:
        word = names.arrays[item.buffer.name]
        lines.append(f"    bytes_{word} = {_bytes(program, item)};")
        path = f'required(count, arguments, "{word}")'
        lines.append(f"    data_{word} = ({_type(item)} *)read_file({path}, bytes_{word});")
    for item in outputs:
        word = names.arrays[item.buffer.name]
        lines.append(f"    bytes_{word} = {_bytes(program, item)};")
        lines.append(f'    (void)required(count, arguments, "{word}");')
        lines.append(f"    data_{word} = ({_type(item)} *)allocate(bytes_{word});")
    call = [f"size_{size}" for size in sizes]
    call += [f"data_{names.arrays[item.buffer.name]}" for item in (*inputs, *outputs)]
    lines += [
        f"    status = {name}_run({', '.join([*call, 'weights', 'workspace', '&pool'])});",
        f'    if (status != 0) fail({name}_error_message(status), "{name}");',
    ]
    for item in outputs:
        word = names.arrays[item.buffer.name]
        path = f'required(count, arguments, "{word}")'
        lines.append(f"    write_file({path}, data_{word}, bytes_{word});")
    lines += [
        *(f"    free(data_{names.arrays[item.buffer.name]});" for item in (*inputs, *outputs)),
        "    free(weights);",
        "    free(workspace);",
        "    return 0;",
        "}",
    ]
    return "\n" + "\n".join(lines) + "\n"


def _type(item: ProgramBuffer) -> str:
    return C_TYPES[item.buffer.dtype.name]


def _bytes(program: Program, item: ProgramBuffer) -> str:
    names = c_names.argument_names(program)
    factors = [_c_dim(dim, names) for dim in item.buffer.shape]
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
