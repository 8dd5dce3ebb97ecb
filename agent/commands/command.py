"""What a command is."""

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
    """Takes what was parsed and returns the exit code. Imports what it needs itself: help must not wait for it."""
    examples: str = ""
    """Shown below its flags."""
