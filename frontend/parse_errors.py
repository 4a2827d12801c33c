"""A parser's refusal in human words.

    UnexpectedToken(got NAME "x", expects {RPAR, COMMA})  →  SW0101: expected `,` or `)`, found `x`

Common mistakes are recognised from what stands around the fault, and get a hint of their own.
"""

from __future__ import annotations

import re

from lark import Token
from lark.exceptions import UnexpectedCharacters, UnexpectedToken

from stepwell.frontend.syntax_builder import token_span
from stepwell.ir.diagnostics import Diagnostic, Label
from stepwell.ir.dtypes import BY_NAME
from stepwell.ir.span import Span

WORDS = {
    "NAME": "a name",
    "INT": "a number",
    "FLOAT": "a number",
    "STRING": "a string",
    "TRUE": "a value",
    "FALSE": "a value",
    "_NL": "a new line",
    "$END": "the end of the file",
    "COMPARE": "a comparison",
    "PLUS": "an operator",
    "MINUS": "an operator",
    "STAR": "an operator",
    "TIMES": "an operator",
    "POWER": "an operator",
    "OR": "an operator",
    "AND": "an operator",
    "LPAR": "`(`",
    "RPAR": "`)`",
    "LSQB": "`[`",
    "RSQB": "`]`",
    "LBRACE": "`{`",
    "RBRACE": "`}`",
    "COMMA": "`,`",
    "COLON": "`:`",
    "EQUAL": "`=`",
    "DOT": "`.`",
    "ARROW": "`->`",
    "PIPE": "`|>`",
    "PACK": "`..`",
    "ELLIPSIS": "`...`",
    "SEMICOLON": "`;`",
    "REDUCE": "a reduction",
    "QUANTIFIER": "a reduction",
}
RUNTIME_LATER = {
    "scan": "run-time loops",
    "while": "run-time loops",
    "print": "printing from compiled code",
    "assert": "assertions in compiled code",
    "yield": "run-time loops",
}
_STARTS_EXPRESSION = {"NAME", "INT", "LPAR", "LSQB"}
_OPERATORS = {"PLUS", "MINUS", "STAR", "TIMES", "POWER", "OR", "AND", "COMPARE", "PIPE", "DOT"}


def not_there_yet(word: str, span: Span) -> Diagnostic:
    """The diagnostic for a reserved word."""
    topic = RUNTIME_LATER.get(word, "this")
    return Diagnostic(
        "SW0110",
        f"`{word}` is not there yet: the word is reserved for {topic}",
        (Label(span, "reserved"),),
        (),
        "choose another name, or leave this part out for now",
    )


def explain_token(error: UnexpectedToken, source: str, file: str) -> Diagnostic:
    """What the parser expected where it met a token that does not fit."""
    token: Token = error.token
    span = _token_place(token, source, file)
    if token.type == "RESERVED":
        return not_there_yet(str(token), span)
    expected = set(error.accepts or error.expected)
    before = _word_before(source, span)
    message = f"expected {_any_of(expected)}, found {_shown(token)}"
    code, help = _recognise(token, before, expected, source)
    help = help or _misplaced(token, before, expected, _unclosed(source, file, before=span))
    labels = [Label(span, "not expected here")]
    opener = _unclosed(source, file, before=span) if code == "SW0105" else None
    if opener is not None:
        bracket, place = opener
        if str(token) in _CLOSERS.values() and not _opened(source, file, span, str(token)):
            label = Label(span, "one too many")
            return Diagnostic(code, f"this `{token}` closes nothing", (label,), (), None)
        message = f"a `{bracket}` is not closed"
        labels = [Label(span, f"expected `{_CLOSERS[bracket]}`"), Label(place, "opened here")]
        help = None
    return Diagnostic(code, message, tuple(labels), (), help)


_CLOSERS = {"(": ")", "[": "]", "{": "}"}


def _unclosed(source: str, file: str, before: Span) -> tuple[str, Span] | None:
    """The innermost bracket that is open at a place."""
    stack = _open_brackets(source, file, before)
    return stack[-1] if stack else None


