"""Generated transfer sets: what is drawn, what is kept, who labels it, and what the student learns from it."""

from types import SimpleNamespace

import pytest
import torch

from baselines.errors import BaselineError
from baselines.methods import causal
from baselines.methods.genset import Sampling, imitation, kept, narrowed, normalised, sample, soft_labels
from baselines.methods.kd import cross_entropy
from baselines.models import gpt2
from tests.baselines.methods.numeric import assert_half_is_computed_in_fp32, gradient_error

START, END, SEPARATOR = 1, 2, 3
SETTINGS = Sampling(longest=6, top_k=8, top_p=0.9, seed=5)


@pytest.fixture(scope="module")
def writer():
    """A language model that learnt: after 4 comes 5, after 6 comes 7, and so on with pairs of even and odd."""
    rows = [[START, a, a + 1, b, b + 1, END] for a in range(4, 14, 2) for b in range(4, 14, 2)]
    return causal.fit(gpt2.build(16, 24, seed=0, width=32), rows, steps=150, seed=0)


# ── sampling ────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_nucleus_is_the_smallest_prefix_with_its_mass_and_never_empty():
    """GS-3: of shares .5, .3, .15, .05."""
    logits = torch.tensor([0.15, 0.5, 0.05, 0.3]).log()[None]

    def left(top_k, top_p):
        return narrowed(logits, top_k, top_p)[0].isfinite().nonzero()[:, 0].tolist()

    assert left(4, 0.5 - 1e-4) == [1] and left(4, 0.5 + 1e-4) == [1, 3]
    assert left(4, 0.8 + 1e-4) == [0, 1, 3] and left(4, 1.0) == [0, 1, 2, 3]
    assert left(4, 1e-9) == [1] and left(1, 1.0) == [1] and left(2, 1.0) == [1, 3]
    assert left(99, 1.0) == [0, 1, 2, 3]
    assert left(2, 0.6) == [1]  # of the two that are left the first holds .625
    torch.testing.assert_close(narrowed(logits, 2, 1.0)[0, [1, 3]], logits[0, [1, 3]])


@pytest.mark.parametrize(("top_k", "top_p"), [(0, 0.9), (5, 0.0), (5, 1.1)])
def test_an_empty_nucleus_is_refused(top_k, top_p):
    with pytest.raises(ValueError, match=f"got {top_k} and {top_p}"):
        narrowed(torch.zeros(1, 4), top_k, top_p)


def test_same_seed_gives_the_same_set_and_another_seed_another(writer):
    """GS-4: and a shard does not depend on those after it."""
    prompts = [[START]] * 40
    first = sample(writer, prompts, END, SETTINGS)
    torch.rand(7)
    assert sample(writer, prompts, END, SETTINGS) == first
    assert sample(writer, prompts, END, SETTINGS._replace(seed=6)) != first
    shards = SETTINGS._replace(shard=16)
    assert sample(writer, prompts[:16], END, shards) == sample(writer, prompts, END, shards)[:16]


def test_samples_end_before_the_end_token_and_hold_no_banned_one(writer):
    drawn = sample(writer, [[START]] * 64, END, SETTINGS, banned=[4, 0])
    tokens = {token for row in drawn for token in row}
    assert END not in tokens and 4 not in tokens and 0 not in tokens
    assert max(map(len, drawn)) <= 6 and len({tuple(row) for row in drawn}) > 3
    assert 4 in {token for row in sample(writer, [[START]] * 64, END, SETTINGS) for token in row}


def test_prompts_of_different_length_are_continued_as_each_would_be_alone(writer):
    """GS-6: one continuation per prompt, in their order; the padding on the left is not seen."""
    prompts = [[START, 4], [START, 8, 9, 10], [START, 6, 7, 4], [START, 12]]
    greedy = SETTINGS._replace(top_k=1)
    together = sample(writer, prompts, END, greedy)
    assert [row[0] for row in together] == [5, 11, 5, 13]
    assert together == [sample(writer, [prompt], END, greedy)[0] for prompt in prompts]
    with pytest.raises(ValueError, match="empty prompt"):
        sample(writer, [[]], END, greedy)


def test_sampling_follows_the_models_own_probabilities(writer):
    drawn = sample(writer, [[START, 4, 5]] * 2000, END, Sampling(longest=1, top_k=16, top_p=1.0, shard=2000))
    counts = torch.tensor([row[0] if row else END for row in drawn]).bincount(minlength=16) / 2000
    chances = writer(torch.tensor([[START, 4, 5]])).logits[0, -1].softmax(dim=-1)
    assert (counts - chances).abs().max() < 0.05


