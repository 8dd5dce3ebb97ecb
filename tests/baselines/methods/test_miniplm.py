"""Difference sampling: likelihoods that no batch changes, a selection of the largest scores, an honest report."""

import pytest
import torch

from baselines.errors import BaselineError
from baselines.methods.miniplm import difference, log_likelihoods, select
from baselines.models import gpt2

SEQUENCES = [[1, 5, 6, 2], [1, 7, 2, 9, 9, 4, 3], [1, 5, 8], [1, 3], [1, 5, 8, 9, 6, 2, 2, 7, 10, 11]]


@pytest.fixture(scope="module")
def model():
    return gpt2.build(vocabulary=12, context=10, seed=0, width=16)


@pytest.fixture
def scores():
    return torch.randn(40, dtype=torch.float64)


# ── likelihoods ─────────────────────────────────────────────────────────────────────────────────────────────────────


def test_score_is_the_mean_log_likelihood_of_the_next_tokens(model):
    chances = model.eval()(torch.tensor(SEQUENCES[:1])).logits[0].log_softmax(dim=-1)
    total = sum(chances[place, token].item() for place, token in enumerate(SEQUENCES[0][1:]))
    assert log_likelihoods(model, SEQUENCES)[0].item() == pytest.approx(total / 3, rel=1e-5)
    assert log_likelihoods(model, SEQUENCES, "sum")[0].item() == pytest.approx(total, rel=1e-5)
    found = log_likelihoods(model, SEQUENCES, "per_byte", sizes=[8, 1, 1, 1, 1])
    assert found[0].item() == pytest.approx(total / 8, rel=1e-5)
    with pytest.raises(ValueError, match="size in bytes"):
        log_likelihoods(model, SEQUENCES, "per_byte")


@pytest.mark.parametrize("batch", [1, 2, 64])
def test_scores_depend_neither_on_the_batch_nor_on_its_padding(model, batch):
    """MP-5."""
    alone = torch.cat([log_likelihoods(model, [sequence]) for sequence in SEQUENCES])
    torch.testing.assert_close(log_likelihoods(model, SEQUENCES, batch=batch), alone, rtol=0, atol=1e-5)


def test_a_model_in_training_is_scored_without_its_dropout():
    noisy = gpt2.build(12, 10, 0, width=16)
    for module in noisy.modules():
        if isinstance(module, torch.nn.Dropout):
            module.p = 0.5
    noisy.train()
    assert torch.equal(log_likelihoods(noisy, SEQUENCES), log_likelihoods(noisy.train(), SEQUENCES))


def test_a_sequence_longer_than_the_context_is_scored_in_pieces_each_token_once(model):
    long = [1, *range(2, 12), *range(2, 12), 3]
    pieces = [long[:10], long[9:19], long[18:]]
    by_hand = sum(log_likelihoods(model, [piece], "sum").item() for piece in pieces)
    assert log_likelihoods(model, [long], "sum").item() == pytest.approx(by_hand)
    assert log_likelihoods(model, [long]).item() == pytest.approx(by_hand / (len(long) - 1))


def test_a_sequence_without_a_token_to_predict_has_no_score(model):
    found = log_likelihoods(model, [[1], SEQUENCES[0], []])
    assert found.isnan().tolist() == [True, False, True]


# ── selection ───────────────────────────────────────────────────────────────────────────────────────────────────────


def test_every_kept_score_is_at_least_every_dropped_one(scores):
    """MP-1."""
    found = select(scores, 0.5, range(40))
    dropped = [place for place in range(40) if place not in found.kept.tolist()]
    assert found.least_kept == scores[found.kept].min() >= scores[dropped].max() == found.most_dropped


@pytest.mark.parametrize(("ratio", "count"), [(0.5, 20), (0.49, 19), (0.01, 0), (1.0, 40)])
def test_as_many_are_kept_as_the_ratio_says_in_corpus_order_and_none_of_the_reference(scores, ratio, count):
    """MP-2, MP-6: ⌊ρ n⌋, no duplicate, none of D_ref; ρ = 1 keeps all."""
    places, reference = range(10, 50), range(10)
    kept = select(scores, ratio, places, reference).kept.tolist()
    assert len(kept) == len({*kept}) == count and kept == sorted(kept)
    assert {*kept} <= {*places} and not {*kept} & {*reference}


@pytest.mark.parametrize("ratio", [0, -0.5, 1.01, float("nan")])
def test_other_ratios_are_refused(scores, ratio):
    """MP-6."""
    with pytest.raises(ValueError, match="ratio must lie in"):
        select(scores, ratio, range(40))


def test_equal_models_tell_nothing_and_keep_the_first(model):
    """MP-3: and a warning says so."""
    found = log_likelihoods(model, SEQUENCES)
    same = difference(found, found.clone(), len(SEQUENCES))
    assert same.abs().max() == 0
    with pytest.warns(UserWarning, match="scores carry no information"):
        assert select(same, 0.6, range(5)).kept.tolist() == [0, 1, 2]


def test_a_constant_changes_nothing(scores):
    """MP-4."""
    assert torch.equal(select(scores + 7.5, 0.4, range(40)).kept, select(scores, 0.4, range(40)).kept)


def test_ties_go_to_the_earlier_sequence():
    assert select(torch.tensor([0.0, 1.0, 1.0, 1.0, 2.0]), 0.6, range(5)).kept.tolist() == [1, 2, 4]
    assert select(torch.tensor([1.0, 0.0] * 50), 0.4, range(100)).kept.tolist() == [*range(0, 80, 2)]


@pytest.mark.parametrize("counts", [(4, 5), (5, 4), (4, 4)])
def test_a_missing_score_is_an_error(counts):
    """MP-7."""
    with pytest.raises(ValueError, match=f"{counts[0]} and {counts[1]} scores for 5 sequences"):
        difference(torch.zeros(counts[0]), torch.zeros(counts[1]), 5)


def test_sequences_without_a_score_are_dropped_and_counted(scores):
    scores[3], scores[7], scores[9] = torch.nan, -torch.inf, torch.inf
    found = select(scores, 0.5, range(40))
    assert found.unscored == 3 and len(found.kept) == 18 and not {3, 7, 9} & {*found.kept.tolist()}


def test_the_reference_set_is_not_chosen_from(scores):
    with pytest.raises(BaselineError, match="2 sequences, 4 among them, trained the reference model") as caught:
        select(scores, 0.5, range(40), reference=[4, 8, 99])
    assert "without the reference set" in caught.value.hint
