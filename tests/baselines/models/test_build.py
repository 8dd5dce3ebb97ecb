"""Teachers and students: the sizes that are planned, weights that follow from the seed, checkpoints that fit."""

import json
import os
import pickle
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import nn
from transformers import (
    BertConfig,
    BertForMaskedLM,
    BertForSequenceClassification,
    BertModel,
    DistilBertConfig,
    DistilBertForSequenceClassification,
    MobileNetV2Config,
    MobileNetV2ForImageClassification,
    RobertaConfig,
    RobertaForMaskedLM,
)

from baselines.errors import BaselineError
from baselines.models.build import build, fetch, finished, from_config
from baselines.models.fingerprint import fingerprint, parameters
from baselines.models.layers import taps, widths
from tests.baselines.lab import MODELS, PAPER, SPEC

TEXT = {"kind": "text", "labels": list("abcd"), "input_size": 24, "vocabulary": 50, "padding": 0}
IMAGE = {"kind": "image", "labels": list("0123456789"), "input_size": 32, "channels": 3}
TINY = {"hidden_size": 16, "num_hidden_layers": 3, "num_attention_heads": 2, "intermediate_size": 32}
TINY |= {"vocab_size": 50, "max_position_embeddings": 24}


def spec(kind: str, who: str) -> dict:
    return SPEC | MODELS[kind][who]


def paper(track: str, who: str) -> dict:
    """The paper preset's model, built from its sizes."""
    return SPEC | PAPER[track][who] | {"checkpoint": "", "revision": ""}


def size(spec: dict, task: dict) -> int:
    with torch.device("meta"):
        return parameters(build(spec, task, seed=0))


def checkpoint(folder: Path, model=None) -> dict:
    """A masked language model as it is published, and the spec that names it."""
    (model or BertForMaskedLM(BertConfig(**TINY))).save_pretrained(folder)
    return spec("text", "teacher") | {"checkpoint": str(folder), "width": 16}


def refusal(spec: dict, task: dict) -> str:
    with pytest.raises(BaselineError) as caught:
        build(spec, task, seed=0)
    assert caught.value.hint and "\n" not in caught.value.message
    return caught.value.message


# ── built from sizes ────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(("kind", "task"), [("text", TEXT), ("image", IMAGE)])
def test_weights_follow_from_the_seed_alone(kind, task):
    def prints(seed: int) -> list[str]:
        return [fingerprint(build(spec(kind, who), task, seed)) for who in ("teacher", "student")]

    first = prints(0)
    torch.rand(5)
    assert first == prints(0)
    assert not set(first) & set(prints(1))


def test_sizes_of_the_paper_are_those_of_the_published_models():
    text = TEXT | {"vocabulary": 30522, "input_size": 512}
    assert size(paper("ag_news", "teacher"), text) == 109_485_316
    assert size(paper("ag_news", "student"), text) == 66_956_548
    assert size(paper("cifar10", "teacher") | {"stem": "imagenet"}, IMAGE) == 23_528_522
    assert size(paper("cifar10", "teacher"), IMAGE) == 23_520_842  # its first filters are 3×3 and not 7×7
    assert size(paper("cifar10", "student"), IMAGE) == 2_236_682


@pytest.mark.parametrize("who", ["teacher", "student"])
def test_stem_for_small_images_keeps_maps_of_four_by_four(who):
    sizes = {}
    for stem in ("cifar", "imagenet"):
        model = build(paper("cifar10", who) | {"stem": stem, "width": 8 if who == "teacher" else 0.35}, IMAGE, 0)
        with torch.no_grad():
            maps = model.eval()(torch.zeros(1, 3, 32, 32), output_hidden_states=True).hidden_states
        sizes[stem] = tuple(maps[-1].shape[2:])
    assert sizes == {"cifar": (4, 4), "imagenet": (1, 1)}


def test_mobilenet_keeps_statistics_of_many_batches_and_most_of_its_features(tmp_path):
    sized = SPEC | {"architecture": "mobilenetv2", "layers": 4, "width": 0.35}
    MobileNetV2ForImageClassification(MobileNetV2Config(depth_multiplier=0.35, image_size=32)).save_pretrained(tmp_path)
    for each in (sized, sized | {"checkpoint": str(tmp_path)}):
        model = build(each, IMAGE, seed=0)
        norms = [module.momentum for module in model.modules() if isinstance(module, nn.BatchNorm2d)]
        assert len(norms) == 52 and set(norms) == {0.1}
        assert [module.p for module in model.modules() if isinstance(module, nn.Dropout)] == [0.2]


def test_planned_dropout_is_built():
    for who in ("teacher", "student"):
        model = build(spec("text", who) | {"dropout": 0.25}, TEXT, seed=0)
        assert {module.p for module in model.modules() if isinstance(module, nn.Dropout)} == {0.25}


