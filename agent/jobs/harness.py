"""The processes of a run: each is told what to do in a job file, sees only what it must, and is believed only where
its files pass the intake.

| process  | sees                                                | gives back                  |
|----------|-----------------------------------------------------|-----------------------------|
| prepare  | the source of the data                              | rows, facts                 |
| pace     | training rows and their labels                      | what a step takes           |
| teacher  | training rows and all their labels                  | weights, cached outputs     |
| trial    | training rows, labels a student may see, the cache  | weights, trace              |
| probe    | the same, for a few steps                           | weights of every variant    |
| predict  | a student's weights, inputs of one split            | logits                      |
"""

import json
import os
import sys
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass, field, replace
from itertools import groupby
from pathlib import Path
from typing import Any

from agent import config
from agent.cache import entries
from agent.cache.keys import data_key, digest, teacher_key, versions
from agent.cache.trials import Stock
from agent.errors import DataError, Interrupted, OutOfTime, TrainingError
from agent.jobs.arm import Arm, Part
from agent.jobs.data import MOST_LABELS
from agent.jobs.machine import abreast, has_card, machine
from agent.jobs.outputs import CRITICAL, ERROR, MOST_TRACE, PACE, PREDICTION, TRACE, TRIAL
from agent.jobs.pilot import without_effect, without_paths
from agent.jobs.probe import AS_IS, MOST_WEIGHTS, measure
from agent.jobs.progress import Progress
from agent.jobs.runner import R, T, _bundled_data, _fresh, _online
from agent.jobs.teachers import ASSISTANT_FILE, FEATURE_CACHE, _dev, _view, taught_by, teacher_hashes
from agent.jobs.trials import _card_memory, _kind, _split, _work
from agent.plan.assistant import assistant
from agent.plan.compiling import Pace, worth
from agent.plan.plan import Budget, Plan, Track
from agent.plan.read import plan_of
from agent.plan.rules import MOST_LOGITS
from agent.record.files import file_hash, write_whole
from agent.record.paths import RunPaths
from agent.record.printed import command
from sandbox import intake, supervisor
from sandbox.errors import IntakeRejected
from sandbox.folder import reclaim, remove
from sandbox.isolation import Backend, Process
from sandbox.job import Job, Limits
from sandbox.tensors import Tensor
from sandbox.workspace import Workspace


