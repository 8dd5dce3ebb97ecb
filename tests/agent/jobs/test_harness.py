"""The harness after it was killed: what the part that was at work has left is gone on with, or wiped."""

import json
import os
import shutil
import signal
import threading
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from agent import config
from agent.cache import entries
from agent.cache.keys import data_key, teacher_key
from agent.errors import CacheChanged, DataChanged, TrainingError
from agent.jobs.arm import Arm
from agent.jobs.harness import Harness
from agent.jobs.machine import abreast
from agent.jobs.progress import Progress
from agent.jobs.runner import Runner
from agent.jobs.shard_job import Inputs
from agent.jobs.teachers import taught_by, teacher_hashes
from agent.plan.method import Method
from agent.plan.plan import Budget, ModelSpec, Plan, Task, Track, Training
from agent.record import runs
from agent.record.clock import Clock
from agent.record.files import write_whole
from agent.record.pace import Pace
from agent.record.paths import RunPaths
from agent.record.prepared import Prepared, read_prepared
from agent.results.derive import deviations
from agent.results.run_record import RunRecord
from sandbox.isolation.job import Limits
from sandbox.isolation.process import Process
from sandbox.workspace import Workspace
from tests.baselines.lab import METHOD, SIZES, TEMPLATES, TRAINING, Lab, here, sha256

SIGNATURE = "def compute_loss(self, model, inputs, return_outputs=False, num_items_in_batch=None):\n"
WAITS = f"""{SIGNATURE}        mark = self.experiment.out.parents[4] / "cut"  # of the run, so that it waits once
        if (self.experiment.seed, self.state.global_step) == (2, 8) and not mark.exists():
            mark.write_text(str(os.getpgid(0)))
            signal.pause()
"""
HOLDS = WAITS.replace("signal.pause()", "while mark.read_text():\n                time.sleep(0.05)")
DIES = "import os\n\nos.kill(os.getpid(), 9)\n\n\n"
IMPORTS = (
    "from transformers import Trainer",
    "import os\nimport signal\nimport time\n\nfrom transformers import Trainer",
)
pytestmark = pytest.mark.slow


class Place:
    """A run with prepared rows, a teacher, and an arm that, where it `waits`, waits to be killed the first time."""

    def __init__(self, root: Path, waits: bool = True) -> None:
        self.lab = lab = Lab(root / "lab", "text")
        here("prepare", lab.prepare_job())
        here("teacher", lab.teacher_job())
        self.edits = [IMPORTS, (SIGNATURE, WAITS)] if waits else []
        self.paths: RunPaths = runs.create(root / "runs", "kd", {})
        self.prepared = read_prepared(lab.data / "facts.json").model_copy(update={"folder": str(lab.data)})
        self.plan = self._plan()
        write_whole(self.paths.plan, self.plan.model_dump_json(by_alias=True))
        Workspace.create(self.paths.repository)
        self.arm = Arm("kd", self.commit("kd", self.edits), {"own": METHOD}, teacher=True)

    def commit(self, name: str, edits: list[tuple[str, str]]) -> str:
        """Of kd.py with these edits."""
        file = Path(self.lab.train_file(self.paths.folder.parent / f"file-{name}-{len(edits)}", "kd", *edits))
        return Workspace.open(self.paths.repository).commit(name, file.read_text(), "An arm").id

    def _plan(self) -> Plan:
        training = Training.model_validate(TRAINING | {"epochs": 2})
        known = {name: getattr(self.prepared, name) for name in ("source", "hash", "encoded")}
        task = Task(name="own", kind="text", labels=("a", "b", "c"), input_size=12, **SIZES, **known)
        specs = {who: ModelSpec.model_validate(spec) for who, spec in self.lab.models.items()}
        method = Method.model_validate(METHOD | {"name": "kd"})
        track = Track(
            name="own", task=task, method=method, training=training, teacher_training=training.model_dump(), **specs
        )
        prose = dict.fromkeys(("idea", "title", "objective", "hypothesis", "methodology"), "some words")
        budget = Budget(trial_seconds=60, checkpoints=3)
        arms = ("student_only", "vanilla_kd")
        return Plan(
            **prose, scale="demo", tracks=(track,), seeds=(1, 2), reference_arms=arms, provenance={}, budget=budget
        )

    def train(self) -> None:
        progress, teachers = Progress(Console(quiet=True), Clock(), quiet=True), {"own": str(self.lab.teacher)}
        runner = Runner(self.paths, config.Settings.read(), Process(), progress, threading.Event(), 600.0)
        Harness(runner, None).train(self.plan, [self.arm], Inputs({"own": self.prepared}, teachers))

    def harness(self, cache: Path) -> Harness:
        """As each process of a run has its own."""
        progress, settings = Progress(Console(quiet=True), Clock(), quiet=True), config.Settings.read()
        runner = Runner(self.paths, replace(settings, cache=cache), Process(), progress, threading.Event(), 600.0)
        return Harness(runner, None)

    def noted(self, **values: Any) -> Prepared:
        """With the hashes of its files, as a run notes them."""
        return self.prepared.model_copy(update={"files": entries.hashes(self.lab.data)} | values)

    def cut_off(self) -> None:
        """SIGKILL for the harness and for the trial that waits, when the other one is done."""
        if not (child := os.fork()):
            self.train()
            os._exit(0)
        deadline, done = time.monotonic() + 120, self.paths.trial("kd", "own", 1) / "trial.json"
        while not self.waiting or not (done.exists() or [*self.paths.scratch.glob("*/own/kd/1/trial.json")]):
            assert time.monotonic() < deadline and os.waitpid(child, os.WNOHANG) == (0, 0)
            time.sleep(0.05)
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)
        os.killpg(self.waiting, signal.SIGKILL)

    @property
    def waiting(self) -> int:
        """The process of the trial that waits, 0 where none does yet."""
        mark = self.paths.folder / "cut"
        return int(mark.read_text() or 0) if mark.exists() else 0


