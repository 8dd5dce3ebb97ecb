"""`kdagent run`: a new run, from the idea to the report."""

import argparse
import re

from agent.commands.command import Command
from agent.commands.common import common, seconds, setting, tag, text
from agent.terminal import complain
from sandbox.isolation.names import ISOLATION

EXAMPLES = """examples:
  kdagent run "efficient KD for small models" --yes
  kdagent run "soft labels at temperature 4" --scale small --data-dir DATA --task ag_news
  kdagent run "last 3 layers" --data my.csv --set training.epochs=3 --plan-only
"""


def arguments(parser: argparse.ArgumentParser) -> None:
    common(parser)
    parser.add_argument("idea", metavar="IDEA", help="the idea in one sentence; - reads it from standard input")
    text(parser, "--scale", default="demo", metavar="demo|small|paper", help="size of data and models (default: demo)")
    text(parser, "--task", action="append", default=[], metavar="NAME", help="use this task; repeat for several")
    text(parser, "--data-dir", metavar="DIR", help="folder with one sub-folder per known task")
    text(parser, "--data", metavar="PATH", help="your own task: a CSV or parquet file, or a folder of images")
    text(parser, "--method", metavar="NAME", help="fix the method (see: kdagent methods)")
    parser.add_argument("--train-size", type=int, metavar="N", help="labelled training rows; 0: all")
    parser.add_argument("--transfer-size", type=int, metavar="N", help="unlabelled rows for the teacher to label")
    parser.add_argument(
        "--label-noise", type=float, metavar="SHARE", help="share of training labels to alter, e.g. 0.2"
    )
    parser.add_argument("--seeds", type=seeds, metavar="N|A,B,…", help="number of seeds, or a list of them")
    parser.add_argument("--attempts", type=int, metavar="N", help="number of edits to try (default: 1)")
    about = "fix a plan field, e.g. temperature=4 or ag_news.training.epochs=2"
    parser.add_argument("--set", type=setting, action="append", default=[], metavar="FIELD=VALUE", help=about)
    parser.add_argument("--budget", type=seconds, metavar="TIME", help="time limit, e.g. 90s, 30m, 2h")
    parser.add_argument("--max-tokens", type=int, metavar="N", help="token limit for the language model")
    text(parser, "--model", metavar="NAME", help="language model (default: the embedded recipes)")
    text(parser, "--base-url", metavar="URL", help="an OpenAI-compatible endpoint")
    parser.add_argument("--isolation", default="auto", choices=ISOLATION, help="default: auto")
    parser.add_argument("--tag", type=tag, action="append", default=[], metavar="NAME", help="tag the run")
    parser.add_argument("--plan-only", action="store_true", help="stop after showing the plan")
    parser.add_argument("--yes", action="store_true", help="approve the plan without asking")


def seeds(value: str) -> list[int]:
    """`6` is seeds 0 to 5; `3,7` is those two."""
    if not re.fullmatch(r"[0-9]{1,9}(,[0-9]{1,9})*", value):
        raise argparse.ArgumentTypeError(f"{value!r:.80} is neither a count nor a list: give 6, or 3,7,11")
    numbers = [int(part) for part in value.split(",")]
    found = numbers if len(numbers) > 1 else list(range(min(numbers[0], 101)))
    if not 1 <= len(found) <= 100:
        raise argparse.ArgumentTypeError(f"{value:.80}: give between 1 and 100 seeds")
    return found


def run(arguments: argparse.Namespace) -> int:
    from agent.commands.options import options_of, refuse_early
    from agent.commands.settings import settings_of
    from agent.loop.session import Session
    from agent.record import runs

    options, settings = options_of(arguments), settings_of(arguments)
    foreseen = refuse_early(options, settings)
    paths = runs.create(settings.runs, options.idea, options.to_json(), tags=dict.fromkeys(arguments.tag))
    if (last := next(runs.every(settings.runs))) != paths:
        complain(f"kdagent: this clock is behind that of {last.id}: @last names that run, not {paths.id}")
    return Session(paths, options, settings, arguments.json, *foreseen).go()


COMMAND = Command("plan an experiment, train it, compare, write the report", arguments, run, EXAMPLES)
