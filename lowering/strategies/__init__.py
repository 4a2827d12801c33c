"""Strategies: for each kernel family, which transformations to apply, chosen from the target."""
