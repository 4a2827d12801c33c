"""`stepwell cache`: where compiled programs are kept, how many, and how to forget them."""

from __future__ import annotations

import argparse

from stepwell.cache import DiskCache

HELP = "show or clear the cache of compiled programs"
DESCRIPTION = "Show where compiled programs are kept and how much room they take, or clear them."
EXAMPLE = "stepwell cache --clear"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--clear", action="store_true", help="remove every entry")


def run(args: argparse.Namespace) -> int:
    cache = DiskCache.default()
    if args.clear:
        freed = cache.clear()
        print(f"removed {megabytes(freed)} from {cache.folder}")
        return 0
    entries = cache.entries()
    total = sum(size for _, size, _ in entries)
    print(f"folder   {cache.folder}")
    print(f"entries  {len(entries)}")
    print(f"size     {megabytes(total)} of at most {megabytes(cache.limit)}")
    return 0


def megabytes(size: int) -> str:
    """Bytes for a person: `1.5 MB`."""
    return f"{size / 1e6:.1f} MB"
