"""`kdagent doctor`: check this machine; 1 when something that every run needs is missing."""

from argparse import ArgumentParser, Namespace

from agent.commands.command import Command
from agent.commands.common import common, text
from agent.terminal import say, say_json


def arguments(parser: ArgumentParser) -> None:
    common(parser)
    text(parser, "--data-dir", metavar="DIR", help="also look for the known tasks there")
    text(parser, "--base-url", metavar="URL", help="also check this endpoint")


def run(arguments: Namespace) -> int:
    from dataclasses import asdict

    from agent.commands.findings import findings
    from agent.commands.settings import settings_of

    settings = settings_of(arguments)
    found = list(findings(settings, arguments.data_dir or "", arguments.base_url or settings.base_url))
    if arguments.json:
        say_json({"schema": 1, "findings": [asdict(finding) for finding in found]})
    else:
        for finding in found:
            fix = f"  → {finding.fix}" if finding.fix else ""
            say(f"{finding.status:<8}{finding.name:<12}{finding.detail}{fix}")
    return int(any(finding.status == "missing" for finding in found))


COMMAND = Command("check this machine: git, torch, isolation, data, endpoint", arguments, run)
