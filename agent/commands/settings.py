"""The settings that a command works with."""

from argparse import Namespace
from dataclasses import replace
from pathlib import Path

from agent import config


def settings_of(arguments: Namespace) -> config.Settings:
    """Those of the environment, with the runs folder that was named."""
    settings = config.Settings.read()
    return replace(settings, runs=Path(arguments.runs_dir).absolute()) if arguments.runs_dir else settings
