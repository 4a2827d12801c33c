"""A small C program beside the header that runs a model on raw files.

In: a program, its header's name. Out: the text of `main.c`,

    ./main weights=digits.weights N=360 image=image.raw out=out.raw threads=4

which reads dense row-major arrays, runs the model, and writes the outputs. Where the model has
state, `state=FILE` holds it before the run, and after. What trains has a program of its own:
`training_main.py`.
"""

from __future__ import annotations

from stepwell.codegen import c_names
from stepwell.codegen.main_parts import FILES, SIZE, arithmetic, bytes_of, head, type_of
from stepwell.ir.loop.core import Program


def main_text(program: Program, header: str, library: str) -> str:
    """The whole of `main.c`; `header` is the header's file name, `library` what -l names."""
    items = (*program.with_role("input"), *program.with_role("output"))
    size = SIZE if program.sizes else ""
    first = head(f"Runs `{program.name}`", header, library)
    return "".join([first, FILES, size, arithmetic(items), _main(program)])


def _main(program: Program) -> str:
    name, names = c_names.symbol(program.name), c_names.argument_names(program)
    inputs, outputs = program.with_role("input"), program.with_role("output")
    sizes = [names.sizes[size] for size in program.sizes]
    state = ["state"] if program.with_role("state") else []
    usage = [f"{size}=SIZE" for size in sizes] + [f"{word}=FILE" for word in state]
    usage += [f"{names.arrays[item.buffer.name]}=FILE" for item in (*inputs, *outputs)]
    lines = [
        "int main(int count, char **arguments) {",
        *(f"    int64_t size_{size};" for size in sizes),
        "    int64_t workspace_size;",
        *(f"    int64_t bytes_{names.arrays[i.buffer.name]};" for i in (*inputs, *outputs)),
        *(f"    {type_of(i)} *data_{names.arrays[i.buffer.name]};" for i in (*inputs, *outputs)),
        "    const char *weights_path, *threads;",
        "    stepwell_pool pool = {NULL, NULL, 0};",
        "    void *weights = NULL, *workspace;",
        *(f"    void *{word};" for word in state),
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
    kept = 'required(count, arguments, "state")'
    lines += [f"    {word} = read_file({kept}, {name}_state_size());" for word in state]
    for item in inputs:
        word = names.arrays[item.buffer.name]
        lines.append(f"    bytes_{word} = {bytes_of(program, item)};")
        path = f'required(count, arguments, "{word}")'
        lines.append(f"    data_{word} = ({type_of(item)} *)read_file({path}, bytes_{word});")
    for item in outputs:
        word = names.arrays[item.buffer.name]
        lines.append(f"    bytes_{word} = {bytes_of(program, item)};")
        lines.append(f'    (void)required(count, arguments, "{word}");')
        lines.append(f"    data_{word} = ({type_of(item)} *)allocate(bytes_{word});")
    call = [f"size_{size}" for size in sizes]
    call += [f"data_{names.arrays[item.buffer.name]}" for item in (*inputs, *outputs)]
    lines += [
        f"    status = {name}_run({', '.join([*call, 'weights', *state, 'workspace', '&pool'])});",
        f'    if (status != 0) fail({name}_error_message(status), "{name}");',
    ]
    for item in outputs:
        word = names.arrays[item.buffer.name]
        path = f'required(count, arguments, "{word}")'
        lines.append(f"    write_file({path}, data_{word}, bytes_{word});")
    lines += [f"    write_file({kept}, {word}, {name}_state_size());" for word in state]
    lines += [
        *(f"    free({word});" for word in state),
        *(f"    free(data_{names.arrays[item.buffer.name]});" for item in (*inputs, *outputs)),
        "    free(weights);",
        "    free(workspace);",
        "    return 0;",
        "}",
    ]
    return "\n" + "\n".join(lines) + "\n"
