"""X7: texts that a large language model finds likely and a tiny one does not are the ones that a student learns from.

Sequences of 32 tokens out of 64: easy ones repeat two tokens, hard ones repeat a pattern of eight, the rest is noise.
"""

from collections.abc import Iterator
from random import Random

import torch
from torch import Tensor
from transformers import PreTrainedModel

from baselines.methods import causal
from baselines.methods.miniplm import Selection, difference, log_likelihoods, select
from baselines.models import gpt2
from tests.campaigns.effects.effect import Claim, Effect

ROWS, REFERENCE, RATIO, LENGTH, VOCABULARY = 3000, 300, 0.5, 32, 64
SHARES = {"easy": 2, "hard": 2, "noise": 1}
LARGE_STEPS, REFERENCE_STEPS, STUDENT_STEPS = 800, 300, 250

Row = tuple[int, ...]


def run() -> Iterator[Claim]:
    rows, names = corpus(ROWS, 0)
    large = model(64, 2, corpus(2 * ROWS, 1)[0], LARGE_STEPS)
    reference = model(16, 1, rows[:REFERENCE], REFERENCE_STEPS)
    places, pool, kinds = range(REFERENCE, ROWS), rows[REFERENCE:], names[REFERENCE:]
    ours, theirs = (log_likelihoods(each, pool) for each in (large, reference))
    scores = difference(ours, theirs, len(pool))
    chosen = select(scores, RATIO, places, range(REFERENCE))
    kept = chosen.kept - REFERENCE
    dropped = sorted({*range(len(pool))} - {*kept.tolist()})
    gap = (scores[kept].mean() - scores[dropped].mean()).item()
    said = f"kept {scores[kept].mean():.2f}, dropped {scores[dropped].mean():.2f}, all {scores.mean():.2f}"
    yield Claim("mean score kept − dropped ≥ 1", said, gap >= 1)

    at_random = select(torch.rand(len(pool), generator=torch.Generator().manual_seed(0)), RATIO, places)
    by_likelihood = select(ours, RATIO, places)
    losses = {
        name: _student(rows, each)
        for name, each in {"random": at_random, "chosen": chosen, "likely": by_likelihood}.items()
    }
    hard = f"hard text: random half {losses['random']['hard']:.2f}, chosen half {losses['chosen']['hard']:.2f} nats"
    yield Claim(
        "a student's loss on held-out hard text falls",
        f"{hard}; {_shares(kinds, scores, kept)}",
        _falls(losses, "chosen"),
    )
    easy = f"easy text: random half {losses['random']['easy']:.2f}, chosen half {losses['chosen']['easy']:.2f} nats"
    yield Claim("the price: the loss on easy text rises", easy, losses["chosen"]["easy"] > losses["random"]["easy"])
    taken = [kinds[place - REFERENCE] for place in by_likelihood.kept.tolist()]
    alone = f"{taken.count('easy') / len(taken):.1%} easy, hard text {losses['likely']['hard']:.2f} nats"
    yield Claim(
        "the large model's likelihood alone does not make the loss on hard text fall",
        alone,
        not _falls(losses, "likely"),
        control=True,
    )


def _shares(kinds: list[str], scores: Tensor, kept: Tensor) -> str:
    """Each kind's share of the rows and of those kept, and its mean score."""
    chosen = [kinds[place] for place in kept.tolist()]
    return ", ".join(
        f"{kind} {kinds.count(kind) / len(kinds):.1%} → {chosen.count(kind) / len(chosen):.1%} "
        f"(r {_mean(scores, [each == kind for each in kinds]):.2f})"
        for kind in sorted(SHARES)
    )


def _falls(losses: dict[str, dict[str, float]], name: str) -> bool:
    return losses[name]["hard"] < losses["random"]["hard"]


def _student(rows: list[Row], chosen: Selection) -> dict[str, float]:
    """Mean loss per token on held-out rows of each kind, after as many steps whatever was chosen."""
    student = model(64, 2, [rows[place] for place in chosen.kept.tolist()], STUDENT_STEPS)
    held, names = corpus(500, 2)
    likely = log_likelihoods(student, held)
    return {kind: -_mean(likely, [name == kind for name in names]) for kind in SHARES}


def _mean(values: Tensor, chosen: list[bool]) -> float:
    return values[torch.tensor(chosen)].mean().item()


def corpus(count: int, seed: int) -> tuple[list[Row], list[str]]:
    """Rows in random order, and the kind of each."""
    draw = Random(seed)
    names = draw.choices(list(SHARES), list(SHARES.values()), k=count)
    spans = {"easy": 2, "hard": 8, "noise": LENGTH}
    return [_repeated(draw, spans[name]) for name in names], names


def _repeated(draw: Random, span: int) -> Row:
    return tuple(draw.choices(range(VOCABULARY), k=span)) * (LENGTH // span)


def model(width: int, layers: int, rows: list[Row], steps: int) -> PreTrainedModel:
    made = gpt2.build(VOCABULARY, LENGTH, seed=0, width=width, layers=layers)
    return causal.fit(made, rows, steps, seed=0)


EFFECT = Effect("X7", "miniplm", "3,000 synthetic sequences", "r kept 2.28, dropped 0.19; hard loss 1.79 → 0.91", run)
