"""`kdagent tasks`: list the tasks the library knows."""

from argparse import Namespace

from agent.commands.command import Command
from agent.commands.common import common
from agent.terminal import say, say_json


def run(arguments: Namespace) -> int:
    from agent import config

    found = config.cards(config.TASKS)
    if arguments.json:
        say_json({"schema": 1, "tasks": found})
        return 0
    for name, card in found.items():
        where = "embedded, works offline" if card["embedded"] else f"--data-dir, or the hub ({card['hub']})"
        say(f"{name:<15} {card['kind']:<8} {card['title']}: {card['about']} [{where}]")
    say("your own        --data FILE.csv, FILE.parquet, or a folder of images with one sub-folder per class")
    return 0


COMMAND = Command("list the tasks", common, run)
