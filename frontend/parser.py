"""Source text to a syntax tree: Lark's LALR parser, then `SyntaxBuilder`.

    fn double(x: f32[..S]) -> f32[..S] { 2 * x }   →   Module(functions=(Function("fn", …),))

A file with a mistake is cut into its top-level declarations, and each is parsed by itself, so that
mistakes in different declarations are all reported.
"""

from __future__ import annotations

import io
import re
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from functools import lru_cache
from importlib.resources import files

from lark import Lark, Token, Tree
from lark.exceptions import UnexpectedCharacters, UnexpectedInput, UnexpectedToken, VisitError

from stepwell.frontend import syntax
from stepwell.frontend.limits import MAX_SOURCE, MAX_SYNTAX_DEPTH
from stepwell.frontend.newlines import Newlines
from stepwell.frontend.parse_errors import explain_character, explain_token
from stepwell.frontend.syntax_builder import MisplacedError, SyntaxBuilder
from stepwell.ir.diagnostics import Diagnostic, Label, UserError
from stepwell.ir.recursion import deep_recursion
from stepwell.ir.span import Span

_DECLARATION = re.compile(r"^(?:use|fn|layer|model|optimizer)\b[ \t]*(\w*)|^train\b", re.MULTILINE)
_saved: list[bytes] = []  # tables that were given, before the first use


def give_parser(data: bytes) -> None:
    """Have `saved_parser()`'s bytes, so that the tables need not be made again."""
    _saved[:] = [data]


def has_parser() -> bool:
    """Whether the tables were given, or are made already."""
    return bool(_saved) or lark_parser.cache_info().currsize > 0


def saved_parser() -> bytes:
    """The parser's tables: what a cache may keep."""
    file = io.BytesIO()
    lark_parser().save(file)
    return file.getvalue()


@lru_cache(maxsize=1)
def lark_parser() -> Lark:
    """The LALR parser, built once per process."""
    for data in _saved:
        with suppress(Exception):  # a cache may hold anything
            return Lark.load(io.BytesIO(data))
    grammar = files("stepwell.frontend").joinpath("grammar.lark").read_text(encoding="utf-8")
    return Lark(
        grammar,
        parser="lalr",
        lexer="basic",
        postlex=Newlines(),
        propagate_positions=True,
        maybe_placeholders=True,
    )


@dataclass(frozen=True)
class Recovered:
    """What could be read of a source: the declarations without mistakes, the mistakes of others.

    `broken` are the names of the declarations that could not be read.
    """

    module: syntax.Module
    faults: tuple[Diagnostic, ...]
    broken: tuple[str, ...]


def parse(source: str, file: str) -> syntax.Module:
    """The syntax tree of a source. Raises UserError with every declaration's first mistake."""
    recovered = parse_with_recovery(source, file)
    if recovered.faults:
        raise UserError(recovered.faults, {file: source})
    return recovered.module


def parse_with_recovery(source: str, file: str) -> Recovered:
    """The syntax tree of all declarations that can be read, and what is wrong with the others."""
    found = _parse_text(source, file)
    if isinstance(found, syntax.Module):
        return Recovered(found, (), ())
    uses: list[syntax.Use] = []
    functions: list[syntax.Function] = []
    faults: list[Diagnostic] = []
    broken: list[str] = []
    for name, text in _pieces(source):
        piece = _parse_text(text, file)
        if isinstance(piece, syntax.Module):
            uses += piece.uses
            functions += piece.functions
        else:
            faults.append(piece)
            broken.append(name)
    module = syntax.Module(_start(file), file, tuple(uses), tuple(functions))
    return Recovered(module, tuple(faults or [found]), tuple(broken))


def _pieces(source: str) -> Iterator[tuple[str, str]]:
    """Each top-level declaration by itself: its name, its text in its place."""
    matches = list(_DECLARATION.finditer(source))
    if not matches or len(source) > MAX_SOURCE:
        return
    starts = [match.start() for match in matches]
    for match, begin, end in zip(
        matches, [0, *starts[1:]], [*starts[1:], len(source)], strict=True
    ):
        padding = "\n" * source.count("\n", 0, begin)
        yield match[1] or "", padding + source[begin:end]


def _parse_text(source: str, file: str) -> syntax.Module | Diagnostic:
    if len(source) > MAX_SOURCE:
        return _fault("SW0106", f"this file has more than {MAX_SOURCE} characters", _start(file))
    try:
        with deep_recursion():
            tree = lark_parser().parse(source)
            too_deep = _too_deep(tree, file)
            return too_deep or SyntaxBuilder(file).transform(tree)
    except UnexpectedToken as error:
        return explain_token(error, source, file)
    except UnexpectedCharacters as error:
        return explain_character(error, source, file)
    except VisitError as error:
        if isinstance(error.orig_exc, MisplacedError):
            fault = error.orig_exc
            return _fault("SW0104", fault.message, fault.span, fault.help)
        raise
    except UnexpectedInput as error:
        return _fault("SW0101", str(error), _start(file))


def _too_deep(tree: Tree[Token], file: str) -> Diagnostic | None:
    stack = [(tree, 1)]
    while stack:
        node, depth = stack.pop()
        if depth > MAX_SYNTAX_DEPTH:
            span = Span(
                file, node.meta.line, node.meta.column, node.meta.line, node.meta.column + 1
            )
            return _fault(
                "SW0106",
                f"nested more than {MAX_SYNTAX_DEPTH} levels deep",
                span,
                "give parts a name with `let`",
            )
        stack += [(child, depth + 1) for child in node.children if isinstance(child, Tree)]
    return None


def _start(file: str) -> Span:
    return Span(file, 1, 1, 1, 2)


def _fault(code: str, message: str, span: Span, help: str | None = None) -> Diagnostic:
    return Diagnostic(code, message, (Label(span),), (), help)
