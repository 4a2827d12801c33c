"""Measuring: models, their kernels, and what this machine can do at best."""
