"""From loop IR to native code: LLVM IR, JIT, objects, shared objects, C headers."""

if __name__ != "stepwell.codegen":
    raise ImportError("import this package as 'stepwell.codegen', not as 'codegen'")
