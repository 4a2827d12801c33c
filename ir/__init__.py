"""What both IRs share (sizes, types, spans, diagnostics, scalars, passes) and the two IRs."""

if __name__ != "stepwell.ir":
    raise ImportError("import this package as 'stepwell.ir', not as 'ir'")
