"""What the keys of the cache see."""

import shutil
from pathlib import Path

import pytest

from agent import config
from agent.cache.keys import data_key, training_code


@pytest.mark.parametrize("file", ["tasks.toml", "families.toml", "methods/cards/dkd.toml", "methods/kd.py", "trial.py"])
def test_one_changed_byte_of_a_card_or_of_the_training_code_is_a_different_key(
    file: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source, copied = config.ROOT / "baselines" / file, tmp_path / "baselines" / file
    copied.parent.mkdir(parents=True)
    shutil.copyfile(source, copied) if source.exists() else copied.write_text("x = 1\n")
    monkeypatch.setattr(config, "ROOT", tmp_path)
    code, key = training_code(), data_key({"task": {"name": "digits"}}, {"name": "digits"}, [])

    copied.write_bytes(copied.read_bytes()[:-1] + b" ")

    assert training_code() != code
    assert data_key({"task": {"name": "digits"}}, {"name": "digits"}, []) != key


def test_an_image_that_moves_to_another_label_is_a_different_key(tmp_path: Path) -> None:
    for label, image in (("cats", "1.png"), ("dogs", "2.png")):
        (tmp_path / label).mkdir()
        (tmp_path / label / image).write_bytes(image.encode())
    source = {"name": "own", "data": str(tmp_path)}
    before = data_key({}, source, [])
    (tmp_path / "dogs" / "2.png").rename(tmp_path / "cats" / "2.png")
    assert data_key({}, source, []) != before
