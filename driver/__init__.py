"""Stepwell, a compiler for tensor models."""

if __name__ != "stepwell":
    raise ImportError("import this package as 'stepwell', not as 'driver'")
