"""A small C program beside the header that trains: epochs of steps on raw files.

In: a program that trains parameters, its header's name. Out: the text of `main.c`,

    ./main state=step.state out=trained.state epochs=20 batch=64 image=image.raw label=label.raw

Each file holds all samples, one after another. In each epoch they are visited in the order that
`stepwell train` takes (`driver/training/order.py`): that of 64-bit keys, which Philox 4x32-10 makes
of the seed, the epoch and the sample's number. So the parameters end in the same bits.
"""

from __future__ import annotations

from collections.abc import Sequence

from stepwell.codegen import c_names
from stepwell.codegen.main_parts import FILES, SIZE, arithmetic, bytes_of, head, type_of
from stepwell.ir.loop.core import Program, ProgramBuffer
from stepwell.ir.size import symbol

_ORDER = """
/* A file of any length. */
static void *read_all(const char *path, int64_t *bytes) {
    FILE *file = fopen(path, "rb");
    long end;
    if (!file) fail("cannot be opened", path);
    if (fseek(file, 0, SEEK_END) != 0 || (end = ftell(file)) < 0) fail("cannot be read", path);
    fclose(file);
    *bytes = (int64_t)end;
    return read_file(path, *bytes);
}

static int64_t number(int count, char **arguments, const char *name, int64_t usual) {
    const char *text = argument(count, arguments, name);
    char *end;
    int64_t value;
    if (!text) return usual;
    value = (int64_t)strtoll(text, &end, 10);
    if (*text == 0 || *end != 0) fail("is no number", name);
    return value;
}

/* Words 0 and 1 of Philox 4x32-10 (Salmon, Moraes, Dror and Shaw 2011). */
static uint64_t philox(uint64_t low, uint64_t high, uint64_t key) {
    uint32_t a = (uint32_t)low, b = (uint32_t)(low >> 32);
    uint32_t c = (uint32_t)high, d = (uint32_t)(high >> 32);
    uint32_t k = (uint32_t)key, l = (uint32_t)(key >> 32);
    int round;
    for (round = 0; round < 10; round++) {
        uint64_t left = (uint64_t)0xD2511F53u * a, right = (uint64_t)0xCD9E8D57u * c;
        a = (uint32_t)(right >> 32) ^ b ^ k;
        b = (uint32_t)right;
        c = (uint32_t)(left >> 32) ^ d ^ l;
        d = (uint32_t)left;
        k += 0x9E3779B9u;
        l += 0xBB67AE85u;
    }
    return (uint64_t)b << 32 | a;
}

typedef struct {
    uint64_t key;
    int64_t sample;
} place;

static int compare(const void *x, const void *y) {
    const place *left = (const place *)x, *right = (const place *)y;
    if (left->key != right->key) return left->key < right->key ? -1 : 1;
    return left->sample < right->sample ? -1 : left->sample > right->sample;
}

/* The order in which an epoch visits the samples. */
static void shuffle(place *order, int64_t samples, uint64_t seed, uint64_t epoch) {
    int64_t i;
    for (i = 0; i < samples; i++) {
        order[i].key = philox((uint64_t)i, ~epoch, seed);
        order[i].sample = i;
    }
    qsort(order, (size_t)samples, sizeof *order, compare);
}

static void gather(void *to, const void *from, const place *order, int64_t rows, int64_t bytes) {
    int64_t i;
    for (i = 0; i < rows; i++)
        memcpy((char *)to + i * bytes, (const char *)from + order[i].sample * bytes, (size_t)bytes);
}
"""

