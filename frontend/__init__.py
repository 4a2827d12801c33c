"""From a .well source to a graph: parse, resolve, check every shape, elaborate."""

if __name__ != "stepwell.frontend":
    raise ImportError("import this package as 'stepwell.frontend', not as 'frontend'")