def test_a_trial_goes_on_where_its_harness_was_killed_and_what_another_job_left_is_wiped(tmp_path: Path) -> None:
    place = Place(tmp_path)
    for seed in (1, 2):  # as if another commit had been at work under these names
        name = f"kd-own-{seed}"
        left, told = place.paths.scratch / name / "own" / "kd" / str(seed), place.paths.jobs / name / "job-0.json"
        for folder in (left, told.parent):
            folder.mkdir(parents=True)
        (left / "trial.json").write_text('{"status": "ok"}')
        told.write_text(json.dumps({"out": str(left.parents[1]), "units": [{"arm": "kd", "commit": "another"}]}))
    place.cut_off()
    place.train()
    for seed, went_on in ((1, None), (2, 6)):
        trial = place.paths.trial("kd", "own", seed)
        said = json.loads((trial / "trial.json").read_text())
        assert (said["status"], said.get("continued")) == ("ok", went_on)
        alone = place.lab.unit("kd", method=METHOD | {"name": "kd"}, seeds=[seed])
        here("trial", place.lab.trial_job(alone, steps=12, out=str(tmp_path / "alone")))
        assert sha256(trial / "weights.safetensors") == sha256(tmp_path / f"alone/kd/{seed}/weights.safetensors")
    assert list(place.paths.scratch.iterdir()) == []
    said = "own: kd seed 2 was cut off and continued from its checkpoint at step 6"
    assert deviations(RunRecord(place.paths, place.plan, {}, (), ())) == (said,)


@pytest.mark.parametrize("whole", [False, True])
def test_a_trial_that_somebody_kills_is_trained_again_and_that_is_on_record(tmp_path: Path, whole: bool) -> None:
    """As the system does whose memory runs out: it takes the largest process."""
    place = Place(tmp_path)

    def kill() -> None:
        while not (shard := place.waiting):
            time.sleep(0.05)
        trial = int(Path(f"/proc/{shard}/task/{shard}/children").read_text().split()[0])
        os.kill(shard if whole else trial, signal.SIGKILL)

    killer = threading.Thread(target=kill)
    killer.start()
    place.train()
    killer.join()
    reports = {seed: json.loads((place.paths.trial("kd", "own", seed) / "trial.json").read_text()) for seed in (1, 2)}
    assert {seed: (said["status"], said.get("tried")) for seed, said in reports.items()} == {
        1: ("ok", None),
        2: ("ok", 2),
    }
    said = (
        "own: kd seed 2 was cut off and continued from its checkpoint at step 6",
        "own: kd seed 2 was killed from outside 1 time and started again",
    )
    assert deviations(RunRecord(place.paths, place.plan, {}, (), ())) == said


