"""Method cards: a file each, in an order that the cards say themselves."""

from pathlib import Path

import pytest

from agent import config
from agent.plan.cards import cards

ORDER = """dkd dist standardised rkd crd minilm tinybert pkd hints attention teacher_free wml dml assistant born_again
    tmkd reffakd lr_ds_selective lr_ds dpkd miniplm genset kd_tuned kd_selective kd finetune"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for name, before in {"last": "", "middle": "last", "first": "middle"}.items():
        write(tmp_path, name, before)
    return tmp_path


def write(folder: Path, name: str, before: str) -> None:
    (folder / f"{name}.toml").write_text(f'before = "{before}"\n')


def test_an_idea_that_names_several_methods_gets_the_first_of_this_order() -> None:
    """A method that came later stands among these where its card says, and moves none of them."""
    assert [name for name in cards() if name in ORDER.split()] == ORDER.split()


def test_a_new_card_stands_right_in_front_of_the_one_it_names(folder: Path) -> None:
    write(folder, "novel", "last")
    assert [*config.cards(folder)] == ["first", "middle", "novel", "last"]


def test_a_card_is_named_by_its_file_and_so_is_its_train_py_unless_it_names_another(folder: Path) -> None:
    (folder / "plain.toml").write_text('before = "last"\nfile = "other.py"\n')
    found = config.cards(folder)
    assert (found["first"]["file"], found["plain"]["file"]) == ("first.py", "other.py")


@pytest.mark.parametrize(("name", "before"), [("lost", "gone"), ("lost", "lost")], ids=["to no card", "in a circle"])
def test_a_card_whose_place_leads_nowhere_is_refused(folder: Path, name: str, before: str) -> None:
    write(folder, name, before)
    with pytest.raises(ValueError, match=r"lost\.toml: its `before` leads to no last card"):
        config.cards(folder)
