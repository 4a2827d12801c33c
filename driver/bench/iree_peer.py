"""IREE on a case: compiled in several ways, of which the fastest is taken.

In: a case with an ONNX file. Out: a call. Which way is fastest depends on the model: whether
operands are packed into tiles, and whether convolutions are made channels-last.
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
from functools import partial
from pathlib import Path
from typing import Any

import iree.compiler
import iree.runtime

from stepwell.arrays import Array
from stepwell.bench.peers import Case, Prepared
from stepwell.bench.timing import in_turns

_FLAGS = ("--iree-llvmcpu-target-cpu=host", "--iree-opt-level=O3")
_WAYS = (  # operands packed into tiles or not, convolutions channels last or not
    ("--iree-opt-data-tiling",),
    (),
    ("--iree-opt-data-tiling", "--iree-preprocessing-pass-pipeline=builtin.module(util.func("
     "iree-preprocessing-convert-conv-to-channels-last))"),
)  # fmt: skip


def prepared(case: Case, threads: int) -> Prepared:
    """Compiled in every way; the fastest is taken."""
    if threads > 1:
        iree.runtime.flags.parse_flags(f"--task_topology_group_count={threads}")
    config = iree.runtime.Config("local-sync" if threads == 1 else "local-task")
    arrays = [iree.runtime.asdevicearray(config.device, x) for x in case.inputs]
    calls = []
    with tempfile.TemporaryDirectory() as folder:
        imported = Path(folder) / "model.mlir"
        command = [sys.executable, "-m", "iree.compiler.tools.import_onnx"]
        arguments = [str(case.onnx()), "-o", str(imported)]
        subprocess.run([*command, *arguments], check=True, capture_output=True)
        for flags in _WAYS:
            binary = iree.compiler.compile_file(
                str(imported), target_backends=["llvm-cpu"], extra_args=[*_FLAGS, *flags]
            )
            loaded = iree.runtime.VmModule.copy_buffer(config.vm_instance, binary)
            main = iree.runtime.load_vm_module(loaded, config)["main_graph"]
            calls.append(partial(main, *arrays))

    def results(found: Any) -> list[Array]:
        found = found if isinstance(found, tuple) else (found,)
        return [y.to_host() for y in found]

    times = in_turns({str(number): call for number, call in enumerate(calls)}, 0.1, 2)
    return Prepared(calls[int(min(times, key=lambda way: times[way].least))], results)
