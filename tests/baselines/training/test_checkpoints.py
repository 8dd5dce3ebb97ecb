"""A trial whose process was killed goes on from its newest whole checkpoint, to the bits of one that was not."""

import json
import os
import shutil
import signal
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from agent.jobs.outputs import TRACE, TRIAL
from baselines.training.checkpoints import counts, every, finish, newest
from sandbox import intake
from tests.baselines.lab import TRAINS, Lab, here, report, sha256, trace

STEPS, CUT = 12, 8
SAVED = {"steps": STEPS, "checkpoints": 3}
"""Checkpoints at the steps 3, in the midst of an epoch, 6, at its end, and 9."""
SIGNATURE = "def compute_loss(self, model, inputs, return_outputs=False, num_items_in_batch=None):\n"
CUTS = f"""{SIGNATURE}        mark = self.experiment.out.parent / "cut"
        if self.state.global_step == {CUT} and not mark.exists():
            mark.touch()
            os.killpg(0, signal.SIGKILL)
"""
IMPORTS = ("from transformers import Trainer", "import os\nimport signal\n\nfrom transformers import Trainer")
pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def labs(tmp_path_factory) -> dict[str, Lab]:
    labs = {kind: Lab(tmp_path_factory.mktemp(kind), kind) for kind in ("text", "image")}
    views = {"text": {}, "image": {"views": 3, "mirror": False}}  # of which a row's next one must be shown again
    for kind, lab in labs.items():
        here("prepare", lab.prepare_job(**views[kind]))
        here("teacher", lab.teacher_job())
    return labs


def unit(lab: Lab, folder: Path, arm: str, *edits: tuple[str, str], **changes) -> dict:
    """A trial of `arm` that kills all of its processes at step CUT, the first time."""
    file = lab.train_file(folder / "file", arm, IMPORTS, (SIGNATURE, CUTS), *edits)
    return lab.unit(arm, file=file, **changes)


def cut_off(job: dict) -> None:
    """What a power cut leaves of a trial's processes."""
    if not (child := os.fork()):
        os.setsid()
        here("trial", job)
        os._exit(0)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == -signal.SIGKILL


@pytest.fixture(scope="module", params=["text", "image"])
def trial(request, labs, tmp_path_factory) -> tuple[Lab, dict, Path, Path]:
    """The lab, the job, what an uninterrupted trial left, and what one left that was cut off."""
    lab, arm, root = labs[request.param], "kd_selective", tmp_path_factory.mktemp("cut")
    job = lab.trial_job(unit(lab, root, arm), **SAVED, out=str(root / "whole"))
    (root / "whole" / arm).mkdir(parents=True)
    (root / "whole" / arm / "cut").touch()
    here("trial", job)
    cut_off(job | {"out": str(root / "cut")})
    return lab, job, root / "whole" / arm / "1", root / "cut"


def copied(trial, tmp_path: Path) -> Path:
    shutil.copytree(trial[3], tmp_path / "out")
    return tmp_path / "out"


def told(folder: Path) -> list[dict]:
    """The trace, but for its clock and for the line that says that it goes on."""
    lines = intake.read_lines(folder, "trace.jsonl", schema=TRACE)
    return [{**line, "seconds": 0} for line in lines if line["event"] != "continued"]


def same(folder: Path, whole: Path) -> bool:
    """Weights and everything the trace says: losses, terms, counts, gradients, settings."""
    return sha256(folder / "weights.safetensors") == sha256(whole / "weights.safetensors") and told(folder) == told(
        whole
    )


def _truncate(checkpoint: Path) -> None:
    os.truncate(checkpoint / "model.safetensors", 1000)


DAMAGES: dict[str, tuple[Callable[[Path], object], list[str], int | None]] = {
    "nothing": (lambda checkpoint: None, [], 6),
    "truncated": (_truncate, ["6"], 3),
    "without its optimizer": (lambda checkpoint: (checkpoint / "optimizer.pt").unlink(), ["6"], 3),
    "without its manifest": (lambda checkpoint: (checkpoint / "manifest.json").unlink(), ["6"], 3),
    "both without their optimizers": (lambda checkpoint: (checkpoint / "optimizer.pt").unlink(), ["6", "3"], None),
}


@pytest.mark.parametrize("damage", DAMAGES)
def test_a_trial_that_was_cut_off_ends_as_if_it_had_not_been(trial, tmp_path, damage):
    _, job, whole, _ = trial
    harm, steps, went_on = DAMAGES[damage]
    out = copied(trial, tmp_path)
    [folder] = out.glob("*/1")
    for step in steps:
        harm(folder / f"trainer/checkpoint-{step}")
    here("trial", job | {"out": str(out)})
    assert same(folder, whole)
    said = intake.read_json(folder, "trial.json", schema=TRIAL)
    assert (said["status"], said.get("continued")) == ("ok", went_on)
    assert [line["step"] for line in trace(folder, "continued")] == ([went_on] if went_on else [])
    assert said["initial"] == report(whole)["initial"] and not (folder / "trainer").exists()


def test_only_the_two_newest_checkpoints_are_kept_and_none_of_the_last_step(labs, tmp_path):
    lab = labs["text"]
    left = "str(sorted(path.name for path in experiment.out.glob('trainer/*')))"
    looks = f"trainer.train()\n    (experiment.out / 'left').write_text({left})"
    job = lab.trial_job(
        lab.unit(
            "kd",
            file=lab.train_file(tmp_path / "file", "kd", (TRAINS, looks)),
        ),
        **SAVED,
    )
    here("trial", job | {"out": str(tmp_path / "out")})
    assert (tmp_path / "out/kd/1/left").read_text() == "['checkpoint-6', 'checkpoint-9']"


