"""The probe process: it sees what a trial sees, for a few steps, and gives back the weights of every variant."""

import re
from dataclasses import dataclass, replace
from pathlib import Path

from agent.errors import Interrupted
from agent.jobs.arm import Arm, Shard
from agent.jobs.job_files import ProbeJob
from agent.jobs.probe import AS_IS, measure
from agent.jobs.runner import MOST_TRIES, Request, Runner, fresh_folder
from agent.jobs.shard_job import Inputs, shard_job, stopped_by, trial_report
from agent.plan.plan import Plan
from agent.record.files import write_whole
from agent.record.probe import Probe
from sandbox.errors import IntakeRejected
from sandbox.folder import remove
from sandbox.isolation.supervisor import Outcome


@dataclass(frozen=True)
class Pilot:
    runner: Runner

    def run(self, plan: Plan, arm: Arm, inputs: Inputs, steps: int) -> str:
        """A few steps of one arm on every track, as it is and with the teacher shuffled; why it failed, or ""."""
        with self.runner.progress.phase(f"pilot {arm.name}", [track.name for track in plan.tracks]):
            shards = [Shard.of(track, [(arm, plan.seeds[0])], min(steps, track.steps)) for track in plan.tracks]
            problems = self.runner.parallel(lambda shard: self._run(shard, inputs), shards)
        found = "\n\n".join(filter(None, problems))
        return without_paths(found, self.runner.paths.folder, self.runner.settings.cache)

    def _run(self, shard: Shard, inputs: Inputs) -> str:
        arm, _ = shard.work[0]
        track, name = shard.track.name, f"pilot-{shard.name}"
        out = fresh_folder(self.runner.paths.scratch / name)
        (out / track).mkdir()
        outcome = self._probe(name, shard, inputs, out)
        report, smaller = trial_report(out / track, arm.name, AS_IS, outcome), shard.smaller
        stopped = stopped_by(report, outcome)
        if stopped == "space":
            self.runner.check_space(name)
        if (stopped == "killed" or _killed(out / track, arm.name, outcome)) and shard.tried < MOST_TRIES:
            self.runner.progress.say(f"{name} was killed from outside and is started again")
            return self._run(replace(shard, tried=shard.tried + 1), inputs)
        if smaller and "memory" in (outcome.status, stopped):
            return self._run(smaller, inputs)
        if report.get("status") != "ok":
            return f"{track}: {report.get('error', outcome.status)}\n{report.get('traceback', '')}"
        return self._measured(shard, out, outcome)

    def _probe(self, name: str, shard: Shard, inputs: Inputs, out: Path) -> Outcome:
        plain = shard_job(self.runner.paths, name, shard, inputs, out)
        layers = inputs.prepared[shard.track.name].models["student"].layers
        job = ProbeJob(**dict(plain), student_layers=layers)
        read = sorted(inputs.readable(shard))
        outcome = self.runner.run(Request(name, "probe", [job], out, read, shard.track, must_work=False))
        if outcome.status == "cancelled":
            raise Interrupted("stopped during the pilot")
        return outcome

    def _measured(self, shard: Shard, out: Path, outcome: Outcome) -> str:
        """Keeps what the probe measured; returns the message to its author, or ""."""
        arm, track = shard.work[0][0].name, shard.track.name
        scratch = self.runner.paths.scratch / f"{out.name}.safetensors"
        try:
            found = measure(out / track / arm, shard.steps, scratch)
        except IntakeRejected as error:
            return f"{track}: the pilot ended with {outcome.status}: {error.message}\n{outcome.tail}"
        place = self.runner.paths.probe(arm, track)
        place.parent.mkdir(parents=True, exist_ok=True)
        write_whole(place, found.model_dump_json(by_alias=True))
        remove(out)
        return without_effect(shard, found)


def _killed(out: Path, arm: str, outcome: Outcome) -> bool:
    """Whether any variant was killed from outside."""
    variants = sorted(each.name for each in (out / arm).glob("*/") if (each / "trial.json").exists())
    return any(trial_report(out, arm, name, outcome).get("kind") == "killed" for name in variants)


def without_paths(problem: str, *folders: Path) -> str:
    """A message to an author must be the same on every machine and in every replay: no folder, no address."""
    for folder in folders:
        problem = problem.replace(str(folder), "…")
    named = re.sub(
        r'File "[^"\n]*?(?:lib/python[\d.]+/(?:site-packages/)?|(?=train\.py"|baselines/))', 'File "', problem
    )
    return re.sub(r"\b0x[0-9a-f]{6,}\b", "0x…", named)


def without_effect(shard: Shard, probe: Probe) -> str:
    """The message to an author whose training does not depend on the teacher's outputs, or ""."""
    idle = [name for name in probe.shuffled if name not in probe.outputs]
    if not idle or (probe.outputs and shard.track.method.alpha == 0 and idle == ["logits"]):
        return ""
    named = ", ".join(name.replace("features-", "layer ") for name in idle)
    return (
        f"{shard.track.name}: the teacher's {named} made no difference: {probe.steps} steps with them shuffled over "
        "the rows end with the same weights. Use them in the loss from the first step on."
    )
