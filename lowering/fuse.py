"""Fuse: partition a graph into kernels, each of which becomes one loop nest.

In: a graph of operators. Out: a graph of `kernel` ops (and array constants) that hold them.

    %h = contract(%x, %w) {spec = "ik,kj->ij"}        %r = kernel(%x, %w, %b)
    %c = broadcast(%b) {shape = [N, 10], …}               {name = "matmul_add_relu",
    %s = add(%h, %c)                             →         family = "contraction"} {
    %z = constant {value = 0.0, shape = [N, 10], …}       …the five ops…
    %r = max(%s, %z)                                  }

Ops are placed last first. A value goes into the kernels of its readers where that is legal and no
dearer than a round trip through memory; else it is one more result of a reader's kernel where it
is read at its own element there; else it starts a kernel of its own.

- *pointwise*: reduction-free ops. Each is computed where it is read, so broadcasts, reshapes,
  slices and other views cost nothing, and cheap values may be computed in several kernels. A concat
  has a nest for each part; what follows a contraction or a reduction is not taken into it.
- *reduction*: reductions whose results are read along the rows of the kernel's results, with all
  they are computed from and all that is computed from them: softmax, layer norm.
- *attention*: two contractions with a softmax between (`attentions.py`), for a few rows at a time.
- *attention_gradient*: what leads from the scores to the gradients of all three operands
  (`attention_gradients.py`), likewise.
- *contraction*, *window*: one (windowed) contraction or pooling, read at the result's own element
  by what follows it, which is unrolled with its tile: so much and no more; cheap reduction-free
  values in front.
"""

from __future__ import annotations

import heapq
from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from operator import attrgetter
from typing import ClassVar

from stepwell.ir.graph.core import Graph, Op, Value
from stepwell.ir.scalar import Var, variables
from stepwell.lowering.attention_gradients import AttentionGradient, attention_gradients
from stepwell.lowering.attentions import FAMILIES, Finder, attentions, comparisons
from stepwell.lowering.choose_layouts import reads_rows
from stepwell.lowering.fusion_group import PART, Group, Read, nominal
from stepwell.lowering.fusion_kinds import ANCHORS, REDUCING, Kinds, words
from stepwell.lowering.kernel_region import kernel_op
from stepwell.lowering.survey import COSTLY

_MEMORY = 8  # simple operations per element that a load or store through memory is worth
_CALL = 500  # simple operations that one more kernel is worth
_PROLOGUE = 4  # simple operations per element allowed where a contraction packs its operands
_EPILOGUE = 128  # simple operations per element that a product's register tile is unrolled with
_READS = 32  # different places of a value that one kernel may read and still compute it there
_DEPTH = 64  # ops one after another in one kernel

_WELCOME = {
    "reduction": "read along the kernel's own rows",
    "contraction": "what follows it reads each of its elements once",
    "window": "what follows it reads each of its elements once",
}


@dataclass(frozen=True)
class Decision:
    """Whether a value is computed inside a kernel that reads it, and why (not).

    `kernel` is the kernel's name; `result` the last of its results, for several kernels may have
    one name.
    """

    value: str
    kernel: str
    result: str
    fused: bool
    reason: str

    def __str__(self) -> str:
        verb = "is fused into" if self.fused else "is not fused into"
        return f"%{self.value} {verb} {self.kernel} (%{self.result}): {self.reason}"


@dataclass(frozen=True)
class Fuse:
    """Partition into kernels. See the module's docstring for a before and an after."""

    name: ClassVar[str] = "fuse"

    def run(self, graph: Graph) -> Graph:
        if any(op.name == "kernel" for op in graph.ops):
            return graph
        return _Partition(graph).kernels()


def explain(graph: Graph) -> list[Decision]:
    """Why each value is where `fuse` puts it: one decision per value and reading kernel."""
    return _Partition(graph).decisions()


