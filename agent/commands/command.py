"""A command of kdagent."""

from argparse import ArgumentParser, Namespace
from collections.abc import Callable
from typing import NamedTuple


class Command(NamedTuple):
    """The record at the end of each command's file."""

    help: str
    """Its line in `kdagent --help`."""
    arguments: Callable[[ArgumentParser], object]
    """Adds its flags."""
    run: Callable[[Namespace], int]
    """Takes the parsed arguments and returns the exit code. Imports what it needs itself: help must not wait for it."""
    examples: str = ""
    """Shown below its flags."""
