"""Every method's smallest experiment, measured beside what is expected, with its negative controls.

    python -m tests.campaigns.effects [NAME …] [--write]    minutes; --write puts the table into docs/methods.md and
    baselines/effects.json

Exits with 1 where a claim does not hold.
"""

import json
import os
import sys
import time
from importlib import import_module
from pathlib import Path
from typing import Any

import torch

from agent.config import EFFECTS
from benchmarks.page import DOCS, put
from tests.campaigns.effects.effect import Claim, Effect

HEADER = "| | methods | data | what must hold | measured | expected | holds |\n|---|---|---|---|---|---|---|\n"


def effects() -> list[Effect]:
    """Of every module x*.py beside this one, in their order."""
    files = sorted(Path(__file__).parent.glob("x*.py"), key=lambda file: int(file.stem.split("_")[0][1:]))
    return [import_module(f"tests.campaigns.effects.{file.stem}").EFFECT for file in files]


def main(words: list[str]) -> int:
    torch.set_num_threads(1)
    wanted = {word for word in words if not word.startswith("-")}
    chosen = [effect for effect in effects() if not wanted or effect.name in wanted]
    started, found = time.monotonic(), dict[str, list[Claim]]()
    for effect in chosen:
        begun = time.monotonic()
        found[effect.name] = list(effect.run())
        print(f"{effect.name}: {time.monotonic() - begun:.0f} s", file=sys.stderr, flush=True)
    minutes = (time.monotonic() - started) / 60
    text = HEADER + "".join(_row(effect, claim) for effect in chosen for claim in found[effect.name])
    text += f"\nMeasured in {minutes:.1f} minutes on {os.cpu_count()} cores, one thread."
    print(text)
    if "--write" in words:
        put(DOCS / "methods.md", "effects", text)
        claims = [_claim(effect, claim) for effect in chosen for claim in found[effect.name]]
        EFFECTS.write_text(json.dumps({"schema": 1, "claims": claims}, indent=1, ensure_ascii=False) + "\n")
    return int(not all(claim.holds for claims in found.values() for claim in claims))


def _claim(effect: Effect, claim: Claim) -> dict[str, Any]:
    """As `kdagent methods show` reads it."""
    named = {"effect": effect.name, "methods": effect.methods.split(", "), "data": effect.data}
    what = f"control: {claim.what}" if claim.control else claim.what
    return named | {"what": what, "measured": claim.measured, "expected": effect.expected, "holds": claim.holds}


def _row(effect: Effect, claim: Claim) -> str:
    what = f"control: {claim.what}" if claim.control else claim.what
    holds = "yes" if claim.holds else "**no**"
    expected = "" if claim.control else effect.expected
    return f"| {effect.name} | {effect.methods} | {effect.data} | {what} | {claim.measured} | {expected} | {holds} |\n"


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