class _Partition:
    def __init__(self, graph: Graph) -> None:
        self.graph = graph
        self.kinds = Kinds(graph)
        finder = Finder(graph, self.kinds)
        self.attentions = attentions(finder)
        self.gradients = {
            op: found
            for found in attention_gradients(finder)
            if found.mix is None
            for op in found.ops
        }
        self.comparisons = comparisons(graph, self.kinds)
        self.producers = finder.producers
        self.images = {op.result for op in graph.ops if op.name == "conv"}
        self.index = {op: i for i, op in enumerate(graph.ops)}
        self.groups: list[Group] = []
        self.readers: dict[Value, set[Group]] = {}
        self.homes: dict[Value, Group] = {}  # of what is a group's result
        self.loose: list[Op] = []  # array constants, and what has no formula
        self.needed = set(graph.outcomes())
        self.notes: list[tuple[Value, Group, bool, str]] = []
        for op in reversed(graph.ops):
            self._place(op)

    # ------------------------------------------------------------------ placing one op

    def _place(self, op: Op) -> None:
        if op not in self.kinds:
            self.loose.append(op)
            self.needed.update(op.operands)
            return
        value = op.result
        readers = sorted(self.readers.get(value, ()), key=attrgetter("number"))
        if not readers and value not in self.needed:
            return
        if op in self.gradients:
            self._place_gradient(self.gradients[op])
            return
        if op in self.attentions and self._mixing(op) is not None:
            self._join_attention(op)
            return
        if op in self.comparisons:
            near = [group for group in readers if self._is_inlined(op, group, readers)]
            for group in near:
                self._join(op, group, "it compares positions: cheaper than to read what is hidden")
            readers = [group for group in readers if group not in near]
            if near and not readers and value not in self.needed:
                return
        refusals = {group.number: self._refusal(op, group, readers) for group in readers}
        legal = [group for group in readers if refusals[group.number] is None]
        if self._is_stored_turned(op, readers):
            legal = []
            refusals = dict.fromkeys(refusals, "the convolution stores it so, in whole vectors")
        if self.kinds[op] == "view":
            for group in legal:
                self._join(op, group, "it only moves or makes values")
            readers = [group for group in readers if group not in legal]
            legal = []
        elif self.kinds[op] not in REDUCING and len(legal) == len(readers):
            why = self._too_dear(op, readers)
            if why is None and value not in self.needed and readers:
                for group in readers:
                    self._join(op, group, "cheaper than a round trip through memory")
                return
            refusals = {group.number: why or "it is a result of the graph" for group in readers}
        elif len(readers) == 1 and legal and value not in self.needed:
            self._join(op, legal[0], _WELCOME[self.kinds[op]])
            return
        if readers or value in self.needed:
            self._materialise(op, readers, legal, refusals)

    def _is_stored_turned(self, op: Op, readers: list[Group]) -> bool:
        """Whether the op turns an image whose convolution cannot join all that reads it."""
        if op.name != "transpose" or op.operands[0] not in self.images:
            return False
        return len(readers) > 1 or any(group.family != "pointwise" for group in readers)

    def _join(self, op: Op, group: Group, reason: str) -> None:
        self._add(op, group)
        self.notes.append((op.result, group, True, reason))

    def _is_inlined(self, op: Op, group: Group, readers: list[Group]) -> bool:
        """Whether the kernel compares positions itself."""
        if group.family not in ("pointwise", "reduction"):
            return group.family in FAMILIES
        above = (self.producers[value] for value in op.operands if value in self.producers)
        near = (op, *(made for made in above if made in self.kinds))  # no random bits
        cheap = all(self.kinds.cost(made) <= 1 for made in near)
        return cheap and self._refusal(op, group, readers) is None

    def _add(self, op: Op, group: Group) -> None:
        group.add(op, self.kinds.formula(op), self.kinds[op])
        self._reads(group, op.operands)

    def _reads(self, group: Group, values: Iterable[Value]) -> None:
        for value in values:
            self.readers.setdefault(value, set()).add(group)

    def _mixing(self, op: Op) -> Group | None:
        """The kernel of the contraction that mixes by what the op computes."""
        mix = self.attentions[op].result
        return next((g for g in self.readers.get(op.result, ()) if mix in g.members), None)

    def _join_attention(self, op: Op) -> None:
        group = self._mixing(op)
        assert group is not None, "what mixes is placed before"
        self._join(op, group, "attention: a few rows of it at a time are kept, never the whole")
        group.family = "attention"

    def _place_gradient(self, gradient: AttentionGradient) -> None:
        """One kernel for all of it, with its first op; the others are in it when they come."""
        if gradient.rows.result in self.homes:
            return
        group = Group(len(self.groups))
        self.groups.append(group)
        for end in (gradient.rows, *gradient.sums):
            group.start(end.result)
            self.homes[end.result] = group
        for op in sorted(gradient.ops, key=self.index.__getitem__, reverse=True):
            if op.result in group.reads:
                self._join(op, group, "attention's gradient: a few rows of it at a time are kept")
        group.family = "attention_gradient"

    def _materialise(
        self, op: Op, readers: list[Group], legal: list[Group], refusals: dict[int, str | None]
    ) -> None:
        """Give the value memory: as one more result of a kernel that reads it, or of its own."""
        home = next((group for group in legal if self._extra_result(op, group, readers)), None)
        for group in readers:
            if group is not home:
                reason = refusals[group.number] or "several kernels read it"
                self.notes.append((op.result, group, False, reason))
        if home is not None:
            home.results.append(op.result)
            self.homes[op.result] = home
            self._join(op, home, "read there at its own element, and stored for others")
            return
        group = Group(len(self.groups))
        self.groups.append(group)
        self.homes[op.result] = group
        if op.name == "reshape":
            group.start_reshaped(op)
            self._reads(group, op.operands)
        else:
            group.start(op.result)
            self._add(op, group)

    def _extra_result(self, op: Op, group: Group, readers: list[Group]) -> bool:
        value = op.result
        if not (value in self.needed or len(readers) > 1):
            return False
        if group.shape != group.results[0].type.shape:
            return False
        if not self._is_row(op, group):
            if value.type.shape != group.shape or not group.identity_read(value):
                return False
            if self.kinds[op] == "pointwise" and self._too_dear(op, [group]):
                return False
        return not any(self._reaches(other, group) for other in readers if other is not group)

    def _is_row(self, op: Op, group: Group) -> bool:
        """Whether the value is one of the group's rows', such as a softmax's sum: its loops over
        rows store it, too."""
        if group.family not in ("pointwise", "reduction") or not self.kinds.computed(op.result):
            return False
        if self.kinds.anchor(group.results[0]) is not None:
            return False  # a product may join, and has one nest for its results
        rows = group.rows_of(op.result)
        axes = {name for name, extent in group.root.axes if extent != 1}
        return rows is not None and 0 < len(rows) < len(axes) and group.rows in (None, rows)

    def _reaches(self, source: Group, target: Group) -> bool:
        """Whether the target depends on a result of the source: what comes before it can't."""
        first = min(self._indices(source))
        seen: set[Group] = set()
        waiting = deque([target])
        while waiting:
            group = waiting.popleft()
            if group is source:
                return True
            if group in seen or max(self._indices(group)) < first:
                continue
            seen.add(group)
            outside = (v for v in group.reads if v in self.homes and v not in group.members)
            waiting.extend(self.homes[v] for v in outside)
        return False

    def _indices(self, group: Group) -> list[int]:
        return [self.index[group.members[value]] for value in group.results]

    # ------------------------------------------------------------------ what is legal

    def _refusal(self, op: Op, group: Group, readers: list[Group]) -> str | None:
        """Why the op may not be computed in the group; None where it may."""
        most = 4 * _DEPTH if self.kinds[op] == "view" else _DEPTH
        if group.depths.get(op.result, 0) >= most:
            return f"the kernel has {most} operators one after another already"
        if self._is_long(op, group):
            return "what follows a product is unrolled with its tile, and is long already"
        if self.kinds[op] in REDUCING:
            return self._reduction_refusal(op, group)
        value = op.result
        reads = group.reads[value]
        if len(reads) > _READS:
            return f"it is read at {len(reads)} different places"
        if self.kinds.follows(value) and any(read.stage.family == PART for read in reads):
            return "it is joined with others: what computes it writes it in its place"
        anchor = self.kinds.anchor(value)
        if (
            anchor is not None
            and self.kinds[op] != "view"
            and group.family != "pointwise"
            and not any(self._is_stored(operand, anchor, group) for operand in op.operands)
        ):
            return f"it ends what follows %{anchor.name}"
        turned = anchor in self.images and anchor.type.shape != value.type.shape
        if turned and any(_is_turned(read, group) for read in reads):
            return "it is an image that is turned at once, in whole vectors"
        for read in reads:
            if op.name == "transpose" and read.stage.family in ANCHORS and _turns_rows(op, read):
                return "a window reads each element many times, and its rows the wrong way"
            if read.stage.family == "contraction":
                inner = group.members[read.stage.value]
                if op.name == "transpose" and reads_rows(inner):
                    return "a convolution in groups of a few channels reads rows: it is turned once"
                why = self._prologue_refusal(op, inner, len(reads) * len(readers))
                if why is not None:
                    return why
        return None

    def _is_long(self, op: Op, group: Group) -> bool:
        """Whether too much would follow a contraction or window in the kernel."""
        if group.family in ANCHORS:
            return self._work(group) + self._own_work(op) > _EPILOGUE
        return self.kinds[op] in ANCHORS and self._work(group) > _EPILOGUE

    def _work(self, group: Group) -> int:
        return sum(map(self._own_work, group.members.values()))

    def _own_work(self, op: Op) -> int:
        """Simple operations per element of a kernel's results; scalars are computed once."""
        alone = self.kinds[op] in REDUCING or op.result.type.rank == 0
        return 0 if alone else self.kinds.cost(op)

    def _is_stored(self, value: Value, anchor: Value, group: Group) -> bool:
        """Whether a value of what follows a contraction is stored in any case: for the group, or
        for others where the group sums up all of it, as the norm of a gradient does."""
        if self.kinds.anchor(value) != anchor:
            return False
        if group.shape == () and self.readers.get(value, set()) - {group}:
            return True
        return value in group.reads and value not in group.members

    def _prologue_refusal(self, op: Op, contraction: Op, reads: int) -> str | None:
        """Why the op may not be computed where a contraction packs its operands."""
        packs = contraction.name == "contract"
        if self.kinds[op] == "view":
            joins = op.name in ("reshape", "concat") and not packs
            return "a convolution reads plain subscripts only" if joins else None
        if op.name == "gather":
            return "its subscripts are checked, which a packed loop cannot do"
        if not packs:
            return "a convolution reads each element many times"
        if self.kinds.cost(op) > _PROLOGUE:
            return "too much arithmetic for where a contraction packs its operands"
        if reads > 1:
            return "a contraction and others read it"
        if self.kinds.computed(op.result):
            return "it ends the kernel that computes it"
        return None

    def _reduction_refusal(self, op: Op, group: Group) -> str | None:
        kind, rows = self.kinds[op], group.rows_of(op.result)
        if reads_rows(op) and any(_is_turned(read, group) for read in group.reads[op.result]):
            return "a convolution in groups of a few channels writes rows: it is turned at once"
        if rows is None:
            return "the kernel does not read it along its own rows"
        if kind == "reduction":
            if group.family not in ("pointwise", "reduction"):
                return f"the kernel is a {group.family}"
            return None if group.rows in (None, rows) else "the kernel has other rows"
        if group.family != "pointwise":
            return f"the kernel has a {group.family} already"
        own = {name for name, extent in group.root.axes if extent != 1}
        return None if rows == own else "the kernel's results are not its elements"

    # ------------------------------------------------------------------ what is worth it

    def _too_dear(self, op: Op, readers: list[Group]) -> str | None:
        """Why computing the value in all its readers costs more than storing it; None if not."""
        if self.kinds.anchor(op.result) is not None and len(readers) > 1:
            return "several kernels read the end of what follows a contraction"
        arithmetic, loaded = self.kinds.cost(op), self.kinds.loads(op)
        reading, writing = self.kinds.words(op), words(op.result)
        elements = nominal(op.result.type.elements)
        inlined = 0.0
        stored = elements * (arithmetic + _MEMORY * (reading + writing)) + _CALL
        for group in readers:
            hoists = self.kinds.anchor(group.results[0]) is None and group.family not in ANCHORS
            reads = group.reads[op.result]
            counts = [read.stage.evaluations(read.subscripts, hoists) for read in reads]
            most = max(counts, default=0)
            if self._kept(arithmetic, group, reads):
                inlined += most * arithmetic + sum(counts)
            else:
                inlined += sum(counts) * (arithmetic + loaded)
            inlined += min(most, elements) * (_MEMORY * reading - loaded)
            stored += min(most, elements) * _MEMORY * writing
        if op.result.type.rank == 0:  # what it is made of would come with it
            work = self.kinds.scalar_work(op.result)
            inlined, stored = work * len(readers), work + _CALL
        if inlined <= stored:
            return None
        return "computing it anew costs more than a round trip through memory"

    def _kept(self, arithmetic: int, group: Group, reads: Sequence[Read]) -> bool:
        """Whether the kernel computes the value once and keeps it in a row of scratch."""
        stages = {read.stage.value for read in reads}
        return group.family == "reduction" and arithmetic >= COSTLY and len(stages) == len(reads)

    # ------------------------------------------------------------------ the new graph

    def kernels(self) -> Graph:
        return replace(self.graph, ops=tuple(self._ordered(self._items())))

    def _items(self) -> Iterator[Op]:
        parameters = frozenset(parameter.value for parameter in self.graph.parameters)
        yield from self.loose
        for group in self.groups:
            ops = sorted(group.members.values(), key=self.index.__getitem__)
            results = [v for op in ops for v in op.results if v in group.results]
            yield kernel_op(ops, results, parameters, group.family, self.graph.sizes)

    def _ordered(self, items: Iterator[Op]) -> Iterator[Op]:
        """Producers first; where that leaves a choice, in the order of the source."""
        position = {value: i for op, i in self.index.items() for value in op.results}
        ops = list(items)
        producers = {value: op for op in ops for value in op.results}
        waiting: dict[Value, list[int]] = {}
        missing = [0] * len(ops)
        for i, op in enumerate(ops):
            for value in set(op.operands) & producers.keys():
                waiting.setdefault(value, []).append(i)
                missing[i] += 1
        rank = [max(position[value] for value in op.results) for op in ops]
        ready = [(rank[i], i) for i in range(len(ops)) if not missing[i]]
        heapq.heapify(ready)
        while ready:
            _, i = heapq.heappop(ready)
            yield ops[i]
            for value in ops[i].results:
                for j in waiting.get(value, ()):
                    missing[j] -= 1
                    if not missing[j]:
                        heapq.heappush(ready, (rank[j], j))

    def decisions(self) -> list[Decision]:
        names = {op.results[-1]: op.attributes["name"] for op in self._items() if op.regions}
        last = {g.number: next(v for v in g.results if v in names) for g in self.groups}
        return [
            Decision(value.name, names[last[g.number]], last[g.number].name, fused, reason)
            for value, g, fused, reason in reversed(self.notes)
        ]


def _is_turned(read: Read, group: Group) -> bool:
    """Whether the results are not written along the axis that the numbers read lie on."""
    axes = read.stage.axes
    if (read.stage is not group.root and read.stage.family != PART) or not axes:
        return False
    rows = Var(axes[-1][0])
    return rows in read.subscripts[:-1] and read.subscripts[-1] != rows


def _turns_rows(transpose: Op, read: Read) -> bool:
    """Whether the transpose's result is read number after number, but its operand would not be: at
    sums of indices along its last axis."""
    order = transpose.attributes["permutation"]
    last, operand_last = read.subscripts[-1], read.subscripts[order.index(len(order) - 1)]
    return isinstance(last, Var) and len(variables(operand_last)) > 1