_MAIN = """
int main(int count, char **arguments) {
@declarations@
    int64_t epochs, batch, seed, first, rows, epoch, i, samples = -1, most;
    int shuffled;
    place *order;
    const char *path, *threads;
    stepwell_pool pool = {NULL, NULL, 0};
    void *weights = NULL, *state, *workspace;
    int32_t status;
    if (count < 2) {
        fprintf(stderr, "usage: %s state=FILE out=FILE [weights=FILE] [epochs=N] [batch=N] "
                "[seed=N] [shuffle=no] [threads=N] @usage@\\n",
                arguments[0]);
        return 2;
    }
    epochs = number(count, arguments, "epochs", 1);
    batch = number(count, arguments, "batch", @batch@);
    seed = number(count, arguments, "seed", @seed@);
    path = argument(count, arguments, "shuffle");
    shuffled = !path || strcmp(path, "no") != 0;
    if (epochs < 0) fail("is less than 0", "epochs");
    if (batch < 1@fixed@) fail("is no size of a batch", "batch");
    threads = argument(count, arguments, "threads");
    if (threads) pool.threads = strtoll(threads, NULL, 10);
    if (threads && pool.threads < 1) fail("is no number of threads", "threads");
    (void)required(count, arguments, "out");
    state = read_file(required(count, arguments, "state"), @name@_state_size());
    path = argument(count, arguments, "weights");
    if (path) weights = read_file(path, @name@_weights_size());
    else if (@name@_weights_size() > 0 && !@name@_weights())
        fail("is missing; run without arguments for usage", "weights");
@sizes@
@inputs@
    if (samples < @least@) fail("are too few for a batch", "samples");
@first@
    most = @name@_workspace_size(@arguments@);
@rest@
    if (most < 0) fail("these sizes are refused", "sizes");
    workspace = allocate(most);
@outputs@
    order = (place *)allocate(samples * (int64_t)sizeof *order);
    for (i = 0; i < samples; i++) order[i].sample = i;
    for (epoch = 0; epoch < epochs; epoch++) {
        double seen = 0;
        if (shuffled) shuffle(order, samples, (uint64_t)seed, (uint64_t)epoch);
@sums@
        for (first = 0; @while@; first += batch) {
            rows = samples - first < batch ? samples - first : batch;
@step@
            seen += (double)rows;
        }
        printf("epoch %" PRId64 " of %" PRId64, epoch + 1, epochs);
@print@
        printf("\\n");
        fflush(stdout);
    }
    write_file(required(count, arguments, "out"), state, @name@_state_size());
@free@
    free(order);
    free(state);
    free(weights);
    free(workspace);
    return 0;
}
"""

_PRINTED = ("f64", "f32", "i64", "i32", "i16", "i8", "u8")


def trains(program: Program) -> bool:
    """Whether the program is a step of training on samples: it updates parameters, and the first
    axis of its first input that has any counts samples."""
    axis = _sample_axis(program)
    plain = isinstance(axis, int) or any(axis == symbol(size) for size in program.sizes)
    return plain and any(item.trained for item in program.with_role("state"))


def _sample_axis(program: Program) -> object:
    ranked = (item.buffer.shape[0] for item in program.with_role("input") if item.buffer.shape)
    return next(ranked, None)


def training_main_text(program: Program, header: str, library: str, seed: int) -> str:
    """The whole of `main.c`; `seed` is that of the initial state."""
    items = (*program.with_role("input"), *program.with_role("output"))
    first = head(f"Trains with `{program.name}`", header, library)
    writer = _Writer(program, seed)
    size = SIZE if writer.sizes else ""
    return "".join([first, FILES, size, arithmetic(items), _ORDER, writer.main()])


