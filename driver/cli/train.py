"""`stepwell train`: train what a file's train block says, with checkpoints, a log and curves."""

from __future__ import annotations

import argparse
import time
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from stepwell.cli.arguments import (
    CommandError,
    add_compilation,
    add_json,
    add_threads,
    options,
)
from stepwell.files import require_file
from stepwell.ir.diagnostics import InputError
from stepwell.source import read_source
from stepwell.terminal import print_note
from stepwell.threads import require_count

if TYPE_CHECKING:
    from stepwell.training.trainer import Trainer

HELP = "train a model on arrays from files"
DESCRIPTION = """\
Compile a train block to one native step and run it on the samples in DATA, whose arrays are
called as the block's inputs are; `digits.npz:train_` takes the arrays of that prefix. Beside
OUT.safetensors, with the model's parameters at the end, lie OUT.checkpoint.safetensors, from
which --resume goes on to the same bits, and OUT.log.jsonl. What an earlier run left there is
overwritten only with --overwrite."""
EXAMPLE = """\
stepwell train examples/digits/digits.well --data examples/digits/digits.npz:train_ \\
    --valid examples/digits/digits.npz:test_ --epochs 20 --batch 64 --out digits.safetensors"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("file", metavar="FILE", help="a .well file, or a step as IR text")
    parser.add_argument(
        "--train", metavar="T",
        help="which train block; not needed if there is one, or one is called as the file is",
    )  # fmt: skip
    parser.add_argument("--data", metavar="F", required=True, help="an .npz or .safetensors file")
    parser.add_argument("--valid", metavar="F", help="held-out samples, evaluated each epoch")
    parser.add_argument("--epochs", type=int, default=10, metavar="N", help="in all (default: 10)")
    parser.add_argument("--batch", type=int, metavar="N", help="samples of a step (default: 32)")
    parser.add_argument("--weights", "-w", metavar="W", help="a .safetensors or .npz to begin with")
    parser.add_argument("--seed", type=int, help="of all that is random (default: 0)")
    parser.add_argument("--out", "-o", metavar="F", help="the trained parameters: a .safetensors")
    parser.add_argument("--resume", action="store_true", help="go on from the checkpoint, if any")
    parser.add_argument(
        "--overwrite", action="store_true",
        help="begin anew over what an earlier run left; without it such files are an error",
    )  # fmt: skip
    parser.add_argument(
        "--checkpoint-seconds", type=float, default=60, metavar="S",
        help="how old a checkpoint may get within an epoch (default: 60)",
    )  # fmt: skip
    parser.add_argument(
        "--checkpoint-steps", type=int, metavar="N", help="the same in steps (default: no limit)"
    )
    parser.add_argument("--log", metavar="F", help="the log, where not beside --out")
    parser.add_argument("--logdir", metavar="DIR", help="TensorBoard's event files")
    parser.add_argument("--plot", metavar="F", help="the curves as a .png")
    parser.add_argument("--quiet", action="store_true", help="print nothing but errors")
    add_threads(parser)
    add_compilation(parser)
    add_json(parser)


def run(args: argparse.Namespace) -> int:
    from stepwell.training.files import read_arrays

    require_count(args.threads)
    _require(args)
    data = read_arrays(args.data)
    valid = None if args.valid is None else read_arrays(args.valid)
    start = time.perf_counter()
    checkpoint = _beside(args.out, "checkpoint.safetensors")
    log = args.log or _beside(args.out, "log.jsonl")
    _require_free(args, checkpoint, log)
    trainer = _trainer(args)
    done = trainer.position.step
    try:
        trainer.fit(
            data, epochs=args.epochs, batch=args.batch, valid=valid, checkpoint=checkpoint,
            seconds=args.checkpoint_seconds, steps=args.checkpoint_steps, log=log,
            logdir=args.logdir, plot=args.plot, show=not args.quiet,
            overwrite=True,  # what there was has been looked for
        )  # fmt: skip
    except KeyboardInterrupt:
        return 130
    if args.out is not None:
        trainer.save(args.out)
    if not args.quiet:
        steps, spent = trainer.position.step - done, time.perf_counter() - start
        _print(trainer, steps, spent, [args.out, checkpoint, log, args.plot])
    return 0


def _require(args: argparse.Namespace) -> None:
    """CommandError for what can be known before anything is read."""
    if args.out is not None and not args.out.endswith(".safetensors"):
        raise CommandError(f"--out {args.out}: the name must end in .safetensors")
    if args.resume and args.out is None:
        raise CommandError("--resume needs --out: the checkpoint lies beside it")
    if args.epochs < 1:
        raise CommandError(f"--epochs {args.epochs}: at least 1")
    if args.batch is not None and args.batch < 1:
        raise CommandError(f"--batch {args.batch}: at least 1")
    if args.out is not None:
        require_file(args.out, "--out")


def _require_free(
    args: argparse.Namespace, checkpoint: Path | None, log: str | Path | None
) -> None:
    """CommandError where the run would begin over what an earlier one left."""
    from stepwell.training.checkpoint import steps_in

    if args.overwrite or (args.resume and checkpoint is not None and checkpoint.exists()):
        return
    done = 0 if checkpoint is None else steps_in(checkpoint)
    there = [str(path) for path in (args.out, log) if path is not None and _holds(Path(path))]
    if done:
        there.append(f"{checkpoint} (of {done} steps)")
    if there:
        ways = ["--resume to go on from there"] if done else []
        ways += ["--overwrite to begin anew", "another name to keep it"]
        raise CommandError(f"an earlier run left {', '.join(there)}: give {', or '.join(ways)}")


def _holds(path: Path) -> bool:
    """Whether there is something in the file; there is nothing to lose in a device."""
    return path.is_file() and path.stat().st_size > 0


def _beside(out: str | None, ending: str) -> Path | None:
    """`digits.safetensors` → `digits.checkpoint.safetensors`."""
    return None if out is None else Path(out.removesuffix(".safetensors") + f".{ending}")


def _trainer(args: argparse.Namespace) -> Trainer:
    """Compiled, and where the run goes on."""
    from stepwell.training.checkpoint import read_checkpoint
    from stepwell.training.trainer import Trainer

    checkpoint = _beside(args.out, "checkpoint.safetensors")
    found = None
    if args.resume and checkpoint is not None and checkpoint.exists():
        found = read_checkpoint(checkpoint)
        if args.seed not in (None, found.origin.seed):
            raise InputError(f"{checkpoint} is of seed {found.origin.seed}, not {args.seed}")
    seed = found.origin.seed if found else args.seed or 0
    chosen = replace(options(args, None), model=args.train, mode="step")
    trainer = Trainer(read_source(args.file), chosen, args.weights, seed, args.threads)
    if found is not None and checkpoint is not None:
        trainer.resume(checkpoint)
        if not trainer.wrote(found):
            print_note(
                f"{args.file} has changed since the checkpoint: the run goes on with it as it is"
            )
    elif args.resume:
        print_note(f"there is no {checkpoint}: the run begins")
    return trainer


def _print(trainer: Trainer, steps: int, seconds: float, files: list[str | Path | None]) -> None:
    from stepwell.training.display import print_history, summary

    history = trainer.position.history
    print()
    print_history(history)
    print()
    last = {name: x for name, x in history[-1].items() if name != "samples_per_second"}
    total = trainer.position.step
    all_steps = "1 step" if total == 1 else f"{total} steps"
    print(f"{trainer.name}: {all_steps}, {steps} of them now, in {seconds:.1f} s")
    print(f"last epoch: {summary(last)}")
    written = [str(path) for path in files if path is not None]
    if written:
        print(f"wrote {', '.join(written)}")
