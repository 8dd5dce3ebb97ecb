"""`kdagent methods`: list the methods the library knows, or show the card of one."""

import json
from argparse import ArgumentParser, Namespace
from typing import Any

from agent.commands.command import Command
from agent.commands.common import common
from agent.errors import UsageError
from agent.terminal import say, say_json


def arguments(parser: ArgumentParser) -> None:
    common(parser)
    parser.add_argument("words", nargs="*", metavar="show NAME", help="describe one method")


def run(arguments: Namespace) -> int:
    from agent import config
    from agent.record.printed import command

    found = config.cards(config.METHODS)
    if arguments.words:
        name = _shown(arguments.words, [*found])
        found = {name: found[name] | {"settings": method_settings(name), "measured": _measured(name)}}
    if arguments.json:
        say_json({"schema": 1, "methods": found})
    elif arguments.words:
        from agent.render import render

        say(*render("methods/card.txt.j2", method=name, card=found[name]).splitlines())
    else:
        say(*(f"{name:<14} {card['title']}" for name, card in found.items()))
        show = command("methods", "show", "NAME")
        say(f"`{show}`: formula, source, needs, cost, cautions, and what was measured here")
    return 0


def _shown(words: list[str], known: list[str]) -> str:
    """The method of `show NAME`. Raises UsageError."""
    from agent.record.printed import command

    if len(words) != 2 or words[0] != "show" or words[1] not in known:
        problem = (
            f"no method {words[-1]!r:.80}" if words[0] == "show" and len(words) == 2 else f"unknown: {words[0]!r:.80}"
        )
        raise UsageError(problem, f"{command('methods', 'show', 'NAME')}, with one of {', '.join(known)}")
    return words[1]


def method_settings(method: str) -> dict[str, dict[str, Any]]:
    """Each setting of a method: its default there, its range and its meaning."""
    from agent.plan.cards import cards
    from agent.plan.settings import declared

    own = {name: (declared()[name], default) for name, default in cards()[method].defaults.items()}
    said = ("type", "range", "unit", "meaning")
    return {
        n: {"default": default} | {each: getattr(setting, each) for each in said}
        for n, (setting, default) in own.items()
    }


def _measured(name: str) -> list[dict[str, Any]]:
    """The measurements of `make effects` for a method."""
    from agent import config

    known: list[dict[str, Any]] = json.loads(config.EFFECTS.read_text())["claims"]
    return [claim for claim in known if name in claim["methods"]]


COMMAND = Command("list the methods; `methods show NAME` describes one", arguments, run)
