"""The command line. Errors become one line, a hint and an exit code; only bugs keep their traceback.

Exit codes: 0 done (a worse student is a result, not an error) · 1 doctor, lint or verify found something, or a
replay does not match · 2 usage,
plan or data · 3 language model · 4 credentials · 5 training · 6 a replay drifted from its record · 7 it cannot be
replayed · 8 waiting for a review · 130 Ctrl-C · 141 the output's reader is gone.
"""

import argparse
import os
import sys
from collections.abc import Sequence
from typing import NoReturn

from agent import __version__
from agent.commands import table
from agent.errors import UsageError
from agent.terminal import complain, say_json
from sandbox.errors import KdagentError
from sandbox.printable import printable

ABOUT = "Turns an idea about knowledge distillation into a checked experiment report."
LAYOUT = argparse.RawDescriptionHelpFormatter


class Parser(argparse.ArgumentParser):
    """Bad usage is an error like every other."""

    def error(self, message: str) -> NoReturn:
        from agent.record.printed import program

        raise UsageError(message, f"{self.prog.replace('kdagent', program(), 1)} --help")


class Overview(Parser):
    """The one in front of the commands. Its help shows all of them, for which it reads their files only then."""

    def format_help(self) -> str:
        self.description = f"{ABOUT}\n\n{table.overview()}"
        self.epilog = table.command("run").examples
        return super().format_help()


def parser(words: Sequence[str]) -> Parser:
    """Of a command line. The commands that it does not name have no flags, so that their files are not read."""
    top = Overview("kdagent", usage="kdagent [-h] [--version] COMMAND ...", formatter_class=LAYOUT)
    top.add_argument("--version", action="version", version=f"kdagent {__version__}")
    commands = top.add_subparsers(
        prog="kdagent", dest="command", required=True, metavar="COMMAND", parser_class=Parser, help=argparse.SUPPRESS
    )
    for name in table.names():
        made = commands.add_parser(name, formatter_class=LAYOUT)
        if name in words:
            command = table.command(name)
            made.epilog = command.examples
            command.arguments(made)
    return top


def main(argv: Sequence[str] | None = None) -> int:
    words = sys.argv[1:] if argv is None else argv
    try:
        arguments = parser(words).parse_args(words)
        from agent.record import runs

        with runs.refusals():
            code = table.command(arguments.command).run(arguments)
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
        say_json({"schema": 1, "error": said})
    complain(f"kdagent: {message}", *[f"hint: {hint}"] * bool(hint))
    return error.exit_code


def _line(text: str) -> str:
    """On one line, also in JSON: a message may quote what somebody else wrote."""
    return printable(" ".join(text.split()))


if __name__ == "__main__":
    sys.exit(main())
