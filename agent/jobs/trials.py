"""Trials: what their jobs say, and what stopped them."""

import json
from pathlib import Path
from typing import Any

from agent.plan.plan import Track, Training
from sandbox.isolation import supervisor


def _card_memory(track: Track, teacher: str) -> int:
    """Bytes of a graphics card that a trial is taken to need: what training the teacher took, the larger model, times
    as much as batches are larger, and the teacher's features, which lie there too; 0 where it was not measured. Several
    peers may need more: a trial that runs out of memory is trained again in micro-batches."""
    taken = int(json.loads((Path(teacher) / "teacher.json").read_text()).get("card_memory", 0))
    kept = sum(file.stat().st_size for file in Path(teacher).glob("features-*.safetensors"))
    return taken and taken * -(-track.training.batch_size // track.teacher_training.batch_size) + kept


def _kind(report: dict[str, Any], outcome: supervisor.Outcome) -> str:
    """What stopped a trial: a limit of the job, or what the trial says itself."""
    if report.get("status") == "ok":
        return ""
    return outcome.status if outcome.status not in ("ok", "error") else str(report.get("kind", "crash"))


def _work(job: dict[str, Any]) -> set[str]:
    """Per arm of a job, what decides about the bits of its trials; which of them are still to be done does not."""
    shared = {name: value for name, value in job.items() if name not in ("units", "labels")}
    return {json.dumps(shared | unit | {"seeds": []}, sort_keys=True) for unit in job["units"]}


def _split(training: Training, micro: int) -> dict[str, Any]:
    """The settings of a training whose batches are split, with the same rows in each step."""
    split = {"batch_size": training.batch_size // micro, "accumulation": training.accumulation * micro}
    return training.model_dump() | split
