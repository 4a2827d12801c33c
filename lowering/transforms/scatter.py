"""Sums of what an index sends to each element, in one go over what is sent.

    for v in 0..V {                                alloc sums: f32[V, D] scratch
      for d in 0..D {                              for v, d { sums[v, d] = 0.0 }
        alloc acc: f32 register                    for n in 0..N {
        acc[] = 0.0                                  let place: i64 = ids[n]
        for n in 0..N {                        →     if place >= 0 and place < V {
          acc[] = acc[] + select(ids[n] == v,          for d in 0..D {
                                 x[n, d], 0.0)           sums[place, d] = sums[place, d] + x[n, d]
        }                                              }
        y[v, d] = acc[]                              }
      }                                            }
    }                                              for v, d { y[v, d] = sums[v, d] }

So it takes N*D steps, not V*N*D, and each element adds up the same terms in the same order. Legal
where what is added does not depend on `v`, and where it goes on none of the loops around but those
that come before it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from stepwell.ir.loop.analysis import (
    fresh_copy,
    fresh_name,
    let_names,
    map_expressions,
    taken_names,
    variables_of,
)
from stepwell.ir.loop.core import Alloc, Block, Buffer, For, If, Kernel, Let, Statement, Store
from stepwell.ir.scalar import Binary, Const, Expr, Load, Select, Var, from_dim, index, variables
from stepwell.lowering.transforms.navigate import find_loop, rewrite
from stepwell.lowering.transforms.reorder import perfect_nest


@dataclass(frozen=True)
class _Sending:
    """A sum over what an index sends: the loops around it, those of the sum, outer first."""

    nest: tuple[For, ...]
    sum: tuple[For, ...]
    accumulator: Buffer
    start: Const
    lets: tuple[Let, ...]
    place: Expr
    at: str  # the index of the nest that the place is compared with
    term: Expr
    rest: Block


def scatter_sums(kernel: Kernel) -> Kernel:
    """The kernel with each sum of what an index sends done in one go."""
    done: list[Statement] = []
    waiting = list(kernel.body)
    while waiting:
        statement = waiting.pop(0)
        found = _sending(kernel, statement) if isinstance(statement, For) else None
        if found is None:
            done.append(statement)
            continue
        whole = replace(kernel, body=(*done, statement, *waiting))
        *sent, last = _in_one_go(found, taken_names(whole))
        done += sent
        waiting.insert(0, last)
        kernel = replace(kernel, body=(*done, *waiting))
    return kernel


def _sending(kernel: Kernel, loop: For) -> _Sending | None:
    names = perfect_nest(replace(kernel, body=(loop,)), loop.index)
    nest = tuple(find_loop((loop,), name) for name in names)
    block = nest[-1].body
    for position in range(len(block) - 2):
        match block[position : position + 3]:
            case (
                Alloc() as alloc,
                Store(buffer=name, indices=(), value=Const() as start),
                For() as first,
            ) if alloc.buffer.name == name:
                rest = (*block[:position], *block[position + 3 :])
                return _sum(nest, first, alloc.buffer, start, rest)
    return None


def _sum(
    nest: tuple[For, ...], first: For, accumulator: Buffer, start: Const, rest: Block
) -> _Sending | None:
    """The parts of the sum, if it is one that can be done in one go."""
    loops = [first]
    while len(loops[-1].body) == 1 and isinstance(loops[-1].body[0], For):
        loops.append(loops[-1].body[0])
    if not loops[-1].body:
        return None
    *lets, last = loops[-1].body
    name, around = accumulator.name, {loop.index for loop in nest}
    match last:
        case Store(
            buffer=stored,
            indices=(),
            value=Binary(
                op="add",
                x=Load(buffer=read),
                y=Select(Binary("eq", place, Var(at)), term, Const(value=0)),
            ),
        ) if stored == read == name and at in around:
            pass
        case _:
            return None
    nothing = any(loop.extent == 0 for loop in loops)
    if nothing or not all(isinstance(let, Let) for let in lets) or start.value != 0:
        return None
    body = loops[-1].body[:-1]
    own = set(let_names(body))
    used = variables_of(body) | variables(term) | variables(place)
    defined = set(let_names(rest)) | {s.buffer.name for s in rest if isinstance(s, Alloc)}
    if at in used or variables(place) & own or (used - own) & defined:
        return None
    plain = tuple(let for let in lets if isinstance(let, Let))
    return _Sending(nest, tuple(loops), accumulator, start, plain, place, at, term, rest)


def _in_one_go(found: _Sending, taken: set[str]) -> list[Statement]:
    """The three nests, and the scratch between them."""
    name = fresh_name(taken, f"{found.accumulator.name}_sums")
    extents = tuple(loop.extent for loop in found.nest)
    sums = Buffer(name, found.accumulator.dtype, extents, "scratch")
    own = tuple(Var(loop.index) for loop in found.nest)
    zeros = _nest(found.nest, (Store(name, own, found.start),))
    sending = _nest(*_sent(found, name, taken))
    load = Load(name, own, sums.dtype)
    accumulator = found.accumulator.name

    def summed(expr: Expr) -> Expr:
        return load if isinstance(expr, Load) and expr.buffer == accumulator else expr

    rest = map_expressions(found.rest, lambda expr: rewrite(expr, summed))
    first, *_ = fresh_copy((zeros,), taken)
    second, *_ = fresh_copy((sending,), taken)
    return [Alloc(sums), first, second, _nest(found.nest, rest)]


def _sent(found: _Sending, name: str, taken: set[str]) -> tuple[Sequence[For], Block]:
    """The loops over what is sent, and how it is added: outside, the loops that the place needs."""
    before = [loop for loop in found.nest if loop.index in variables(found.place)]
    inner = [loop for loop in found.nest if loop not in before and loop.index != found.at]
    place = fresh_name(taken, "place")
    end = next(loop.extent for loop in found.nest if loop.index == found.at)
    target = tuple(Var(place if loop.index == found.at else loop.index) for loop in found.nest)
    total = Binary("add", Load(name, target, found.accumulator.dtype), found.term)
    inside = Binary(
        "and", Binary("ge", Var(place), index(0)), Binary("lt", Var(place), from_dim(end))
    )
    adding: Block = (*found.lets, Store(name, target, total))
    body = (_nest(inner, adding),) if inner else adding
    return [*before, *found.sum], (Let(place, found.place), If(inside, body))


def _nest(loops: Sequence[For], body: Block) -> For:
    """The body in loops like these."""
    for loop in reversed(loops):
        body = (replace(loop, body=body),)
    (outer,) = body
    assert isinstance(outer, For), "there is a loop"
    return outer
