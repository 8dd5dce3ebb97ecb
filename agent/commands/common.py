"""Flags that several commands have, and how their values are read."""

import json
import re
from argparse import ArgumentParser, ArgumentTypeError
from typing import Any

RUN = "a run's id, a unique beginning of it, @last, or @last~2"
TIMES = {"": 1, "s": 1, "m": 60, "h": 3600, "d": 86400}


def common(parser: ArgumentParser) -> None:
    """The flags that every command has."""
    text(parser, "--runs-dir", metavar="DIR", help="folder of the runs (default: runs/)")
    parser.add_argument("--json", action="store_true", help="print one JSON document to standard output")


def one_run(parser: ArgumentParser) -> None:
    """The flags of a command about one run."""
    common(parser)
    parser.add_argument("run", metavar="RUN", help=RUN)


def text(parser: ArgumentParser, flag: str, **more: Any) -> None:
    """An option whose value must not be empty: an empty shell variable is a mistake, not a default."""
    parser.add_argument(flag, type=_not_empty, **more)


def _not_empty(value: str) -> str:
    if not value.strip():
        raise ArgumentTypeError("its value is empty")
    return value


def seconds(value: str) -> float:
    found = re.fullmatch(r"([0-9]{1,9}(?:\.[0-9]{1,3})?)([smhd]?)", value)
    if not found or not float(found[1]):
        raise ArgumentTypeError(f"{value!r:.80} is not a time: give 90s, 30m or 2h")
    return float(found[1]) * TIMES[found[2]]


def tag(value: str) -> str:
    if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}", value):
        raise ArgumentTypeError(f"{value!r:.80} is not a name: give letters, digits, dots and dashes")
    return value


def setting(value: str) -> tuple[str, Any]:
    """A plan field's path and its value: JSON where it can be read as such, text otherwise."""
    field, equals, given = value.partition("=")
    if not equals or not field.strip():
        raise ArgumentTypeError(f"{value!r:.80} is not FIELD=VALUE, for example temperature=4")
    try:
        return field.strip(), json.loads(given)
    except (ValueError, RecursionError):
        return field.strip(), given
