"""The prepare process: it sees the source of the data and gives back rows and facts."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from agent.cache import entries
from agent.cache.keys import data_key
from agent.errors import DataChanged
from agent.jobs.checked import Checked
from agent.jobs.job_files import PrepareJob
from agent.jobs.runner import Request, Runner, fresh_folder
from agent.plan.assistant import assistant
from agent.plan.draft import TrackDraft
from agent.record.paths import RunPaths
from agent.record.prepared import ModelFacts, Prepared, read_prepared
from sandbox import intake
from sandbox.folder import remove

MOST_LABELS = 1 << 30  # bytes


@dataclass(frozen=True)
class Data:
    runner: Runner
    checked: Checked

    def prepare(
        self, tracks: Mapping[str, TrackDraft], sources: Mapping[str, dict[str, object]]
    ) -> dict[str, Prepared]:
        """Every track's rows, prepared now or found in the cache. Raises DataError."""
        with self.runner.progress.phase("prepare data", list(tracks)):
            found = self.runner.parallel(lambda name: self._prepare(tracks[name], sources[name]), list(tracks))
        return dict(zip(tracks, found, strict=True))

    def hold(self, prepared: Mapping[str, Prepared]) -> None:
        """Before a run goes on: the rows are those that it was planned with, or are rebuilt.

        Raises DataChanged where they are not, or where that cannot be told.
        """
        for track, known in prepared.items():
            self._hold(track, known)

    def _prepare(self, settings: TrackDraft, source: dict[str, object]) -> Prepared:
        job = prepare_job(settings, source)
        return self._rows(job, self.runner.settings.cache / "data" / data_key(job.plain(), job.task, job.checkpoints))

    def _hold(self, track: str, known: Prepared) -> None:
        if known.job is None:
            problem = (
                f"{track}: the run was planned by an earlier kdagent, which did not record how its rows are prepared"
            )
            raise DataChanged(problem, "start a new run")
        found = self._rows(PrepareJob.model_validate(known.job), Path(known.folder)).files
        if other := sorted(name for name in {*found, *known.files} if found.get(name) != known.files.get(name)):
            problem = f"{track}: the data have changed since the run was planned: {other[0]} in {known.folder} differs"
            raise DataChanged(problem, "start a new run")

    def _rows(self, job: PrepareJob, folder: Path) -> Prepared:
        """The prepared rows that are in the folder, or are put there now."""
        name = job.task["name"]
        with entries.alone(folder):
            self.checked.check(f"{name}: prepared rows", folder)
            if not (folder / "facts.json").exists():
                part = fresh_folder(folder.with_suffix(".part"))
                told = job.model_copy(update={"out": str(part)})
                self.runner.run(Request(f"prepare-{name}", "prepare", [told], part))
                entries.note(folder, {"track": name}, found_in=part)
                remove(folder)
                part.rename(folder)
            entries.use(folder)
        found = read_prepared(folder / "facts.json")
        models = {who: _settled(model) for who, model in found.models.items()}
        known = {"folder": str(folder), "files": entries.manifest(folder), "job": job.plain()}
        return found.model_copy(update={"models": models} | known)


def prepare_job(settings: TrackDraft, source: dict[str, object]) -> PrepareJob:
    """`settings` are a draft's, of one track; what a track does not have is not in its job."""
    job: dict[str, Any] = {
        "task": source,
        "sizes": settings["sizes"],
        "data_seed": settings["data_seed"],
        "label_noise": settings["label_noise"],
        "input_size": settings["input_size"],
        "batch_size": settings["training"]["batch_size"],
        "teacher": settings["teacher"],
        "student": settings["student"],
    }
    if between := assistant(settings):
        job["assistant"] = between
    if settings["sizes"]["generated_rows"]:
        job["generator"] = settings["generator"]
    if settings["views"] > 1:
        job |= {"views": settings["views"], "mirror": settings["mirror"]}
    return PrepareJob.model_validate(job)


def keep_labels(paths: RunPaths, prepared: Mapping[str, Prepared]) -> None:
    """The cache may be deleted; the labels that the run is scored against stay with it."""
    for track, known in prepared.items():
        for split in ("dev", "test"):
            target = paths.label_file(track, split)
            target.parent.mkdir(parents=True, exist_ok=True)
            intake.copy(Path(known.folder), f"labels/{split}.safetensors", target, MOST_LABELS)


def _settled(model: ModelFacts) -> ModelFacts:
    """Checkpoints were copied beside the rows before the folder had its name."""
    place = str(model.spec["checkpoint"]).replace(".part/", "/")
    return model.model_copy(update={"spec": model.spec | {"checkpoint": place}})
