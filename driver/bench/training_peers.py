"""Other frameworks on the same step of training: mean cross entropy, its gradients, SGD.

In: a `Case` whose last input holds the labels; how many threads. Out: a call that is one step, the
parameters updated in place, and a way to its results: the loss, then by how much each parameter has
changed since it was prepared, in the order of their names.

    torch_compile(case, 1)   →   Prepared(call, results)
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import torch
from torch.nn import functional

from stepwell.arrays import Array
from stepwell.bench.peers import Case, Prepared, restrict_jax, torch_parts

RATE = 0.01  # of learning


def changes(
    loss: Any, before: Mapping[str, Array], after: Callable[[str], Any]
) -> list[Array]:  # fmt: skip
    """The loss, and the change of each parameter."""
    return [np.asarray(loss), *(np.asarray(after(name)) - before[name] for name in sorted(before))]


def _torch_results(module: Any) -> Callable[[Any], list[Array]]:
    held = {name: p.detach() for name, p in module.named_parameters()}
    before = {name: p.numpy().copy() for name, p in held.items()}
    return lambda loss: changes(loss.detach().numpy(), before, lambda name: held[name].numpy())


def torch_eager(case: Case, threads: int) -> Prepared:
    """PyTorch as it is, with its fused SGD."""
    module, (*inputs, labels) = torch_parts(case, threads)
    optimizer = torch.optim.SGD(module.parameters(), lr=RATE, fused=True)

    def step() -> Any:
        optimizer.zero_grad(set_to_none=True)
        loss = functional.cross_entropy(module(*inputs), labels)
        loss.backward()  # type: ignore[no-untyped-call]
        optimizer.step()
        return loss

    return Prepared(step, _torch_results(module))


def torch_compile(case: Case, threads: int) -> Prepared:
    """TorchInductor's C++: the whole step as one graph."""
    module, (*inputs, labels) = torch_parts(case, threads)
    held = {name: p.detach() for name, p in module.named_parameters()}

    def updated(held: dict[str, Any]) -> Any:
        def loss_of(held: dict[str, Any]) -> Any:
            found = torch.func.functional_call(module, held, tuple(inputs))
            return functional.cross_entropy(found, labels)

        gradients, loss = torch.func.grad_and_value(loss_of)(held)
        for name, p in held.items():
            p.sub_(gradients[name], alpha=RATE)
        return loss

    compile: Any = torch.compile
    compiled = compile(updated)

    def step() -> Any:
        with torch.no_grad():
            return compiled(held)

    return Prepared(step, _torch_results(module))


def jax_step(case: Case, threads: int) -> Prepared:
    """XLA, on the module's graph operator by operator; parameters are donated."""
    restrict_jax(threads)
    import jax
    import jax.numpy as jnp

    from stepwell.bench.jax_peer import as_jax

    *inputs, labels = case.inputs
    function, before = as_jax(case.module(), inputs)

    def loss_of(held: Any, arrays: Any, labels: Any) -> Any:
        scores = jax.nn.log_softmax(function(held, *arrays)[0])
        return -jnp.mean(jnp.take_along_axis(scores, labels[:, None], 1))

    def updated(held: Any, arrays: Any, labels: Any) -> Any:
        loss, gradients = jax.value_and_grad(loss_of)(held, arrays, labels)
        return loss, jax.tree.map(lambda p, g: p - RATE * g, held, gradients)

    compiled = jax.jit(updated, donate_argnums=0)
    held = [jax.device_put({name: p.copy() for name, p in before.items()})]
    arrays, wanted = jax.device_put(inputs), jax.device_put(labels)

    def step() -> Any:
        loss, held[0] = compiled(held[0], arrays, wanted)
        return jax.block_until_ready(loss)

    return Prepared(step, lambda loss: changes(loss, before, lambda name: held[0][name]))
