"""The trial process: it sees training rows, labels a student may see, the cache; it gives back weights and a trace."""

import json
import os
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from agent.cache import entries
from agent.cache.keys import versions
from agent.cache.trials import TrialStore
from agent.errors import Interrupted, TrainingError
from agent.jobs.arm import Arm, Shard
from agent.jobs.checked import Checked
from agent.jobs.outputs import MOST_TRACE, TRACE
from agent.jobs.probe import MOST_WEIGHTS
from agent.jobs.runner import MOST_TRIES, Request, Runner, card_devices
from agent.jobs.shard_job import Inputs, shard_job, stopped_by, trial_report
from agent.plan.plan import Plan, Track
from agent.record.files import write_whole
from sandbox import intake
from sandbox.errors import IntakeRejected
from sandbox.folder import reclaim, remove
from sandbox.isolation.supervisor import Outcome
from sandbox.workspace import Workspace

Trial = tuple[str, str, int]
"""Arm, track and seed."""


@dataclass(frozen=True)
class Trials:
    runner: Runner
    checked: Checked
    store: TrialStore | None

    def train(self, plan: Plan, arms: Sequence[Arm], inputs: Inputs) -> None:
        """Every trial of `arms` that the run does not have yet. A trial that fails is a result; it is kept as such."""
        need = max(card_need(track, inputs.teachers[track.name]) for track in plan.tracks)
        shards = [shard for track in plan.tracks for shard in self._shards(plan, track, arms, need)]
        ours = all(arm.ours for arm in arms)
        identities = self._identities(shards, inputs) if ours and self.store else {}
        self._take(identities)
        phase = "train " + ", ".join(arm.name for arm in arms)
        with self.runner.progress.phase(phase, [track.name for track in plan.tracks]):
            groups = self._groups(shards, need) if ours else [[shard] for shard in shards]
            self.runner.parallel(lambda group: self._train_missing(group, inputs), groups, need)
        self._give(identities)

    def _groups(self, shards: list[Shard], need: int) -> list[list[Shard]]:
        """Shards that share a process, so that imports are paid once."""
        workers = self.runner.workers(1, need)
        return [group for first in range(workers) if (group := shards[first::workers])]

    def _shards(self, plan: Plan, track: Track, arms: Sequence[Arm], need: int) -> list[Shard]:
        """The trials of a track in as many even parts as there are workers: the same ones whatever has been trained, so
        that what a shard which was cut off has left is found by its name."""
        work = [(arm, seed) for arm in arms for seed in plan.seeds]
        size = -(-len(work) // self.runner.workers(track.threads, need))
        even = [work[start : start + size] for start in range(0, len(work), size)]
        return [Shard.of(track, each, track.steps, plan.budget.checkpoints) for each in even]

    # ── trials of other runs ────────────────────────────────────────────────────────────────────────────────────────

    def _take(self, identities: dict[Trial, dict[str, Any]]) -> None:
        for (arm, track, seed), identity in identities.items():
            place = self.runner.paths.trial(arm, track, seed)
            if self.store and not (place / "trial.json").exists():
                self.store.take(identity, place)
                while self.store.changed:
                    folder, name = self.store.changed.popitem()
                    self.checked.tell(f"{track}: the files of {arm}, seed {seed},", name, folder)

    def _give(self, identities: dict[Trial, dict[str, Any]]) -> None:
        for trial, identity in identities.items():
            if self.store:
                self.store.give(identity, self.runner.paths.trial(*trial))

    def _identities(self, shards: list[Shard], inputs: Inputs) -> dict[Trial, dict[str, Any]]:
        """Everything that each trial of a reference arm follows from; of the settings those that its train.py names."""
        workspace, known = Workspace.open(self.runner.paths.repository), versions()
        sources = {arm.commit: workspace.read(arm.commit) for shard in shards for arm, _ in shard.work}
        taught = {name: _answers(Path(folder)) for name, folder in inputs.teachers.items()}
        cards, found = card_devices(), dict[Trial, dict[str, Any]]()
        for shard in shards:
            track, own = shard.track, inputs.prepared[shard.track.name]
            for arm, seed in shard.work:
                source, settings = sources[arm.commit], arm.method[track.name]
                found[arm.name, track.name, seed] = {
                    "arm": arm.name,
                    "train.py": source,
                    "model": own.models["student"].spec,
                    "training": track.training.model_dump(),
                    "method": {name: value for name, value in settings.items() if f"method.{name}" in source},
                    "teacher": taught[track.name] if arm.teacher else {},
                    "data": [own.files, arm.reveal_transfer, arm.generated],
                    "seed": seed,
                    "steps": [shard.steps, shard.checkpoints],
                    "machine": [track.threads, cards],
                    "versions": known,
                }
        return found

    # ── one process ─────────────────────────────────────────────────────────────────────────────────────────────────

    def _train_missing(self, shards: list[Shard], inputs: Inputs) -> None:
        """The trials that the run does not have yet, of shards that share a process."""
        left = [replace(shard, work=self._missing(shard)) for shard in shards]
        if left := [shard for shard in left if shard.work]:
            self._train(shards[0].name, left, inputs)
        else:  # there where it was cut off after its last result was taken in
            remove(self.runner.paths.scratch / shards[0].name)

    def _missing(self, shard: Shard) -> list[tuple[Arm, int]]:
        place, track = self.runner.paths.trial, shard.track.name
        return [(arm, seed) for arm, seed in shard.work if not (place(arm.name, track, seed) / "trial.json").exists()]

    def _train(self, name: str, shards: list[Shard], inputs: Inputs) -> None:
        """Trials that ran out of memory are trained again in smaller micro-batches: same batch, same steps. Those that
        somebody else killed go on from their checkpoint, where they have one."""
        if all(arm.ours for shard in shards for arm, _ in shard.work):
            self.runner.check_time()
        out = self.runner.paths.scratch / name
        jobs = [shard_job(self.runner.paths, name, shard, inputs, out) for shard in shards]
        if out.exists() and self._same_jobs(name, [job.model_dump(mode="json") for job in jobs]):
            reclaim(out)
        else:
            remove(out)
        for shard in shards:
            (out / shard.track.name).mkdir(parents=True, exist_ok=True)
            self.runner.progress.watch(shard.track.name, out / shard.track.name, len(shard.work))
        read = sorted({path for shard in shards for path in inputs.readable(shard)})
        trials = sum(len(shard.work) for shard in shards)
        outcome = self.runner.run(Request(name, "trial", jobs, out, read, shards[0].track, trials, must_work=False))
        taken = [self._take_in_shard(shard, out / shard.track.name, outcome) for shard in shards]
        again = [shard for left in taken for shard in left]
        if outcome.status == "cancelled":
            raise Interrupted("stopped while training; finished trials are kept")
        if not again or any(shard.micro > 1 for shard in again):  # what was killed goes on from its checkpoint
            remove(out)
        if again:
            self._train(name, again, inputs)

    def _same_jobs(self, name: str, jobs: list[dict[str, Any]]) -> bool:
        """Whether the last process of that name, which was cut off if its folder is there, had the same job, and has
        left folders where a job might have put something else."""
        files = sorted(
            (self.runner.paths.jobs / name).glob("job-*.json"), reverse=True
        )  # a lower one is as new or newer
        told = {job["out"]: _deciding(job) for job in (json.loads(file.read_text()) for file in files)}
        places = [Path(job["out"]) for job in jobs]
        plain = all(place.is_dir() and not place.is_symlink() for place in places if os.path.lexists(place))
        return plain and all(_deciding(job) <= told.get(job["out"], set()) for job in jobs)

    def _take_in_shard(self, shard: Shard, out: Path, outcome: Outcome) -> list[Shard]:
        """Takes in the trials of the shard; of one that was stopped, those that had finished. Returns the rest.

        Raises DataError where the disk is full.
        """
        smaller, split, killed = shard.smaller, list[tuple[Arm, int]](), list[tuple[Arm, int]]()
        for arm, seed in shard.work:
            report = trial_report(out, arm.name, seed, outcome)
            stopped = stopped_by(report, outcome)
            if stopped == "space":
                self.runner.check_space(f"{arm.name}, seed {seed},")
            if smaller and stopped == "memory":
                split.append((arm, seed))
            elif stopped == "killed" and shard.tried < MOST_TRIES:
                self.runner.progress.say(f"{shard.track.name}: {arm.name}, seed {seed}, was killed from outside")
                killed.append((arm, seed))
            elif report.get("kind") != "cancelled":
                self._take_in(shard, out, arm, seed, report)
        again = [replace(shard, work=killed, tried=shard.tried + 1)] if killed else []
        return again + ([replace(smaller, work=split)] if smaller and split else [])

    def _take_in(self, shard: Shard, out: Path, arm: Arm, seed: int, report: dict[str, Any]) -> None:
        """Move one trial's files into the record, or record why they are missing. trial.json comes last.

        Raises TrainingError where one of ours is killed again and again, which is not a result.
        """
        if arm.ours and report.get("kind") == "killed":
            problem = f"{shard.track.name}: {arm.name}, seed {seed}, was killed from outside {shard.tried} times"
            raise TrainingError(problem, "see what ends processes on this machine: too little memory, a batch system")
        place = self.runner.paths.trial(arm.name, shard.track.name, seed)
        place.mkdir(parents=True, exist_ok=True)
        try:
            intake.read_lines(out, f"{arm.name}/{seed}/trace.jsonl", MOST_TRACE, TRACE)
            intake.copy(out, f"{arm.name}/{seed}/trace.jsonl", place / "trace.jsonl", MOST_TRACE)
            if report.get("status") == "ok":
                name = "weights.safetensors"
                intake.read_tensors(out, f"{arm.name}/{seed}/{name}", MOST_WEIGHTS, target=place / name)
        except IntakeRejected as error:
            if report.get("status") == "ok":
                report = report | {"status": "failed", "kind": "rejected", "error": error.message}
        tried = {"tried": shard.tried} if shard.tried > 1 else {}
        write_whole(place / "trial.json", json.dumps(report | {"micro": shard.micro} | tried))


def _answers(teacher: Path) -> dict[str, str]:
    """What a reference arm may read of its teacher: the hashes of its weights and of its answers to the rows."""
    kept = ("weights.safetensors", "logits.safetensors", "likelihoods.safetensors")
    return {name: found for name, found in (entries.manifest(teacher) or {}).items() if name in kept}


def card_need(track: Track, teacher: str) -> int:
    """Bytes of a graphics card that a trial is taken to need: what training the teacher took, the larger model, times
    as much as batches are larger, and the teacher's features, which lie there too; 0 where it was not measured. Several
    peers may need more: a trial that runs out of memory is trained again in micro-batches."""
    taken = int(json.loads((Path(teacher) / "teacher.json").read_text()).get("card_memory", 0))
    kept = sum(file.stat().st_size for file in Path(teacher).glob("features-*.safetensors"))
    return taken and taken * -(-track.training.batch_size // track.teacher_training.batch_size) + kept


def _deciding(job: dict[str, Any]) -> set[str]:
    """Per arm of a job, what decides about the bits of its trials; which of them are still to be done does not."""
    shared = {name: value for name, value in job.items() if name not in ("units", "labels")}
    return {json.dumps(shared | unit | {"seeds": []}, sort_keys=True) for unit in job["units"]}
