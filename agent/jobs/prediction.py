"""The predict process: it sees a student's weights and the inputs of one split and gives back logits."""

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from agent.jobs.job_files import PredictJob, PredictUnit
from agent.jobs.outputs import PREDICTION
from agent.jobs.runner import Request, Runner, fresh_folder
from agent.jobs.shard_job import Inputs
from agent.jobs.teachers import taught_by
from agent.plan.plan import Plan, Track
from agent.plan.row_rules import MOST_LOGITS
from agent.record.files import write_whole
from agent.record.paths import is_attempt
from agent.record.prepared import Prepared, Who
from sandbox import intake
from sandbox.folder import remove
from sandbox.tensors import Tensor


@dataclass(frozen=True)
class Answered:
    """One model that is to answer the rows of a split."""

    unit: PredictUnit
    who: Who
    place: Path
    """Where its logits go."""


@dataclass(frozen=True)
class Prediction:
    runner: Runner

    def run(self, plan: Plan, arms: Sequence[str], inputs: Inputs, split: str) -> None:
        """Logits of every finished trial of `arms` on `split`; "teacher" and "assistant" are arms here. What is there
        is kept."""
        with self.runner.progress.phase(f"predict {split}", [track.name for track in plan.tracks]):
            self.runner.parallel(lambda track: self._track(plan, track, arms, inputs, split), plan.tracks)

    def _track(self, plan: Plan, track: Track, arms: Sequence[str], inputs: Inputs, split: str) -> None:
        models = list(self._models(plan, track, arms, inputs, split))
        if not models:
            return
        prepared = inputs.prepared[track.name]
        out = fresh_folder(self.runner.paths.scratch / f"predict-{split}-{track.name}")
        jobs = [job.model_copy(update={"out": str(out)}) for job in _jobs(models, track, prepared, split)]
        # The seen folder comes along for checkpoints that were copied there; no label a prediction needs is in it.
        read = [prepared.seen, Path(inputs.teachers[track.name])]
        read += [Path(path) for job in jobs for path in (job.task, job.inputs, *(unit.weights for unit in job.units))]
        self.runner.run(Request(f"predict-{split}-{arms[-1]}-{track.name}", "predict", jobs, out, read, track))
        for each in models:
            self._take_in(each, out, split, (prepared.rows[split], len(track.task.labels)))
        remove(out)

    def _models(self, plan: Plan, track: Track, arms: Sequence[str], inputs: Inputs, split: str) -> Iterator[Answered]:
        """The models of the arms that have weights, and no answers yet."""
        prepared, teacher = inputs.prepared[track.name], inputs.teachers[track.name]
        aside = {"teacher": (self.runner.paths.teacher(track.name), Path(teacher))}
        if track.assistant:
            aside["assistant"] = (self.runner.paths.assistant(track.name), taught_by(track, prepared, teacher))
        for arm in arms:
            who: Who = "teacher" if arm == "teacher" else "assistant" if arm in aside else "student"
            for seed in (0,) if arm in aside else plan.seeds:
                trial = self.runner.paths.trial(arm, track.name, seed)
                place, source = aside.get(arm, (trial, trial))
                weights = source / "weights.safetensors"
                if (place / f"{split}.json").exists() or not weights.exists():
                    continue
                unit = PredictUnit(
                    name=f"{arm}-{seed}",
                    model=prepared.models[who].spec,
                    weights=str(weights),
                    seed=seed,
                    init_layers=track.method.init_layers if is_attempt(arm) else "none",
                    teacher=teacher,
                    latency=split == "test" and (arm in aside or seed == plan.seeds[0]),
                )
                yield Answered(unit, who, place)

    def _take_in(self, model: Answered, out: Path, split: str, shape: tuple[int, int]) -> None:
        """Logits first: the .json marks them as complete."""
        model.place.mkdir(parents=True, exist_ok=True)
        report = intake.read_json(out, f"{model.unit.name}/prediction.json", schema=PREDICTION)
        if report["status"] == "ok":
            expected, target = {"logits": Tensor("F32", shape)}, model.place / f"{split}.safetensors"
            intake.read_tensors(out, f"{model.unit.name}/logits.safetensors", MOST_LOGITS, expected, target)
        write_whole(model.place / f"{split}.json", json.dumps(report))


def _jobs(models: Sequence[Answered], track: Track, prepared: Prepared, split: str) -> list[PredictJob]:
    """One job for the models that read the rows alike."""
    views = dict[Path, list[PredictUnit]]()
    for model in models:
        views.setdefault(prepared.read_by(model.who), []).append(model.unit)
    return [
        PredictJob(
            task=str(view / "seen" / "task.json"),
            inputs=str(view / "held" / f"{split}.safetensors"),
            units=tuple(units),
            threads=track.threads,
        )
        for view, units in views.items()
    ]
