"""The teacher process: it sees training rows and all their labels and gives back weights and cached outputs."""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from agent import config
from agent.cache import entries
from agent.cache.keys import digest, teacher_key
from agent.jobs.checked import Checked
from agent.jobs.job_files import TeacherJob, TeacherUnit
from agent.jobs.outputs import CRITICAL, MOST_TRACE
from agent.jobs.runner import Request, Runner
from agent.plan.plan import Plan, Track
from agent.record.files import file_hash, write_whole
from agent.record.paths import RunPaths
from agent.record.prepared import Prepared
from sandbox import intake

ASSISTANT_FILE = config.TRAIN_FILES / "kd.py"
FEATURE_CACHE = 1 << 30  # bytes; a larger cache of teacher features would cost more than running the teacher


@dataclass(frozen=True)
class Teachers:
    runner: Runner
    checked: Checked

    def train(self, plan: Plan, prepared: Mapping[str, Prepared], train_file: str) -> dict[str, str]:
        """Each track's teacher folder: trained now, or found in the cache under the same data, model and training."""
        checkpoints = plan.budget.checkpoints
        with self.runner.progress.phase("teachers", [track.name for track in plan.tracks]):
            folders = self.runner.parallel(
                lambda track: self._teacher(track, prepared[track.name], train_file, checkpoints), plan.tracks
            )
            teachers = {track.name: str(folder) for track, folder in zip(plan.tracks, folders, strict=True)}
            self.runner.parallel(
                lambda track: self._assistant(track, prepared[track.name], teachers[track.name], checkpoints),
                [track for track in plan.tracks if track.assistant],
            )
        return teachers

    def hold(self, plan: Plan, prepared: Mapping[str, Prepared], train_file: str) -> None:
        """Before a run continues: its teachers are as they were trained, or are trained again."""
        if not all(map(self.checked.is_whole, self._folders(plan, prepared, train_file))):
            self.train(plan, prepared, train_file)

    def _folders(self, plan: Plan, prepared: Mapping[str, Prepared], train_file: str) -> set[Path]:
        """The folder of every teacher and every assistant."""
        found = set[Path]()
        for track in plan.tracks:
            teacher = self._place(track, prepared[track.name], train_file)
            found |= {teacher, taught_by(track, prepared[track.name], str(teacher))}
        return found

    def _place(self, track: Track, prepared: Prepared, train_file: str) -> Path:
        return self.runner.settings.cache / "teachers" / teacher_key(track, prepared, train_file)

    def _teacher(self, track: Track, prepared: Prepared, train_file: str, checkpoints: int) -> Path:
        unit = TeacherUnit(
            arm="teacher",
            model=prepared.models["teacher"].spec,
            method={},
            teacher=False,
            training=track.teacher_training.model_dump(),
            reveal_transfer=True,
        )
        dev = prepared.held("dev") if track.method.scored else {}
        own = {"labels": str(prepared.labels), "teacher": None, "dev": dev}
        job = self._job(track, prepared, unit, **own, steps=track.teacher_steps, checkpoints=checkpoints)
        read = (prepared.seen, prepared.labels / "transfer.safetensors", *map(Path, dev.values()), Path(job.seen))
        folder = self._place(track, prepared, train_file)
        self._teach(job, folder, train_file, read, track, prepared)
        return folder

    def _assistant(self, track: Track, prepared: Prepared, teacher: str, checkpoints: int) -> None:
        """Trains the track's assistant as the students of vanilla_kd are, or finds it in the cache beside its teacher:
        it sees no label that a student may not see."""
        unit = TeacherUnit(
            arm="assistant",
            model=prepared.models["assistant"].spec,
            method=track.method.settings,
            teacher=True,
            training=track.assistant_training.model_dump(),
            reveal_transfer=False,
        )
        own = {"labels": "", "teacher": teacher, "dev": {}}
        job = self._job(track, prepared, unit, **own, steps=track.assistant_steps, checkpoints=checkpoints)
        read, folder = (prepared.seen, Path(teacher)), taught_by(track, prepared, teacher)
        self._teach(job, folder, ASSISTANT_FILE.read_text(), read, track, prepared)

    def _job(self, track: Track, prepared: Prepared, unit: TeacherUnit, **own: Any) -> TeacherJob:
        name = f"{unit.arm}-{track.name}"
        return TeacherJob(
            file=str(self.runner.paths.jobs / name / "train.py"),
            seen=str(prepared.read_by(unit.arm) / "seen"),
            unit=unit,
            seed=0,
            threads=track.threads,
            method=track.method.settings,
            student_layers=prepared.models["student"].layers,
            feature_cache=FEATURE_CACHE,
            **own,
        )

    def _teach(
        self,
        job: TeacherJob,
        folder: Path,
        train_file: str,
        read: tuple[Path, ...],
        track: Track,
        prepared: Prepared,
    ) -> None:
        """Trains what the job describes, in a process of its own, unless the cache has all that it would leave."""
        who, asked = job.unit.arm, digest(job.plain() | {"file": train_file})
        with entries.alone(folder):
            self.checked.check(f"{track.name}: the {who}'s files", folder)
            folder.mkdir(exist_ok=True)
            entries.use(folder)
            if entries.has_done(folder, asked):
                return
            Path(job.file).parent.mkdir(parents=True, exist_ok=True)
            write_whole(Path(job.file), train_file)
            self.runner.progress.watch(track.name, folder, 1)
            told = job.model_copy(update={"out": str(folder)})
            name, trials = f"{who}-{track.name}", track.method.teachers
            self.runner.run(Request(name, "teacher", [told], folder, read, track, trials))
            entries.note(folder, _about(track, prepared, who), job=asked)


