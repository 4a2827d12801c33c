"""`stepwell build`: a library with a C interface from a model."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from stepwell import terminal
from stepwell.cli.arguments import (
    CommandError,
    add_compilation,
    add_dump,
    add_json,
    add_model,
    add_train_modes,
    add_weights,
    options,
)
from stepwell.compilation import Compilation
from stepwell.debug import Trace
from stepwell.parameters import hold
from stepwell.programs import model_names
from stepwell.signature import Signature
from stepwell.source import Source, read_source
from stepwell.state import StateBlock, of_the_model, without_states
from stepwell.weights import Weights, read_weights

if TYPE_CHECKING:
    from stepwell.ir.loop.core import Program

HELP = "make a library with a C interface"
DESCRIPTION = """\
Compile a model into a shared object, an object file or an archive, with a C header, a
`main.c` that runs it on raw files (one of your own stays as it is), and its weights beside it
(or inside, with --embed). With --all every model of the file goes in, each with its own weights
file; W holds the arrays of all of them. With --train it is the step of a train block: its state
as it is at first is beside it, and `main.c` trains."""
EXAMPLE = """\
stepwell build examples/digits/digits.well --model digits --weights digits.safetensors \\
    -o libdigits.so"""

_SUFFIXES = (".so", ".o", ".a", ".dylib")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("file", metavar="FILE", help="a .well file, or IR text")
    add_model(parser)
    add_train_modes(parser)
    add_weights(parser)
    parser.add_argument("--output", "-o", metavar="F", required=True, help="ends in .so, .o or .a")
    parser.add_argument("--all", action="store_true", help="every model of the file")
    parser.add_argument("--embed", action="store_true", help="put the weights into the object")
    add_compilation(parser)
    add_dump(parser)
    add_json(parser)


def run(args: argparse.Namespace) -> int:
    from stepwell.codegen.description import describe
    from stepwell.codegen.jit import NativeProgram
    from stepwell.codegen.objects import build

    output = Path(args.output)
    if output.suffix not in _SUFFIXES:
        raise CommandError(f"-o {output}: the name must end in one of {', '.join(_SUFFIXES)}")
    source, trace = read_source(args.file), Trace.start(args.dump)
    compilations = [
        Compilation(source, options(args, name), trace) for name in _chosen(source, args)
    ]
    programs = [compilation.program for compilation in compilations]
    target = compilations[0].target
    given = read_weights(args.weights)
    weights, states = {}, {}
    for program in programs:
        about = describe(program, target)
        signature, own = Signature.of(about), _own(given, program, programs)
        if signature.states:
            own = None if own is None else of_the_model(own)
            states[program.name] = StateBlock.of(signature, own, args.seed).block
            own = None if own is None else without_states(signature, own)
        if signature.parameters:
            native = NativeProgram.preparing(program)
            weights[program.name] = hold(about, native, own, args.seed).block
    if trace.needs_everything:
        for compilation in compilations:
            _ = compilation.objects
    made = build(programs, target, output, weights, args.embed, states, args.seed)
    for path in made:
        print(path)
    if output.parent / "main.c" not in made:
        terminal.print_note("main.c is not Stepwell's: it stays as it is")
    if weights and given is None and args.train is None:
        terminal.print_note(f"no --weights: parameters were drawn with seed {args.seed}")
    return 0


def _own(given: Weights | None, program: Program, programs: Sequence[Program]) -> Weights | None:
    """The weights without those that only other models of the object have."""
    if given is None:
        return None
    own, known = _paths([program]), _paths(programs)
    return {path: value for path, value in given.items() if path in own or path not in known}


def _paths(programs: Sequence[Program]) -> set[str]:
    roles = ("parameter", "state")
    return {item.buffer.name for p in programs for item in p.buffers if item.role in roles}


def _chosen(source: Source, args: argparse.Namespace) -> list[str | None]:
    """The models to put in: the named one, or all; None stands for the file's own."""
    if not args.all or source.kind != "well":
        return [args.model]
    if args.train is not None or args.evaluate is not None:
        raise CommandError("--all asks for every model, --train and --evaluate for none")
    if args.model is not None:
        raise CommandError("--model names one model, --all asks for every one")
    names = model_names(source)
    if not names:
        raise CommandError(f"{source.file} declares no model")
    return list(names)