BILSTM = SPEC | {"architecture": "bilstm", "layers": 2}


def test_bilstm_has_the_planned_layers_and_width():
    model = build(BILSTM, TEXT, seed=0).eval()
    ids = torch.randint(1, 50, (3, 7))
    states = model(ids, output_hidden_states=True).hidden_states
    assert len(taps(model)) == 2 and widths(model) == (16, 16)
    assert [tuple(state.shape) for state in states] == [(3, 7, 16)] * 3
    assert model(ids).logits.shape == (3, 4) and model.config.id2label == {0: "a", 1: "b", 2: "c", 3: "d"}
    assert fingerprint(build(BILSTM, TEXT, seed=0)) == fingerprint(model)
    assert "width 15" in refusal(BILSTM | {"width": 15}, TEXT)


def test_bilstm_reads_no_padding():
    """GS-5: logits and states are the same with more padding, whatever the padded places hold."""
    model = build(BILSTM, TEXT, seed=0).eval()
    ids, lengths = torch.randint(1, 50, (4, 9)), torch.tensor([9, 3, 1, 6])
    mask = (torch.arange(9) < lengths[:, None]).long()
    wider, filler = torch.cat([mask, torch.zeros(4, 5, dtype=torch.long)], dim=1), torch.randint(1, 50, (4, 5))
    plain = model(ids, mask, output_hidden_states=True)
    padded = model(torch.cat([ids, filler], dim=1), wider, output_hidden_states=True)
    torch.testing.assert_close(padded.logits, plain.logits)
    torch.testing.assert_close(padded.hidden_states[-1][:, :9], plain.hidden_states[-1])
    for row, length in enumerate(lengths):
        torch.testing.assert_close(model(ids[row : row + 1, :length]).logits[0], plain.logits[row])
    assert not torch.allclose(model(ids).logits, plain.logits)


def test_bilstm_comes_back_from_its_configuration(tmp_path):
    model = build(BILSTM, TEXT, seed=0)
    model.config.save_pretrained(tmp_path)
    again = from_config(tmp_path, BILSTM)
    again.load_state_dict(model.state_dict())
    assert fingerprint(again) == fingerprint(model) and again.config.id2label == model.config.id2label


def test_bilstm_checkpoint_is_refused(tmp_path):
    build(BILSTM, TEXT, seed=0).save_pretrained(tmp_path)
    assert "cannot be loaded: " in refusal(BILSTM | {"checkpoint": str(tmp_path)}, TEXT)


def test_narrow_models_start_with_weights_that_reach_their_outputs():
    wide, narrow = (build(spec("text", "student") | {"width": width, "heads": 4}, TEXT, seed=0) for width in (768, 16))
    assert wide.config.initializer_range == 0.02
    assert narrow.config.initializer_range == 0.1


def test_fingerprint_notices_names_shapes_and_bits():
    layer = nn.Linear(2, 3)
    before = fingerprint(layer)
    assert before == fingerprint(layer) != fingerprint(nn.Sequential(layer))
    with torch.no_grad():
        layer.weight[0, 0] = torch.nextafter(layer.weight[0, 0], torch.tensor(9.0))
    assert fingerprint(layer) != before


# ── checkpoints ─────────────────────────────────────────────────────────────────────────────────────────────────────


def test_checkpoint_keeps_its_body_and_draws_its_head_from_the_seed(tmp_path):
    named = checkpoint(tmp_path)
    stored = load_file(tmp_path / "model.safetensors")
    first, again, other = (build(named, TEXT, seed) for seed in (0, 0, 1))
    assert fingerprint(first) == fingerprint(again)
    assert not torch.equal(first.classifier.weight, other.classifier.weight)
    for model in (first, other):
        assert torch.equal(
            model.bert.encoder.layer[2].output.dense.weight, stored["bert.encoder.layer.2.output.dense.weight"]
        )
    assert first.config.id2label == {0: "a", 1: "b", 2: "c", 3: "d"}


def test_head_of_another_task_is_replaced(tmp_path):
    named = checkpoint(tmp_path, BertForSequenceClassification(BertConfig(**TINY, num_labels=9)))
    assert build(named, TEXT, seed=0).classifier.weight.shape == (4, 16)


def classifier(folder: Path, *names: str) -> dict:
    """A classifier as somebody trained it, and the spec that names it."""
    config = BertConfig(**TINY, num_labels=len(names), id2label=dict(enumerate(names)))
    return checkpoint(folder, BertForSequenceClassification(config))


