"""Generated rows from prepare to trial: who sees them, who answers them, and which methods learn from them."""

import io
import json

import pytest
from safetensors.torch import load_file
from transformers import BertConfig, BertForMaskedLM

from baselines.data.rows import NO_LABEL
from baselines.errors import BaselineError
from baselines.training.experiment import Experiment
from tests.baselines.data.test_hub import TOKENS, write_checkpoint
from tests.baselines.lab import METHOD, SIZES, Lab, here, report, texts, trace, write_gpt2

GENERATOR = {"samples": 60, "steps": 40, "layers": 1, "width": 16, "top_k": 50, "top_p": 0.95, "temperature": 1.0}
GENERATOR |= {"checkpoint": "", "revision": "", "learning_rate": 3e-3}
PUBLISHED = GENERATOR | {"layers": 0, "width": 0}
ROWS = 24
SETTINGS = METHOD | {"teachers": 2, "mode": "m-o-1", "stage_one": 0.5}
pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def lab(tmp_path_factory) -> Lab:
    lab = Lab(tmp_path_factory.mktemp("generated"), "text")
    here("prepare", lab.prepare_job(sizes=SIZES | {"generated_rows": ROWS}, generator=GENERATOR))
    here("teacher", lab.teacher_job(method=SETTINGS))
    return lab


def experiment(lab: Lab, folder, **changes) -> Experiment:
    return Experiment(lab.trial_job(), lab.unit("kd", **changes), seed=1, out=folder, trace=io.StringIO())


def test_prepared_data_say_which_rows_are_generated_and_by_what(lab):
    facts, said = (json.loads((lab.data / name).read_text()) for name in ("facts.json", "seen/generated.json"))
    assert facts["rows"]["generated"] == len(said["texts"]) == ROWS
    assert {name: said[name] for name in facts["generated"]} == facts["generated"]
    assert sum(facts["label_counts"]["generated"]) == 0 and facts["overlap"] == 0
    assert f"{ROWS} generated rows of 60 texts" in facts["notes"][-1]
    assert not (lab.data / "labels/generated.safetensors").exists()


def test_other_rows_stay_as_they_are_without_generated_ones(lab, tmp_path):
    here("prepare", lab.prepare_job(out=str(tmp_path)))
    for name in ("seen/train", "seen/transfer", "held/dev", "held/test"):
        plain, beside = (load_file(folder / f"{name}.safetensors") for folder in (tmp_path, lab.data))
        assert all(plain[part].equal(beside[part]) for part in plain)
    facts = [json.loads((folder / "facts.json").read_text()) for folder in (tmp_path, lab.data)]
    assert all(
        one != other
        for one, other in ((f[0], f[1]) for f in [[each[n] for each in facts] for n in ("hash", "encoded")])
    )
    assert "generated" not in facts[0]["rows"]


def test_only_an_arm_that_learns_from_generated_rows_is_handed_them(lab, tmp_path):
    without, beside = (experiment(lab, tmp_path, generated=shown) for shown in (False, True))
    assert len(without.transfer_dataset) == 64 and len(beside.transfer_dataset) == 64 + ROWS
    rows = beside.transfer_dataset
    assert set(rows.labels.tolist()) == {NO_LABEL} and rows.ids.tolist() == list(range(32, 32 + 64 + ROWS))
    labels = experiment(lab, tmp_path, reveal_transfer=True)
    assert len(labels.train_dataset) == 96 and not len(labels.transfer_dataset)


def test_the_teacher_answers_generated_rows_and_learns_from_none(lab):
    assert len(load_file(lab.teacher / "logits.safetensors")["logits"]) == 32 + 64 + ROWS
    [start] = trace(lab.teacher, "start")
    assert start["executed"]["rows"] == 32 + 64


@pytest.mark.parametrize("arm", ["genset", "kd_selective", "tmkd", "kd"])
def test_methods_train_on_generated_rows_beside_the_others(lab, tmp_path, arm):
    """genset + kd_selective and tmkd + genset: generated rows are data, so a method's own loss is made of them too."""
    job = lab.trial_job(lab.unit(arm, generated=True, method=SETTINGS), out=str(tmp_path), steps=15)
    here("trial", job)
    folder = tmp_path / arm / "1"
    assert report(folder)["status"] == "ok", report(folder)["traceback"]
    [end] = trace(folder, "end")
    assert end["distinct"]["generated"] > ROWS / 2 and end["gradients"]["logits"]["reached"] == 15


def test_a_bilstm_learns_from_generated_rows(lab, tmp_path):
    model = lab.models["student"] | {"architecture": "bilstm", "layers": 1}
    here("trial", lab.trial_job(lab.unit("genset", model=model, generated=True), out=str(tmp_path)))
    assert report(tmp_path / "genset/1")["status"] == "ok"


@pytest.mark.parametrize(("kind", "says"), [("image", "digits has images"), ("language", "ag_news_text has no labels")])
def test_texts_cannot_be_generated_for_images_or_a_corpus(tmp_path, kind, says):
    lab = Lab(tmp_path, kind)
    with pytest.raises(BaselineError, match=f"generated rows are texts, and {says}"):
        here("prepare", lab.prepare_job(sizes=SIZES | {"generated_rows": 5}, generator=GENERATOR))


def test_a_published_generator_lies_beside_the_rows_and_writes_them(tmp_path):
    words = [text for text, _ in texts(150, seed=1)]
    folder = write_gpt2(tmp_path / "gpt2", words=words, n_layer=2, resid_pdrop=0.3)
    (folder / "pytorch_model.bin").write_bytes(b"a pickle that nobody asked for")
    said = []
    for name in ("one", "other"):
        lab = Lab(tmp_path / name, "text")
        own = PUBLISHED | {"checkpoint": str(folder)}
        here("prepare", lab.prepare_job(sizes=SIZES | {"generated_rows": ROWS}, generator=own))
        said.append(json.loads((lab.data / "seen/generated.json").read_text()))
        assert sorted(path.name for path in (lab.data / "generator").iterdir()) == [
            *("config.json", "generation_config.json", "merges.txt", "model.safetensors", "vocab.json")
        ]
    assert said[0] == said[1] and len(said[0]["texts"]) == ROWS
    assert (said[0]["layers"], said[0]["width"], said[0]["pretrained"]) == (2, 16, True)
    facts = json.loads((lab.data / "facts.json").read_text())
    assert "texts drawn from a pre-trained language model" in facts["notes"][-1] and facts["overlap"] == 0


def test_a_generator_that_cannot_write_is_refused_before_a_text_is_tokenised(tmp_path):
    lab = Lab(tmp_path, "text")
    sizes = {"hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 32}
    write_checkpoint(tmp_path / "masked", BertForMaskedLM(BertConfig(vocab_size=len(TOKENS), **sizes)))
    (tmp_path / "empty").mkdir()
    for name, says in (
        ("masked", "contains a bert, which is a masked language model"),
        ("empty", "no tokenizer in the checkpoint of the generator"),
        ("nowhere", "nowhere is neither in the local Hugging Face cache nor on the hub"),
    ):
        lab.data = tmp_path / "data" / name
        job = lab.prepare_job(sizes=SIZES | {"generated_rows": 5})
        with pytest.raises(BaselineError, match=says):
            here("prepare", job | {"generator": PUBLISHED | {"checkpoint": str(tmp_path / name)}})
        assert not list(lab.data.rglob("train.safetensors")) and not (lab.data / "seen/tokenizer.json").exists()
