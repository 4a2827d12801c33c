"""The way down, as one flat list: each step's name and the reason why it stands where it does.

    ast → graph → GRAPH_PASSES → graph-opt → (graph to loops) → loops → LOOP_PASSES → loops-opt
        → llvm → llvm-opt → asm → obj

In: nothing. Out: the lists that `stepwell.compilation` walks, in the notation of `stepwell opt
--passes`. An option in parentheses is written as on the command line.
"""

from __future__ import annotations

from dataclasses import dataclass

STAGES = (
    "ast",  # the program as it was understood, printed back
    "graph",  # tensor operators, every shape known
    "graph-opt",  # simplified, and partitioned into kernels
    "loops",  # one naive loop nest per kernel
    "loops-opt",  # scheduled for the target, memory planned
    "llvm",  # what code generation makes of it
    "llvm-opt",  # what LLVM makes of that
    "asm",  # the target's instructions
    "obj",  # an object file
)


@dataclass(frozen=True)
class Step:
    """One pass, and why it stands here."""

    passes: str
    reason: str


GRAPH_PASSES = (
    Step("canonicalize", "one spelling for each thing, so that the passes below see equal as equal"),
    Step("fold", "what is known now is computed now"),
    Step("cse", "equal ops once; elaboration repeats shapes, masks and layers' constants"),
    Step("decompose", "ops with a cheaper equivalent become it, before kernels are drawn"),
    Step("canonicalize", "decomposition leaves reshapes and casts that cancel"),
    Step("cse", "and what it made twice"),
    Step("dce", "fusion must not weigh readers that nobody reads"),
    Step("fuse", "the last look at whole tensors: from here on every kernel is its own world"),
)

LOOP_PASSES = (
    Step("share_kernels", "equal nests are scheduled and compiled once"),
    Step("schedule", "each kernel's strategy tiles, packs, vectorises for the target"),
    Step("plan_memory", "after schedules: they decide how much scratch a call needs"),
)


def pipeline(steps: tuple[Step, ...]) -> str:
    """The steps as `--passes` takes them."""
    return ",".join(step.passes for step in steps)
