"""The table of commands, by what a person is doing: a command is a line here and the file of its name beside it."""

from collections.abc import Iterator
from importlib import import_module
from keyword import iskeyword

from agent.commands.command import Command

GROUPS = {
    "run an experiment": (
        "run",
        "resume",
        "tasks",
        "methods",
        "doctor",
    ),
    "look at runs and review them": (
        "runs",
        "show",
        "report",
        "review",
        "diff",
    ),
    "re-check a run, pass it on": (
        "verify",
        "replay",
        "export",
        "import",
        "lint",
    ),
    "tidy up": (
        "tag",
        "rm",
        "gc",
        "cache",
    ),
}


def names() -> Iterator[str]:
    """Of all commands, in the order of the table."""
    for group in GROUPS.values():
        yield from group


def command(name: str) -> Command:
    """The command of that name; only its file is read. `import`, which no module can be called, is in import_.py."""
    found: Command = import_module(f"agent.commands.{name}{'_' * iskeyword(name)}").COMMAND
    return found


def overview() -> str:
    """Every command with its line of help, under the heading of its group."""
    groups = (
        "\n".join([f"{heading}:", *(f"  {name:<9}{command(name).help}" for name in group)])
        for heading, group in GROUPS.items()
    )
    return "\n\n".join(groups)
