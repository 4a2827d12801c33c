"""Vector maths functions as LLVM IR."""
