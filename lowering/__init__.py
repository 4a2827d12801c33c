"""Passes: graph to graph, graph to loops, loops to loops."""

if __name__ != "stepwell.lowering":
    raise ImportError("import this package as 'stepwell.lowering', not as 'lowering'")
