"""The command line. Errors become one line, a hint and an exit code; only bugs keep their traceback.

Exit codes: 0 done (a worse student is a result, not an error) · 1 doctor, lint or verify found something · 2 usage,
plan or data · 3 language model · 4 credentials · 5 training · 6 a replay drifted from its record · 7 it cannot be
replayed · 8 waiting for a review · 130 Ctrl-C · 141 nobody reads on. A replay that does not match ends with 1.
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
from sandbox.isolation.names import ISOLATION

EPILOG = """examples:
  kdagent run "efficient KD for small models" --yes
  kdagent run "soft labels at temperature 4" --scale small --data-dir DATA --task ag_news
  kdagent run "last 3 layers" --data my.csv --set training.epochs=3 --plan-only
"""
COMMANDS = {
    "resume": "go on with a run that was stopped, or approve its plan",
    "replay": "make a run again from its record, and compare",
    "show": "what a run planned and found",
    "report": "write a run's report again, byte for byte",
    "verify": "derive every number of a run again, and hold every file against its log",
    "review": "approve, reject or comment a plan or a report; amend a plan",
    "diff": "what differs between two runs",
    "export": "write a run as one file",
    "import": "read a run from such a file; nothing of it is run",
    "runs": "list the runs",
    "tag": "name a run, so that runs --tag finds it",
    "rm": "delete runs",
    "gc": "what no run needs any more, and with --yes its end",
    "cache": "what lies in the cache (ls), and its end (rm)",
    "tasks": "the tasks there are",
    "methods": "the methods there are",
    "doctor": "check this machine: git, torch, isolation, data, endpoint",
    "lint": "what is wrong with reported metrics, by their own arithmetic",
}
RUN = "a run's id, a unique beginning of it, @last, or @last~2"
STATUS = ("planned", "awaiting_review", "running", "succeeded", "partial", "failed", "cancelled", "unreadable")
VERDICTS = ("better", "worse", "inconclusive", "invalid")
TIMES = {"": 1, "s": 1, "m": 60, "h": 3600, "d": 86400}


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
        command = commands.add_parser(name, help=about)
        if name == "cache":
            _cache(command)
            continue
        _common(command)
        if name in ("resume", "replay", "show", "report", "verify", "review", "export", "tag"):
            command.add_argument("run", metavar="RUN", help=RUN)
        if name in SHELF:
            SHELF[name](command)
        if name == "resume":
            command.add_argument("--yes", action="store_true", help="approve the plan")
        if name == "methods":
            command.add_argument("words", nargs="*", metavar="show NAME", help="all that is known of one method")
        if name == "doctor":
            _text(command, "--data-dir", metavar="DIR", help="also look for the known tasks there")
            _text(command, "--base-url", metavar="URL", help="also ask this endpoint")
        if name == "lint":
            command.add_argument(
                "metrics", nargs="+", metavar="METRICS.json", help="what a Trainer's evaluation reported"
            )
            _text(command, "--plan", metavar="PLAN.json|RUN", help="what was planned: a plan's file, or a run")
    return top


def _run(command: argparse.ArgumentParser) -> None:
    _common(command)
    command.add_argument("idea", metavar="IDEA", help="one sentence; - reads it from standard input")
    _text(command, "--scale", default="demo", metavar="demo|small|paper", help="how large (default: demo)")
    _text(command, "--task", action="append", default=[], metavar="NAME", help="a task; repeat for several")
    _text(command, "--data-dir", metavar="DIR", help="folder with one sub-folder per known task")
    _text(command, "--data", metavar="PATH", help="your own task: CSV, parquet or image folder")
    _text(command, "--method", metavar="NAME", help="fix the method (see: kdagent methods)")
    command.add_argument("--train-size", type=int, metavar="N", help="labelled training rows; 0: all")
    command.add_argument(
        "--transfer-size", type=int, metavar="N", help="rows without labels, for the teacher to answer"
    )
    command.add_argument("--label-noise", type=float, metavar="SHARE", help="training labels to make wrong, e.g. 0.2")
    command.add_argument("--seeds", type=seeds, metavar="N|A,B,…", help="how many seeds, or which")
    command.add_argument("--attempts", type=int, metavar="N", help="edits that may be tried (default: 1)")
    about = "fix a plan field, e.g. temperature=4 or ag_news.training.epochs=2"
    command.add_argument("--set", type=setting, action="append", default=[], metavar="FIELD=VALUE", help=about)
    command.add_argument("--budget", type=seconds, metavar="TIME", help="time, e.g. 90s, 30m, 2h")
    command.add_argument("--max-tokens", type=int, metavar="N", help="language model tokens, at most")
    _text(command, "--model", metavar="NAME", help="language model (default: the embedded recipes)")
    _text(command, "--base-url", metavar="URL", help="an OpenAI-compatible endpoint")
    command.add_argument("--isolation", default="auto", choices=ISOLATION, help="default: auto")
    command.add_argument("--tag", type=tag, action="append", default=[], metavar="NAME", help="name the run")
    command.add_argument("--plan-only", action="store_true", help="stop after showing the plan")
    command.add_argument("--yes", action="store_true", help="approve the plan without asking")


def _review(command: argparse.ArgumentParser) -> None:
    decision = command.add_mutually_exclusive_group()
    for word in ("approve", "reject"):
        decision.add_argument(f"--{word}", dest="decision", action="store_const", const=word)
    _text(command, "--comment", metavar="TEXT", help="say something, with a decision or alone")
    about = "a new run with this plan field changed; repeat for several"
    command.add_argument("--edit", type=setting, action="append", default=[], metavar="FIELD=VALUE", help=about)
    _text(command, "--author", metavar="NAME", help="who reviews (default: git's user.name, else the login name)")


def _replay(command: argparse.ArgumentParser) -> None:
    levels = ("report", "agent", "full", "live")
    about = "report: render it; agent: play the record, train nothing; full (default): train; live: ask a model anew"
    command.add_argument("--level", choices=levels, default="full", help=about)
    _text(command, "--data-dir", metavar="DIR", help="where the data are now")
    _text(command, "--data", metavar="PATH", help="where the data of your own are now")
    _text(command, "--model", metavar="NAME", help="at level live: the model to ask")
    _text(command, "--base-url", metavar="URL", help="at level live: its endpoint")
    command.add_argument("--isolation", choices=ISOLATION, help="default: as the run was")
    command.add_argument("--yes", action="store_true", help="train the code of an imported run")


def _diff(command: argparse.ArgumentParser) -> None:
    command.add_argument("first", metavar="RUN", help=RUN)
    command.add_argument("second", metavar="RUN", help="the run that is compared with it")


def _export(command: argparse.ArgumentParser) -> None:
    command.add_argument("file", metavar="FILE", nargs="?", help="default: the run's id, .tar.gz, here")
    command.add_argument("--weights", action="store_true", help="with the trained weights")
    command.add_argument("--data", action="store_true", help="with the prepared data, where they are small")


def _import(command: argparse.ArgumentParser) -> None:
    command.add_argument("file", metavar="FILE", help="what kdagent export wrote")


def _runs(command: argparse.ArgumentParser) -> None:
    command.add_argument("--status", choices=STATUS, metavar="|".join(STATUS))
    command.add_argument("--verdict", choices=VERDICTS, metavar="|".join(VERDICTS))
    _text(command, "--task", metavar="NAME", help="with this task")
    command.add_argument("--tag", action="append", default=[], metavar="NAME", help="with this name; repeat for both")
    command.add_argument("--since", type=since, metavar="DATE|TIME", help="2026-11-20, or 36h, or 7d")


def _tag(command: argparse.ArgumentParser) -> None:
    command.add_argument("tag", type=tag, nargs="+", metavar="NAME")
    command.add_argument("--remove", action="store_true", help="take the names away")


def _rm(command: argparse.ArgumentParser) -> None:
    command.add_argument("run", nargs="+", metavar="RUN", help=RUN)
    command.add_argument("--yes", action="store_true", help="do not ask")


def _gc(command: argparse.ArgumentParser) -> None:
    what = command.add_mutually_exclusive_group()
    what.add_argument("--dry-run", action="store_true", help="only say what it would free (the default)")
    what.add_argument("--yes", action="store_true", help="free it")


def _cache(command: argparse.ArgumentParser) -> None:
    actions = command.add_subparsers(dest="action", required=True, metavar="ls|rm", parser_class=Parser)
    _common(actions.add_parser("ls", help="what is there: kind, key, size, last use, what it holds, who needs it"))
    rm = _common(actions.add_parser("rm", help="delete it; the next run that needs it makes it again"))
    what = rm.add_mutually_exclusive_group(required=True)
    what.add_argument("key", nargs="*", default=[], metavar="KEY", help="a key, or a unique beginning of one")
    what.add_argument("--all", action="store_true", help="everything")
    what.add_argument("--older", type=days, metavar="DAYS", help="what no run has used for so many days")
    rm.add_argument("--yes", action="store_true", help="do not ask")


SHELF = {
    "replay": _replay,
    "review": _review,
    "diff": _diff,
    "export": _export,
    "import": _import,
    "runs": _runs,
    "tag": _tag,
    "rm": _rm,
    "gc": _gc,
}
"""Commands about runs there are → what they take."""


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
    found = re.fullmatch(r"([0-9]{1,9}(?:\.[0-9]{1,3})?)([smhd]?)", text)
    if not found or not float(found[1]):
        raise argparse.ArgumentTypeError(f"{text!r:.80} is not a time: give 90s, 30m or 2h")
    return float(found[1]) * TIMES[found[2]]


def days(text: str) -> float:
    if not re.fullmatch(r"[0-9]{1,6}(\.[0-9]{1,6})?", text):
        raise argparse.ArgumentTypeError(f"{text!r:.80} is no number of days: give 30, or 0.5")
    return float(text)


def since(text: str) -> str:
    """A date, or a time that is as long ago, as runs note when they were made."""
    from datetime import UTC, datetime, timedelta

    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        moment = datetime.now(UTC) - timedelta(seconds=min(seconds(text), 1e9))
    known = moment if moment.tzinfo else moment.replace(tzinfo=UTC)
    return known.astimezone(UTC).isoformat(timespec="seconds")


def tag(text: str) -> str:
    if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}", text):
        raise argparse.ArgumentTypeError(f"{text!r:.80} is no name: letters, digits, dots and dashes are")
    return text


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
        from agent.commands.table import COMMANDS
        from agent.record import runs

        with runs.refusals():
            code = COMMANDS[arguments.command](arguments)
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
