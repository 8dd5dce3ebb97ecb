"""The workspace, the teachers, and the arms that the idea is measured against."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from agent.jobs.arm import Arm
from agent.jobs.shard_job import Inputs
from agent.loop.context import TEACHERS, Context, train_file
from agent.plan.arms import ALONE, ARMS
from agent.record import hashes
from agent.record.files import file_hash
from sandbox.folder import remove
from sandbox.workspace import Workspace


@dataclass(frozen=True)
class References:
    run: Context

    def commit(self) -> dict[str, str]:
        """One commit per reference arm, before anything trains."""
        workspace = self._workspace()
        start = workspace.commit("start", train_file(ALONE.file), "Plain fine-tuning, where every idea starts")
        commits = {"start": start.id}
        for arm in self.run.plan.reference_arms:
            source = train_file(ARMS[arm].file)
            commits[arm] = workspace.commit(arm, source, f"Reference arm {arm}", parent=start.id).id
        self.run.events.once("workspace", commits=commits)
        return commits

    def _workspace(self) -> Workspace:
        """The run's repository, which has its name only when it is whole."""
        paths = self.run.paths
        if not paths.repository.exists():
            part = paths.scratch / paths.repository.name
            remove(part)
            Workspace.create(part)
            part.rename(paths.repository)
        return Workspace.open(paths.repository)

    def train(self, commits: dict[str, str]) -> dict[str, str]:
        """Teachers and every reference arm. Returns the teachers' folders."""
        run, plan, prepared = self.run, self.run.plan, self.run.prepared
        teachers = run.whole(lambda: run.jobs.teachers(plan, prepared, train_file(TEACHERS)))
        run.note_remade()
        self._note(teachers)
        arms = [self._arm(arm, commits[arm]) for arm in plan.reference_arms]
        run.whole(lambda: run.jobs.train(plan, arms, Inputs(prepared, teachers)))
        run.note_remade()
        note_trials(run, [arm.name for arm in arms])
        return teachers

    def _note(self, teachers: dict[str, str]) -> None:
        """Once for the same weights, and all files with it: a teacher that left the cache and is trained again gives
        the same weights, and a trace with other clock readings."""
        run, plan, prepared = self.run, self.run.plan, self.run.prepared
        weights, folders = run.jobs.weights(plan, prepared, teachers), ("trials/teacher/", "trials/assistant/")
        if not run.events.count("teachers", weights=weights):
            run.jobs.keep_teachers(plan, prepared, teachers)
            found = {track: Path(folder).name for track, folder in teachers.items()}
            noted = hashes.notes(run.paths, hashes.record(run.paths, folders))
            run.events.append("teachers", weights=weights, entries=found, **noted)

    def _arm(self, name: str, commit: str) -> Arm:
        plan, arm = self.run.plan, ARMS[name]
        methods = {track.name: track.vanilla.settings if arm.teacher else {} for track in plan.tracks}
        shown = {"reveal_transfer": arm.reveal_transfer, "generated": name in plan.on_generated}
        return Arm(name, commit, methods, teacher=arm.teacher, ours=True, **shown)

    def hold(self) -> None:
        """Before a run continues: the cache still has what an earlier process of it took."""
        if not self.run.events.count("measured"):  # else it takes no more
            self.run.hold()


def note_trials(run: Context, arms: Sequence[str]) -> None:
    """One event per finished trial, with the hash of its files."""
    plan = run.plan
    for arm, track, seed in ((arm, track.name, seed) for arm in arms for track in plan.tracks for seed in plan.seeds):
        if not run.events.count("trial", arm=arm, track=track, seed=seed):
            place = run.paths.trial(arm, track, seed)
            weights = place / "weights.safetensors"
            digest = file_hash(weights) if weights.exists() else ""
            status = json.loads((place / "trial.json").read_text())["status"]
            noted = run.fresh(f"trials/{arm}/{track}/{seed}/")
            run.events.append("trial", arm=arm, track=track, seed=seed, status=status, weights=digest, **noted)
