"""The loop IR: one loop nest per kernel, over buffers."""
