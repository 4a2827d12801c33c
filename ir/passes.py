"""Passes: pure functions from IR to IR with a name and options; pipelines of them; checking.

    parse_pipeline("canonicalize,fuse{max_ops=3}")  →  (Canonicalize(), Fuse(max_ops=3))

A pass is a frozen dataclass whose fields are its options, with a class variable `name` and a method
`run`. `run_pipeline` runs passes in order; with `check` it also prints, parses, verifies and
interprets the IR around each pass, and names the first that changed the answer.
"""

from __future__ import annotations

import dataclasses
import re
import typing
from collections.abc import Callable, Mapping, Sequence
from typing import Any, ClassVar, NoReturn, Protocol, TypeVar

from stepwell.ir.checking import check_pass, kind_of
from stepwell.ir.diagnostics import InternalError, PassError, StepwellError, UserError
from stepwell.ir.resolve import did_you_mean, mistake
from stepwell.ir.syntax import Place, unquote
from stepwell.ir.text import format_string


class Pass(Protocol):
    """A transformation of one IR; `run` returns the same object where nothing changed."""

    name: ClassVar[str]

    def run(self, ir: Any, /) -> Any: ...


PASSES: dict[str, type[Any]] = {}
P = TypeVar("P", bound=type[Any])


def register_pass(cls: P) -> P:
    """Make a pass known by its name; usable as a decorator. The same class may come twice."""
    known = PASSES.setdefault(cls.name, cls)
    if known is not cls:
        raise ValueError(f"two passes are called {cls.name}")
    return cls


_TOKEN = re.compile(r'\s*([A-Za-z_][\w-]*|"(?:[^"\\]|\\.)*"|-?[\w.+-]+|[{},=]|\S)')


@dataclasses.dataclass(frozen=True)
class _Token:
    text: str
    at: Place


class _PipelineReader:
    """pipeline ::= [pass ("," pass)*]      pass ::= NAME ["{" option ("," option)* "}"]"""

    def __init__(self, text: str, file: str, passes: Mapping[str, type[Any]]) -> None:
        self.text, self.file, self.passes = text, file, passes
        self.tokens = [
            _Token(found[1], Place(1, found.start(1) + 1, 1, found.end(1) + 1))
            for found in _TOKEN.finditer(text)
        ]
        self.position = 0
        end = len(text) + 1
        self.end = _Token("", Place(1, end, 1, end + 1))

    def fail(self, token: _Token, code: str, message: str, help: str | None = None) -> NoReturn:
        raise mistake(self.file, self.text, token.at, code, message, help)

    def next(self) -> _Token:
        token = self.tokens[self.position] if self.position < len(self.tokens) else self.end
        self.position += 1
        return token

    def peek(self) -> str:
        return self.tokens[self.position].text if self.position < len(self.tokens) else ""

    def expect(self, text: str) -> None:
        token = self.next()
        if token.text != text:
            found = f"`{token.text}`" if token.text else "the end"
            self.fail(token, "SW0921", f"expected `{text}`, found {found}")

    def pipeline(self) -> tuple[Pass, ...]:
        found: list[Pass] = []
        while self.peek():
            found.append(self.one())
            if self.peek():
                self.expect(",")
        return tuple(found)

    def one(self) -> Pass:
        token = self.next()
        cls = self.passes.get(token.text)
        if cls is None:
            hint = did_you_mean(token.text, self.passes)
            hint = hint or f"passes are {', '.join(sorted(self.passes))}"
            self.fail(token, "SW0920", f"there is no pass `{token.text}`", hint)
        options: dict[str, Any] = {}
        if self.peek() == "{":
            self.next()
            while self.peek() != "}":
                self.option(cls, options)
                if self.peek() != "}":
                    self.expect(",")
            self.next()
        required = [f.name for f in dataclasses.fields(cls) if _required(f)]
        missing = [name for name in required if name not in options]
        if missing:
            self.fail(token, "SW0921", f"{token.text} needs the option `{missing[0]}`")
        made: Pass = cls(**options)
        return made

    def option(self, cls: type[Any], options: dict[str, Any]) -> None:
        token = self.next()
        types = _option_types(cls)
        if token.text not in types:
            hint = did_you_mean(token.text, types)
            hint = hint or (f"options are {', '.join(types)}" if types else "it has none")
            self.fail(token, "SW0921", f"{cls.name} has no option `{token.text}`", hint)
        self.expect("=")
        value = self.next()
        try:
            options[token.text] = _READERS[types[token.text]](value.text)
        except (ValueError, KeyError):
            kind = getattr(types[token.text], "__name__", "value")
            message = f"`{token.text}` of {cls.name} is of type {kind}, not `{value.text}`"
            self.fail(value, "SW0921", message)


def _required(field: dataclasses.Field[Any]) -> bool:
    missing = dataclasses.MISSING
    return field.init and field.default is missing and field.default_factory is missing


def _option_types(cls: type[Any]) -> dict[str, Any]:
    hints = typing.get_type_hints(cls)
    return {field.name: hints[field.name] for field in dataclasses.fields(cls) if field.init}


def _read_string(text: str) -> str:
    if text in ("", "{", "}", ",", "="):
        raise ValueError(text)
    return unquote(text) if text.startswith('"') else text


_READERS: dict[Any, Callable[[str], Any]] = {
    int: int,
    float: float,
    bool: lambda text: {"true": True, "false": False}[text],
    str: _read_string,
}


def parse_pipeline(
    text: str, file: str = "<passes>", passes: Mapping[str, type[Any]] | None = None
) -> tuple[Pass, ...]:
    """The passes that a text such as `"cse,fuse{max_ops=3}"` names. Raises UserError."""
    return _PipelineReader(text, file, PASSES if passes is None else passes).pipeline()


def format_pass(item: Pass) -> str:
    """A pass as `parse_pipeline` reads it; options at their defaults are left out."""
    cls: Any = type(item)
    options = []
    for field in dataclasses.fields(cls):
        value = getattr(item, field.name)
        if field.init and value != field.default:
            options.append(f"{field.name}={_option_text(value)}")
    return f"{item.name}{{{','.join(options)}}}" if options else item.name


def _option_text(value: Any) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    return format_string(value) if isinstance(value, str) else str(value)


Observer = Callable[[Pass, Any, Any], None]


def run_pipeline(
    ir: Any, passes: Sequence[Pass], check: bool = False, observer: Observer | None = None
) -> Any:
    """The IR after the passes, in order; `observer(pass, before, after)` sees each.

    Raises InternalError, with the IR before the pass as reproducer, where a pass fails or (with
    `check`) where what it returns cannot be read back, verified, or gives another answer.
    """
    for item in passes:
        after = run_pass(ir, item)
        if check:
            check_pass(item.name, format_pass(item), ir, after)
        if observer is not None:
            observer(item, ir, after)
        ir = after
    return ir


def run_pass(ir: Any, item: Pass) -> Any:
    """One pass. What goes wrong inside is a bug in Stepwell: InternalError."""
    try:
        return item.run(ir)
    except (UserError, PassError, InternalError):
        raise
    except Exception as error:
        if isinstance(error, StepwellError):
            message = f"the pass {item.name} failed: {error}"
        else:
            message = f"the pass {item.name} raised {type(error).__name__}: {error}"
        raise InternalError(message, kind_of(ir).print(ir), format_pass(item)) from error
