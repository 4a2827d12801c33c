"""Tuned schedules: found by measuring, kept in a database, consulted by compilations."""
