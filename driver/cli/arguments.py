"""Arguments that several commands share, and how inputs are named on the command line.

--input image=digits.npz:test_image     one array of an .npz
--input x=x.npy                         an .npy
--input rate=0.2                        a number
"""

from __future__ import annotations

import argparse
import zipfile
from typing import Any

import numpy as np

from stepwell.arrays import Array
from stepwell.compilation import Mode, Options, Static
from stepwell.ir.diagnostics import InputError
from stepwell.suggestions import did_you_mean, listed


class CommandError(Exception):
    """The command line is at fault: exit code 2."""


def add_model(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--model", "-m", metavar="M",
        help="which model; not needed if there is one, or one is called as the file is",
    )  # fmt: skip


def add_train_modes(parser: argparse.ArgumentParser) -> None:
    """Instead of a model: what a train block compiles to. `options` reads it."""
    parser.add_argument(
        "--train", metavar="T", help="instead of a model: the step of this train block"
    )
    parser.add_argument(
        "--evaluate", metavar="T", help="instead of a model: what evaluates this train block"
    )


def add_statics(parser: argparse.ArgumentParser) -> None:
    """Values of static arguments."""
    parser.add_argument(
        "--static", metavar="NAME=VALUE", action="append", default=[],
        help="the value of a static argument of the model; once for each",
    )  # fmt: skip


def add_compilation(parser: argparse.ArgumentParser) -> None:
    """What changes the code that is made: `options` reads it."""
    add_statics(parser)
    parser.add_argument("--target-cpu", metavar="CPU", help="compile for another processor")
    parser.add_argument(
        "--tuning", metavar="F", help="the database of tuned schedules (else the one in the cache)"
    )
    parser.add_argument("--fast-math", action="store_true", help="allow rules that hold for reals")
    parser.add_argument(
        "--no-winograd", action="store_true",
        help="no convolutions by Winograd's method, which is quicker and rounds more",
    )  # fmt: skip
    parser.add_argument(
        "--check-each-pass", action="store_true",
        help="after every pass parse the text back, verify, and run before and after",
    )  # fmt: skip


def options(args: argparse.Namespace, model: str | None) -> Options:
    """What the arguments of `add_compilation` say, for one model. CommandError."""
    statics = tuple(read_statics(args.static).items())
    mode, chosen = _mode(args, model)
    return Options(
        chosen, args.target_cpu, args.fast_math, args.check_each_pass, statics,
        not args.no_winograd, tuning=args.tuning, mode=mode,
    )  # fmt: skip


def _mode(args: argparse.Namespace, model: str | None) -> tuple[Mode, str | None]:
    """What is compiled, and its name. CommandError where that is said twice."""
    step, evaluated = getattr(args, "train", None), getattr(args, "evaluate", None)
    if sum(name is not None for name in (model, step, evaluated)) > 1:
        raise CommandError("--model, --train, --evaluate: choose one of them")
    if step is not None:
        return "step", step
    return ("evaluate", evaluated) if evaluated is not None else ("model", model)


def read_statics(items: list[str]) -> dict[str, Static]:
    """`depth=12` arguments. CommandError."""
    statics: dict[str, Static] = {}
    for item in items:
        name, equals, value = item.partition("=")
        if not equals or not name:
            raise CommandError(f"--static {item}: write name=value, as in depth=12")
        number = _number(value)
        statics[name] = value if number is None else number
    return statics


def add_dump(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--dump", metavar="DIR", help="write every stage and every changed pass as numbered files"
    )


def add_json(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--json", action="store_true", help="diagnostics as JSON, for tools")


def add_weights(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--weights", "-w", metavar="W", help="a .safetensors or .npz file")
    parser.add_argument(
        "--seed",
        type=int,
        default=0,
        help="of the initialisers, where there are no weights, and of random numbers",
    )


def add_threads(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--threads", type=int, metavar="N",
        help="at most so many; else STEPWELL_THREADS, OMP_NUM_THREADS, or the usable cores",
    )  # fmt: skip


def read_inputs(items: list[str]) -> dict[str, Any]:
    """`name=value` arguments as arrays and numbers. CommandError or InputError."""
    inputs: dict[str, Any] = {}
    for item in items:
        name, equals, value = item.partition("=")
        if not equals or not name or not value:
            raise CommandError(f"--input {item}: write name=x.npy or name=file.npz:key")
        if name in inputs:
            raise CommandError(f"--input {name} is given twice")
        inputs[name] = _read_input(name, value)
    return inputs


def _read_input(name: str, value: str) -> Array | float | int | bool:
    number = _number(value)
    if number is not None:
        return number
    path, _, key = value.rpartition(":") if ".npz:" in value else (value, "", "")
    try:
        loaded = np.load(path, allow_pickle=False)
    except FileNotFoundError:
        raise InputError(f"input `{name}`: no file {path}") from None
    except (OSError, ValueError, EOFError, zipfile.BadZipFile) as error:
        raise InputError(f"input `{name}`: can't read {path}: {_reason(error)}") from None
    if isinstance(loaded, np.ndarray):
        return loaded
    with loaded:
        return _pick(name, path, key, loaded)


def _pick(name: str, path: str, key: str, arrays: Any) -> Array:
    keys = list(arrays.keys())
    if not key:
        key = name if name in keys else keys[0] if len(keys) == 1 else ""
    if not keys:
        raise InputError(f"input `{name}`: there are no arrays in {path}")
    if not key:
        raise InputError(
            f"input `{name}`: {path} holds {listed(keys)}; choose one: {name}={path}:{keys[0]}"
        )
    if key not in keys:
        hint = did_you_mean(key, keys)
        raise InputError(f"input `{name}`: {path} has no array `{key}`{hint}")
    try:
        array: Array = arrays[key]
    except (OSError, ValueError, zipfile.BadZipFile) as error:
        raise InputError(f"input `{name}`: can't read {path}: {_reason(error)}") from None
    return array


def _reason(error: Exception) -> str:
    if isinstance(error, OSError) and error.strerror:
        return error.strerror
    # NumPy takes whatever has not its magic number for a pickle.
    return "it holds no array of numbers" if "pickle" in str(error) else str(error)


def _number(text: str) -> float | int | bool | None:
    if text in ("true", "false"):
        return text == "true"
    for kind in (int, float):
        try:
            return kind(text)
        except ValueError:
            continue
    return None