def test_nothing_counts_that_came_from_an_entry_which_changed_while_it_was_read(tmp_path: Path) -> None:
    """One bit of the teacher's answers, flipped under a trial that is at work."""
    place = Place(tmp_path)
    place.arm = replace(place.arm, commit=place.commit("kd", [IMPORTS, (SIGNATURE, HOLDS)]))
    job = {name: value for name, value in place.lab.prepare_job().items() if name != "out"}
    known, harness = {"own": place.noted(job=job)}, place.harness(tmp_path / "cache")
    entries.note(place.lab.data, {"track": "own"})
    train_file = (TEMPLATES / "student_only.py").read_text()
    teachers = harness.teachers(place.plan, known, train_file)
    logits, inputs = Path(teachers["own"]) / "logits.safetensors", Inputs(known, teachers)

    def flip() -> None:
        while not place.waiting:
            time.sleep(0.05)
        first, *others = logits.read_bytes()
        logits.write_bytes(bytes([first, *others[:-1], others[-1] ^ 1]))
        (place.paths.folder / "cut").write_text("")

    flipper = threading.Thread(target=flip)
    flipper.start()
    with pytest.raises(CacheChanged, match=r"logits\.safetensors in .* changed while a process was reading it"):
        harness.train(place.plan, [place.arm], inputs)
    flipper.join()
    assert not place.paths.trial("kd", "own", 2).exists() and not [*place.paths.scratch.glob("*/own/kd/2")]
    harness.hold(place.plan, known, train_file)
    assert [said.split(" in the cache")[0] for said in harness.remade] == ["own: the teacher's files"]
    harness.train(place.plan, [place.arm], inputs)
    undisturbed = place.lab.unit("kd", method=METHOD | {"name": "kd"}, seeds=[2])
    here("trial", place.lab.trial_job(undisturbed, steps=12, teacher=teachers["own"], out=str(tmp_path / "alone")))
    weights = [place.paths.trial("kd", "own", 2) / "weights.safetensors", tmp_path / "alone/kd/2/weights.safetensors"]
    assert sha256(weights[0]) == sha256(weights[1])


def test_a_trial_that_is_killed_each_time_is_the_author_s_and_one_of_ours_stops_the_run(tmp_path: Path) -> None:
    """Edited code may kill itself: that must not keep a run from its end."""
    place = Place(tmp_path, waits=False)
    dies = [("def train(experiment)", f"{DIES}def train(experiment)")]
    place.arm = replace(place.arm, commit=place.commit("dies", dies), name="attempt-1")
    place.train()
    report = json.loads((place.paths.trial("attempt-1", "own", 1) / "trial.json").read_text())
    assert (report["status"], report["kind"], report["tried"]) == ("failed", "killed", 3)
    place.arm = replace(place.arm, name="vanilla_kd", ours=True)
    with pytest.raises(TrainingError, match="own: vanilla_kd, seed 1, was killed from outside 3 times"):
        place.train()
    assert not (place.paths.trial("vanilla_kd", "own", 1) / "trial.json").exists()


