"""Which newlines end a statement: a filter between the lexer and the parser.

    x            x |> relu        (the newline before `|>` is dropped)
      |> relu  →

A newline is dropped inside ( ) and [ ], after the brackets of a reduction, after a token that
cannot end a statement, and before one that cannot begin one. A line that begins with `-` is a
statement of its own: `-` has a prefix form.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from lark import Token
from lark.lark import PostLex

OPENERS = {"LPAR": "RPAR", "LSQB": "RSQB", "LBRACE": "RBRACE"}
OPERATORS = {"OR", "AND", "COMPARE", "PLUS", "POWER", "STAR", "TIMES", "EQUAL", "COMMA", "COLON"}
OPERATORS |= {"DOT", "PIPE", "ARROW", "PACK", "AS", "WHERE"}
CANNOT_END = OPERATORS | {"MINUS", "NOT", "LBRACE", "LET", "PARAM", "REPEAT", "FN", "LAYER"}
CANNOT_END |= {
    "REDUCE",
    "QUANTIFIER",
    "MODEL",
    "TRAIN",
    "OPTIMIZER",
    "STATE",
    "METRIC",
    "GRADIENT",
    "USE",
    "IF",
    "ELSE",
    "SEMICOLON",
}
CANNOT_BEGIN = OPERATORS | {"RBRACE", "ELSE", "SEMICOLON", "GRADIENT", "$END"}


class Newlines(PostLex):
    """Drops the newlines that do not separate statements."""

    always_accept = ("_NL", "RESERVED")  # reserved words must reach the parser

    def process(self, stream: Iterator[Token]) -> Iterator[Token]:
        return _filtered(stream)


def _filtered(stream: Iterable[Token]) -> Iterator[Token]:
    open_brackets: list[str] = []
    reductions: set[int] = set()  # how many brackets are open around each `sum[…]`
    previous = ""
    pending: Token | None = None
    for token in stream:
        if token.type == "_NL":
            inside = bool(open_brackets) and open_brackets[-1] != "LBRACE"
            if not inside and previous and previous not in CANNOT_END:
                pending = pending or token
            continue
        if pending is not None and token.type not in CANNOT_BEGIN:
            yield pending
        pending = None
        if token.type in OPENERS:
            if previous in ("REDUCE", "QUANTIFIER"):
                reductions.add(len(open_brackets))
            open_brackets.append(token.type)
        elif open_brackets and token.type == OPENERS[open_brackets[-1]]:
            open_brackets.pop()
        previous = token.type
        if token.type == "RSQB" and len(open_brackets) in reductions:
            reductions.remove(len(open_brackets))
            previous = "REDUCE"  # its body follows
        yield token