@dataclass(frozen=True)
class Harness:
    paths: RunPaths
    settings: config.Settings
    backend: Backend
    progress: Progress
    cancelled: threading.Event
    seconds: float
    """The run's time budget."""
    stock: Stock | None
    """Where trials of reference arms are taken from and kept; a replay has none."""
    remade: list[str] = field(default_factory=list, init=False)
    """What in the cache was not what had been written, and was made again."""
    checked: set[Path] = field(default_factory=set, init=False)
    """Folders of the cache that this process has held against their manifests."""

    @property
    def remaining(self) -> float:
        """Seconds left of it."""
        return self.seconds - self.progress.clock.spent

    # ── data ────────────────────────────────────────────────────────────────────────────────────────────────────────

    def prepare(self, tracks: dict[str, dict[str, Any]], sources: dict[str, dict[str, Any]]) -> dict[str, Any]:
        """Facts of every track's data, prepared now or found in the cache. Raises DataError."""
        with self.progress.phase("prepare data", list(tracks)):
            found = self._parallel(lambda name: self._prepare(tracks[name], sources[name]), list(tracks))
        return dict(zip(tracks, found, strict=True))

    def _prepare(self, settings: dict[str, Any], source: dict[str, Any]) -> dict[str, Any]:
        job = {
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
        return self._rows(job, self.settings.cache / "data" / data_key(job))

    def _rows(self, job: dict[str, Any], folder: Path) -> dict[str, Any]:
        """Facts of the prepared rows that are in the folder, or are put there now."""
        name = job["task"]["name"]
        with entries.alone(folder):
            self._check(f"{name}: prepared rows", folder)
            if not (folder / "facts.json").exists():
                part = _fresh(folder.with_suffix(".part"))
                self._run(f"prepare-{name}", "prepare", [job], part, read=())
                entries.note(folder, {"track": name}, found_in=part)
                remove(folder)
                part.rename(folder)
            entries.use(folder)
        facts: dict[str, Any] = json.loads((folder / "facts.json").read_text())
        for model in facts["models"].values():  # checkpoints were copied beside the rows before the folder had its name
            model["spec"]["checkpoint"] = model["spec"]["checkpoint"].replace(".part/", "/")
        return facts | {"folder": str(folder), "files": entries.manifest(folder), "job": job}

    def _check(self, what: str, folder: Path) -> None:
        """Throws away what is not what had been written, and says so."""
        self.checked.add(folder)
        if name := entries.check(folder):
            said = f"{what} in the cache were made again: {name} was not what had been written"
            self.remade.append(said)
            self.progress.say(f"{said} ({folder})")

    def paces(self, tracks: Sequence[Track], facts: dict[str, Any]) -> dict[str, Pace]:
        """What a step of each track's student takes as it is and compiled, measured now or found in the cache."""
        if not tracks:
            return {}
        with self.progress.phase("try compiling", [track.name for track in tracks]):
            return {track.name: self._pace(track, facts[track.name]) for track in tracks}  # one at a time

    def _pace(self, track: Track, facts: dict[str, Any]) -> Pace:
        seen = Path(facts["folder"]) / "seen"
        job = {
            "seen": str(seen),
            "model": facts["models"]["student"]["spec"],
            "training": track.training.model_dump() | {"compiled": False},
            "threads": track.threads,
            "worth": worth(track),
        }
        folder = self.settings.cache / "paces" / digest([job, facts["files"], versions(), machine()])
        with entries.alone(folder):
            self._check(f"{track.name}: what compiling takes", folder)
            folder.mkdir(exist_ok=True)
            entries.use(folder)
            if (folder / "pace.json").exists():
                return Pace(**intake.read_json(folder, "pace.json", schema=PACE))
            found = self._paced(job, seen, track)
            if not found.problem:  # which may be gone when it is tried again
                write_whole(folder / "pace.json", found.model_dump_json())
                entries.note(folder, {"track": track.name})
            return found

    def _paced(self, job: dict[str, Any], seen: Path, track: Track) -> Pace:
        out = _fresh(self.paths.scratch / f"pace-{track.name}")
        outcome = self._run(out.name, "pace", [job], out, (seen,), track, must_work=False)
        if outcome.status == "cancelled":
            raise Interrupted("stopped while compiling was tried")
        try:
            return Pace(**intake.read_json(out, "pace.json", schema=PACE))
        except IntakeRejected:
            return Pace(problem=f"trying it ended with {outcome.status}")
        finally:
            remove(out)

    def hold(self, plan: Plan, facts: dict[str, Any], train_file: str) -> None:
        """Before a run goes on: what an earlier process of it took from the cache is still that, or is made again.

        `train_file` is the teachers', or "" where none was trained yet. Raises DataError where the rows are others now.
        """
        for track, known in facts.items():
            if Path(known["folder"]) not in self.checked:
                self._hold_rows(track, known)
        if train_file and not all(map(self._is_whole, self._taught(plan, facts, train_file))):
            self.teachers(plan, facts, train_file)

    def _hold_rows(self, track: str, known: dict[str, Any]) -> None:
        if "job" not in known:
            problem = f"{track}: the run was planned by an earlier kdagent, which did not note how its rows are made"
            raise DataError(problem, "start a new run")
        found = self._rows(known["job"], Path(known["folder"]))["files"]
        if other := sorted(name for name in {*found, *known["files"]} if found.get(name) != known["files"].get(name)):
            problem = f"{track}: the data changed since they were planned: {other[0]} in {known['folder']} is another"
            raise DataError(problem, "start a new run")

    def _taught(self, plan: Plan, facts: dict[str, Any], train_file: str) -> set[Path]:
        """The folder of every teacher and every assistant that this process has not checked."""
        found = set[Path]()
        for track in plan.tracks:
            teacher = self.settings.cache / "teachers" / teacher_key(track, facts[track.name], train_file)
            found |= {teacher, taught_by(track, facts[track.name], str(teacher))}
        return found - self.checked

    def _is_whole(self, folder: Path) -> bool:
        with entries.alone(folder):
            whole = entries.manifest(folder) is not None and not entries.altered(folder)
            if whole:
                entries.use(folder)
        return whole

    def keep_labels(self, facts: dict[str, Any]) -> None:
        """The cache may be deleted; what the run is scored against stays with it."""
        for track, found in facts.items():
            for split in ("dev", "test"):
                target = self.paths.label_file(track, split)
                target.parent.mkdir(parents=True, exist_ok=True)
                intake.copy(Path(found["folder"]), f"labels/{split}.safetensors", target, MOST_LABELS)

    # ── teacher ─────────────────────────────────────────────────────────────────────────────────────────────────────

    def teachers(self, plan: Plan, facts: dict[str, Any], train_file: str) -> dict[str, str]:
        """Each track's teacher folder: trained now, or found in the cache under the same data, model and training."""
        with self.progress.phase("teachers", [track.name for track in plan.tracks]):
            folders = self._parallel(
                lambda track: self._teacher(track, facts[track.name], train_file, plan.budget.checkpoints), plan.tracks
            )
            teachers = {track.name: str(folder) for track, folder in zip(plan.tracks, folders, strict=True)}
            assisted = [track for track in plan.tracks if track.assistant]
            self._parallel(
                lambda track: self._assistant(track, facts[track.name], teachers[track.name], plan.budget.checkpoints),
                assisted,
            )
        return teachers

    def _teacher(self, track: Track, facts: dict[str, Any], train_file: str, checkpoints: int) -> Path:
        data = Path(facts["folder"])
        folder = self.settings.cache / "teachers" / teacher_key(track, facts, train_file)
        unit = {
            "arm": "teacher",
            "model": facts["models"]["teacher"]["spec"],
            "method": {},
            "teacher": False,
            "training": track.teacher_training.model_dump(),
            "reveal_transfer": True,
        }
        job: dict[str, Any] = {"labels": str(data / "labels"), "unit": unit, "teacher": None}
        dev = _dev(data) if track.method.scored else {}
        job |= {"steps": track.teacher_steps, "checkpoints": checkpoints, "dev": dev}
        read = (data / "seen", data / "labels" / "transfer.safetensors", *map(Path, dev.values()))
        read += (_view(facts, "teacher") / "seen",)
        self._teach(f"teacher-{track.name}", job, folder, train_file, read, track, facts)
        return folder

    def _assistant(self, track: Track, facts: dict[str, Any], teacher: str, checkpoints: int) -> None:
        """Trains the track's assistant as the students of vanilla_kd are, or finds it in the cache beside its teacher:
        it sees no label that a student may not see."""
        data = Path(facts["folder"])
        unit = {
            "arm": "assistant",
            "model": facts["models"]["assistant"]["spec"],
            "method": track.method.settings,
            "teacher": True,
            "training": track.assistant_training.model_dump(),
            "reveal_transfer": False,
        }
        job: dict[str, Any] = {"labels": "", "unit": unit, "teacher": teacher}
        job |= {"steps": track.assistant_steps, "checkpoints": checkpoints}
        read, folder = (data / "seen", Path(teacher)), taught_by(track, facts, teacher)
        self._teach(f"assistant-{track.name}", job, folder, ASSISTANT_FILE.read_text(), read, track, facts)

    def _teach(
        self,
        name: str,
        job: dict[str, Any],
        folder: Path,
        train_file: str,
        read: tuple[Path, ...],
        track: Track,
        facts: dict[str, Any],
    ) -> None:
        """Trains what a job describes, in a process of its own, unless the cache holds it."""
        job |= {
            "seen": str(_view(facts, job["unit"]["arm"]) / "seen"),
            "seed": 0,
            "threads": track.threads,
            "method": track.method.settings,
            "student_layers": facts["models"]["student"]["layers"],
            "feature_cache": FEATURE_CACHE,
        }
        who = job["unit"]["arm"]
        with entries.alone(folder):
            self._check(f"{track.name}: the {who}'s files", folder)
            folder.mkdir(exist_ok=True)
            entries.use(folder)
            place = self.paths.jobs / name
            place.mkdir(parents=True, exist_ok=True)
            write_whole(place / "train.py", train_file)
            job["file"] = str(place / "train.py")
            self.progress.watch(track.name, folder, 1)
            self._run(name, "teacher", [job], folder, read, track, trials=track.method.teachers)
            model = {name: facts["models"][who][name] for name in ("class", "parameters")}
            rows = sum(facts["rows"].get(split, 0) for split in ("train", "transfer", "generated"))
            entries.note(folder, {"track": track.name, "arm": who, "rows": rows} | model)

    def keep_teachers(self, plan: Plan, facts: dict[str, Any], teachers: dict[str, str]) -> dict[str, str]:
        """Keeps what each teacher and assistant traced about its training, and what a teacher's layers
        are worth where the plan pairs them by it; the hash of the weights of each track's."""
        for track in plan.tracks:
            folder = teachers[track.name]
            places = {self.paths.teacher(track.name): Path(folder)}
            if track.assistant:
                places[self.paths.assistant(track.name)] = taught_by(track, facts[track.name], folder)
            for place, source in places.items():
                place.mkdir(parents=True, exist_ok=True)
                intake.copy(source, "trace.jsonl", place / "trace.jsonl", MOST_TRACE)
            if track.method.scored:
                scores = intake.read_json(Path(folder), "critical.json", schema=CRITICAL)
                write_whole(self.paths.teacher(track.name) / "critical.json", json.dumps(scores))
        return teacher_hashes(plan, facts, teachers)

    # ── trials ──────────────────────────────────────────────────────────────────────────────────────────────────────

    def train(
        self, plan: Plan, arms: Sequence[Arm], facts: dict[str, Any], teachers: dict[str, str], ours: bool = False
    ) -> None:
        """Every trial of `arms` that the run does not hold yet. A trial that fails is a result; it is kept as such.

        Arms of `ours`, which no model wrote, may share a process across tracks, so that imports are paid once.
        """
        need = max(_card_memory(track, teachers[track.name]) for track in plan.tracks)
        parts = [part for track in plan.tracks for part in self._parts(plan, track, arms, need)]
        identities = self._identities(parts, facts, teachers) if ours and self.stock else {}
        for (arm_name, track, seed), identity in identities.items():
            place = self.paths.trial(arm_name, track, seed)
            if self.stock and not (place / "trial.json").exists():
                self.stock.take(identity, place)
        if ours:
            workers = self.workers(1, need)
            groups = [parts[first::workers] for first in range(workers)]
        else:
            groups = [[part] for part in parts]
        with self.progress.phase("train " + ", ".join(arm.name for arm in arms), [track.name for track in plan.tracks]):
            self._parallel(
                lambda group: self._train_missing(group, facts, teachers), [group for group in groups if group], need
            )

        for (arm_name, track, seed), identity in identities.items():
            if self.stock:
                self.stock.give(identity, self.paths.trial(arm_name, track, seed))

    def _identities(
        self, parts: list[Part], facts: dict[str, Any], teachers: dict[str, str]
    ) -> dict[tuple[str, str, int], dict[str, Any]]:
        """Arm, track and seed → everything that a trial of a reference arm follows from; of the settings those that its
        train.py names."""
        workspace, known = Workspace.open(self.paths.repository), versions()
        sources = {arm.commit: workspace.read(arm.commit) for part in parts for arm, _ in part.work}
        taught = {name: file_hash(Path(folder) / "weights.safetensors") for name, folder in teachers.items()}
        cards, found = sorted(map(str, Path("/dev").glob("nvidia[0-9]*"))), {}
        for part in parts:
            track, own = part.track, facts[part.track.name]
            for arm, seed in part.work:
                source, settings = sources[arm.commit], arm.method[track.name]
                found[arm.name, track.name, seed] = {
                    "arm": arm.name,
                    "train.py": source,
                    "model": own["models"]["student"]["spec"],
                    "training": track.training.model_dump(),
                    "method": {name: value for name, value in settings.items() if f"method.{name}" in source},
                    "teacher": taught[track.name] if arm.teacher else "",
                    "data": [own["files"], arm.reveal_transfer, arm.generated],
                    "seed": seed,
                    "steps": [part.steps, part.checkpoints],
                    "machine": [track.threads, cards],
                    "versions": known,
                }
        return found

    def pilot(self, plan: Plan, arm: Arm, facts: dict[str, Any], teachers: dict[str, str], steps: int) -> str:
        """A few steps of one arm on every track, as it is and with the teacher shuffled; why it failed, or ""."""
        with self.progress.phase(f"pilot {arm.name}", [track.name for track in plan.tracks]):
            parts = [Part.of(track, [(arm, plan.seeds[0])], min(steps, track.steps)) for track in plan.tracks]
            said = self._parallel(lambda part: self._pilot(part, facts, teachers), parts)
        return without_paths("\n\n".join(filter(None, said)), self.paths.folder, self.settings.cache)

    def _pilot(self, part: Part, facts: dict[str, Any], teachers: dict[str, str]) -> str:
        arm, _ = part.work[0]
        track, name = part.track.name, f"pilot-{part.name}"
        out = _fresh(self.paths.scratch / name)
        (out / track).mkdir()
        job = self._trial_job(name, part, facts[track], self._teacher_of(part, facts, teachers), out)
        job["student_layers"] = facts[track]["models"]["student"]["layers"]
        read = tuple(sorted(self._readable(part, facts, teachers)))
        outcome = self._run(name, "probe", [job], out, read, part.track, must_work=False)
        if outcome.status == "cancelled":
            raise Interrupted("stopped during the pilot")
        report, smaller = self._report(out / track, arm.name, AS_IS, outcome), self._smaller(part)
        if smaller and "memory" in (outcome.status, _kind(report, outcome)):
            return self._pilot(smaller, facts, teachers)
        if report.get("status") != "ok":
            return f"{track}: {report.get('error', outcome.status)}\n{report.get('traceback', '')}"
        try:
            found = measure(out / track / arm.name, part.steps, self.paths.scratch / f"{name}.safetensors")
        except IntakeRejected as error:
            return f"{track}: the pilot ended with {outcome.status}: {error.message}\n{outcome.tail}"
        place = self.paths.probe(arm.name, track)
        place.parent.mkdir(parents=True, exist_ok=True)
        write_whole(place, found.model_dump_json(by_alias=True))
        remove(out)
        return without_effect(part, found)

    def _parts(self, plan: Plan, track: Track, arms: Sequence[Arm], need: int) -> list[Part]:
        """The trials of a track in as many even parts as there are workers: the same ones whatever has been trained, so
        that what a part which was cut off has left is found by its name."""
        work = [(arm, seed) for arm in arms for seed in plan.seeds]
        size = -(-len(work) // self.workers(track.threads, need))
        even = [work[start : start + size] for start in range(0, len(work), size)]
        return [Part.of(track, each, track.steps, plan.budget.checkpoints) for each in even]

    def _train_missing(self, parts: list[Part], facts: dict[str, Any], teachers: dict[str, str]) -> None:
        """What the run does not hold yet of parts that share a process."""
        left = [replace(part, work=self._missing(part)) for part in parts]
        if left := [part for part in left if part.work]:
            self._train(parts[0].name, left, facts, teachers)
        else:
            remove(self.paths.scratch / parts[0].name)  # there where it was cut off after its last result was taken in

    def _missing(self, part: Part) -> list[tuple[Arm, int]]:
        place, track = self.paths.trial, part.track.name
        return [(arm, seed) for arm, seed in part.work if not (place(arm.name, track, seed) / "trial.json").exists()]

    def _train(self, name: str, parts: list[Part], facts: dict[str, Any], teachers: dict[str, str]) -> None:
        """Trials that ran out of memory are trained again in smaller micro-batches: same batch, same steps."""
        out = self.paths.scratch / name
        jobs = [
            self._trial_job(name, part, facts[part.track.name], self._teacher_of(part, facts, teachers), out)
            for part in parts
        ]
        if out.exists() and self._began(name, jobs):
            reclaim(out)
        else:
            remove(out)
        for part in parts:
            (out / part.track.name).mkdir(parents=True, exist_ok=True)
            self.progress.watch(part.track.name, out / part.track.name, len(part.work))
        read = {path for part in parts for path in self._readable(part, facts, teachers)}
        trials = sum(len(part.work) for part in parts)
        outcome = self._run(name, "trial", jobs, out, tuple(sorted(read)), parts[0].track, trials, must_work=False)
        again = [part for part in (self._take_in_part(part, out / part.track.name, outcome) for part in parts) if part]
        if outcome.status == "cancelled":
            raise Interrupted("stopped while training; what had finished is kept")
        remove(out)
        if again:
            self._train(name, again, facts, teachers)

    def _began(self, name: str, jobs: list[dict[str, Any]]) -> bool:
        """Whether the last process of that name, which was cut off if its folder is there, was told the same, and has
        left folders where a job might have put something else."""
        files = sorted((self.paths.jobs / name).glob("job-*.json"), reverse=True)  # a lower number is as new or newer
        told = {job["out"]: _work(job) for job in (json.loads(file.read_text()) for file in files)}
        places = [Path(job["out"]) for job in jobs]
        plain = all(place.is_dir() and not place.is_symlink() for place in places if os.path.lexists(place))
        return plain and all(_work(job) <= told.get(job["out"], set()) for job in jobs)

    def _take_in_part(self, part: Part, out: Path, outcome: supervisor.Outcome) -> Part | None:
        """Every trial of the part; of one that was stopped, only those that had finished. What must run again."""
        smaller, work = self._smaller(part), []
        for arm, seed in part.work:
            report = self._report(out, arm.name, seed, outcome)
            if smaller and _kind(report, outcome) == "memory":
                work.append((arm, seed))
            elif report.get("kind") != "cancelled":
                self._take_in(part, out, arm.name, seed, report)
        return replace(smaller, work=work) if smaller and work else None

    def _smaller(self, part: Part) -> Part | None:
        """The part with micro-batches of the next smaller size that divides the batch, or None at one row."""
        size = part.track.training.batch_size
        after = [count for count in range(part.micro + 1, size + 1) if size % count == 0 and count >= 2 * part.micro]
        return replace(part, micro=after[0]) if after else None

    def _trial_job(self, name: str, part: Part, facts: dict[str, Any], teacher: str, out: Path) -> dict[str, Any]:
        data, track, units = Path(facts["folder"]), part.track, []
        for arm, group in groupby(part.work, key=lambda pair: pair[0]):
            file = Workspace.open(self.paths.repository).export(arm.commit, self.paths.jobs / name / arm.name)
            units.append(
                {
                    "arm": arm.name,
                    "file": str(file),
                    "commit": arm.commit,
                    "model": facts["models"]["student"]["spec"],
                    "training": _split(track.training, part.micro),
                    "method": arm.method[track.name],
                    "teacher": arm.teacher,
                    "reveal_transfer": arm.reveal_transfer,
                    "generated": arm.generated,
                    "seeds": [seed for _, seed in group],
                }
            )
        return {
            "out": str(out / track.name),
            "seen": str(data / "seen"),
            "labels": str(data / "labels") if any(unit["reveal_transfer"] for unit in units) else "",
            "teacher": teacher,
            "units": units,
            "steps": part.steps,
            "checkpoints": part.checkpoints,
            "threads": track.threads,
            "versions": versions(),
        }

    def _readable(self, part: Part, facts: dict[str, Any], teachers: dict[str, str]) -> set[Path]:
        """What a trial may see: no dev or test row, and the transfer labels only where an arm measures their worth."""
        data, arms = Path(facts[part.track.name]["folder"]), [arm for arm, _ in part.work]
        read = {data / "seen"}
        read |= {Path(self._teacher_of(part, facts, teachers))} if any(arm.teacher for arm in arms) else set()
        read |= {data / "labels" / "transfer.safetensors"} if any(arm.reveal_transfer for arm in arms) else set()
        return read

    def _teacher_of(self, part: Part, facts: dict[str, Any], teachers: dict[str, str]) -> str:
        """The folder of the model that a part's students learn from."""
        teacher = teachers[part.track.name]
        assisted = any(arm.assisted for arm, _ in part.work)
        return str(taught_by(part.track, facts[part.track.name], teacher)) if assisted else teacher

    def _report(self, out: Path, arm: str, seed: int | str, outcome: supervisor.Outcome) -> dict[str, Any]:
        """trial.json as the trial left it, or why there is none that can be used."""
        try:
            return intake.read_json(out, f"{arm}/{seed}/trial.json", schema=TRIAL)
        except IntakeRejected as error:
            limit = outcome.status not in ("ok", "error")
            said = {"kind": outcome.status, "error": outcome.status} if limit else {"error": error.message}
            failed = {"schema": 1, "arm": arm, "seed": seed, "status": "failed", "kind": "rejected"}
            return failed | said | {"traceback": outcome.tail}

    def _take_in(self, part: Part, out: Path, arm: str, seed: int, report: dict[str, Any]) -> None:
        """Move one trial's files into the record, or write down why there are none. trial.json comes last."""
        place = self.paths.trial(arm, part.track.name, seed)
        place.mkdir(parents=True, exist_ok=True)
        try:
            intake.read_lines(out, f"{arm}/{seed}/trace.jsonl", MOST_TRACE, TRACE)
            intake.copy(out, f"{arm}/{seed}/trace.jsonl", place / "trace.jsonl", MOST_TRACE)
            if report.get("status") == "ok":
                name = "weights.safetensors"
                intake.read_tensors(out, f"{arm}/{seed}/{name}", MOST_WEIGHTS, target=place / name)
        except IntakeRejected as error:
            if report.get("status") == "ok":
                report = report | {"status": "failed", "kind": "rejected", "error": error.message}
        write_whole(place / "trial.json", json.dumps(report | {"micro": part.micro}))

    # ── prediction ──────────────────────────────────────────────────────────────────────────────────────────────────

    def predict(
        self, plan: Plan, arms: Sequence[str], facts: dict[str, Any], split: str, teachers: dict[str, str]
    ) -> None:
        """Logits of every finished trial of `arms` on `split`; "teacher" and "assistant" are arms here. What is there
        is kept."""
        with self.progress.phase(f"predict {split}", [track.name for track in plan.tracks]):
            self._parallel(
                lambda track: self._predict(plan, track, arms, facts[track.name], split, teachers), plan.tracks
            )

    def _predict(
        self, plan: Plan, track: Track, arms: Sequence[str], facts: dict[str, Any], split: str, teachers: dict[str, str]
    ) -> None:
        units, places = dict[str, list[dict[str, Any]]](), {}
        aside = {"teacher": (self.paths.teacher(track.name), Path(teachers[track.name]))}
        if track.assistant:
            aside["assistant"] = (self.paths.assistant(track.name), taught_by(track, facts, teachers[track.name]))
        for arm in arms:
            for seed in plan.seeds if arm not in aside else (0,):
                trial = self.paths.trial(arm, track.name, seed)
                place, source = aside.get(arm, (trial, trial))
                weights = source / "weights.safetensors"
                if (place / f"{split}.json").exists() or not weights.exists():
                    continue
                name = f"{arm}-{seed}"
                places[name] = place
                who = arm if arm in aside else "student"
                units.setdefault(str(_view(facts, who)), []).append(
                    {
                        "name": name,
                        "model": facts["models"][who]["spec"],
                        "weights": str(weights),
                        "seed": seed,
                        "init_layers": track.method.init_layers if arm.startswith("attempt-") else "none",
                        "teacher": teachers[track.name],
                        "latency": split == "test" and seed in (plan.seeds[0], 0)[: 2 if arm in aside else 1],
                    }
                )
        if not units:
            return
        jobs, read = [], [Path(facts["folder"]) / "seen", Path(teachers[track.name])]
        for view, own in units.items():
            task, inputs = Path(view) / "seen" / "task.json", Path(view) / "held" / f"{split}.safetensors"
            jobs.append({"task": str(task), "inputs": str(inputs), "units": own, "threads": track.threads})
            read += [task, inputs, *(Path(unit["weights"]) for unit in own)]
        out = _fresh(self.paths.scratch / f"predict-{split}-{track.name}")
        # The seen folder comes along for checkpoints that were copied there; no label a prediction needs is in it.
        self._run(f"predict-{split}-{arms[-1]}-{track.name}", "predict", jobs, out, tuple(read), track)
        expected = {"logits": Tensor("F32", (facts["rows"][split], len(track.task.labels)))}
        for name, place in places.items():
            place.mkdir(parents=True, exist_ok=True)
            said = intake.read_json(out, f"{name}/prediction.json", schema=PREDICTION)
            if said["status"] == "ok":
                target = place / f"{split}.safetensors"
                intake.read_tensors(out, f"{name}/logits.safetensors", MOST_LOGITS, expected, target)
            write_whole(place / f"{split}.json", json.dumps(said))
        remove(out)

    # ── one process ─────────────────────────────────────────────────────────────────────────────────────────────────

    def _run(
        self,
        name: str,
        module: str,
        jobs: list[dict[str, Any]],
        out: Path,
        read: tuple[Path, ...],
        track: Track | None = None,
        trials: int = 1,
        must_work: bool = True,
    ) -> supervisor.Outcome:
        """`python -m baselines <module>` on the jobs, one after another, in a process that may write to `out` only.

        The prepare process is the one that has no track yet: it runs outside the sandbox, since it may need the hub.
        Where the process `must_work`, raises DataError for what it explains and TrainingError for what it does not.
        """
        place = self.paths.jobs / name
        place.mkdir(parents=True, exist_ok=True)
        files = [place / f"job-{number}.json" for number in range(len(jobs))]
        for file, job in zip(files, jobs, strict=True):
            write_whole(file, json.dumps({"out": str(out)} | job, indent=1))
        threads = str(track.threads if track else 1)
        env = {"OMP_NUM_THREADS": threads, "MKL_NUM_THREADS": threads, "GOMP_SPINCOUNT": "10000"}
        env |= {} if track else _online(self.settings)
        argv = (sys.executable, "-m", "baselines", module, *map(str, files))
        cards = tuple(sorted(Path("/dev").glob("nvidia[0-9]*"))) if track else ()
        outcome = supervisor.run(
            Job(argv, (place, *read), out, env, hide=_bundled_data(), devices=cards),
            self.backend if track else Process(),
            self._limits(module, track, trials),
            self.paths.logs / f"{name}.log",
            self.cancelled,
        )
        said = {"status": outcome.status, "seconds": round(outcome.seconds, 1), "memory": outcome.peak_memory or 0}
        write_whole(self.paths.outcome(name), json.dumps({"schema": 1, "process": module} | said | {"trials": trials}))
        if must_work and outcome.status == "cancelled":
            raise Interrupted(f"stopped while {module} was running")
        if must_work and outcome.status != "ok":
            self._explain(module, out, outcome)
        return outcome

    def _limits(self, module: str, track: Track | None, trials: int) -> Limits:
        """The plan's; before there is a plan, the defaults of one. What has been trained is predicted, however late."""
        plan = plan_of(self.paths)
        budget = plan.budget if plan else Budget(seconds=3600, memory_mb=8192)
        seconds = budget.trial_seconds * max(1, trials) if plan and track else 3600.0
        wall = seconds if module == "predict" else max(1.0, min(seconds, self.remaining))
        return Limits(
            wall_s=wall,
            cpu_s=wall * (1 + (track.threads if track else 2)),
            memory=(budget.memory_mb << 20) // (2 if plan else 1),
            processes=budget.processes,
            disk=budget.disk_mb << 20,
            files=budget.files,
            flood=budget.output_mb << 20,
        )

    def _explain(self, module: str, out: Path, outcome: supervisor.Outcome) -> None:
        with suppress(IntakeRejected):  # it left no explanation
            said = intake.read_json(out, "error.json", schema=ERROR)
            raise DataError(said["message"], said.get("hint", ""))
        if "No space left on device" in outcome.tail:
            raise DataError(f"disk full: {module} could not write its files", "free some space and resume the run")
        if outcome.status == "timeout" and self.remaining <= 0:
            problem = f"time budget: {self.progress.clock.spent:.0f} s are spent, {self.seconds:g} s were planned"
            amend = command("review", self.paths.id, "--edit", "budget.seconds=N", folder=self.paths.folder.parent)
            raise OutOfTime(problem, f"allow more in a new plan: {amend}")
        last = outcome.tail.strip().splitlines()[-1:] or ["it said nothing"]
        raise TrainingError(f"{module} ended with {outcome.status}: {last[0][:300]}", f"the whole log: {outcome.log}")

    def workers(self, threads: int, need: int = 0) -> int:
        """Processes side by side: one per group of cores; on a graphics card as many as it has room for where each
        takes `need` bytes of it, and one alone where that was not measured."""
        cores = max(1, (os.cpu_count() or 1) // threads)
        return min(cores, abreast(need)) if has_card() else cores

    def _parallel(self, work: Callable[[T], R], items: Sequence[T], need: int = 0) -> list[R]:
        """Results in the order of `items`. The first error stops what is running and is raised."""
        with ThreadPoolExecutor(max_workers=self.workers(1, need)) as pool:
            futures = [pool.submit(work, item) for item in items]
            try:
                return [future.result() for future in futures]
            except BaseException:
                stop = not self.cancelled.is_set()
                self.cancelled.set()
                for future in futures:
                    future.cancel()
                pool.shutdown()
                if stop:  # an error, not the user: what comes next may run again
                    self.cancelled.clear()
                raise