@pytest.mark.parametrize(
    ("memory", "features", "names"),
    [(9, 0, ["kd-own-1"]), (10, 0, ["kd-own-1", "kd-own-2"]), (10, 1, ["kd-own-1"])],
)
def test_trials_share_a_graphics_card_as_its_memory_allows(
    tmp_path: Path, monkeypatch, memory: int, features: int, names: list[str]
) -> None:
    """The card is a stand-in that a command of its driver's name tells of; the trials run on the processor."""
    place = Place(tmp_path, waits=False)
    teacher = place.lab.teacher / "teacher.json"
    teacher.write_text(json.dumps(json.loads(teacher.read_text()) | {"card_memory": 4 << 30}))
    for file in teacher.parent.glob("features-*.safetensors"):
        os.truncate(file, 0)  # which kd does not read
    os.truncate(file, features)
    asked = tmp_path / "bin" / "nvidia-smi"
    asked.parent.mkdir()
    asked.write_text(f'#!/bin/sh\n[ "$1" = --query-gpu=memory.total ] && printf "{memory << 10}\\n80000\\n"\n')
    asked.chmod(0o755)
    monkeypatch.setenv("PATH", f"{asked.parent}:{os.environ['PATH']}")
    monkeypatch.setattr("agent.jobs.runner.has_card", lambda: True)
    monkeypatch.setattr("os.cpu_count", lambda: 2)
    place.train()
    assert sorted(path.name for path in place.paths.jobs.iterdir()) == names
    for seed in (1, 2):
        assert json.loads((place.paths.trial("kd", "own", seed) / "trial.json").read_text())["status"] == "ok"


def test_card_that_nobody_measured_holds_one_process(monkeypatch) -> None:
    monkeypatch.setenv("PATH", "")
    assert abreast(0) == abreast(4 << 30) == 1


def test_teacher_of_other_labels_is_another_teacher(tmp_path: Path) -> None:
    place = Place(tmp_path)
    [track], clean = place.plan.tracks, place.noted()
    noisy = place.noted(files=clean.files | {"seen/train.safetensors": "0" * 64})
    assert teacher_key(track, clean, "a file") == teacher_key(track, clean, "a file")
    assert teacher_key(track, noisy, "a file") != teacher_key(track, clean, "a file")


def test_checkpoint_that_changed_under_its_old_name_is_another_one(tmp_path: Path) -> None:
    (tmp_path / "model.safetensors").write_bytes(b"weights")
    job = {"task": {"name": "digits"}, "teacher": {"checkpoint": str(tmp_path)}, "student": {"checkpoint": ""}}
    before = data_key(job, job["task"], [str(tmp_path)])
    assert data_key(job, job["task"], [str(tmp_path)]) == before
    (tmp_path / "model.safetensors").write_bytes(b"weights of somebody else")
    assert data_key(job, job["task"], [str(tmp_path)]) != before
    place = Place(tmp_path / "place")
    [track], known = place.plan.tracks, place.noted()
    taught, other = (
        place.noted(files=known.files | {"seen/teacher/model.safetensors": digest}) for digest in ("1" * 64, "2" * 64)
    )
    assert teacher_key(track, taught, "a file") != teacher_key(track, other, "a file")


def test_run_that_goes_on_makes_again_what_was_harmed_meanwhile_and_nothing_else(tmp_path: Path) -> None:
    place = Place(tmp_path)
    job = {name: value for name, value in place.lab.prepare_job().items() if name != "out"}
    known = {"own": place.noted(job=job)}
    entries.note(place.lab.data, {"track": "own"})
    train_file = (TEMPLATES / "student_only.py").read_text()

    def harness() -> Harness:
        return place.harness(tmp_path / "cache")

    teacher = Path(harness().teachers(place.plan, known, train_file)["own"])
    before, rows = entries.manifest(teacher), place.lab.data / "seen" / "train.safetensors"
    assert before and {"weights.safetensors", "logits.safetensors", "teacher.json", "trace.jsonl"} <= before.keys()
    (whole := harness()).hold(place.plan, known, train_file)
    assert whole.remade == []
    place.paths.outcome("teacher-own").unlink()
    assert harness().teachers(place.plan, known, train_file) == {"own": str(teacher)}
    assert not place.paths.outcome("teacher-own").exists()  # no process was started over a finished entry
    for path in (rows, teacher / "logits.safetensors"):
        path.write_bytes(path.read_bytes()[:-1])
    (mended := harness()).hold(place.plan, known, train_file)
    assert [said.split(" in the cache")[0] for said in mended.remade] == [
        "own: prepared rows",
        "own: the teacher's files",
    ]
    after = entries.hashes(teacher)
    timed = ("teacher.json", "trace.jsonl")
    assert all(after[name] == digest for name, digest in before.items() if name not in timed)
    assert entries.hashes(place.lab.data) == known["own"].files
    (teacher / "weights.safetensors").rename(teacher / "features-9.safetensors")  # a kill, and then some
    teacher.with_suffix(".json").unlink()
    harness().hold(place.plan, known, train_file)
    assert entries.hashes(teacher).keys() == before.keys()
    known["own"].files["seen/task.json"] = "0" * 64
    with pytest.raises(DataChanged, match=r"own: the data have changed since the run was planned: seen/task\.json"):
        harness().hold(place.plan, known, train_file)
    with pytest.raises(DataChanged, match="own: the run was planned by an earlier kdagent"):
        harness().hold(place.plan, {"own": place.prepared}, "")


