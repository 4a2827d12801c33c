"""Every pass there is, registered by name: import this to be able to run them.

Graph to graph: differentiate, split_groups, canonicalize, fold, cse, join_pads, join_concats, dce,
decompose, choose_layouts, recompute_attentions, recompute, fuse. Loops to loops: place_parts,
share_kernels, schedule, prepare, parallelize, update_in_place, order_calls, side_by_side,
plan_memory, and the transformations that strategies are made of.
"""

from __future__ import annotations

from stepwell.ir.passes import register_pass
from stepwell.lowering.canonicalize import Canonicalize
from stepwell.lowering.choose_layouts import ChooseLayouts
from stepwell.lowering.cse import Cse
from stepwell.lowering.dce import Dce
from stepwell.lowering.decompose import Decompose
from stepwell.lowering.differentiate import Differentiate
from stepwell.lowering.fold import Fold
from stepwell.lowering.fuse import Fuse
from stepwell.lowering.join_concats import JoinConcats
from stepwell.lowering.join_pads import JoinPads
from stepwell.lowering.order_calls import OrderCalls
from stepwell.lowering.parallelize import Parallelize
from stepwell.lowering.place_parts import PlaceParts
from stepwell.lowering.plan_memory import PlanMemory
from stepwell.lowering.prepare import Prepare
from stepwell.lowering.recompute import Recompute
from stepwell.lowering.recompute_attentions import RecomputeAttentions
from stepwell.lowering.schedule import Schedule
from stepwell.lowering.share_kernels import ShareKernels
from stepwell.lowering.side_by_side import SideBySide
from stepwell.lowering.split_groups import SplitGroups
from stepwell.lowering.transforms.passes import TRANSFORMS
from stepwell.lowering.update_in_place import UpdateInPlace

GRAPH_PASSES = (
    *(Differentiate, SplitGroups, Canonicalize, Fold, Cse, JoinPads, JoinConcats, Dce),
    *(Decompose, ChooseLayouts, RecomputeAttentions, Recompute, Fuse),
)
LOOP_PASSES = (
    PlaceParts,
    ShareKernels,
    Schedule,
    Prepare,
    Parallelize,
    UpdateInPlace,
    OrderCalls,
    SideBySide,
    PlanMemory,
    *TRANSFORMS,
)

for _cls in (*GRAPH_PASSES, *LOOP_PASSES):
    register_pass(_cls)
