"""The command line: parse, call, print. `main` is the entry point."""

from reconciler.cli.app import main

__all__ = ["main"]
