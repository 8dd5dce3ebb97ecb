"""The generator of a transfer set: what it reads, what it keeps, and what it says about it."""

from dataclasses import replace
from itertools import pairwise

import pytest

from baselines.errors import BaselineError
from baselines.generator import REASONS, Generated, generate
from baselines.methods.genset import normalised
from baselines.tasks import BETWEEN, Examples, Splits
from tests.baselines.lab import texts

SETTINGS = {"samples": 120, "steps": 100, "layers": 1, "width": 32, "top_k": 50, "top_p": 0.95, "temperature": 1.0}
LONGEST = 14


def examples(rows: list[str]) -> Examples:
    return Examples(rows, [0] * len(rows))


def sentences(seed: int, count: int) -> list[str]:
    return [text.partition(" number")[0] for text, _ in texts(count, seed)]


SPLITS = Splits(*(examples(sentences(seed, 40)) for seed in range(4)), [])


def made(splits: Splits = SPLITS, pairs: bool = False, rows: int = 30, seed: int = 0) -> Generated:
    return generate(splits, pairs, SETTINGS, rows, LONGEST, seed)


@pytest.fixture(scope="module")
def first() -> Generated:
    return made()


def test_no_kept_text_equals_a_row_that_somebody_wrote(first):
    """GS-1: nor another kept one."""
    known = {normalised(text) for part in SPLITS.parts.values() for text in part.inputs}
    kept = [normalised(text) for text in first.texts]
    assert len(set(kept)) == len(kept) == 30 and not known & set(kept)


def test_dev_and_test_rows_are_left_out_as_leaks_and_not_read(first):
    """GS-1: the same generator, whose texts are now held out, in other case and punctuation."""
    stolen = [text.upper() + " !" for text in first.texts[:10]]
    splits = replace(SPLITS, dev=examples(stolen[:5]), test=examples(stolen[5:]))
    again = made(splits)
    assert again.facts["weights"] == first.facts["weights"]
    assert again.facts["rejected"]["leak"] >= 10 and not set(again.texts) & set(first.texts[:10])


def test_every_drawn_text_is_kept_or_counted_for_one_reason(first):
    facts = first.facts
    assert facts["drawn"] == 120 == facts["kept"] + sum(facts["rejected"].values())
    assert set(facts["rejected"]) == set(REASONS) and facts["rejected"]["copy"] > 0
    for count in (30, 120, facts["rejected"]["copy"], facts["kept"] - 30):
        assert f"{count} " in first.note


def test_same_seed_gives_the_same_texts_and_another_seed_others(first):
    """GS-4."""
    assert made() == first
    assert made(seed=1).texts != first.texts


def test_fewer_texts_than_asked_for_are_all_kept_and_said():
    few = made(rows=120)
    assert 0 < len(few.texts) == few.facts["kept"] < 120 and "(120 were asked for)" in few.note


def test_where_nothing_passes_the_counts_say_why():
    settings = SETTINGS | {"samples": 3, "steps": 1}
    splits = replace(SPLITS, train=examples(["a"] * 4), transfer=examples([]))
    with pytest.raises(BaselineError, match="none of 3 generated texts remains"):
        generate(splits, False, settings, 3, 1, 0)


def test_of_a_pair_the_first_text_is_a_rows_and_the_second_is_written_for_it():
    """GS-6: the prompts are taken in the order of the rows."""
    firsts = sentences(5, 40)
    pairs = [f"{text} reads{BETWEEN}{text}" for text in firsts]
    found = made(replace(SPLITS, train=examples(pairs), transfer=examples([])), pairs=True, rows=120)
    prompts = [text.partition(BETWEEN)[0] for text in found.texts]
    order = [firsts.index(prompt.removesuffix(" reads")) for prompt in prompts]
    assert sum(later <= earlier for earlier, later in pairwise(order)) <= 2  # 120 samples: thrice round
    assert all(len(text.partition(BETWEEN)[2]) >= 4 for text in found.texts) and not set(pairs) & set(found.texts)
