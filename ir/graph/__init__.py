"""The graph IR: a DAG of tensor operators in SSA form."""