def _opened(source: str, file: str, before: Span, closer: str) -> bool:
    """Whether the bracket that `closer` closes is open at a place."""
    return any(_CLOSERS[b] == closer for b, _ in _open_brackets(source, file, before))


def _open_brackets(source: str, file: str, before: Span) -> list[tuple[str, Span]]:
    stack: list[tuple[str, Span]] = []
    for number, line in enumerate(source.split("\n"), 1):
        text = re.sub(r'"[^"]*"', lambda match: " " * len(match[0]), line)
        for column, character in enumerate(text.split("#")[0], 1):
            if (number, column) >= (before.line, before.column):
                return stack
            if character in _CLOSERS:
                stack.append((character, Span(file, number, column, number, column + 1)))
            elif stack and character == _CLOSERS[stack[-1][0]]:
                stack.pop()
    return stack


def explain_character(error: UnexpectedCharacters, source: str, file: str) -> Diagnostic:
    """A character that begins no token."""
    character = error.char
    span = Span(file, error.line, error.column, error.line, error.column + 1)
    if character == '"':
        return Diagnostic(
            "SW0103", "this string has no end on its line", (Label(span),), (), 'close it with `"`'
        )
    help = {
        "&": "write `and`",
        "|": "write `or`, or `|>` for a pipe",
        "!": "write `not`, or `!=` to compare",
        "^": "a power is written `**`",
        "'": 'strings stand in double quotes: `"…"`',
        "?": "a choice is written `if … { } else { }` or `select(c, a, b)`",
        "−": "this is not the ASCII minus `-`",
        "→": "write `->`",
        "×": "write `*`, or `@` for matrices",
        "·": "write `*`, or `@` for matrices",
        "≤": "write `<=`",
        "≥": "write `>=`",
        "≠": "write `!=`",
        "“": 'strings stand in straight quotes: `"…"`',
        "”": 'strings stand in straight quotes: `"…"`',
    }.get(character)
    if not character.isprintable():
        help = "it can't be seen: delete it, or write a space"
    shown = character if character.isprintable() else f"U+{ord(character):04X}"
    return Diagnostic(
        "SW0102", f"the character `{shown}` means nothing here", (Label(span),), (), help
    )


def _recognise(
    token: Token, previous: str, expected: set[str], source: str
) -> tuple[str, str | None]:
    kind = token.type
    match kind:
        case "$END" if "RBRACE" in expected or "_NL" in expected:
            return "SW0105", "a `{` is not closed: add `}`"
        case "$END":
            return "SW0105", "the file ends in the middle of something: is a bracket not closed?"
        case "EQUAL" if "COLON" in expected or "RPAR" in expected:
            return "SW0101", "a named argument is written `name: value`; to compare, write `==`"
        case "EQUAL" if "COMPARE" in expected:
            return "SW0101", "to compare, write `==`; to bind a name, `let name = …`"
        case "COMPARE" if str(token) == "==" and "EQUAL" in expected:
            return "SW0101", "to bind a name, write a single `=`"
        case "LBRACE" if previous == "->":
            return "SW0101", "write the result's type after `->`, as in `-> f32[N]`"
        case "NAME" if str(token) in ("def", "func", "function"):
            return "SW0101", "functions begin with `fn`, layers with `layer`, models with `model`"
        case "NAME" if str(token) in ("import", "from"):
            return "SW0101", "write `use nn`"
    if previous in _FOREIGN:
        return "SW0101", _FOREIGN[previous]
    if kind in ("RPAR", "RSQB", "RBRACE") and _unbalanced(source):
        return "SW0105", None
    if kind == "RBRACE" and "NAME" in expected:
        return "SW0101", "the expression ends too early: something must follow"
    return "SW0101", None


