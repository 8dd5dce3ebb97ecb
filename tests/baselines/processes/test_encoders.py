"""Encoders of other families than BERT's own, from prepared rows to predictions."""

import json

import pytest
import torch
from safetensors.numpy import load_file
from tokenizers import ByteLevelBPETokenizer
from transformers import AutoTokenizer, BertConfig, BertForMaskedLM, RobertaConfig, RobertaForMaskedLM, RobertaTokenizer

from baselines.data.collator import Collator
from baselines.data.rows import read_rows
from baselines.models.inputs import accepted
from baselines.training.cached_teacher import load
from tests.baselines.data.test_hub import TOKENS, write_checkpoint
from tests.baselines.lab import METHOD, SPEC, STEPS, Lab, here, report, texts, trace

MARKS = ["<s>", "<pad>", "</s>", "<unk>", "<mask>"]
SIZES = {"hidden_size": 16, "num_hidden_layers": 3, "num_attention_heads": 2, "intermediate_size": 64}


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A small RoBERTa with its byte-level vocabulary, as one is published; longest text 12."""
    folder = tmp_path_factory.mktemp("roberta")
    byte_pairs = ByteLevelBPETokenizer()
    byte_pairs.train_from_iterator([text for text, _ in texts(150, seed=1)], 300, special_tokens=MARKS)
    byte_pairs.save_model(str(folder))
    torch.manual_seed(0)
    config = RobertaConfig(
        vocab_size=byte_pairs.get_vocab_size(), max_position_embeddings=14, type_vocab_size=1, **SIZES
    )
    RobertaForMaskedLM(config).save_pretrained(folder)
    return folder


@pytest.fixture(scope="module", params=["teacher", "student"])
def lab(request, folder, tmp_path_factory):
    """A RoBERTa from the folder beside one from sizes, either way round; prepared, and with its teacher."""
    lab = Lab(tmp_path_factory.mktemp(request.param), "text")
    other = {"teacher": "student", "student": "teacher"}[request.param]
    lab.models[request.param] = SPEC | {"architecture": "roberta", "checkpoint": str(folder)}
    lab.models[other] = SPEC | {"architecture": "roberta", "width": 16 if other == "student" else 32}
    here("prepare", lab.prepare_job())
    here("teacher", lab.teacher_job())
    return lab


def test_both_read_the_checkpoints_own_tokens_with_its_padding(lab, folder):
    task = json.loads((lab.data / "seen/task.json").read_text())
    tokenizer = AutoTokenizer.from_pretrained(folder)
    assert (task["vocabulary"], task["padding"]) == (len(tokenizer), 1) and isinstance(tokenizer, RobertaTokenizer)
    rows = load_file(lab.data / "seen/train.safetensors")
    assert {int(id) for id in rows["tokens"][:1]} == {0} and rows["lengths"].max() == 12  # <s> first, cut at twelve
    models = json.loads((lab.data / "facts.json").read_text())["models"]
    assert {model["class"] for model in models.values()} == {"RobertaForSequenceClassification"}


@pytest.mark.parametrize(("arm", "method"), [("kd", {}), ("kd_selective", {"signal": "relation"}), ("minilm", {})])
def test_it_is_distilled_and_predicts(lab, tmp_path, arm, method):
    here("trial", lab.trial_job(lab.unit(arm, method=METHOD | method), out=str(tmp_path)))
    found = tmp_path / arm / "1"
    assert report(found)["status"] == "ok", report(found)["traceback"]
    assert trace(found, "end")[0]["step"] == STEPS
    answer = lab.answer(arm, weights=str(found / "weights.safetensors"))
    here("predict", lab.predict_job(answer, out=str(tmp_path / "logits")))
    said = json.loads((tmp_path / "logits" / arm / "prediction.json").read_text())
    assert (said["status"], said["class"]) == ("ok", "RobertaForSequenceClassification") and said["change"] > 0


@pytest.mark.parametrize("layers", ["last", [3, 1, 2]])
def test_student_starts_from_the_layers_of_its_teacher(lab, tmp_path, layers):
    fits = lab.models["student"]["width"] == lab.models["teacher"]["width"]
    unit = lab.unit("kd_selective", method=METHOD | {"init_layers": layers})
    here("trial", lab.trial_job(unit, out=str(tmp_path)))
    said = report(tmp_path / "kd_selective/1")
    assert said["status"] == ("ok" if fits else "failed")
    if not fits:
        assert "width 32 → 16" in said["error"]


def test_teacher_with_a_tokenizer_of_its_own_reads_the_same_rows_in_its_own_tokens(folder, tmp_path):
    """Contract of all methods: token ids of one vocabulary never reach a model of another."""
    sizes = SIZES | {"vocab_size": len(TOKENS), "max_position_embeddings": 16}
    write_checkpoint(tmp_path / "bert", BertForMaskedLM(BertConfig(**sizes)))
    lab = Lab(tmp_path / "lab", "text")
    lab.models["teacher"] = SPEC | {"architecture": "roberta", "width": 16, "checkpoint": str(folder)}
    lab.models["student"] = SPEC | {"architecture": "bert", "width": 16, "checkpoint": str(tmp_path / "bert")}
    here("prepare", lab.prepare_job())
    own = lab.data / "teacher"
    theirs, ours = (json.loads((view / "seen/task.json").read_text()) for view in (own, lab.data))
    assert theirs["vocabulary"] != ours["vocabulary"] and theirs["padding"] != ours["padding"]
    facts = json.loads((lab.data / "facts.json").read_text())
    assert facts["apart"] and "vocabulary of their own" in facts["notes"][-1]
    assert facts["models"]["teacher"]["class"] == "RobertaForSequenceClassification"
    here("teacher", lab.teacher_job(seen=str(own / "seen")))
    model, collate = load(lab.teacher), Collator(theirs)
    rows = read_rows(own / "seen/train.safetensors", "text")
    with torch.no_grad():
        said = model(**accepted(model, collate([rows[3], rows[5]]))).logits
    cached = load_file(lab.teacher / "logits.safetensors")["logits"]
    assert torch.allclose(torch.tensor(cached[[3, 5]]), said, atol=1e-5)
    here("trial", lab.trial_job(lab.unit("kd"), out=str(tmp_path / "out")))
    assert report(tmp_path / "out/kd/1")["status"] == "ok"