def _about(track: Track, prepared: Prepared, who: str) -> dict[str, Any]:
    """Its description in `kdagent cache ls`."""
    model = prepared.models["assistant" if who == "assistant" else "teacher"]
    rows = sum(prepared.rows.get(split, 0) for split in ("train", "transfer", "generated"))
    return {"track": track.name, "arm": who, "rows": rows, "class": model.class_, "parameters": model.parameters}


def keep_teachers(paths: RunPaths, plan: Plan, prepared: Mapping[str, Prepared], teachers: Mapping[str, str]) -> None:
    """Keeps the trace of each teacher's and assistant's training, and the scores of a teacher's layers where the
    plan pairs layers by them."""
    for track in plan.tracks:
        folder = teachers[track.name]
        places = {paths.teacher(track.name): Path(folder)}
        if track.assistant:
            places[paths.assistant(track.name)] = taught_by(track, prepared[track.name], folder)
        for place, source in places.items():
            place.mkdir(parents=True, exist_ok=True)
            intake.copy(source, "trace.jsonl", place / "trace.jsonl", MOST_TRACE)
        if track.method.scored:
            scores = intake.read_json(Path(folder), "critical.json", schema=CRITICAL)
            write_whole(paths.teacher(track.name) / "critical.json", json.dumps(scores))


def taught_by(track: Track, prepared: Prepared, teacher: str) -> Path:
    """The cache folder of what teaches the idea's student: the teacher's own or, beside it, its assistant's."""
    folder = Path(teacher)
    if not track.assistant:
        return folder
    identity = {
        "teacher": folder.name,
        "model": [track.assistant.model_dump(), prepared.copied("assistant")],
        "training": track.assistant_training.model_dump(),
        "method": (track.method.temperature, track.method.alpha),
        "file": ASSISTANT_FILE.read_text(),
    }
    return folder.with_name(digest([identity]))


def teacher_hashes(plan: Plan, prepared: Mapping[str, Prepared], folders: Mapping[str, str]) -> dict[str, str]:
    """SHA-256 of the weights of each track's teacher, or over those of all its teachers, its assistant among them."""
    return {name: _weights_hash(plan.track(name), prepared[name], folder) for name, folder in folders.items()}


def _weights_hash(track: Track, prepared: Prepared, teacher: str) -> str:
    folder = Path(teacher)
    others = (folder / f"teacher-{number}" for number in range(1, track.method.teachers))
    assistants = (taught_by(track, prepared, teacher),) if track.assistant else ()
    found = [file_hash(place / "weights.safetensors") for place in (folder, *others, *assistants)]
    return found[0] if len(found) == 1 else hashlib.sha256("".join(found).encode()).hexdigest()
