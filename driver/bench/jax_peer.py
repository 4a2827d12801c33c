"""A module of PyTorch computed by JAX: its exported graph, operator by operator, compiled by XLA.

In: a module, inputs. Out: a function of arrays of JAX, and the parameters that it takes first, by
name.

    %addmm = aten.addmm(%bias, %x, %w)   →   bias + x @ w

Only operators that the workloads use are here; another is an InputError that names it.
"""

from __future__ import annotations

import operator
import warnings
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import torch
from jax import lax

from stepwell.arrays import Array
from stepwell.ir.diagnostics import InputError

_HIGHEST = lax.Precision.HIGHEST


def as_jax(module: Any, inputs: Sequence[Array]) -> tuple[Callable[..., Any], dict[str, Array]]:
    """`function(parameters, *inputs)`, and the parameters."""
    tensors = tuple(torch.from_numpy(x) for x in inputs)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of the exporter about itself
        program = torch.export.export(module, tensors).run_decompositions()
    signature = program.graph_signature
    held = {**dict(program.named_parameters()), **dict(program.named_buffers())}
    sources = {**signature.inputs_to_parameters, **signature.inputs_to_buffers}
    nodes = list(program.graph.nodes)
    taken = [node.name for node in nodes if node.op == "placeholder"]
    used = [sources[name] for name in taken if name in sources]
    parameters = {path: held[path].detach().numpy() for path in used}

    def function(parameters: Mapping[str, Any], *arrays: Any) -> Any:
        given = iter(arrays)
        values: dict[Any, Any] = {}
        for node in nodes:
            if node.op == "placeholder":
                path = sources.get(node.name)
                values[node] = next(given) if path is None else parameters[path]
            elif node.op == "call_function":
                values[node] = _applied(node, values)
            else:
                return torch.fx.node.map_arg(node.args[0], lambda n: values[n])

    return function, parameters


def _applied(node: Any, values: dict[Any, Any]) -> Any:
    name = "getitem" if node.target is operator.getitem else str(node.target).split(".")[1]
    if name not in _OPERATORS:
        raise InputError(f"jax: the operator {node.target} is not written in JAX")
    arguments = torch.fx.node.map_arg(node.args, lambda n: values[n])
    keywords = {"approximate": node.kwargs["approximate"]} if "approximate" in node.kwargs else {}
    return _OPERATORS[name](*arguments, **keywords)


def _convolution(
    x: Any, w: Any, bias: Any, stride: Any, padding: Any, dilation: Any, _transposed: bool,
    _output_padding: Any, groups: int,
) -> Any:  # fmt: skip
    """Channels last, which XLA has the better code for; depthwise as sums of shifted products."""
    if groups == x.shape[1] == w.shape[0] and groups > 1 and tuple(dilation) == (1, 1):
        return _depthwise(x, w, bias, stride, padding)
    y = lax.conv_general_dilated(
        x.transpose(0, 2, 3, 1), w.transpose(2, 3, 1, 0), stride, [(p, p) for p in padding],
        rhs_dilation=dilation, feature_group_count=groups,
        dimension_numbers=("NHWC", "HWIO", "NHWC"), precision=_HIGHEST,
    )  # fmt: skip
    return (y if bias is None else y + bias).transpose(0, 3, 1, 2)


def _depthwise(x: Any, w: Any, bias: Any, stride: Any, padding: Any) -> Any:
    (down, across), (p, q) = stride, padding
    x = jnp.pad(x, ((0, 0), (0, 0), (p, p), (q, q))).transpose(0, 2, 3, 1)
    high, wide = x.shape[1] - w.shape[2] + 1, x.shape[2] - w.shape[3] + 1
    y = sum(
        x[:, i : i + high : down, j : j + wide : across] * w[:, 0, i, j]
        for i in range(w.shape[2])
        for j in range(w.shape[3])
    )
    return (y if bias is None else y + bias).transpose(0, 3, 1, 2)


def _max_pool(x: Any, window: Any, stride: Any = (), padding: Any = (0, 0)) -> tuple[Any]:
    pads = [(0, 0), (0, 0), *[(p, p) for p in padding]]
    strides = (1, 1, *(stride or window))
    return (lax.reduce_window(x, -jnp.inf, lax.max, (1, 1, *window), strides, pads),)


def _layer_norm(x: Any, shape: Sequence[int], w: Any, b: Any, epsilon: float) -> tuple[Any]:
    axes = tuple(range(-len(shape), 0))
    centred = x - x.mean(axes, keepdims=True)
    return (centred * lax.rsqrt((centred**2).mean(axes, keepdims=True) + epsilon) * w + b,)


def _slice(x: Any, axis: int = 0, start: int = 0, end: int | None = None, step: int = 1) -> Any:
    return x[(slice(None),) * axis + (slice(start, end, step),)]


def _split(x: Any, sizes: Sequence[int], axis: int = 0) -> list[Any]:
    ends = [sum(sizes[: number + 1]) for number in range(len(sizes))]
    return list(jnp.split(x, ends[:-1], axis))


def _expand(x: Any, shape: Sequence[int]) -> Any:
    return jnp.broadcast_to(x, [x.shape[i] if n == -1 else n for i, n in enumerate(shape)])


def _matmul(a: Any, b: Any) -> Any:
    return jnp.matmul(a, b, precision=_HIGHEST)


_OPERATORS: dict[str, Callable[..., Any]] = {
    "getitem": operator.getitem,
    "mm": _matmul,
    "bmm": _matmul,
    "addmm": lambda bias, a, b: bias + _matmul(a, b),
    "mul": operator.mul,
    "add": operator.add,
    "sub": operator.sub,
    "gelu": lambda x, approximate="none": jax.nn.gelu(x, approximate=approximate == "tanh"),
    "sigmoid": jax.nn.sigmoid,
    "tanh": jnp.tanh,
    "relu": jax.nn.relu,
    "hardtanh": lambda x, low=-1.0, high=1.0: jnp.clip(x, low, high),
    "_softmax": lambda x, axis, _: jax.nn.softmax(x, axis),
    "native_layer_norm": _layer_norm,
    "permute": jnp.transpose,
    "view": jnp.reshape,
    "expand": _expand,
    "clone": lambda x: x,
    "convolution": _convolution,
    "max_pool2d_with_indices": _max_pool,
    "mean": lambda x, axes, keep=False: x.mean(tuple(axes), keepdims=keep),
    "arange": jnp.arange,
    "eq": operator.eq,
    "le": operator.le,
    "ge": operator.ge,
    "logical_and": jnp.logical_and,
    "scalar_tensor": jnp.asarray,
    "logical_not": jnp.logical_not,
    "any": lambda x, axis, keep=False: x.any(axis, keepdims=keep),
    "full_like": jnp.full_like,
    "full": jnp.full,
    "where": jnp.where,
    "split_with_sizes": _split,
    "cat": lambda parts, axis=0: jnp.concatenate(parts, axis),
    "slice": _slice,
    "squeeze": lambda x, axes: jnp.squeeze(x, tuple(axes)),
    "unsqueeze": jnp.expand_dims,
}
