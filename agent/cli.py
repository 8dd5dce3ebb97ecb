"""The command line. Errors become one line, a hint and an exit code; only bugs keep their traceback.

Exit codes: 0 done (a worse student is a result, not an error) · 2 usage, plan or data · 3 language model · 4 credentials
· 5 training · 8 waiting for a review · 130 Ctrl-C.
"""

import argparse
import json
import re
import sys
from collections.abc import Sequence
from typing import Any, NoReturn

from agent import __version__
from sandbox.errors import KdagentError

EPILOG = """examples:
  kdagent run "efficient KD for small models" --yes
  kdagent run "soft labels at temperature 4" --scale small --data-dir DATA --task ag_news
  kdagent run "last 3 layers" --data my.csv --set training.epochs=3 --plan-only
"""


class Parser(argparse.ArgumentParser):
    """One line for bad usage, as for every other error."""

    def error(self, message: str) -> NoReturn:
        print(f"kdagent: {message}\nhint: kdagent --help", file=sys.stderr)
        raise SystemExit(2)


def parser() -> argparse.ArgumentParser:
    top = Parser("kdagent", description="Turns an idea about knowledge distillation into a checked experiment report.",
                 epilog=EPILOG, formatter_class=argparse.RawDescriptionHelpFormatter)  # fmt: skip
    top.add_argument("--version", action="version", version=f"kdagent {__version__}")
    commands = top.add_subparsers(dest="command", required=True, metavar="COMMAND", parser_class=Parser)
    _run(commands.add_parser("run", help="plan, train, compare, report", epilog=EPILOG,
                             formatter_class=argparse.RawDescriptionHelpFormatter))  # fmt: skip
    for name, text in (("resume", "go on with a run that was stopped, or approve its plan"),
                       ("show", "what a run planned and found"), ("report", "write a run's report again, byte for byte")):  # fmt: skip
        command = _common(commands.add_parser(name, help=text))
        command.add_argument("run", metavar="RUN", help="a run's id, a unique beginning of it, or @last")
        if name == "resume":
            command.add_argument("--yes", action="store_true", help="approve the plan")
    for name, text in (("runs", "list the runs"), ("tasks", "the tasks there are"), ("methods", "the methods there are"),
                       ("doctor", "check this machine: git, torch, isolation, data, endpoint")):  # fmt: skip
        command = _common(commands.add_parser(name, help=text))
        if name in ("doctor",):
            command.add_argument("--data-dir", default="", metavar="DIR", help="also look for the known tasks there")
            command.add_argument("--base-url", default="", metavar="URL", help="also ask this endpoint")
    return top


def _run(command: argparse.ArgumentParser) -> None:
    _common(command)
    command.add_argument("idea", metavar="IDEA", help="one sentence; - reads it from standard input")
    command.add_argument("--scale", default="demo", metavar="demo|small|paper", help="how large (default: demo)")
    command.add_argument("--task", action="append", default=[], metavar="NAME", help="a task; repeat for several")
    command.add_argument("--data-dir", default="", metavar="DIR", help="folder with one sub-folder per known task")
    command.add_argument("--data", default="", metavar="PATH", help="your own task: CSV, parquet or image folder")
    command.add_argument("--method", default="", metavar="NAME", help="fix the method (see: kdagent methods)")
    command.add_argument("--seeds", default="", metavar="N|A,B,…", help="how many seeds, or which")
    command.add_argument("--attempts", type=int, default=1, metavar="N", help="edits that may be tried (default: 1)")
    command.add_argument("--set", action="append", default=[], metavar="FIELD=VALUE", dest="values",
                         help="fix a plan field, e.g. temperature=4 or ag_news.training.epochs=2")  # fmt: skip
    command.add_argument("--budget", default="", metavar="TIME", help="time, e.g. 90s, 30m, 2h")
    command.add_argument("--max-tokens", type=int, default=0, metavar="N", help="language model tokens, at most")
    command.add_argument("--model", default="", metavar="NAME", help="language model (default: the embedded recipes)")
    command.add_argument("--base-url", default="", metavar="URL", help="an OpenAI-compatible endpoint")
    command.add_argument("--isolation", default="auto", choices=("auto", "bwrap", "process"), help="default: auto")
    command.add_argument("--plan-only", action="store_true", help="stop after showing the plan")
    command.add_argument("--yes", action="store_true", help="approve the plan without asking")


def _common(command: argparse.ArgumentParser) -> argparse.ArgumentParser:
    command.add_argument("--runs-dir", default="", metavar="DIR", help="where runs are (default: runs/)")
    command.add_argument("--json", action="store_true", help="one JSON document on standard output")
    return command


def main(argv: Sequence[str] | None = None) -> int:
    arguments = parser().parse_args(argv)
    try:
        from agent import commands

        return commands.COMMANDS[arguments.command](arguments)
    except KdagentError as error:
        return _fail(error, arguments.json)
    except BrokenPipeError:
        return 141


def _fail(error: KdagentError, as_json: bool) -> int:
    """One line, a hint, the exit code; the same facts as JSON where JSON was asked for."""
    message, hint = (re.sub(r"\s+", " ", text).strip() for text in (error.message, error.hint))
    if as_json:
        said: dict[str, Any] = {"schema": 1, "error": {"code": error.exit_code, "message": message, "hint": hint}}
        print(json.dumps(said, ensure_ascii=False))
    print(f"kdagent: {message}" + (f"\nhint: {hint}" if hint else ""), file=sys.stderr)
    return error.exit_code


if __name__ == "__main__":
    sys.exit(main())
