"""What a checkpoint computes again is not kept: a step needs less memory than without."""

from __future__ import annotations

from stepwell.ir.graph import Graph, parse_graph
from stepwell.ir.passes import parse_pipeline, run_pipeline
from stepwell.lowering import passes  # noqa: F401  registers them
from stepwell.lowering.graph_to_loops import graph_to_loops
from stepwell.pipeline import graph_passes, loop_passes, pipeline

LAYERS = 4


def graph(checkpoints: bool) -> Graph:
    """Layers of two products each, and the gradient by the weights that they share."""
    layers = "".join(_layer(i) if checkpoints else _inside(i, f"%y{i + 1}") for i in range(LAYERS))
    return parse_graph(f"""graph @f(%x: f32[256, 32], %w: f32[32, 32]) {{
      %loss, %dw = gradient(%x, %w) {{wrt = [1]}} : f32, f32[32, 32]
        graph @loss(%y0: f32[256, 32], %w: f32[32, 32]) {{
          {layers}
          %s = reduce_sum(%y{LAYERS}) {{axes = [0, 1]}} : f32
          return s = %s
        }}
      return loss = %loss, dw = %dw
    }}""")


def _layer(i: int) -> str:
    return f"""%y{i + 1} = checkpoint(%y{i}, %w) : f32[256, 32]
      graph @layer(%y{i}: f32[256, 32], %w: f32[32, 32]) {{
        {_inside(i, "%z")}
        return z = %z
      }}
    """


def _inside(i: int, result: str) -> str:
    return f"""%a{i} = contract(%y{i}, %w) {{spec = "ik,kj->ij"}} : f32[256, 32]
      %b{i} = tanh(%a{i}) : f32[256, 32]
      %c{i} = contract(%b{i}, %w) {{spec = "ik,kj->ij"}} : f32[256, 32]
      {result} = tanh(%c{i}) : f32[256, 32]
    """


def workspace(of: Graph) -> int:
    fused = run_pipeline(of, parse_pipeline(pipeline(graph_passes())))
    program = run_pipeline(graph_to_loops(fused), parse_pipeline(pipeline(loop_passes())))
    assert isinstance(program.workspace, int)
    return program.workspace


def test_a_checkpoint_saves_memory() -> None:
    assert workspace(graph(checkpoints=True)) < 0.8 * workspace(graph(checkpoints=False))
