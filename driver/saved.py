"""What a step of training keeps from its forward pass for its backward pass.

In: a `Program` whose calls update states. Out: the temporaries that a call on the way to the
results (the loss, the metrics) writes and a call that is not on it reads.

    conv_add_relu   writes %max    forward     →   max: f32[N, 32, 8, 8]
    matmul_ge       reads %max     backward
"""

from __future__ import annotations

from stepwell.ir.loop.core import Call, Program, ProgramBuffer


def saved_activations(program: Program) -> tuple[ProgramBuffer, ...]:
    """In the order in which they are made; none where nothing is updated."""
    if not program.with_role("state"):
        return ()
    forward = _on_the_way(program)
    made = dict.fromkeys(
        name for i in sorted(forward) for name in _names(program, program.calls[i], "out")
    )
    used = {
        name
        for i, call in enumerate(program.calls)
        if i not in forward
        for name in _names(program, call, "in")
    }
    buffers = (program.buffer(name) for name in made if name in used)
    return tuple(buffer for buffer in buffers if buffer.role == "temporary")


def _on_the_way(program: Program) -> set[int]:
    """The numbers of the calls that the results depend on."""
    wanted = {item.buffer.name for item in program.with_role("output")}
    found: set[int] = set()
    for i in reversed(range(len(program.calls))):
        call = program.calls[i]
        if wanted.isdisjoint(_names(program, call, "out")):
            continue
        found.add(i)
        wanted |= set(_names(program, call, "in"))
    return found


def _names(program: Program, call: Call, way: str) -> list[str]:
    """The temporaries and outputs that a call reads ("in") or writes ("out")."""
    parameters = program.kernel(call.kernel).parameters
    return [
        name
        for name, parameter in zip(call.arguments, parameters, strict=True)
        if parameter.role in (way, "inout") and program.buffer(name).role in ("temporary", "output")
    ]