def test_only_the_ideas_students_learn_from_the_assistant_which_lies_beside_its_teacher(tmp_path: Path) -> None:
    place = Place(tmp_path)
    between = place.plan.tracks[0].teacher.model_copy(update={"width": 24})
    track = place.plan.tracks[0].model_copy(update={"assistant": between})
    plan = place.plan.model_copy(update={"tracks": (track,), "seeds": (1,)})
    here("prepare", place.lab.prepare_job(out=str(tmp_path / "assisted"), assistant=between.model_dump()))
    place.prepared = read_prepared(tmp_path / "assisted" / "facts.json").model_copy(
        update={"folder": str(place.lab.data)}
    )
    known, harness = {"own": place.noted()}, place.harness(tmp_path / "cache")
    teachers = harness.teachers(plan, known, (TEMPLATES / "student_only.py").read_text())
    assistant = taught_by(track, known["own"], teachers["own"])
    assert assistant.parent == Path(teachers["own"]).parent and assistant != Path(teachers["own"])
    assert json.loads((assistant / "teacher.json").read_text())["spec"]["width"] == 24
    other = track.model_copy(update={"method": track.method.model_copy(update={"alpha": 0.25})})
    assert taught_by(other, known["own"], teachers["own"]) != assistant
    harness.keep_teachers(plan, known, teachers)
    assert harness.weights(plan, known, teachers) != teacher_hashes(place.plan, known, teachers)
    assert (place.paths.assistant("own") / "trace.jsonl").exists()
    for name, assisted, folder in (("vanilla_kd", False, teachers["own"]), ("attempt-1", True, str(assistant))):
        harness.train(plan, [replace(place.arm, name=name, assisted=assisted)], Inputs(known, teachers))
        told = json.loads((place.paths.jobs / f"{name}-own-1" / "job-0.json").read_text())
        assert told["teacher"] == folder
    harness.predict(plan, ["teacher", "assistant"], Inputs(known, teachers), "test")
    found = {who: json.loads((where / "test.json").read_text())["parameters"] for who, where in (
        ("teacher", place.paths.teacher("own")), ("assistant", place.paths.assistant("own")))}  # fmt: skip
    assert found == {who: known["own"].models[who].parameters for who in ("teacher", "assistant")}


def test_what_compiling_takes_is_measured_once_and_a_harmed_or_failed_measurement_anew(
    tmp_path: Path, monkeypatch
) -> None:
    place = Place(tmp_path, waits=False)
    [track], known = place.plan.tracks, {"own": place.noted()}

    def paces() -> dict[str, Pace]:
        """In a process of its own, which leaves an outcome where it started another one."""
        shutil.rmtree(place.paths.jobs / "pace-own", ignore_errors=True)
        return place.harness(tmp_path / "cache").paces([track], known)

    def measured() -> bool:
        return place.paths.outcome("pace-own").exists()

    with monkeypatch.context() as patched:
        patched.setattr(Runner, "_limits", lambda *_: Limits(wall_s=0.2, memory=8 << 30))
        assert paces() == {"own": Pace(problem="trying it ended with timeout")}
    found = paces()
    assert measured() and found["own"].plain > 0 and found["own"].compiled == 0  # too little to be worth trying
    assert paces() == found and not measured()
    assert not any(place.paths.scratch.glob("pace-*"))
    [kept] = (tmp_path / "cache" / "paces").glob("*/pace.json")
    kept.write_text('{"plain": 1e-9}')
    assert paces()["own"].plain > 1e-6 and measured()
