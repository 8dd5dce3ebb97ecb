"""teacher: what it learns, what it caches of its answers, and what it does not repeat."""

import json
import shutil

import pytest
import torch
from safetensors.torch import load_file, save_file

from baselines.data.collator import Collator
from baselines.data.rows import read_rows
from baselines.errors import BaselineError
from baselines.models.inputs import accepted
from baselines.models.layers import taps
from baselines.training.cached_teacher import Teacher, load
from tests.baselines.lab import METHOD, STEPS, TEMPLATES, TRAINING, facts, here, sha256, trace

pytestmark = pytest.mark.slow
PAIR = "teacher_layer_of_"


def test_cached_logits_are_the_teachers_own_answers_row_by_row(lab, tmp_path):
    cached = load_file(lab.teacher / "logits.safetensors")["logits"]
    unit = lab.answer("teacher", model=lab.models["teacher"], weights=str(lab.teacher / "weights.safetensors"), seed=0)
    start = 0
    for split in ("train", "transfer"):
        inputs = str(lab.data / f"seen/{split}.safetensors")
        here("predict", lab.predict_job(unit, inputs=inputs, out=str(tmp_path / split)))
        own = load_file(tmp_path / split / "teacher/logits.safetensors")["logits"]
        torch.testing.assert_close(cached[start : start + len(own)], own, rtol=1e-4, atol=1e-5)
        start += len(own)
    assert start == len(cached)


def test_cached_answers_and_states_are_those_of_a_forward_without_inference_mode_bit_by_bit(lab):
    task = json.loads((lab.data / "seen/task.json").read_text())
    train, transfer = (read_rows(lab.data / f"seen/{name}.safetensors", lab.kind) for name in ("train", "transfer"))
    rows = train + transfer
    lengths = [len(item) if lab.kind == "text" else 0 for item in rows.items]
    order = sorted(range(len(rows)), key=lengths.__getitem__)
    model = load(lab.teacher)
    torch.set_num_threads(1)
    with torch.no_grad():
        output = model(**accepted(model, Collator(task)([rows[n] for n in order])), output_hidden_states=True)
    assert torch.equal(load_file(lab.teacher / "logits.safetensors")["logits"][order], output.logits)
    kept = load_file(lab.teacher / "features-2.safetensors")
    states = output.hidden_states[taps(model)[1]]
    for place, n in enumerate(order):
        start = kept["offsets"][n] if lab.kind == "text" else n
        own = kept["values"][start : start + lengths[n]] if lab.kind == "text" else kept["values"][n]
        assert torch.equal(own, states[place][: lengths[n]] if lab.kind == "text" else states[place])


def test_teacher_that_is_there_is_not_trained_again_and_lost_outputs_come_back(lab, tmp_path):
    shutil.copytree(lab.teacher, tmp_path / "teacher")
    before = {path.name: sha256(path) for path in lab.teacher.glob("*.*")}
    for name in ("logits", "features-2"):
        (tmp_path / "teacher" / f"{name}.safetensors").unlink()
    here("teacher", lab.teacher_job(out=str(tmp_path / "teacher"), file="/nowhere/train.py"))
    assert {path.name: sha256(path) for path in (tmp_path / "teacher").glob("*.*")} == before


@pytest.mark.parametrize(
    ("changes", "layers"),
    [
        ({"method": METHOD | {"layers": 1}}, {"features-3"}),
        ({"method": METHOD | {"name": "kd"}}, set()),
        ({"feature_cache": 1000}, set()),
    ],
)
def test_only_the_features_that_will_be_asked_for_are_cached(text, tmp_path, changes, layers):
    for name in ("teacher.json", "config.json", "weights.safetensors"):
        shutil.copyfile(text.teacher / name, tmp_path / name)
    here("teacher", text.teacher_job(out=str(tmp_path), **changes))
    assert {path.stem for path in tmp_path.glob("features-*")} == layers
    assert sha256(tmp_path / "logits.safetensors") == sha256(text.teacher / "logits.safetensors")


