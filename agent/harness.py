"""The processes of a run: each is told what to do in a job file, sees only what it must, and is believed only where
its files pass the intake.

| process  | sees                                                | gives back                  |
|----------|-----------------------------------------------------|-----------------------------|
| prepare  | the source of the data                              | rows, facts                 |
| teacher  | training rows and all their labels                  | weights, cached outputs     |
| trial    | training rows, labels a student may see, the cache  | weights, trace              |
| predict  | a student's weights, inputs of one split            | logits                      |
"""

import hashlib
import importlib.util
import json
import os
import shutil
import sys
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.metadata import version
from itertools import groupby
from pathlib import Path
from typing import Any, TypeVar

from agent import config
from agent.errors import DataError, Interrupted, TrainingError
from agent.paths import RunPaths
from agent.plan import Plan, Track
from agent.progress import Progress
from agent.runs import write_whole
from sandbox import intake, supervisor
from sandbox.errors import IntakeRejected
from sandbox.isolation import Backend, Process
from sandbox.job import Job, Limits
from sandbox.workspace import Workspace

MOST_WEIGHTS = 4 << 30  # bytes of one model
FEATURE_CACHE = 1 << 30  # bytes; a larger cache of teacher features would cost more than running the teacher

T = TypeVar("T")
R = TypeVar("R")


@dataclass(frozen=True)
class Arm:
    """One version of train.py and what it may see."""

    name: str
    commit: str
    method: dict[str, Any]
    """Per track: the settings `experiment.method` holds."""
    teacher: bool
    reveal_transfer: bool = False
    """Whether it sees the labels of the transfer rows (only the arm that measures what they are worth)."""


@dataclass(frozen=True)
class Part:
    """Some trials of one track, to be run one after another."""

    track: Track
    work: list[tuple[Arm, int]]
    steps: int

    @property
    def name(self) -> str:
        arm, seed = self.work[0]
        return f"{arm.name}-{self.track.name}-{seed}"