@pytest.mark.parametrize("kind", ["text", "image"])
def test_answers_of_a_finished_teacher_stand_in_the_order_of_the_tasks_classes(kind, tmp_path):
    """KD-11: classes are matched by name."""
    if kind == "text":
        own, task = classifier(tmp_path, "d", "B", "a", "c"), TEXT
        inputs = {"input_ids": torch.tensor([[5, 6, 7]])}
        published = BertForSequenceClassification.from_pretrained(tmp_path).eval()
    else:
        task, own = IMAGE | {"labels": list("abcd")}, spec("image", "teacher") | {"stem": "imagenet"}
        names = {"num_labels": 4, "id2label": dict(enumerate(["d", "B", "a", "c"]))}
        published = build(own, task, seed=3)
        published.config.update(names)
        published.save_pretrained(tmp_path)
        own |= {"checkpoint": str(tmp_path)}
        inputs = {"pixel_values": torch.rand(2, task["channels"], 32, 32)}
        published.eval()
    teacher = finished(own, task).eval()
    with torch.no_grad():
        there, here = published(**inputs).logits, teacher(**inputs).logits
    assert torch.equal(here, there[:, [2, 1, 3, 0]])
    assert teacher.config.id2label == {0: "a", 1: "b", 2: "c", 3: "d"}


def test_finished_teacher_of_other_classes_is_refused_and_both_are_listed(tmp_path):
    """KD-11: disjoint sets of classes."""
    named = classifier(tmp_path, "LABEL_0", "LABEL_1", "LABEL_2", "LABEL_3")
    with pytest.raises(BaselineError, match="are LABEL_0, LABEL_1, LABEL_2, LABEL_3; the task's are a, b, c, d"):
        finished(named, TEXT)


def test_finished_teacher_without_a_head_is_refused(tmp_path):
    named = checkpoint(tmp_path, BertForMaskedLM(BertConfig(**TINY, id2label=dict(enumerate("abcd")))))
    with pytest.raises(BaselineError, match="has no classification head: classifier"):
        finished(named, TEXT)


def test_checkpoint_of_another_architecture_is_refused(tmp_path):
    sizes = {"dim": 16, "n_layers": 3, "n_heads": 2, "hidden_dim": 32, "vocab_size": 50, "max_position_embeddings": 24}
    named = checkpoint(tmp_path, DistilBertForSequenceClassification(DistilBertConfig(**sizes)))
    assert "architecture is distilbert, the plan has bert" in refusal(named, TEXT)
    build(named | {"architecture": "distilbert"}, TEXT, seed=0)


def test_image_checkpoint_for_a_text_task_is_refused(tmp_path):
    named = checkpoint(tmp_path, MobileNetV2ForImageClassification(MobileNetV2Config(depth_multiplier=0.35)))
    assert "cannot be loaded: " in refusal(named, TEXT)


def test_checkpoint_of_other_depth_vocabulary_or_length_is_refused(tmp_path):
    named = checkpoint(tmp_path)
    assert "number of layers is 3, the plan has 6" in refusal(named | {"layers": 6}, TEXT)
    assert "vocabulary is 50, the plan has 51" in refusal(named, TEXT | {"vocabulary": 51})
    assert "longest text is 24, the plan has 32" in refusal(named, TEXT | {"input_size": 32})


def test_checkpoint_whose_body_would_stay_random_is_refused(tmp_path):
    named = checkpoint(tmp_path)
    stored = load_file(tmp_path / "model.safetensors")
    del stored["bert.encoder.layer.1.output.dense.bias"]
    save_file(stored, tmp_path / "model.safetensors", {"format": "pt"})
    assert "lacks 1 weights of the model, bert.encoder.layer.1.output.dense.bias among" in refusal(named, TEXT)
    config = json.loads((tmp_path / "config.json").read_text()) | {"intermediate_size": 64}
    (tmp_path / "config.json").write_text(json.dumps(config))
    assert "lacks 10 weights" in refusal(named, TEXT)


def test_missing_checkpoint_folder_is_refused(tmp_path):
    assert "cannot be loaded: " in refusal(spec("text", "teacher") | {"checkpoint": str(tmp_path / "none")}, TEXT)