# ── filters ─────────────────────────────────────────────────────────────────────────────────────────────────────────

TEXTS = [
    "a good film",
    "A  good, film!",
    "bad",
    "see https://example.org now",
    "write to me@example.org",
    "it was <br/> fine",
    "call +44 20 7946 0958 today",
    "seen in training",
    "Seen in  validation",
    "a very long text indeed, longer than all",
    "in 1994 it was 5 stars",
]


def test_every_rejection_is_counted_under_its_first_reason():
    found = kept(TEXTS, train=["SEEN in training."], held=["seen in validation?"], longest=30)
    assert found.places == [0, 10]
    assert found.rejected == {"duplicate": 1, "short": 1, "markup": 4, "copy": 1, "leak": 1, "long": 1}


def test_no_kept_text_equals_a_held_or_a_training_text_after_normalisation():
    """GS-1: upper case, spaces, punctuation and compatibility forms hide nothing; a held text in train is a leak."""
    held = ["The ﬁlm — was GOOD", "plain text"]
    found = kept(["the film was good", "Plain\ttext!!", "something else"], train=["plain text"], held=held)
    assert found.places == [2] and found.rejected == {"leak": 2}
    assert normalised("The ﬁlm — was GOOD") == "the film was good"


def test_pairs_keep_their_order_and_are_compared_as_pairs():
    """GS-6: a swapped pair is another pair."""
    pairs = [("a man sleeps", "a man rests"), ("a man rests", "a man sleeps"), ("a man sleeps", "no"), ("x", "a dog")]
    found = kept(pairs, train=[("A man sleeps.", "A man rests.")], held=[])
    assert found.places == [1] and found.rejected == {"copy": 1, "short": 2}


def test_an_empty_set_is_an_error_with_the_counts():
    with pytest.raises(BaselineError, match=r"none of 3 generated texts remains \(copy 2, short 1\)") as caught:
        kept(["same text", "same text", "x"], train=["same text"], held=[])
    assert caught.value.hint


# ── labels and loss ─────────────────────────────────────────────────────────────────────────────────────────────────


class Lengths(torch.nn.Module):
    """A teacher with a tokenizer of its own: it counts the words, of which it knows no id of the student's."""

    def forward(self, words):
        return SimpleNamespace(logits=torch.stack([words, -words], dim=-1))


def encode(texts):
    return {"words": torch.tensor([float(len(text.split())) - 2.5 for text in texts])}


def test_teacher_reads_texts_through_its_own_tokenizer():
    """GS-8: in any batches, and in the order of the texts."""
    texts = ["one two", "one two three", "one", "one two three four"]
    found = soft_labels(Lengths(), encode, texts, batch=3)
    assert found.tolist() == [[-0.5, 0.5], [0.5, -0.5], [-1.5, 1.5], [1.5, -1.5]]


def test_a_set_of_one_class_is_warned_of_with_its_counts():
    with pytest.warns(UserWarning, match=r"all 2 generated texts into one class: \[0, 2\]"):
        soft_labels(Lengths(), encode, ["one", "one two"])


def test_rows_without_a_label_add_no_cross_entropy():
    """GS-7: and are imitated all the same."""
    student, teacher = torch.randn(2, 6, 3)
    labels = torch.tensor([0, 1, -100, -100, 2, -100])
    by_hand = (student - teacher).square().sum() / 18
    torch.testing.assert_close(imitation(student, teacher, labels, lambda_ce=0.0), by_hand)
    torch.testing.assert_close(imitation(student, teacher, labels, lambda_d=0.0), cross_entropy(student, labels))
    torch.testing.assert_close(imitation(student, teacher, torch.full((6,), -100), 2.0), 2 * by_hand)
    assert imitation(student, student, torch.full((6,), -100)) == 0


def test_scores_are_compared_by_squared_error():
    student, teacher = torch.randn(2, 4, 1)
    labels = torch.zeros(4, dtype=torch.long)
    torch.testing.assert_close(imitation(student, teacher, labels), (student - teacher).square().mean())


def test_gradient_and_precision_of_the_loss():
    student, teacher = torch.randn(2, 4, 3)
    labels = torch.tensor([0, -100, 2, 1])
    assert gradient_error(lambda z: imitation(z, teacher.double(), labels, 0.7, 1.3), student) < 1e-5
    assert_half_is_computed_in_fp32(lambda s, t: imitation(s, t, labels), student, teacher)
    with pytest.raises(ValueError, match=r"\[4, 3\].*\[1, 3\]"):
        imitation(student, teacher[:1], labels)
