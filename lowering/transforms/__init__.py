"""Schedule transformations: kernel to kernel, each small, checked for legality, and visible.

They name loops by their index. A transformation that cannot be done legally raises `ScheduleError`.
"""
