"""X6: with few labels, texts that a language model made up and the teacher answered softly are worth more than the
labels, and more than the same texts with the teacher's hard classes.

Synthetic sentiment with negation: words are pleasant, unpleasant, neutral or "not", which turns the word after it.
"""

from collections.abc import Iterator
from random import Random
from statistics import mean

import torch
from torch import Tensor, nn

from baselines.methods import causal
from baselines.methods.genset import Kept, Sampling, imitation, kept, sample, soft_labels
from baselines.methods.kd import cross_entropy
from baselines.models import gpt2
from baselines.models.build import build
from tests.campaigns.effects.effect import Claim, Effect, spread

SEEDS, LABELLED, SAMPLED, LENGTH = 3, 300, 4000, 8
POLAR, NEUTRAL = 60, 30
PAD, START, END, NOT = range(4)
VOCABULARY = 4 + 2 * POLAR + NEUTRAL
TASK = {"labels": ["unpleasant", "pleasant"], "vocabulary": VOCABULARY, "input_size": LENGTH, "padding": PAD}
SPEC = {"checkpoint": "", "stem": "", "heads": 2, "dropout": 0.0}
TEACHER = SPEC | {"architecture": "bert", "width": 32, "layers": 2}
STUDENT = SPEC | {"architecture": "bilstm", "width": 32, "layers": 1}  # 16 in each direction
STUDENT_STEPS, TEACHER_STEPS, WRITER_STEPS = 500, 1500, 400

Sentence = tuple[int, ...]


def run() -> Iterator[Claim]:
    train, test = sentences(LABELLED, 1), sentences(1000, 2)
    teacher = fit(build(TEACHER, TASK, 0), *_labelled(sentences(20000, 3)), TEACHER_STEPS, 0, 64)
    invented, filtered = generated(train, test)
    arms = _arms(teacher, train, test, invented)
    say = {name: f"{name} {spread(scores)}" for name, scores in arms.items()}
    means = {name: mean(scores) for name, scores in arms.items()}
    soft, hard, imitated, gold = (means[n] for n in ("soft", "hard", "teacher logits, no new text", "labels"))
    yield Claim("soft − labels ≥ 0.15", f"{say['labels']}, {say['soft']}", soft - gold >= 0.15)
    yield Claim("soft > hard > none", f"{say['hard']}, {say['teacher logits, no new text']}", soft > hard > imitated)
    copies, leaks = filtered.rejected["copy"], _leaks(invented, test)
    said = f"{len(invented)} of {SAMPLED} kept; rejected: {dict(filtered.rejected)}; leaks kept: {leaks}"
    yield Claim("no test row is kept; copies are counted", said, leaks == 0 and copies > 0)
    random = f"{say['random words']}, teacher {accuracy(teacher, test):.3f}"
    none = soft - means["random words"] < 0.05
    yield Claim("a generator gains nothing over random words where a task is word-local", random, none, control=True)


def _arms(teacher: nn.Module, train: list, test: list, invented: list) -> dict[str, list[float]]:
    labels = _labelled(train)[1]
    more = torch.cat([labels, torch.full((len(invented),), -100)])
    words = [_random(Random(n)) for n in range(len(invented))]
    own, soft, random = (soft_labels(teacher, _encode, texts) for texts in (train, train + invented, train + words))
    hard = torch.cat([labels, soft[LABELLED:].argmax(dim=1)])
    sets = {
        "labels": (train, labels, None),
        "teacher logits, no new text": (train, labels, own),
        "hard": (train + invented, hard, None),
        "soft": (train + invented, more, soft),
        "random words": (train + words, more, random),
    }
    return {name: [_student(seed, test, *each) for seed in range(SEEDS)] for name, each in sets.items()}


def _student(seed: int, test: list, texts: list, labels: Tensor, answers: Tensor | None) -> float:
    student = build(STUDENT, TASK, seed)
    return accuracy(fit(student, _encode(texts)["input_ids"], labels, STUDENT_STEPS, seed, 50, answers), test)


# ── the task ────────────────────────────────────────────────────────────────────────────────────────────────────────


def sentences(count: int, seed: int) -> list[Sentence]:
    """Different sentences of 4 to 7 tokens that are not evenly pleasant and unpleasant."""
    draw, found = Random(seed), dict[Sentence, None]()
    while len(found) < count:
        sentence = _random(draw)
        if feeling(sentence):
            found[sentence] = None
    return list(found)


def _random(draw: Random) -> Sentence:
    return tuple(NOT if draw.random() < 0.25 else draw.randrange(4, VOCABULARY) for _ in range(draw.randint(4, 7)))


def feeling(sentence: Sentence) -> int:
    """Pleasant words minus unpleasant ones, each turned by a "not" before it."""
    total = 0
    for before, word in zip((START, *sentence), sentence, strict=False):
        polar = 4 <= word < 4 + 2 * POLAR
        total += polar * (1 if word < 4 + POLAR else -1) * (-1 if before == NOT else 1)
    return total


def _labelled(texts: list[Sentence]) -> tuple[Tensor, Tensor]:
    return _encode(texts)["input_ids"], torch.tensor([int(feeling(text) > 0) for text in texts])


def _encode(texts: list[Sentence]) -> dict[str, Tensor]:
    ids = torch.tensor([[*text, *[PAD] * (LENGTH - len(text))] for text in texts])
    return {"input_ids": ids, "attention_mask": (ids != PAD).long()}


# ── models ──────────────────────────────────────────────────────────────────────────────────────────────────────────


def fit(
    model: nn.Module, ids: Tensor, labels: Tensor, steps: int, seed: int, batch: int, answers: Tensor | None = None
):
    """Adam with cross-entropy, or where there are answers with `imitation`."""
    generator = torch.Generator().manual_seed(seed)
    optimizer = torch.optim.Adam(model.parameters(), lr=2e-3 if answers is None and len(ids) > 5000 else 5e-3)
    model.train()
    for _ in range(steps):
        drawn = torch.randint(len(ids), (batch,), generator=generator)
        logits = model(input_ids=ids[drawn], attention_mask=(ids[drawn] != PAD).long()).logits
        own = labels[drawn]
        loss = cross_entropy(logits, own) if answers is None else imitation(logits, answers[drawn], own)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    return model.eval()


@torch.no_grad()
def accuracy(model: nn.Module, texts: list[Sentence]) -> float:
    ids, labels = _labelled(texts)
    return (model(input_ids=ids, attention_mask=(ids != PAD).long()).logits.argmax(1) == labels).double().mean().item()


def generated(train: list[Sentence], test: list[Sentence]) -> tuple[list[Sentence], Kept]:
    """What a two-layer language model, trained on the labelled sentences alone, writes, and what was filtered out."""
    writer = gpt2.build(VOCABULARY, LENGTH + 1, seed=0)
    causal.fit(writer, [(START, *text, END) for text in train], WRITER_STEPS, seed=0)
    drawn = sample(writer, [[START]] * SAMPLED, END, Sampling(longest=LENGTH - 1), banned=[PAD, START])
    filtered = kept(list(map(_words, drawn)), map(_words, train), map(_words, test))
    return [tuple(drawn[place]) for place in filtered.places], filtered


def _words(text) -> str:
    return " ".join(f"word{token}" for token in text)


def _leaks(texts: list[Sentence], test: list[Sentence]) -> int:
    return len({*texts} & {*test})


EFFECT = Effect("X6", "genset", "synthetic negation text, 300 labels", "labels .606, hard .818, soft .944", run)