def test_an_edit_that_does_not_go_on_begins_anew_and_its_checkpoints_are_gone(labs, tmp_path):
    looks = "(experiment.out / 'left').touch() if list(experiment.out.glob('trainer/*')) else None"
    edit = (TRAINS, f"trainer.train()\n    {looks}")
    lab = labs["text"]
    made = unit(lab, tmp_path, "kd", edit)
    job = lab.trial_job(made, **SAVED, out=str(tmp_path / "out"))
    cut_off(job)
    assert list(tmp_path.glob("out/kd/1/trainer/checkpoint-6"))
    here("trial", job | {"checkpoints": 0})
    folder = tmp_path / "out/kd/1"
    assert report(folder)["status"] == "ok" and "continued" not in report(folder)
    assert [line["step"] for line in trace(folder, "log")] == list(range(1, STEPS + 1))
    assert not (folder / "left").exists() and not (folder / "trainer").exists()


def test_a_checkpoint_of_another_number_of_threads_does_not_count(tmp_path):
    threads = torch.get_num_threads()
    checkpoint = tmp_path / "checkpoint-3"
    checkpoint.mkdir()
    finish(checkpoint, {"calls": 2, "norms": torch.ones(2)})
    assert newest(tmp_path) == str(checkpoint) and counts(checkpoint)["calls"] == 2
    try:
        torch.set_num_threads(threads + 1)
        assert newest(tmp_path) is None and not checkpoint.exists()
    finally:
        torch.set_num_threads(threads)


def test_a_checkpoint_of_an_earlier_kdagent_does_not_count(tmp_path):
    """It lacks what is counted by now."""
    (checkpoint := tmp_path / "checkpoint-3").mkdir()
    finish(checkpoint, {"norms": torch.ones(2)})
    manifest = checkpoint / "manifest.json"
    manifest.write_text(json.dumps(json.loads(manifest.read_text()) | {"schema": 1}))
    assert newest(tmp_path) is None and not checkpoint.exists()


def test_a_checkpoint_that_was_not_checked_is_refused(labs, tmp_path):
    lab = labs["text"]
    edit = (TRAINS, "trainer.train(resume_from_checkpoint=str(experiment.out / 'trainer/checkpoint-3'))")
    job = lab.trial_job(unit(lab, tmp_path, "kd"), **SAVED, out=str(tmp_path / "out"))
    cut_off(job)
    unit(lab, tmp_path, "kd", edit)
    here("trial", job)
    assert "training began at step 3, not with experiment.checkpoint" in report(tmp_path / "out/kd/1")["error"]


def test_weights_changed_between_the_checkpoint_and_the_next_step_show_in_the_trace(labs, tmp_path):
    lab = labs["text"]
    adds = f"{CUTS}        if self.state.global_step == 6 and mark.exists():\n"
    adds += "            model.classifier.bias.data.add_(1e-3)\n"
    made = lab.unit("kd", file=lab.train_file(tmp_path / "file", "kd", IMPORTS, (SIGNATURE, adds)))
    job = lab.trial_job(made, **SAVED, out=str(tmp_path / "out"))
    cut_off(job)
    here("trial", job)
    assert [end["touched"] for end in trace(tmp_path / "out/kd/1", "end")] == [1]


def test_a_failed_report_of_a_process_that_was_cut_off_is_not_believed(labs, tmp_path):
    lab = labs["text"]
    done = tmp_path / "out/kd/1"
    done.mkdir(parents=True)
    (done / "trial.json").write_text('{"status": "failed", "kind": "crash"}')
    here("trial", lab.trial_job(lab.unit("kd"), out=str(tmp_path / "out")))
    assert report(done)["status"] == "ok"


def test_a_probe_saves_no_checkpoint(labs, tmp_path):
    lab = labs["text"]
    edit = (TRAINS, f'assert trainer.args.save_strategy.value == "no"\n    {TRAINS}')
    made = lab.unit("kd", file=lab.train_file(tmp_path / "file", "kd", edit))
    here(
        "probe",
        lab.trial_job(
            made | {"method": made["method"] | {"name": "kd"}}, out=str(tmp_path), student_layers=3, checkpoints=3
        ),
    )
    assert [report(folder)["status"] for folder in sorted((tmp_path / "kd").glob("[!s]*/"))] == ["ok"] * 3


@pytest.mark.parametrize(
    ("steps", "count", "logged", "expected"),
    [(12, 3, 1, 3), (375, 2, 18, 126), (375, 0, 18, 0), (1, 5, 1, 1), (75000, 20, 3750, 3750)],
)
def test_checkpoints_lie_at_log_lines_and_are_no_more_than_planned(steps, count, logged, expected):
    assert every(steps, count, logged) == expected
    assert not expected or len(range(expected, steps, expected)) <= count


def test_a_teacher_that_was_cut_off_goes_on_too(labs, tmp_path):
    lab = labs["image"]
    made = unit(lab, tmp_path, "student_only")
    job = lab.teacher_job(out=str(tmp_path / "teacher"), file=made["file"], **SAVED)
    (tmp_path / "whole").mkdir()
    (tmp_path / "cut").touch()
    here("teacher", job | {"out": str(tmp_path / "whole")})
    (tmp_path / "cut").unlink()
    if not (child := os.fork()):
        os.setsid()
        here("teacher", job)
        os._exit(0)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == -signal.SIGKILL
    here("teacher", job)
    assert same(tmp_path / "teacher", tmp_path / "whole") and trace(tmp_path / "teacher", "continued")
    assert not (tmp_path / "teacher/trainer").exists()
    assert json.loads((tmp_path / "teacher/teacher.json").read_text())["steps"] == STEPS