@dataclass(frozen=True)
class Harness:
    paths: RunPaths
    settings: config.Settings
    backend: Backend
    progress: Progress
    cancelled: threading.Event
    remaining: Callable[[], float]
    """Seconds left of the run's time budget."""

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
            "input_size": settings["input_size"],
            "batch_size": settings["training"]["batch_size"],
            "teacher": settings["teacher"],
            "student": settings["student"],
        }
        folder = self.settings.cache / "data" / _key(job, _files(source), _versions())
        with _alone(folder):
            if not (folder / "facts.json").exists():
                part = _fresh(folder.with_suffix(".part"))
                self._run(f"prepare-{source['name']}", "prepare", [job], part, read=())
                part.rename(folder)
        facts: dict[str, Any] = json.loads((folder / "facts.json").read_text())
        for model in facts["models"].values():  # checkpoints were copied beside the rows before the folder had its name
            model["spec"]["checkpoint"] = model["spec"]["checkpoint"].replace(".part/", "/")
        return facts | {"folder": str(folder)}

    # ── teacher ─────────────────────────────────────────────────────────────────────────────────────────────────────

    def teachers(self, plan: Plan, facts: dict[str, Any], train_file: str) -> dict[str, str]:
        """Each track's teacher folder: trained now, or found in the cache under the same data, model and training."""
        with self.progress.phase("teachers", [track.name for track in plan.tracks]):
            folders = self._parallel(lambda track: self._teacher(track, facts[track.name], train_file), plan.tracks)
        return {track.name: str(folder) for track, folder in zip(plan.tracks, folders, strict=True)}

    def _teacher(self, track: Track, facts: dict[str, Any], train_file: str) -> Path:
        data = Path(facts["folder"])
        identity = {
            "data": track.task.encoded,
            "input": track.task.input_size,
            "model": track.teacher.model_dump() | {"revision": facts["models"]["teacher"]["spec"]["revision"]},
            "training": track.teacher_training.model_dump(),
            "threads": track.threads,
            "file": train_file,
        }
        folder = self.settings.cache / "teachers" / _key(identity, _versions(), str(facts["task"]))
        folder.mkdir(parents=True, exist_ok=True)
        unit = {
            "arm": "teacher",
            "model": facts["models"]["teacher"]["spec"],
            "method": {},
            "teacher": False,
            "training": track.teacher_training.model_dump(),
            "reveal_transfer": True,
        }
        job = {
            "seen": str(data / "seen"),
            "labels": str(data / "labels"),
            "unit": unit,
            "seed": 0,
            "teacher": None,
            "steps": track.teacher_steps,
            "threads": track.threads,
            "method": track.method.model_dump(),
            "student_layers": facts["models"]["student"]["layers"],
            "feature_cache": FEATURE_CACHE,
        }
        with _alone(folder):
            place = self.paths.jobs / f"teacher-{track.name}"
            place.mkdir(parents=True, exist_ok=True)
            write_whole(place / "train.py", train_file)
            job["file"] = str(place / "train.py")
            self.progress.watch(track.name, folder, 1)
            labels = data / "labels" / "transfer.safetensors"
            self._run(f"teacher-{track.name}", "teacher", [job], folder, (data / "seen", labels), track)
        return folder

    # ── trials ──────────────────────────────────────────────────────────────────────────────────────────────────────

    def train(
        self, plan: Plan, arms: Sequence[Arm], facts: dict[str, Any], teachers: dict[str, str], ours: bool = False
    ) -> None:
        """Every trial of `arms` that the run does not hold yet. A trial that fails is a result; it is kept as such.

        Arms of `ours`, which no model wrote, may share a process across tracks, so that imports are paid once.
        """
        parts = [part for track in plan.tracks for part in self._parts(plan, track, arms)]
        if ours:
            workers = self.workers(1)
            groups = [parts[first::workers] for first in range(workers)]
        else:
            groups = [[part] for part in parts]
        with self.progress.phase("train " + ", ".join(arm.name for arm in arms), [track.name for track in plan.tracks]):
            self._parallel(lambda group: self._train(group, facts, teachers), [group for group in groups if group])

    def pilot(self, plan: Plan, arm: Arm, facts: dict[str, Any], teachers: dict[str, str], steps: int) -> str:
        """A few steps of one arm on every track; why it failed, or ""."""
        with self.progress.phase(f"pilot {arm.name}", [track.name for track in plan.tracks]):
            parts = [Part(track, [(arm, plan.seeds[0])], min(steps, track.steps)) for track in plan.tracks]
            said = self._parallel(lambda part: self._pilot(part, facts, teachers), parts)
        return "\n\n".join(filter(None, said))

    def _pilot(self, part: Part, facts: dict[str, Any], teachers: dict[str, str]) -> str:
        arm, seed = part.work[0]
        track, out = part.track.name, _fresh(self.paths.scratch / f"pilot-{part.name}")
        outcome = self._run_trials(f"pilot-{part.name}", [part], facts, teachers, out)
        if outcome.status == "cancelled":
            raise Interrupted("stopped during the pilot")
        try:
            report = intake.read_json(out / track, f"{arm.name}/{seed}/trial.json")
        except IntakeRejected as error:
            return f"{track}: the pilot ended with {outcome.status}: {error.message}\n{outcome.tail}"
        shutil.rmtree(out, ignore_errors=True)
        if report.get("status") != "ok":
            return f"{track}: {report.get('error', outcome.status)}\n{report.get('traceback', '')}"
        return ""

    def _parts(self, plan: Plan, track: Track, arms: Sequence[Arm]) -> list[Part]:
        """The missing trials of a track in as many even parts as there are workers."""
        missing = [
            (arm, seed)
            for arm in arms
            for seed in plan.seeds
            if not (self.paths.trial(arm.name, track.name, seed) / "trial.json").exists()
        ]
        size = -(-len(missing) // self.workers(track.threads)) or 1
        return [Part(track, missing[start : start + size], track.steps) for start in range(0, len(missing), size)]

    def _train(self, parts: list[Part], facts: dict[str, Any], teachers: dict[str, str]) -> None:
        out = _fresh(self.paths.scratch / parts[0].name)
        for part in parts:
            self.progress.watch(part.track.name, out / part.track.name, len(part.work))
        outcome = self._run_trials(parts[0].name, parts, facts, teachers, out)
        for part in parts:
            self._take_in_part(part, out / part.track.name, outcome)
        shutil.rmtree(out, ignore_errors=True)
        if outcome.status == "cancelled":
            raise Interrupted("stopped while training; what had finished is kept")

    def _take_in_part(self, part: Part, out: Path, outcome: supervisor.Outcome) -> None:
        """Every trial of the part; of one that was stopped, only those that had finished."""
        for arm, seed in part.work:
            if outcome.status != "cancelled" or (out / arm.name / str(seed) / "trial.json").exists():
                self._take_in(out, arm.name, part.track.name, seed, outcome)

    def _run_trials(
        self, name: str, parts: list[Part], facts: dict[str, Any], teachers: dict[str, str], out: Path
    ) -> supervisor.Outcome:
        jobs = [self._trial_job(name, part, facts[part.track.name], teachers[part.track.name], out) for part in parts]
        read = {path for part in parts for path in self._readable(part, facts, teachers)}
        trials = sum(len(part.work) for part in parts)
        return self._run(name, "trial", jobs, out, tuple(sorted(read)), parts[0].track, trials, must_work=False)

    def _trial_job(self, name: str, part: Part, facts: dict[str, Any], teacher: str, out: Path) -> dict[str, Any]:
        data, track, units = Path(facts["folder"]), part.track, []
        (out / track.name).mkdir(exist_ok=True)
        for arm, group in groupby(part.work, key=lambda pair: pair[0]):
            file = Workspace.open(self.paths.repository).export(arm.commit, self.paths.jobs / name / arm.name)
            units.append(
                {
                    "arm": arm.name,
                    "file": str(file),
                    "model": facts["models"]["student"]["spec"],
                    "training": track.training.model_dump(),
                    "method": arm.method[track.name],
                    "teacher": arm.teacher,
                    "reveal_transfer": arm.reveal_transfer,
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
            "threads": track.threads,
        }

    def _readable(self, part: Part, facts: dict[str, Any], teachers: dict[str, str]) -> set[Path]:
        """What a trial may see: never a test row, and the transfer labels only where an arm measures their worth."""
        data, arms = Path(facts[part.track.name]["folder"]), [arm for arm, _ in part.work]
        read = {data / "seen"}
        read |= {Path(teachers[part.track.name])} if any(arm.teacher for arm in arms) else set()
        read |= {data / "labels" / "transfer.safetensors"} if any(arm.reveal_transfer for arm in arms) else set()
        return read

    def _take_in(self, out: Path, arm: str, track: str, seed: int, outcome: supervisor.Outcome) -> None:
        """Move one trial's files into the record, or write down why there are none. trial.json comes last."""
        place = self.paths.trial(arm, track, seed)
        place.mkdir(parents=True, exist_ok=True)
        try:
            report = intake.read_json(out, f"{arm}/{seed}/trial.json")
            trace = intake.read_bytes(out, f"{arm}/{seed}/trace.jsonl", 64 << 20)
            intake.read_lines(out, f"{arm}/{seed}/trace.jsonl")
            (place / "trace.jsonl").write_bytes(trace)
            if report.get("status") == "ok":
                weights = intake.read_bytes(out, f"{arm}/{seed}/weights.safetensors", MOST_WEIGHTS)
                (place / "weights.safetensors").write_bytes(weights)
        except IntakeRejected as error:
            why = outcome.status if outcome.status not in ("ok", "error") else error.message
            report = {
                "schema": 1,
                "arm": arm,
                "seed": seed,
                "status": "failed",
                "error": why,
                "traceback": outcome.tail,
            }
        write_whole(place / "trial.json", json.dumps(report))

    # ── prediction ──────────────────────────────────────────────────────────────────────────────────────────────────

    def predict(
        self, plan: Plan, arms: Sequence[str], facts: dict[str, Any], split: str, teachers: dict[str, str]
    ) -> None:
        """Logits of every finished trial of `arms` on `split`; "teacher" is an arm here. What is there is kept."""
        with self.progress.phase(f"predict {split}", [track.name for track in plan.tracks]):
            self._parallel(
                lambda track: self._predict(plan, track, arms, facts[track.name], split, teachers), plan.tracks
            )

    def _predict(
        self, plan: Plan, track: Track, arms: Sequence[str], facts: dict[str, Any], split: str, teachers: dict[str, str]
    ) -> None:
        units, places = [], {}
        for arm in arms:
            for seed in plan.seeds if arm != "teacher" else (0,):
                place = self.paths.teacher(track.name) if arm == "teacher" else self.paths.trial(arm, track.name, seed)
                weights = (Path(teachers[track.name]) if arm == "teacher" else place) / "weights.safetensors"
                if (place / f"{split}.json").exists() or not weights.exists():
                    continue
                name = f"{arm}-{seed}"
                places[name] = place
                who = "teacher" if arm == "teacher" else "student"
                units.append(
                    {
                        "name": name,
                        "model": facts["models"][who]["spec"],
                        "weights": str(weights),
                        "seed": seed,
                        "latency": split == "test" and seed in (plan.seeds[0], 0)[: 2 if arm == "teacher" else 1],
                    }
                )
        if not units:
            return
        data = Path(facts["folder"])
        inputs = data / ("test" if split == "test" else "seen") / f"{split}.safetensors"
        job = {
            "task": str(data / "seen" / "task.json"),
            "inputs": str(inputs),
            "units": units,
            "threads": track.threads,
        }
        out = _fresh(self.paths.scratch / f"predict-{split}-{track.name}")
        # The seen folder comes along for checkpoints that were copied there; no label a prediction needs is in it.
        read = (data / "seen", inputs, *(Path(unit["weights"]) for unit in units))
        self._run(f"predict-{split}-{arms[-1]}-{track.name}", "predict", [job], out, read, track)
        for name, place in places.items():
            place.mkdir(parents=True, exist_ok=True)
            said = intake.read_json(out, f"{name}/prediction.json")
            if said.get("status") == "ok":
                logits = intake.read_bytes(out, f"{name}/logits.safetensors", 1 << 30)
                (place / f"{split}.safetensors").write_bytes(logits)
            write_whole(place / f"{split}.json", json.dumps(said))
        shutil.rmtree(out, ignore_errors=True)

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
        """`python -m baselines.<module>` on the jobs, one after another, in a process that may write to `out` only.

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
        argv = (sys.executable, "-m", f"baselines.{module}", *map(str, files))
        outcome = supervisor.run(
            Job(argv, (place, *read), out, env, hide=_bundled_data()),
            self.backend if track else Process(),
            self._limits(track, trials),
            self.paths.logs / f"{name}.log",
            self.cancelled,
        )
        if must_work and outcome.status == "cancelled":
            raise Interrupted(f"stopped while {module} was running")
        if must_work and outcome.status != "ok":
            self._explain(module, out, outcome)
        return outcome

    def _limits(self, track: Track | None, trials: int) -> Limits:
        plan_file = self.paths.plan
        budget = json.loads(plan_file.read_text())["budget"] if plan_file.exists() else None
        memory = (budget["memory_mb"] if budget else 8192) << 20
        wall = budget["trial_seconds"] * max(1, trials) if budget and track else 3600.0
        return Limits(wall_s=max(1.0, min(wall, self.remaining())), memory=memory // (2 if budget else 1))

    def _explain(self, module: str, out: Path, outcome: supervisor.Outcome) -> None:
        if (out / "error.json").exists():
            said = intake.read_json(out, "error.json")
            raise DataError(str(said.get("message", "")), str(said.get("hint", "")))
        if "No space left on device" in outcome.tail:
            raise DataError(f"disk full: {module} could not write its files", "free some space and resume the run")
        last = outcome.tail.strip().splitlines()[-1:] or ["it said nothing"]
        raise TrainingError(f"{module} ended with {outcome.status}: {last[0][:300]}", f"the whole log: {outcome.log}")

    def workers(self, threads: int) -> int:
        """Processes side by side: one per group of cores, and one alone where a graphics card is shared."""
        return 1 if Path("/dev/nvidiactl").exists() else max(1, (os.cpu_count() or 1) // threads)

    def _parallel(self, work: Callable[[T], R], items: Sequence[T]) -> list[R]:
        """Results in the order of `items`. The first error stops what is running and is raised."""
        with ThreadPoolExecutor(max_workers=self.workers(1)) as pool:
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


def _key(*parts: Any) -> str:
    return hashlib.sha256(json.dumps(parts, sort_keys=True, default=str).encode()).hexdigest()[:32]


def _versions() -> dict[str, str]:
    """What else decides about prepared rows and teachers: the libraries and our own code. Part of every cache key."""
    names = ("torch", "transformers", "datasets", "scipy", "scikit-learn", "tokenizers")
    sources = sorted((config.ROOT / "baselines").rglob("*.py"))
    ours = hashlib.sha256(b"".join(path.read_bytes() for path in sources)).hexdigest()
    return {name: version(name) for name in names} | {"baselines": ours}


def _files(source: dict[str, Any]) -> list[tuple[str, int, int]]:
    """Name, size and time of every file a source may read, so that changed data are prepared again."""
    root = Path(source.get("data") or source.get("data_dir") or "")
    if source.get("data_dir") and (root / source["name"]).is_dir():
        root = root / source["name"]
    if not (source.get("data") or source.get("data_dir")):
        return []
    files = [root] if root.is_file() else sorted(path for path in root.rglob("*") if path.is_file())
    return [(path.name, path.stat().st_size, path.stat().st_mtime_ns) for path in files]


def _online(settings: config.Settings) -> dict[str, str]:
    """What the prepare process needs to reach the user's Hugging Face cache and the hub."""
    home = Path(os.environ.get("HF_HOME") or Path.home() / ".cache" / "huggingface")
    offline = os.environ.get("HF_HUB_OFFLINE", "0")
    found = {
        "HF_HOME": str(home),
        "HF_HUB_OFFLINE": offline,
        "HF_DATASETS_OFFLINE": offline,
        "KDAGENT_ARROW_CACHE": str(settings.cache / "arrow"),
    }
    return found | {
        name: os.environ[name] for name in ("HF_ENDPOINT", "HF_HUB_CACHE", "SSL_CERT_FILE") if name in os.environ
    }


def _bundled_data() -> tuple[Path, ...]:
    """Data sets that ship inside packages and hold test labels of embedded tasks."""
    found = importlib.util.find_spec("sklearn")
    return (Path(found.origin).parent / "datasets" / "data",) if found and found.origin else ()


def _fresh(folder: Path) -> Path:
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    return folder


@contextmanager
def _alone(folder: Path) -> Iterator[None]:
    """Keep other runs from filling the same cache folder at the same time."""
    import fcntl

    folder.parent.mkdir(parents=True, exist_ok=True)
    with folder.with_suffix(".lock").open("w") as stream:
        fcntl.flock(stream, fcntl.LOCK_EX)
        yield
