"""The way down, as one flat list: each step's name and the reason why it stands where it does.

    ast → graph → graph_passes → graph-opt → loops → loop_passes → loops-opt
        → llvm → llvm-opt → asm → obj

In: nothing. Out: the lists that `stepwell.compilation` walks, in the notation of `stepwell opt
--passes`.
"""

from __future__ import annotations

from dataclasses import dataclass

from stepwell.ir.target import available_cores
from stepwell.ir.text import format_string

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


def graph_passes(fast_math: bool = False) -> tuple[Step, ...]:
    """graph → graph-opt."""
    real = "{real=true}" if fast_math else ""
    return (
        Step("differentiate", "before all else: gradients are made of the operators as written"),
        Step("split_groups", "of convolutions and of their gradients, which are some, too"),
        Step("decompose", "formulas become operators first: rules and fusion know those"),
        Step(f"canonicalize{real}", "one spelling for each thing: what is equal looks equal"),
        Step("fold", "what is known now is computed now"),
        Step("cse", "layers repeat shapes, masks and constants; and folding made equals"),
        Step(f"canonicalize{real}", "folded and shared operands let more rules apply"),
        Step("join_pads", "gradients of slices; what that joins may be joined with more"),
        Step("join_concats", "before fusion, which takes so many ops into one kernel and no more"),
        Step("dce", "fusion must not weigh readers that nobody reads"),
        Step("choose_layouts", "of what is left: transposes then fuse into what reads them"),
        Step("recompute_attentions", "as recompute, which then sees what is left to be saved"),
        Step("recompute", "after cse, which would undo it; fusion then decides about each copy"),
        Step("fuse", "the last look at whole tensors: below, each kernel is its own world"),
    )


def loop_passes(
    target: str = "native", database: str = "", winograd: bool = True
) -> tuple[Step, ...]:
    """loops → loops-opt."""
    options = [f"target={format_string(target)}"] if target != "native" else []
    options += [f"database={format_string(database)}"] if database else []
    options += [] if winograd else ["winograd=false"]
    option = f"{{{', '.join(options)}}}" if options else ""
    # How many cores another machine has is not known.
    cores = f"{{cores={available_cores()}}}" if target == "native" else ""
    return (
        Step("place_parts", "on naive nests, which any kernel that touches a part has yet"),
        Step("share_kernels", "equal layers are scheduled and compiled once"),
        Step(f"schedule{option}", "each kernel's strategy: tile, pack, vectorise for the target"),
        Step("prepare", "after schedules, which say what they pack: constants are packed once"),
        Step("update_in_place", "after schedules, which say when each element is read and written"),
        Step(f"parallelize{cores}", "after schedules, whose outer loops it shares among threads"),
        Step("order_calls", "what gives memory back runs first; scratch is as it will be"),
        Step(
            f"side_by_side{cores}", "of calls in that order; memory of those together lives at once"
        ),
        Step("plan_memory", "after schedules, which decide how much scratch a call needs"),
    )


def pipeline(steps: tuple[Step, ...]) -> str:
    """The steps as `--passes` takes them."""
    return ",".join(step.passes for step in steps)
