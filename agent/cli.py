"""The command line. Errors become one line, a hint and an exit code; only bugs keep their traceback.

Exit codes: 0 done (a worse student is a result, not an error) · 1 the doctor found something missing · 2 usage, plan or
data · 3 language model · 4 credentials · 5 training · 8 waiting for a review · 130 Ctrl-C · 141 nobody reads on.
"""

import argparse
import json
import os
import re
import sys
from collections.abc import Sequence
from typing import Any, NoReturn

from agent import __version__
from agent.errors import UsageError
from sandbox.errors import KdagentError

EPILOG = """examples:
  kdagent run "efficient KD for small models" --yes
  kdagent run "soft labels at temperature 4" --scale small --data-dir DATA --task ag_news
  kdagent run "last 3 layers" --data my.csv --set training.epochs=3 --plan-only
"""
COMMANDS = {
    "resume": "go on with a run that was stopped, or approve its plan",
    "show": "what a run planned and found",
    "report": "write a run's report again, byte for byte",
    "runs": "list the runs",
    "tasks": "the tasks there are",
    "methods": "the methods there are",
    "doctor": "check this machine: git, torch, isolation, data, endpoint",
}
TIMES = {"": 1, "s": 1, "m": 60, "h": 3600}


class Parser(argparse.ArgumentParser):
    """Bad usage is an error like every other."""

    def error(self, message: str) -> NoReturn:
        raise UsageError(message, f"{self.prog} --help")


def parser() -> argparse.ArgumentParser:
    wide = argparse.RawDescriptionHelpFormatter
    about = "Turns an idea about knowledge distillation into a checked experiment report."
    top = Parser("kdagent", description=about, epilog=EPILOG, formatter_class=wide)
    top.add_argument("--version", action="version", version=f"kdagent {__version__}")
    commands = top.add_subparsers(dest="command", required=True, metavar="COMMAND", parser_class=Parser)
    _run(commands.add_parser("run", help="plan, train, compare, report", epilog=EPILOG, formatter_class=wide))
    for name, about in COMMANDS.items():
        command = _common(commands.add_parser(name, help=about))
        if name in ("resume", "show", "report"):
            command.add_argument("run", metavar="RUN", help="a run's id, a unique beginning of it, or @last")
        if name == "resume":
            command.add_argument("--yes", action="store_true", help="approve the plan")
        if name == "doctor":
            _text(command, "--data-dir", metavar="DIR", help="also look for the known tasks there")
            _text(command, "--base-url", metavar="URL", help="also ask this endpoint")
    return top


def _run(command: argparse.ArgumentParser) -> None:
    _common(command)
    command.add_argument("idea", metavar="IDEA", help="one sentence; - reads it from standard input")
    _text(command, "--scale", default="demo", metavar="demo|small|paper", help="how large (default: demo)")
    _text(command, "--task", action="append", default=[], metavar="NAME", help="a task; repeat for several")
    _text(command, "--data-dir", metavar="DIR", help="folder with one sub-folder per known task")
    _text(command, "--data", metavar="PATH", help="your own task: CSV, parquet or image folder")
    _text(command, "--method", metavar="NAME", help="fix the method (see: kdagent methods)")
    command.add_argument("--seeds", type=seeds, metavar="N|A,B,…", help="how many seeds, or which")
    command.add_argument("--attempts", type=int, metavar="N", help="edits that may be tried (default: 1)")
    about = "fix a plan field, e.g. temperature=4 or ag_news.training.epochs=2"
    command.add_argument("--set", type=setting, action="append", default=[], metavar="FIELD=VALUE", help=about)
    command.add_argument("--budget", type=seconds, metavar="TIME", help="time, e.g. 90s, 30m, 2h")
    command.add_argument("--max-tokens", type=int, metavar="N", help="language model tokens, at most")
    _text(command, "--model", metavar="NAME", help="language model (default: the embedded recipes)")
    _text(command, "--base-url", metavar="URL", help="an OpenAI-compatible endpoint")
    command.add_argument("--isolation", default="auto", choices=("auto", "bwrap", "process"), help="default: auto")
    command.add_argument("--plan-only", action="store_true", help="stop after showing the plan")
    command.add_argument("--yes", action="store_true", help="approve the plan without asking")


def _common(command: argparse.ArgumentParser) -> argparse.ArgumentParser:
    _text(command, "--runs-dir", metavar="DIR", help="where runs are (default: runs/)")
    command.add_argument("--json", action="store_true", help="one JSON document on standard output")
    return command


def _text(command: argparse.ArgumentParser, flag: str, **more: Any) -> None:
    """An option whose value must hold something: an empty shell variable is a mistake, not a default."""
    command.add_argument(flag, type=_not_empty, **more)


def _not_empty(text: str) -> str:
    if not text.strip():
        raise argparse.ArgumentTypeError("its value is empty")
    return text


def seeds(text: str) -> list[int]:
    """`6` is seeds 0 to 5; `3,7` is those two."""
    if not re.fullmatch(r"[0-9]{1,9}(,[0-9]{1,9})*", text):
        raise argparse.ArgumentTypeError(f"{text!r:.80} is neither a count nor a list: give 6, or 3,7,11")
    numbers = [int(part) for part in text.split(",")]
    found = numbers if len(numbers) > 1 else list(range(min(numbers[0], 101)))
    if not 1 <= len(found) <= 100:
        raise argparse.ArgumentTypeError(f"{text:.80}: one to a hundred seeds are possible")
    return found


def seconds(text: str) -> float:
    found = re.fullmatch(r"([0-9]{1,9}(?:\.[0-9]{1,3})?)([smh]?)", text)
    if not found or not float(found[1]):
        raise argparse.ArgumentTypeError(f"{text!r:.80} is not a time: give 90s, 30m or 2h")
    return float(found[1]) * TIMES[found[2]]


def setting(text: str) -> tuple[str, Any]:
    """A plan field's path and its value: JSON where it can be read as such, text otherwise."""
    field, equals, value = text.partition("=")
    if not equals or not field.strip():
        raise argparse.ArgumentTypeError(f"{text!r:.80} is not FIELD=VALUE, for example temperature=4")
    try:
        return field.strip(), json.loads(value)
    except (ValueError, RecursionError):
        return field.strip(), value


def main(argv: Sequence[str] | None = None) -> int:
    words = sys.argv[1:] if argv is None else argv
    try:
        arguments = parser().parse_args(words)
        from agent import commands, runs

        with runs.refusals():
            code = commands.COMMANDS[arguments.command](arguments)
            sys.stdout.flush()
        return code
    except KdagentError as error:
        return _fail(error, "--json" in words)
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # or Python complains when it flushes at the end
        return 141


def _fail(error: KdagentError, as_json: bool) -> int:
    """One line, a hint, the exit code; the same facts as JSON where JSON was asked for."""
    message, hint = _line(error.message), _line(error.hint)
    if as_json:
        said = {"code": error.exit_code, "message": message, "hint": hint}
        print(json.dumps({"schema": 1, "error": said}))
    print(f"kdagent: {message}" + (f"\nhint: {hint}" if hint else ""), file=sys.stderr)
    return error.exit_code


def _line(text: str) -> str:
    """On one line, with control characters as visible text: a message may quote what somebody else wrote."""
    visible = (c if c.isprintable() or c.isspace() else c.encode("unicode_escape").decode() for c in text)
    return " ".join("".join(visible).split())


if __name__ == "__main__":
    sys.exit(main())