def _misplaced(
    token: Token, previous: str, expected: set[str], opener: tuple[str, Span] | None
) -> str | None:
    """A hint for what is a word or a sign of the language elsewhere, or of another language."""
    word, kind = str(token), token.type
    if word.lower() in _DECLARATIONS and word.lower() != word:
        return f"write `{word.lower()}`"
    if opener is not None and opener[1].line < (token.line or 1) and previous != ",":
        bracket, place = opener
        closer = {"(": "RPAR", "[": "RSQB"}.get(bracket)
        if closer in expected:
            return f"is the `{bracket}` of line {place.line} not closed, or a comma missing?"
    if kind in _STARTS_EXPRESSION and "COMMA" in expected:
        return "is a comma missing?"
    if word == "//" and "PLUS" not in expected:
        return "a comment begins with `#`"
    if word == "where" and "INT" in expected:
        return "`select(condition, a, b)` chooses between values"
    if word == "if" and "PLUS" in expected:
        return "a choice is written `if condition { a } else { b }`, or `select(condition, a, b)`"
    if word == "=" and previous in ("+", "-", "*", "/"):
        return f"inside `repeat` write `x = x {previous} …`, elsewhere `let x = x {previous} …`"
    if {"ARROW", "LBRACE"} <= expected:
        return "the result's type stands behind `->`, as in `-> f32[N]`"
    if expected == {"COLON"} and previous in BY_NAME:
        return f"the name comes first: `{word}: {previous}`"
    if "NAME" in expected and "INT" not in expected and kind != "NAME" and word.isidentifier():
        return f"`{word}` is a word of the language: choose another name"
    if kind == "NAME" and "LPAR" in expected and "COMPARE" in expected:
        return "is an operator missing, or parentheses, as in `f(x)`?"
    return None


_DECLARATIONS = ("use", "fn", "layer", "model", "train", "optimizer")

_FOREIGN = {
    "return": "there is no `return`: the last expression of a block is its value",
    "for": "repeat a block with `repeat 3 as i { … }`",
    "var": "bind names with `let`",
    "const": "bind names with `let`",
    "mut": "bind names with `let`; inside `repeat` a name can get a new value",
    "import": "write `use nn`",
    "from": "write `use nn`",
    "def": "functions begin with `fn`, layers with `layer`, models with `model`",
    "lambda": "functions are declared with `fn`",
}


def _word_before(source: str, span: Span) -> str:
    """The word or sign in front of a place, on its line."""
    line = source.split("\n")[span.line - 1] if span.line <= source.count("\n") + 1 else ""
    match = re.search(r"(\w+|->|[^\s\w])\s*$", line[: span.column - 1])
    return match[1] if match else ""


def _unbalanced(source: str) -> bool:
    text = re.sub(r'#[^\n]*|"[^"\n]*"', "", source)
    return any(text.count(a) != text.count(b) for a, b in ("()", "[]", "{}"))


def _any_of(expected: set[str]) -> str:
    words = {WORDS.get(name, f"`{name.lower()}`") for name in expected if name != "RESERVED"}
    if "NAME" in expected and "LPAR" in expected and "INT" in expected:
        start = {"NAME", "INT", "FLOAT", "STRING", "TRUE", "FALSE", "LPAR", "LSQB", "IF", "MINUS"}
        start |= {"NOT", "REDUCE", "QUANTIFIER"}
        rest = {WORDS.get(n, f"`{n.lower()}`") for n in expected - start if n != "RESERVED"}
        words = {"an expression"} | rest
    if _OPERATORS - {"PIPE"} <= expected:
        rest = expected - _OPERATORS - {"LPAR", "LSQB", "TIMES", "RESERVED"}
        words = {"an operator"} | {WORDS.get(name, f"`{name.lower()}`") for name in rest}
    ordered = sorted(words, key=lambda word: (word.startswith("`"), word))
    if len(ordered) > 5:
        ordered = [*ordered[:5], "…"]
    if len(ordered) == 1:
        return ordered[0]
    return f"{', '.join(ordered[:-1])} or {ordered[-1]}" if ordered else "something else"


def _shown(token: Token) -> str:
    if token.type == "_NL":
        return "the end of the line"
    return "the end of the file" if token.type == "$END" else f"`{token}`"


def _token_place(token: Token, source: str, file: str) -> Span:
    if token.type not in ("$END", "_NL"):
        return token_span(token, file)
    if token.type == "_NL":
        return Span(
            file, token.line or 1, token.column or 1, token.line or 1, (token.column or 1) + 1
        )
    lines = source.rstrip().split("\n")
    column = len(lines[-1]) + 1
    return Span(file, len(lines), column, len(lines), column + 1)
