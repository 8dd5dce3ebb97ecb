"""The generator of a transfer set: what it reads, what it keeps, and what it says about it."""

from dataclasses import replace
from itertools import pairwise

import pytest
from transformers import AutoTokenizer

from baselines.data.examples import BETWEEN, Examples
from baselines.data.splits import Splits
from baselines.errors import BaselineError
from baselines.methods import causal
from baselines.methods.genset import normalised
from baselines.models.fingerprint import fingerprint
from baselines.processes.generator import REASONS, Generated, generate, published
from tests.baselines.lab import texts, write_gpt2

SETTINGS = {"samples": 120, "steps": 100, "layers": 1, "width": 32, "top_k": 50, "top_p": 0.95, "temperature": 1.0}
SETTINGS |= {"learning_rate": 3e-3}
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
    assert 0 < len(few.texts) == few.facts["kept"] < 120 and "(120 were requested)" in few.note


# ── a checkpoint ────────────────────────────────────────────────────────────────────────────────────────────────────

PUBLISHED = SETTINGS | {"layers": 0, "width": 0, "samples": 60, "steps": 40}


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return write_gpt2(tmp_path_factory.mktemp("published") / "gpt2", words=sentences(0, 40), n_positions=32)


def writer(folder, longest: int = LONGEST, **changes):
    return published(folder, AutoTokenizer.from_pretrained(folder), PUBLISHED | changes, longest)


def loss(model, tokenizer) -> float:
    """On the texts that a generator reads."""
    ids = [tokenizer.encode(text).ids[:LONGEST] for text in SPLITS.train.inputs]
    return causal.language_loss(model, *causal.padded(ids)).item()


def test_a_checkpoint_learns_the_texts_in_its_own_tokens_and_writes_such(folder):
    start, again = writer(folder), writer(folder)
    assert start.tokenizer.decode(start.ids("cloud wind")) == "cloud wind" and start.start == start.end
    before = loss(start.model, start.tokenizer)
    found, same = (generate(SPLITS, False, PUBLISHED, 30, LONGEST, 0, each) for each in (start, again))
    assert found == same and loss(start.model, start.tokenizer) < before - 1
    assert found.facts["weights"] == fingerprint(start.model) != fingerprint(writer(folder).model)
    assert (found.facts["layers"], found.facts["width"], found.facts["pretrained"]) == (3, 16, True)
    assert len(found.texts) == 30 and not any("<|" in text for text in found.texts)


def test_the_planned_rate_is_that_of_the_training(folder):
    still = writer(folder)
    before = loss(still.model, still.tokenizer)
    generate(SPLITS, False, PUBLISHED | {"learning_rate": 1e-9}, 30, LONGEST, 0, still)
    assert abs(loss(still.model, still.tokenizer) - before) < 0.01


def test_a_checkpoint_writes_the_second_texts_of_pairs(folder):
    firsts = sentences(5, 40)
    rows = examples([f"{text} reads{BETWEEN}{text}" for text in firsts])
    splits = replace(SPLITS, train=rows, transfer=examples([]))
    found = generate(splits, True, PUBLISHED, 60, LONGEST, 0, writer(folder))
    assert {text.partition(BETWEEN)[0].removesuffix(" reads") for text in found.texts} <= {*firsts}
    assert all("\n" not in text for text in found.texts)


@pytest.mark.parametrize(
    ("longest", "changes", "says", "hint"),
    [
        (LONGEST, {"layers": 2}, "checkpoint has layers 3, the plan has 2", "leave out generator.layers"),
        (LONGEST, {"width": 64}, "checkpoint has width 16, the plan has 64", "leave out generator.width"),
        (30, {}, "positions for 32 tokens, the longest text needs 33", "input_size=29"),
    ],
)
def test_a_checkpoint_that_is_not_as_planned_is_refused(folder, longest, changes, says, hint):
    assert writer(folder, 29, layers=3, width=16)
    with pytest.raises(BaselineError, match=says) as caught:
        writer(folder, longest, **changes)
    assert hint in caught.value.hint


def test_a_tokenizer_that_is_not_the_models_or_never_ends_is_refused(folder, tmp_path):
    small = write_gpt2(tmp_path / "small", vocab_size=280)
    with pytest.raises(BaselineError, match="tokenizer has 290 tokens, its model 280"):
        writer(small)
    tokenizer = AutoTokenizer.from_pretrained(folder)
    tokenizer.eos_token = None
    with pytest.raises(BaselineError, match="no token that ends a text"):
        published(folder, tokenizer, PUBLISHED, LONGEST)


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
