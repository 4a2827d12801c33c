"""Training: data, the loop over it, checkpoints, and what is told of a run."""
