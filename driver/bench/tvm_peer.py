"""TVM on a case: its default pipeline for this CPU.

In: a case with an ONNX file. Out: a call. Schedules are those that TVM takes without a search; one
with MetaSchedule takes minutes to hours for each model, and is another kind of tool.
"""

from __future__ import annotations

from typing import Any

import llvmlite.binding as llvm
import onnx
import tvm
from tvm import relax
from tvm.relax.frontend.onnx import from_onnx

from stepwell.arrays import Array
from stepwell.bench.peers import Case, Prepared


def prepared(case: Case, threads: int) -> Prepared:
    """Compiled for this CPU, inputs held as TVM's arrays."""
    machine = {"kind": "llvm", "mcpu": llvm.get_host_cpu_name(), "num-cores": threads}
    target = tvm.target.Target(machine)
    with target:
        executable = tvm.compile(from_onnx(onnx.load(case.onnx())), target)
    main = relax.VirtualMachine(executable, tvm.cpu())["main"]
    arrays = [tvm.runtime.tensor(x) for x in case.inputs]

    def results(found: Any) -> list[Array]:
        return [y.numpy() for y in ([found] if hasattr(found, "numpy") else found)]

    return Prepared(lambda: main(*arrays), results)
