"""predict: weights and inputs in, logits out, in the order of the rows."""

import json
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from baselines.data.collator import Collator
from baselines.data.rows import read_rows
from baselines.models.build import build
from baselines.models.fingerprint import fingerprint, parameters
from tests.baselines.lab import ARMS, ONLY, SIZES, facts, here, report, sha256, weights

pytestmark = pytest.mark.slow


def prediction(folder: Path, name: str) -> dict:
    return json.loads((folder / name / "prediction.json").read_text())


def test_prediction_finds_the_start_the_end_and_the_distance_of_each_student(lab):
    task = facts(lab)["task"]
    for arm in ARMS + ONLY[lab.kind]:
        said = prediction(lab.logits, arm)
        assert said["status"] == "ok" and said["initial"] == report(lab.trials / arm / "1")["initial"]
        trained = build(lab.models["student"], task, seed=1)
        before = torch.nn.utils.parameters_to_vector(trained.parameters()).detach()
        trained.load_state_dict(weights(lab.trials / arm / "1"))
        after = torch.nn.utils.parameters_to_vector(trained.parameters()).detach()
        assert said["fingerprint"] == fingerprint(trained) != said["initial"]
        assert said["change"] == pytest.approx(float((after - before).norm()), rel=1e-4)
        assert said["furthest"] == pytest.approx(float((after - before).abs().max()), rel=1e-4)
        assert (said["size"], said["largest"]) == pytest.approx((float(before.norm()), float(before.abs().max())))
        assert (said["class"], said["parameters"]) == (type(trained).__name__, parameters(trained))
        logits = load_file(lab.logits / arm / "logits.safetensors")["logits"]
        assert logits.shape == (SIZES["test_rows"], len(task["labels"])) and logits.isfinite().all()


def test_logits_come_in_the_order_of_the_rows(lab):
    """One by one and unsorted, the rows get the answers that the file has for them."""

    task = facts(lab)["task"]
    rows = read_rows(lab.data / "held/test.safetensors", lab.kind)
    student = build(lab.models["student"], task, seed=1)
    student.load_state_dict(weights(lab.trials / "kd/1"))
    stored = load_file(lab.logits / "kd/logits.safetensors")["logits"]
    for place in range(len(rows)):
        batch = Collator(task)([rows[place]])
        inputs = {name: value for name, value in batch.items() if name not in ("ids", "labels")}
        with torch.no_grad():
            torch.testing.assert_close(student.eval()(**inputs).logits[0], stored[place], rtol=1e-4, atol=1e-5)


def test_predicting_again_gives_the_same_bits(lab, tmp_path):
    here("predict", lab.predict_job(lab.answer("kd"), out=str(tmp_path)))
    assert sha256(tmp_path / "kd/logits.safetensors") == sha256(lab.logits / "kd/logits.safetensors")


def test_weights_that_are_not_the_planned_students_are_refused_and_the_others_answered(lab, tmp_path):
    kept = lab.trials / "kd/1/weights.safetensors"
    (tmp_path / "cut").write_bytes(kept.read_bytes()[:-100])
    save_file(weights(kept.parent) | {"extra": torch.zeros(1)}, tmp_path / "more")
    units = [
        lab.answer("wider", model=lab.models["student"] | {"width": 32}),
        *(lab.answer(name, weights=str(tmp_path / name)) for name in ("cut", "more", "none")),
        lab.answer("kd"),
    ]
    units[0]["weights"] = str(kept)
    here("predict", lab.predict_job(*units, out=str(tmp_path / "out")))
    said = {unit["name"]: prediction(tmp_path / "out", unit["name"]) for unit in units}
    assert {name for name, each in said.items() if each["status"] == "failed"} == {"wider", "cut", "more", "none"}
    assert "size mismatch" in said["wider"]["error"] and "extra" in said["more"]["error"]
    assert not any("\n" in each.get("error", "") for each in said.values())
    assert said["kd"]["status"] == "ok"
    assert [path.parent.name for path in (tmp_path / "out").rglob("logits.safetensors")] == ["kd"]


def test_latency_is_measured_where_it_is_asked_for(text, tmp_path):
    here("predict", text.predict_job(text.answer("kd", latency=True), out=str(tmp_path)))
    said = prediction(tmp_path, "kd")
    assert 0 < said["inference_ms"] <= said["inference_ms_p95"] < 1000
    assert (said["device"], said["threads"]) == ("cpu", 1)
    assert "inference_ms" not in prediction(text.logits, "kd")
