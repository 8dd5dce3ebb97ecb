"""prepare: what it leaves on disk, and who may see which of it."""

import json

import pytest
from safetensors.torch import load_file

from baselines.data.rows import NO_LABEL, read_rows
from baselines.models.build import build
from baselines.models.fingerprint import parameters
from tests.baselines.lab import SIZES, experiment, facts, here, sha256

pytestmark = pytest.mark.slow


def test_a_trial_sees_no_dev_row_no_test_row_and_no_hidden_label(lab, tmp_path):
    tokenizer = {"tokenizer.json"} if lab.kind == "text" else set()
    splits = {"train.safetensors", "transfer.safetensors"}
    assert {path.name for path in (lab.data / "seen").iterdir()} == {"task.json"} | tokenizer | splits
    assert "labels" not in load_file(lab.data / "seen/transfer.safetensors")
    seen = experiment(lab, tmp_path)
    rows = seen.train_dataset + seen.transfer_dataset
    assert len(rows) == len(seen.teacher.logits) == 32 + 64
    for split, count in (("dev", 18), ("test", 24)):
        held = read_rows(lab.data / f"held/{split}.safetensors", lab.kind)
        assert len(held) == count and set(held.labels.tolist()) == {NO_LABEL}
        assert not {item.tobytes() for item in rows.items} & {item.tobytes() for item in held.items}


def test_facts_say_what_was_prepared(lab):
    found = facts(lab)
    assert found["rows"] == {name.removesuffix("_rows"): count for name, count in SIZES.items()}
    assert {name: sum(counts) for name, counts in found["label_counts"].items()} == found["rows"]
    assert found["source"].startswith("folder: 2 csv " if lab.kind == "text" else "embedded: scikit-learn digits")
    assert [model["layers"] for model in found["models"].values()] == [3, 3]
    built = build(found["models"]["student"]["spec"], found["task"], seed=0)
    assert found["models"]["student"]["parameters"] == parameters(built)


def test_preparing_again_gives_the_same_rows_and_token_ids(lab, tmp_path):
    here("prepare", lab.prepare_job(out=str(tmp_path)))
    assert json.loads((tmp_path / "facts.json").read_text()) == facts(lab)
    splits = ("seen/train", "seen/transfer", "held/dev", "held/test", "labels/transfer", "labels/dev", "labels/test")
    for name in splits:
        assert sha256(tmp_path / f"{name}.safetensors") == sha256(lab.data / f"{name}.safetensors")


def test_images_are_scaled_to_the_planned_size(labs, tmp_path):
    here("prepare", labs["image"].prepare_job(out=str(tmp_path), input_size=5))
    assert load_file(tmp_path / "seen/train.safetensors")["pixels"].shape == (32, 5, 5, 1)