class _Writer:
    """The parts of `main` that depend on the program."""

    def __init__(self, program: Program, seed: int) -> None:
        self.program, self.seed = program, seed
        self.names = c_names.argument_names(program)
        self.axis = _sample_axis(program)
        self.inputs, self.outputs = program.with_role("input"), program.with_role("output")
        self.sizes = [size for size in program.sizes if symbol(size) != self.axis]
        self.printed = [
            item
            for item in self.outputs
            if not item.buffer.shape and item.buffer.dtype.name in _PRINTED
        ]

    def main(self) -> str:
        fixed = isinstance(self.axis, int)
        axis = "" if fixed else f"size_{self.names.sizes[str(self.axis)]}"
        sizes = [f"size_{self.names.sizes[size]}" for size in self.program.sizes]
        arguments = ", ".join([*sizes, "&pool"])
        rest = [
            f"{axis} = samples % batch ? samples % batch : batch;",
            f"workspace_size = {self.name}_workspace_size({arguments});",
            "if (workspace_size > most) most = workspace_size;",
        ]
        parts = {
            "name": self.name,
            "declarations": _lines(self._declarations(), 4),
            "usage": " ".join(self._usage()),
            "batch": str(self.axis) if fixed else "32",
            "seed": f"INT64_C({self.seed})",
            "fixed": f" || batch != {self.axis}" if fixed else "",
            "sizes": _lines(self._sizes(), 4),
            "inputs": _lines(self._read(), 4),
            "least": str(self.axis) if fixed else "1",
            "first": "" if fixed else f"    {axis} = batch;",
            "arguments": arguments,
            "rest": "" if fixed else _lines(rest, 4),
            "outputs": _lines(self._allocate(axis), 4),
            "sums": _lines([f"sum_{self._word(item)} = 0;" for item in self.printed], 8),
            "while": f"first + {self.axis} <= samples" if fixed else "first < samples",
            "step": _lines(self._step(axis, sizes), 12),
            "print": _lines(self._print(), 8),
            "free": _lines(self._free(), 4),
        }
        text = _MAIN
        for name, part in parts.items():
            if not part:
                text = text.replace(f"@{name}@\n", "")
            text = text.replace(f"@{name}@", part)
        return text

    @property
    def name(self) -> str:
        return c_names.symbol(self.program.name)

    def _word(self, item: ProgramBuffer) -> str:
        return self.names.arrays[item.buffer.name]

    def _is_by_sample(self, item: ProgramBuffer) -> bool:
        return bool(item.buffer.shape) and item.buffer.shape[0] == self.axis

    def _usage(self) -> list[str]:
        sizes = [f"{self.names.sizes[size]}=SIZE" for size in self.sizes]
        return [*sizes, *(f"{self._word(item)}=FILE" for item in self.inputs)]

    def _declarations(self) -> list[str]:
        lines = [f"int64_t size_{self.names.sizes[size]};" for size in self.program.sizes]
        if not isinstance(self.axis, int):
            lines.append("int64_t workspace_size;")
        for item in (*self.inputs, *self.outputs):
            lines.append(f"{type_of(item)} *data_{self._word(item)};")
        for item in filter(self._is_by_sample, self.inputs):
            lines.append(f"void *all_{self._word(item)};")
            lines.append(f"int64_t bytes_{self._word(item)}, row_{self._word(item)};")
        return [*lines, *(f"double sum_{self._word(item)};" for item in self.printed)]

    def _sizes(self) -> list[str]:
        words = [self.names.sizes[size] for size in self.sizes]
        return [f'size_{word} = size_argument(count, arguments, "{word}");' for word in words]

    def _read(self) -> list[str]:
        lines: list[str] = []
        for item in self.inputs:
            word, type = self._word(item), type_of(item)
            path = f'required(count, arguments, "{word}")'
            if not self._is_by_sample(item):
                size = bytes_of(self.program, item)
                lines.append(f"data_{word} = ({type} *)read_file({path}, {size});")
                continue
            lines += [
                f"row_{word} = {bytes_of(self.program, item, 1)};",
                f"all_{word} = read_all({path}, &bytes_{word});",
                f"if (samples < 0 && row_{word} > 0) samples = bytes_{word} / row_{word};",
                f"if (bytes_{word} != samples * row_{word})",
                f'    fail("has not the right number of samples", "{word}");',
                f"data_{word} = ({type} *)allocate(batch * row_{word});",
            ]
        return lines

    def _allocate(self, axis: str) -> list[str]:
        first = [f"{axis} = batch;"] if axis else []
        return first + [
            f"data_{self._word(i)} = ({type_of(i)} *)allocate({bytes_of(self.program, i)});"
            for i in self.outputs
        ]

    def _step(self, axis: str, sizes: Sequence[str]) -> list[str]:
        lines = [
            f"gather(data_{word}, all_{word}, order + first, rows, row_{word});"
            for word in map(self._word, filter(self._is_by_sample, self.inputs))
        ]
        if axis:
            lines.append(f"{axis} = rows;")
        call = [*sizes, *(f"data_{self._word(i)}" for i in (*self.inputs, *self.outputs))]
        arguments = ", ".join([*call, "weights", "state", "workspace", "&pool"])
        lines += [
            f"status = {self.name}_run({arguments});",
            f'if (status != 0) fail({self.name}_error_message(status), "{self.name}");',
        ]
        if self.printed and self.printed[0].buffer.dtype.is_float:
            loss = f"*data_{self._word(self.printed[0])}"
            lines.append(f'if ({loss} - {loss} != 0) fail("is not finite", "the loss");')
        for word in map(self._word, self.printed):
            lines.append(f"sum_{word} += (double)*data_{word} * (double)rows;")
        return lines

    def _print(self) -> list[str]:
        return [
            f'printf("  {word} %.6g", sum_{word} / seen);' for word in map(self._word, self.printed)
        ]

    def _free(self) -> list[str]:
        words = map(self._word, filter(self._is_by_sample, self.inputs))
        data = (f"free(data_{self._word(item)});" for item in (*self.inputs, *self.outputs))
        return [*data, *(f"free(all_{word});" for word in words)]


def _lines(lines: Sequence[str], indent: int) -> str:
    return "\n".join(" " * indent + line for line in lines)