class Trap:
    """Leaves a file behind when it is unpickled."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self):
        return os.mkdir, (str(self.path),)


def test_pickled_weights_are_neither_copied_nor_loaded(tmp_path):
    named = checkpoint(tmp_path / "from")
    (tmp_path / "from/model.safetensors").unlink()
    (tmp_path / "from/pytorch_model.bin").write_bytes(pickle.dumps(Trap(tmp_path / "sprung")))
    assert "cannot be loaded: " in refusal(named, TEXT)
    fetched = fetch(named, tmp_path / "to")
    assert [path.name for path in (tmp_path / "to").iterdir()] == ["config.json"]
    assert "cannot be loaded: " in refusal(fetched, TEXT)
    assert not (tmp_path / "sprung").exists()


def test_fetch_copies_weights_and_names_the_copy(tmp_path):
    fetched = fetch(checkpoint(tmp_path / "from"), tmp_path / "to")
    assert fetched["checkpoint"] == str(tmp_path / "to")
    a, b = (build(fetched | {"checkpoint": str(tmp_path / name)}, TEXT, seed=3) for name in ("from", "to"))
    assert fingerprint(a) == fingerprint(b)


def test_fetch_leaves_a_model_of_sizes_alone(tmp_path):
    assert fetch(spec("text", "student"), tmp_path / "to") == spec("text", "student")
    assert not (tmp_path / "to").exists()


# ── RoBERTa and MiniLM ──────────────────────────────────────────────────────────────────────────────────────────────

ROBERTA = SPEC | {"architecture": "roberta"}


def test_roberta_has_the_published_size():
    base = ROBERTA | {"layers": 12, "width": 768, "heads": 12}
    assert size(base, TEXT | {"vocabulary": 50265, "input_size": 512, "padding": 1}) == 124_648_708


@pytest.mark.parametrize("padding", [0, 1])
def test_roberta_of_sizes_reads_texts_of_full_length_and_no_padding(padding):
    model = build(ROBERTA, TEXT | {"padding": padding}, seed=0).eval()
    ids = torch.randint(2, 50, (2, 24))
    mask = (torch.arange(24) < torch.tensor([[24], [9]])).long()
    padded = model(ids * mask + padding * (1 - mask), attention_mask=mask).logits
    torch.testing.assert_close(padded[1:], model(ids[1:, :9]).logits)
    assert len(taps(model)) == 3 and widths(model) == (16, 16, 16) and model.config.id2label[3] == "d"


def test_roberta_comes_back_from_its_configuration(tmp_path):
    model = build(ROBERTA, TEXT, seed=0)
    model.config.save_pretrained(tmp_path)
    again = from_config(tmp_path, ROBERTA)
    again.load_state_dict(model.state_dict())
    assert fingerprint(again) == fingerprint(model) and again.config.pad_token_id == 0


def roberta(folder: Path, **changes) -> dict:
    RobertaForMaskedLM(RobertaConfig(**TINY | {"max_position_embeddings": 26, "type_vocab_size": 1})).save_pretrained(
        folder
    )
    return ROBERTA | {"checkpoint": str(folder)} | changes


def test_roberta_checkpoint_keeps_its_body_under_a_new_head(tmp_path):
    task, named = TEXT | {"padding": 1}, roberta(tmp_path)
    stored = load_file(tmp_path / "model.safetensors")
    first, other = (build(named, task, seed) for seed in (0, 1))
    name = "encoder.layer.2.output.dense.weight"
    assert torch.equal(first.roberta.get_parameter(name), stored[f"roberta.{name}"])
    assert not torch.equal(first.classifier.out_proj.weight, other.classifier.out_proj.weight)
    assert first.config.id2label == {0: "a", 1: "b", 2: "c", 3: "d"}


def test_roberta_checkpoint_that_would_lose_its_positions_is_refused(tmp_path):
    named, task = roberta(tmp_path), TEXT | {"padding": 1}
    assert "id of the padding is 1, the plan has 0" in refusal(named, TEXT)
    assert "longest text is 24, the plan has 25" in refusal(named, task | {"input_size": 25})
    assert "architecture is roberta, the plan has bert" in refusal(named | {"architecture": "bert"}, task)


def test_minilm_is_a_bert_of_its_own_sizes(tmp_path):
    """Published as a bare encoder, without the prefix that a classifier's weights have."""
    sizes = TINY | {"hidden_size": 48, "num_hidden_layers": 6, "num_attention_heads": 12, "intermediate_size": 192}
    BertModel(BertConfig(**sizes), add_pooling_layer=False).save_pretrained(tmp_path)
    named = spec("text", "student") | {"architecture": "bert", "checkpoint": str(tmp_path)}
    named |= {"layers": 6, "width": 48, "heads": 12}
    model, stored = build(named, TEXT, seed=0), load_file(tmp_path / "model.safetensors")
    for name in ("embeddings.word_embeddings.weight", "encoder.layer.5.attention.self.query.weight"):
        assert torch.equal(model.bert.get_parameter(name), stored[name])
    assert widths(model) == (48,) * 6 and model.config.num_attention_heads == 12
    assert "width is 48, the plan has 16" in refusal(named | {"width": 16}, TEXT)
    assert "number of heads is 12, the plan has 2" in refusal(named | {"heads": 2}, TEXT)
