"""`kdagent tasks`: list the tasks the library knows."""

import json
from argparse import Namespace

from agent.commands.command import Command
from agent.commands.common import common


def run(arguments: Namespace) -> int:
    from agent import config

    found = config.cards(config.TASKS)
    if arguments.json:
        print(json.dumps({"schema": 1, "tasks": found}))
        return 0
    for name, card in found.items():
        where = "embedded, works offline" if card["embedded"] else f"--data-dir, or the hub ({card['hub']})"
        print(f"{name:<15} {card['kind']:<8} {card['title']}: {card['about']} [{where}]")
    print("your own        --data FILE.csv, FILE.parquet, or a folder of images with one sub-folder per class")
    return 0


COMMAND = Command("list the tasks", common, run)
