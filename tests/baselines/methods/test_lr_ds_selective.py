"""Label revision and layer matching in one train.py: both are in the loss, and both matter."""

import pytest

from tests.baselines.lab import STEPS, sha256, trace
from tests.baselines.methods.trials import BOTH, assert_logged, prepared, trained

SETTINGS = {"revision": 0.8, "revise": "wrong", "keep_ratio": 0.7, "selector": "influence", "ridge": 1e-2}
SETTINGS |= {"temperature": 3.0, "alpha": 0.5, "beta": 0.3, "layers": 2, "layer_map": "last", "norm": "layer"}


@pytest.fixture(scope="module", params=BOTH)
def lab(request, tmp_path_factory):
    return prepared(tmp_path_factory.mktemp(request.param), request.param)


@pytest.mark.slow
def test_the_composed_file_trains_on_revised_answers_and_on_layers(lab, tmp_path):
    folder = trained(lab, "lr_ds_selective", SETTINGS, tmp_path)
    terms = {"task", "distillation", "unselected", "feature"}
    assert_logged(
        folder, lambda t: 0.5 * t["task"] + 0.5 * (t["distillation"] + t["unselected"]) + 0.3 * t["feature"], terms
    )
    [end] = trace(folder, "end")
    assert end["step"] == STEPS and set(end["reads"]) == set(SETTINGS)
    assert end["samples"] <= (STEPS + 1) * 16 and end["gradients"]["logits"]["reached"] == STEPS
    pairs = {name: value for name, value in trace(folder, "log")[0]["terms"].items() if name.startswith("teacher_")}
    assert pairs == {"teacher_layer_of_2": 2, "teacher_layer_of_3": 3}
    for output in ("logits", "features-2"):
        other = trained(lab, "lr_ds_selective", SETTINGS, tmp_path / output, ablate=output)
        assert sha256(other / "weights.safetensors") != sha256(folder / "weights.safetensors")


@pytest.mark.slow
def test_with_nothing_revised_selected_or_weighted_it_is_kd_selective(lab, tmp_path):
    plain = SETTINGS | {"revise": "wrong", "selector": "none", "revision": 1e-6, "alpha": 0.0}
    composed = trained(lab, "lr_ds_selective", plain, tmp_path)
    own = SETTINGS | {"alpha": 0.0, "signal": "hidden", "init_layers": "none"}
    alone = trained(lab, "kd_selective", own, tmp_path)
    for one, other in zip(trace(composed, "log"), trace(alone, "log"), strict=True):
        assert one["terms"]["feature"] == pytest.approx(other["terms"]["feature"], rel=1e-3)
        assert one["terms"]["task"] == pytest.approx(other["terms"]["task"], rel=1e-3)