def test_layers_that_cost_the_teacher_most_are_measured_on_dev_rows_cached_matched_and_probed(text, train, tmp_path):
    for name in ("teacher.json", "config.json", "weights.safetensors"):
        shutil.copyfile(text.teacher / name, tmp_path / name)
    method = METHOD | {"layer_map": "critical", "layers": 2}
    dev = {"inputs": str(text.data / "held/dev.safetensors"), "labels": str(text.data / "labels/dev.safetensors")}
    here("teacher", text.teacher_job(out=str(tmp_path), method=method, dev=dev))
    said = json.loads((tmp_path / "critical.json").read_text())
    assert said["rows"] == 18 and len(said["scores"]) == 3
    chosen = sorted(sorted(range(1, 4), key=lambda layer: said["scores"][layer - 1])[1:])
    assert sorted(path.stem for path in tmp_path.glob("features-*")) == [f"features-{layer}" for layer in chosen]
    unit = text.unit("kd_selective", method=method)
    folder = train(text, unit, teacher=str(tmp_path)) / "kd_selective/1"
    pairs = {name: value for name, value in trace(folder, "log")[0]["terms"].items() if name.startswith(PAIR)}
    assert pairs == {f"{PAIR}2": chosen[0], f"{PAIR}3": chosen[1]}
    here("probe", text.trial_job(unit, out=str(tmp_path / "probe"), teacher=str(tmp_path), student_layers=3))
    variants = json.loads((tmp_path / "probe/kd_selective/probe.json").read_text())["variants"]
    assert variants[2:] == ["logits", *(f"features-{layer}" for layer in chosen)]


def test_several_teachers_differ_by_their_seed_and_are_handed_out_in_their_order(text, tmp_path):
    for name in ("teacher.json", "config.json", "weights.safetensors"):
        shutil.copyfile(text.teacher / name, tmp_path / name)
    here("teacher", text.teacher_job(out=str(tmp_path), method=METHOD | {"name": "kd", "teachers": 2}))
    first, second = (load_file(place / "logits.safetensors")["logits"] for place in (tmp_path, tmp_path / "teacher-1"))
    answers = Teacher(str(tmp_path), facts(text)["task"]).several(torch.tensor([3, 1]), 2)
    torch.testing.assert_close(answers.detach(), torch.stack([first[[3, 1]], second[[3, 1]]]))
    assert not torch.equal(first, second)


def test_teacher_that_is_not_trained_answers_as_the_checkpoint_does(text, tmp_path):
    model = load(text.teacher)
    model.save_pretrained(tmp_path / "published")
    unit = text.teacher_job()["unit"]
    unit |= {"model": unit["model"] | {"checkpoint": str(tmp_path / "published")}}
    here("teacher", text.teacher_job(out=str(tmp_path / "out"), unit=unit, steps=0, file="/nowhere/train.py"))
    assert sha256(tmp_path / "out/logits.safetensors") == sha256(text.teacher / "logits.safetensors")
    assert json.loads((tmp_path / "out/teacher.json").read_text())["steps"] == 0
    assert (tmp_path / "out/trace.jsonl").read_text() == ""


def test_an_assistant_learns_what_the_teacher_says_and_no_hidden_label(text, tmp_path):
    spec = text.models["teacher"] | {"width": 24}
    unit = {"arm": "assistant", "model": spec, "method": METHOD, "teacher": True, "training": TRAINING}
    job = {"unit": unit | {"reveal_transfer": False}, "file": str(TEMPLATES / "kd.py"), "labels": ""}
    job |= {"teacher": str(text.teacher), "method": METHOD | {"name": "assistant"}}
    shutil.copytree(text.teacher, tmp_path / "other")
    logits = load_file(tmp_path / "other/logits.safetensors")["logits"]
    save_file({"logits": logits.flip(0)}, tmp_path / "other/logits.safetensors")
    here("teacher", text.teacher_job(out=str(tmp_path / "ours"), **job))
    here("teacher", text.teacher_job(out=str(tmp_path / "theirs"), **job | {"teacher": str(tmp_path / "other")}))
    ours, theirs = (load_file(tmp_path / name / "logits.safetensors")["logits"] for name in ("ours", "theirs"))
    assert len(ours) == len(logits) == 96 and not torch.equal(ours, theirs)
    said = json.loads((tmp_path / "ours/teacher.json").read_text())
    assert said["spec"]["width"] == 24 and said["steps"] == 2 * STEPS
    assert trace(tmp_path / "ours", "end")[0]["distinct"] == {"train": 32, "transfer": 64}
    torch.testing.assert_close(
        Teacher(str(tmp_path / "ours"), facts(text)["task"]).answers({"ids": torch.tensor([5])}), ours[[5]]
    )


def test_teacher_that_diverges_is_explained_and_leaves_no_marker(text, tmp_path):
    file = text.train_file(
        tmp_path, "student_only", ("self.experiment.log", 'loss = loss * float("nan"); self.experiment.log')
    )
    with pytest.raises(BaselineError, match="teacher: training diverged: the loss is nan at step 1") as caught:
        here("teacher", text.teacher_job(out=str(tmp_path / "out"), file=file))
    assert caught.value.hint == "lower teacher_training.learning_rate"
    assert not (tmp_path / "out/teacher.json").exists()
