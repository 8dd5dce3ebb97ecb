"""probe: shuffling a teacher's output tells what training depends on."""

import json

import pytest

from agent.jobs.probe import measure
from tests.baselines.lab import METHOD, STEPS, here

pytestmark = pytest.mark.slow
UNTAUGHT = ("alpha * soft", "alpha * soft.detach()")
PROBED = {
    "kd": ("kd", [], {"logits": True}),
    "kd_selective": ("kd_selective", [], {"logits": True, "features-2": True, "features-3": True}),
    "the term has no gradient": ("kd", [UNTAUGHT], {"logits": False}),
    "the weight is next to nothing": ("kd", [("+ method.alpha * soft", "+ 1e-9 * soft")], {"logits": False}),
    "the weight is zero": ("kd", [("+ method.alpha * soft", "+ 0 * method.alpha * soft")], {"logits": False}),
    "features without a weight": (
        "kd_selective",
        [("self.beta * feature", "0 * self.beta * feature")],
        {"logits": True, "features-2": False, "features-3": False},
    ),
    "a teacher of its own": (
        "kd",
        [
            (
                'inputs["teacher_logits"]',
                "self.experiment.teacher.model()(**self.experiment.model_inputs(inputs)).logits",
            )
        ],
        {"logits": True},
    ),
}


@pytest.mark.parametrize("case", PROBED)
def test_shuffling_the_teacher_tells_what_training_depends_on(lab, tmp_path, case):
    probed(lab, tmp_path, *PROBED[case])


def test_layer_that_is_left_out_makes_no_difference(text, tmp_path):
    edit = ("features(inputs, layers=self.teacher_layers)", "features(inputs, layers=self.teacher_layers[-1:] * 2)")
    probed(text, tmp_path, "kd_selective", [edit], {"logits": True, "features-2": False, "features-3": True})


def probed(lab, tmp_path, arm: str, edits: list[tuple[str, str]], expected: dict[str, bool]) -> None:
    layers = METHOD | {"name": arm, "layers": 2}
    unit = lab.unit("probed", file=lab.train_file(tmp_path / "file", arm, *edits), method=layers)
    here("probe", lab.trial_job(unit, out=str(tmp_path), student_layers=3))
    found = json.loads((tmp_path / "probed/probe.json").read_text())["variants"]
    assert found == ["as-is", "again", *expected]
    measured = measure(tmp_path / "probed", STEPS, tmp_path / "scratch")
    assert measured.again == 0 < measured.moved
    assert {name: name in measured.outputs for name in measured.shuffled} == expected
