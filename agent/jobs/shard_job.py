"""The job file of a shard, the files its process may see, and its report of a trial: the same for trials and pilots."""

from collections.abc import Mapping
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path
from typing import Any

from agent.cache.keys import versions
from agent.jobs.arm import Shard
from agent.jobs.job_files import TrialJob, TrialUnit
from agent.jobs.outputs import TRIAL
from agent.jobs.teachers import taught_by
from agent.record.paths import RunPaths
from agent.record.prepared import Prepared
from sandbox import intake
from sandbox.errors import IntakeRejected
from sandbox.isolation.supervisor import Outcome
from sandbox.workspace import Workspace


@dataclass(frozen=True)
class Inputs:
    """What trials are made from: each track's rows, and the folder of its teacher."""

    prepared: Mapping[str, Prepared]
    teachers: Mapping[str, str]

    def teacher_of(self, shard: Shard) -> str:
        """The folder of the model that its students learn from."""
        teacher = self.teachers[shard.track.name]
        assisted = any(arm.assisted for arm, _ in shard.work)
        return str(taught_by(shard.track, self.prepared[shard.track.name], teacher)) if assisted else teacher

    def readable(self, shard: Shard) -> set[Path]:
        """What a trial may see: no dev or test row, and the transfer labels only where an arm measures their worth."""
        prepared, arms = self.prepared[shard.track.name], [arm for arm, _ in shard.work]
        read = {prepared.seen}
        read |= {Path(self.teacher_of(shard))} if any(arm.teacher for arm in arms) else set()
        read |= {prepared.labels / "transfer.safetensors"} if any(arm.reveal_transfer for arm in arms) else set()
        return read


def shard_job(paths: RunPaths, name: str, shard: Shard, inputs: Inputs, out: Path) -> TrialJob:
    """`name` is that of the process, whose job folder the arms' train.py files are put into."""
    prepared = inputs.prepared[shard.track.name]
    units = tuple(_units(paths, name, shard, prepared.models["student"].spec))
    return TrialJob(
        out=str(out / shard.track.name),
        seen=str(prepared.seen),
        labels=str(prepared.labels) if any(unit.reveal_transfer for unit in units) else "",
        teacher=inputs.teacher_of(shard),
        units=units,
        steps=shard.steps,
        checkpoints=shard.checkpoints,
        threads=shard.track.threads,
        versions=versions(),
    )


def _units(paths: RunPaths, name: str, shard: Shard, model: dict[str, Any]) -> list[TrialUnit]:
    units = []
    for arm, group in groupby(shard.work, key=lambda pair: pair[0]):
        file = Workspace.open(paths.repository).export(arm.commit, paths.jobs / name / arm.name)
        units.append(
            TrialUnit(
                arm=arm.name,
                file=str(file),
                commit=arm.commit,
                model=model,
                training=shard.training,
                method=arm.method[shard.track.name],
                teacher=arm.teacher,
                reveal_transfer=arm.reveal_transfer,
                generated=arm.generated,
                seeds=tuple(seed for _, seed in group),
            )
        )
    return units


def trial_report(out: Path, arm: str, seed: int | str, outcome: Outcome) -> dict[str, Any]:
    """trial.json as the trial left it, fields as in `outputs.TRIAL`, or the reason why it cannot be used."""
    try:
        return intake.read_json(out, f"{arm}/{seed}/trial.json", schema=TRIAL)
    except IntakeRejected as error:
        limit = outcome.status not in ("ok", "error")
        why = {"kind": outcome.status, "error": outcome.status} if limit else {"error": error.message}
        kind = "killed" if outcome.killed else "rejected"
        failed = {"schema": 1, "arm": arm, "seed": seed, "status": "failed", "kind": kind}
        return failed | why | {"traceback": outcome.tail}


def stopped_by(report: Mapping[str, Any], outcome: Outcome) -> str:
    """What stopped a trial: a limit of the job, or what the trial reports itself; "" where nothing did."""
    if report.get("status") == "ok":
        return ""
    return outcome.status if outcome.status not in ("ok", "error") else str(report.get("kind", "crash"))
