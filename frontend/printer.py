"""The syntax tree as text: expressions as written, modules as an indented outline.

    Binary("+", Name("x"), Number(1))   →   x + 1

`emit --stage ast` prints `render_ast`: the program with every choice of the parser made visible,
that is one line per statement and parentheses wherever precedence decided.
"""

from __future__ import annotations

from typing import Any

from stepwell.frontend import syntax as s


def expression(node: Any, inner: bool = False) -> str:
    """An expression on one line; parenthesised where it is an operand."""
    match node:
        case s.Name(name=name):
            return name
        case s.Number(text=text):
            return text
        case s.Boolean(value=value):
            return str(value).lower()
        case s.String(value=value):
            return f'"{value}"'
        case s.ListOf(items=items):
            return f"[{_all(items)}]"
        case s.TupleOf(items=items):
            return f"({_all(items)})"
        case s.Pack(name=name):
            return f"..{name}"
        case s.Named(name=name, value=value):
            return f"{name}: {expression(value)}"
        case s.Call(function=function, arguments=arguments, named=named):
            return f"{expression(function, True)}({_all((*arguments, *named))})"
        case s.Attribute(base=base, name=name):
            return f"{expression(base, True)}.{name}"
        case s.Index(base=base, subscripts=subscripts):
            return f"{expression(base, True)}[{_all(subscripts)}]"
        case s.Slice():
            return _slice(node)
        case s.Ellipsis():
            return "..."
    text = _compound(node)
    return f"({text})" if inner else text


def _compound(node: Any) -> str:
    match node:
        case s.Unary(op=op, operand=operand):
            return f"{op}{' ' if op == 'not' else ''}{expression(operand, True)}"
        case s.Binary(op=op, left=left, right=right):
            return f"{expression(left, True)} {op} {expression(right, True)}"
        case s.Comparison(operands=operands, ops=ops):
            parts = [expression(operands[0], True)]
            for op, operand in zip(ops, operands[1:], strict=True):
                parts += [op, expression(operand, True)]
            return " ".join(parts)
        case s.Pipe(value=value, target=target):
            return f"{expression(value)} |> {expression(target)}"
        case s.Notation(axes=axes, body=body):
            return f"[{_axes(axes)}] -> {expression(body)}"
        case s.Reduction(kind=kind, axes=axes, guard=guard, body=body):
            where = f" where {expression(guard)}" if guard is not None else ""
            return f"{kind}[{_axes(axes)}{where}] {expression(body, True)}"
        case s.If(condition=condition, then=then, otherwise=otherwise):
            text = f"if {expression(condition)} {_inline(then)}"
            return f"{text} else {_inline(otherwise)}" if otherwise is not None else text
    return type(node).__name__


def _all(items: tuple[Any, ...]) -> str:
    return ", ".join(expression(item) for item in items)


def _axes(axes: tuple[s.AxisDecl, ...]) -> str:
    return ", ".join(a.name if a.size is None else f"{a.name}: {expression(a.size)}" for a in axes)


def _slice(node: s.Slice) -> str:
    start, stop = ("" if x is None else expression(x) for x in (node.start, node.stop))
    step = "" if node.step is None else f":{expression(node.step)}"
    return f"{start}:{stop}{step}"


def _inline(block: s.Block) -> str:
    return "{ " + "; ".join(line.strip() for x in block.statements for line in statement(x)) + " }"


def type_ref(node: s.TypeRef) -> str:
    """A type."""
    return node.name if node.dims is None else f"{node.name}[{_all(node.dims)}]"


def statement(node: Any, indent: str = "") -> list[str]:
    """A statement's lines."""
    deeper = indent + "    "
    match node:
        case s.Let(bindings=bindings, value=value):
            names = ", ".join(
                b.name if b.type is None else f"{b.name}: {type_ref(b.type)}" for b in bindings
            )
            return [f"{indent}let {names} = {expression(value)}"]
        case s.Param(name=name, type=type, initializer=initializer):
            start = f" = {expression(initializer)}" if initializer is not None else ""
            return [f"{indent}param {name}: {type_ref(type)}{start}"]
        case s.State(name=name, type=type, initializer=initializer):
            typed = f": {type_ref(type)}" if type is not None else ""
            start = f" = {expression(initializer)}" if initializer is not None else ""
            return [f"{indent}state {name}{typed}{start}"]
        case s.Metric(name=name, value=value):
            return [f"{indent}metric {name} = {expression(value)}"]
        case s.Assign(name=name, value=value):
            return [f"{indent}{name} = {expression(value)}"]
        case s.Repeat(count=count, index=index, body=body):
            named = f" as {index}" if index else ""
            lines = [f"{indent}repeat {expression(count)}{named} {{"]
            return [*lines, *_block(body, deeper), indent + "}"]
        case s.If(condition=condition, then=then, otherwise=otherwise):
            lines = [f"{indent}if {expression(condition)} {{", *_block(then, deeper)]
            if otherwise is not None:
                lines += [f"{indent}}} else {{", *_block(otherwise, deeper)]
            return [*lines, indent + "}"]
    return [indent + expression(node)]


def _block(block: s.Block, indent: str) -> list[str]:
    return [line for x in block.statements for line in statement(x, indent)]


def _function(node: s.Function) -> list[str]:
    formals = ", ".join(
        f"{f.name}: {type_ref(f.type)}"
        + (f" = {expression(f.default)}" if f.default is not None else "")
        for f in node.formals
    )
    results = [(f"{r.name}: " if r.name else "") + type_ref(r.type) for r in node.results]
    arrow = ""
    if len(results) == 1 and node.results[0].name is None:
        arrow = f" -> {results[0]}"
    elif results:
        arrow = f" -> ({', '.join(results)})"
    head = f"{node.kind} {node.name}({formals}){arrow} {{"
    lines = [head, *_block(node.body, "    "), "}"]
    if node.gradient is not None:
        names = ", ".join(node.gradient.cotangents)
        lines[-1] = f"}} gradient({names}) {{"
        lines += [*_block(node.gradient.body, "    "), "}"]
    return lines


def render_ast(module: s.Module) -> str:
    """A whole module."""
    lines = []
    for use in module.uses:
        lines.append(f'use "{use.target}" as {use.alias}' if use.is_file else f"use {use.target}")
    for function in module.functions:
        lines += ["", *_function(function)] if lines else _function(function)
    return "\n".join(lines) + "\n"
