"""ELECTRA, which the library has by its row alone, from prepared rows to predictions with the methods of text."""

import json

import pytest
import torch
from safetensors.numpy import load_file
from transformers import ElectraConfig, ElectraForPreTraining

from baselines.errors import BaselineError
from baselines.methods.initialise import init_from_teacher
from baselines.models.build import build
from baselines.models.compiled import compiled, is_compiled
from tests.baselines.data.test_hub import TOKENS, write_checkpoint
from tests.baselines.lab import METHOD, SPEC, STEPS, Lab, here, report, trace

ELECTRA = {"architecture": "electra"}
CLASS = "ElectraForSequenceClassification"
TASK = {"kind": "text", "labels": ["a", "b"], "vocabulary": len(TOKENS), "padding": 0, "input_size": 12}
METHODS = [
    ("kd", {}),
    *(("kd_selective", {"signal": signal}) for signal in ("hidden", "cls", "cos", "relation", "crd")),
    ("kd_selective", {"init_layers": "last"}),
    ("kd_selective", {"init_layers": [3, 1, 2]}),
    *((method, {}) for method in ("minilm", "tinybert", "pkd", "hints", "dist")),
    ("minilm", {"relations": "attention"}),
]


@pytest.fixture(scope="module")
def lab(tmp_path_factory) -> Lab:
    """A student and a teacher of one shape from sizes; prepared, and with its teacher."""
    lab = Lab(tmp_path_factory.mktemp("electra"), "text")
    lab.models = {"teacher": SPEC | ELECTRA | {"layers": 4}, "student": SPEC | ELECTRA}
    here("prepare", lab.prepare_job())
    here("teacher", lab.teacher_job())
    return lab


def test_it_is_built_from_sizes_and_its_features_are_kept(lab: Lab) -> None:
    facts = json.loads((lab.data / "facts.json").read_text())["models"]
    assert {model["class"] for model in facts.values()} == {CLASS} and "maps" not in facts["teacher"]
    assert json.loads((lab.teacher / "teacher.json").read_text())["widths"] == [16] * 4
    kept = load_file(lab.teacher / "features-4.safetensors")
    assert kept["values"].shape[1] == 16 and {"values", "offsets"} == kept.keys()


@pytest.mark.parametrize(("arm", "method"), METHODS)
def test_it_is_distilled_and_predicts(lab: Lab, tmp_path, arm: str, method: dict) -> None:
    here("trial", lab.trial_job(lab.unit(arm, method=METHOD | method), out=str(tmp_path)))
    found = tmp_path / arm / "1"
    assert report(found)["status"] == "ok", report(found)["traceback"]
    assert trace(found, "end")[0]["step"] == STEPS
    answer = lab.answer(arm, weights=str(found / "weights.safetensors"))
    here("predict", lab.predict_job(answer, out=str(tmp_path / "logits")))
    said = json.loads((tmp_path / "logits" / arm / "prediction.json").read_text())
    assert (said["status"], said["class"]) == ("ok", CLASS) and said["change"] > 0


@pytest.mark.parametrize("other", ["teacher", "student"])
def test_it_teaches_and_learns_from_other_families(tmp_path, other: str) -> None:
    lab = Lab(tmp_path, "text")
    lab.models |= {"teacher": SPEC | ELECTRA | {"width": 32}, "student": SPEC | ELECTRA}
    lab.models[other] |= {"architecture": "bert"}
    here("prepare", lab.prepare_job())
    here("teacher", lab.teacher_job())
    for arm in ("kd_selective", "tinybert", "minilm"):
        here("trial", lab.trial_job(lab.unit(arm), out=str(tmp_path / "out")))
        assert report(tmp_path / "out" / arm / "1")["status"] == "ok"


def published(folder, **sizes) -> dict:
    """An ELECTRA as one is published: a discriminator, whose embeddings are narrower than its blocks."""
    usual = {"hidden_size": 16, "embedding_size": 8, "num_hidden_layers": 3, "num_attention_heads": 2}
    usual |= {"intermediate_size": 64, "vocab_size": len(TOKENS), "max_position_embeddings": 16}
    torch.manual_seed(0)
    write_checkpoint(folder, ElectraForPreTraining(ElectraConfig(**usual | sizes)))
    return SPEC | ELECTRA | {"checkpoint": str(folder)}


def test_a_discriminator_becomes_a_classifier_and_gives_its_layers_and_its_projection(tmp_path) -> None:
    teacher = build(published(tmp_path / "teacher", num_hidden_layers=4) | {"layers": 4}, TASK, seed=0)
    student = build(published(tmp_path / "student", initializer_range=0.5), TASK, seed=0)
    init_from_teacher(student, teacher, "last")
    ours, theirs = student.electra, teacher.electra
    pairs = [(ours.embeddings, theirs.embeddings), (ours.embeddings_project, theirs.embeddings_project)]
    for own, other in [*pairs, *zip(ours.encoder.layer, theirs.encoder.layer[1:], strict=True)]:
        assert all(torch.equal(value, other.state_dict()[name]) for name, value in own.state_dict().items())


def test_what_does_not_fit_is_refused_by_name(tmp_path) -> None:
    narrow, wide = build(published(tmp_path), TASK, seed=0), build(SPEC | ELECTRA, TASK, seed=0)
    with pytest.raises(ValueError, match="embedding width 8 → 16"):
        init_from_teacher(wide, narrow, "last")
    with pytest.raises(ValueError, match="an electra student cannot start from bert blocks: use projection losses"):
        init_from_teacher(wide, build(SPEC | {"architecture": "bert"}, TASK, seed=0), "last")
    with pytest.raises(BaselineError, match="architecture is electra, the plan has bert"):
        build(published(tmp_path / "again") | {"architecture": "bert"}, TASK, seed=0)


def test_its_blocks_can_be_compiled() -> None:
    assert is_compiled(compiled(build(SPEC | ELECTRA, TASK, seed=0)))
