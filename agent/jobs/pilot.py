"""What an author is told about a pilot: the same words on every machine and in every replay."""

import re
from pathlib import Path

from agent.jobs.arm import Part
from agent.record.probe import Probe


def without_paths(problem: str, *folders: Path) -> str:
    """What an author is told must be the same on every machine and in every replay: no folder, no address."""
    for folder in folders:
        problem = problem.replace(str(folder), "…")
    named = re.sub(
        r'File "[^"\n]*?(?:lib/python[\d.]+/(?:site-packages/)?|(?=train\.py"|baselines/))', 'File "', problem
    )
    return re.sub(r"\b0x[0-9a-f]{6,}\b", "0x…", named)


def without_effect(part: Part, probe: Probe) -> str:
    """What an author is told whose training is the same whatever the teacher says, or ""."""
    idle = [name for name in probe.shuffled if name not in probe.outputs]
    if not idle or (probe.outputs and part.track.method.alpha == 0 and idle == ["logits"]):
        return ""
    named = ", ".join(name.replace("features-", "layer ") for name in idle)
    return (
        f"{part.track.name}: the teacher's {named} made no difference: {probe.steps} steps with them shuffled over the "
        "rows end with the same weights. Use them in the loss from the first step on."
    )
