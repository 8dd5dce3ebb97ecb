"""X2: pulling hidden states brings them nearer, distilling answers alone does not; starting from teacher layers is the
larger effect."""

from collections.abc import Iterator
from functools import cache

import torch
from torch import Tensor, nn
from transformers import (
    BertConfig,
    BertForSequenceClassification,
    DistilBertConfig,
    DistilBertForSequenceClassification,
    PreTrainedModel,
)

from baselines.methods.initialise import init_from_teacher
from baselines.methods.kd import cross_entropy, distillation
from baselines.methods.layer_map import layer_pairs
from baselines.methods.selective import Projections, feature_loss
from baselines.models.layers import features
from tests.campaigns.effects.digits import fit
from tests.campaigns.effects.effect import Claim, Effect, spread

SEEDS, ROWS, STEPS, WIDTH, LENGTH, WORDS = 3, 300, 150, 48, 12, 120
POSITIVE, NEGATIVE, NOT = (10, 40), (40, 70), 5
PAIRS = layer_pairs("last", 6, 3, 3)
SIZES = {"vocab_size": WORDS, "max_position_embeddings": LENGTH, "num_labels": 2, "pad_token_id": 0}


def sentences(count: int, seed: int) -> tuple[Tensor, Tensor]:
    """Token ids [N, 12] and labels: the feeling of the one word that has any, turned around in one row of five by a
    "not" before it."""
    generator = torch.Generator().manual_seed(seed)

    def draw(low: int, high: int) -> Tensor:
        return torch.randint(low, high, (count,), generator=generator)

    rows = torch.randint(70, WORDS, (count, LENGTH), generator=generator)
    labels, negated, place = draw(0, 2), (draw(0, 5) == 0).long(), draw(3, LENGTH)
    word = torch.where(labels == 1, draw(*POSITIVE), draw(*NEGATIVE))
    everyone = torch.arange(count)
    rows[everyone, place] = word
    before = (place - 1 - draw(0, 2)).clamp_min(1)
    rows[everyone, before] = torch.where(negated == 1, NOT, rows[everyone, before])
    rows[:, 0] = 1
    return rows, labels ^ negated


@cache
def teacher() -> PreTrainedModel:
    torch.manual_seed(0)
    sizes = {"hidden_size": WIDTH, "num_hidden_layers": 6, "num_attention_heads": 4, "intermediate_size": 4 * WIDTH}
    model = BertForSequenceClassification(BertConfig(**SIZES, **sizes))
    rows, labels = sentences(6000, seed=100)
    fit(model, lambda i: cross_entropy(model(rows[i]).logits, labels[i]), len(rows), 500, 0, rate=5e-4)
    return model.requires_grad_(False)


def student(seed: int) -> PreTrainedModel:
    torch.manual_seed(seed)
    sizes = {"dim": WIDTH, "n_layers": 3, "n_heads": 4, "hidden_dim": 4 * WIDTH}
    return DistilBertForSequenceClassification(DistilBertConfig(**SIZES, **sizes))


@torch.no_grad()
def accuracy(model: PreTrainedModel) -> float:
    rows, labels = sentences(2000, seed=200)
    return (model(rows).logits.argmax(dim=1) == labels).double().mean().item()


def distance(model: PreTrainedModel, rows: Tensor, projections: nn.Module | None) -> Tensor:
    """Between the last three states of each side."""
    ours = features(model, model(rows, output_hidden_states=True).hidden_states, [s for s, _ in PAIRS])
    with torch.no_grad():
        theirs = features(teacher(), teacher()(rows, output_hidden_states=True).hidden_states, [t for _, t in PAIRS])
    return feature_loss(ours, theirs, projections)


def trained(seed: int, soft: bool = False, hidden: bool = False, init: str = "") -> tuple[float, float]:
    """(accuracy, distance of the states at the end over the distance at the start)."""
    rows, labels = sentences(ROWS, seed)
    model = student(seed)
    if init:
        init_from_teacher(model, teacher(), init)
    projections = Projections([WIDTH] * 3, [WIDTH] * 3, spatial=False)
    with torch.no_grad():
        answers, first = teacher()(rows).logits, distance(model, rows, projections)

    def loss(i: Tensor) -> Tensor:
        logits = model(rows[i]).logits
        total = cross_entropy(logits, labels[i])
        if soft:
            total = 0.5 * total + 0.5 * distillation(logits, answers[i], 3.0)
        return total + distance(model, rows[i], projections) if hidden else total

    fit(nn.ModuleList([model, projections] if hidden else [model]), loss, ROWS, STEPS, seed, rate=1e-3)
    with torch.no_grad():
        return accuracy(model), (distance(model, rows, projections) / first).item()


def run() -> Iterator[Claim]:
    teacher()  # trained here, where gradients are on
    arms = {
        "labels": {},
        "KD": {"soft": True},
        "KD + hidden": {"soft": True, "hidden": True},
        "labels, init last": {"init": "last"},
        "labels, init alternate": {"init": "alternate"},
    }
    found = {name: [trained(seed, **arm) for seed in range(SEEDS)] for name, arm in arms.items()}
    scores = {name: [score for score, _ in each] for name, each in found.items()}
    left = {name: [share for _, share in each] for name, each in found.items()}
    gain = (sum(scores["labels, init alternate"]) - sum(scores["labels"])) / SEEDS
    yield Claim(
        "distance of the states falls by half or more",
        f"to {spread(left['KD + hidden'])}",
        max(left["KD + hidden"]) <= 0.5,
    )
    said = ", ".join(f"{name} {spread(values)}" for name, values in scores.items())
    yield Claim(
        "starting from teacher layers gains 0.2 or more", f"{said}; teacher {accuracy(teacher()):.3f}", gain >= 0.2
    )
    yield Claim(
        "answers alone do not bring the states nearer", f"to {spread(left['KD'])}", min(left["KD"]) > 0.8, control=True
    )


EFFECT = Effect(
    "X2",
    "kd_selective",
    "synthetic negation, BERT 6×48 → DistilBERT 3×48, 300 rows",
    "MSE 1.37 → 0.38; .562 → .931",
    run,
)
