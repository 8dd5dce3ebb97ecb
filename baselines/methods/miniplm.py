"""Difference sampling (MiniPLM, Gu et al. 2025, arXiv 2410.17215): which texts a causal language model is pre-trained
on. Kept are those that a large model finds likely and a tiny reference model does not; the student then learns from
them with plain cross-entropy (`causal.language_loss`), whatever its tokenizer and architecture.

Scores come from `causal` models. r(x) near 0 is easy text, far above 0 knowledge that a small model lacks, below 0
noise.
"""

import math
import warnings
from collections.abc import Collection, Sequence
from typing import Literal, NamedTuple

import torch
from torch import Tensor
from transformers import PreTrainedModel

from baselines.data.rows import Rows
from baselines.errors import BaselineError
from baselines.methods import causal
from baselines.methods.causal import padded, token_losses
from baselines.models import gpt2
from baselines.models.device import DEVICE
from baselines.randomness import undrawn

Score = Literal["mean", "sum", "per_byte"]


# ── likelihoods ─────────────────────────────────────────────────────────────────────────────────────────────────────


@torch.no_grad()
def log_likelihoods(
    model: PreTrainedModel,
    sequences: Sequence[Sequence[int]],
    score: Score = "mean",
    sizes: Sequence[int] | None = None,
    batch: int = 64,
) -> Tensor:
    """log p of each sequence in nats and fp64 [N]: per token, summed, or per byte of the text it encodes (`sizes`, for
    two models whose tokenizers differ).

    Sequences run in batches of like length, in eval mode. One that is longer than the model's context is scored in
    pieces that fit, of which each begins with the last token of the one before. One that holds no token to predict
    is NaN. Raises ValueError for "per_byte" without sizes.
    """
    if score == "per_byte" and sizes is None:
        raise ValueError('"per_byte" needs the size in bytes of each text')
    model.eval()
    context = getattr(model.config, "max_position_embeddings", None) or max(map(len, sequences))
    pieces = [(n, piece) for n, sequence in enumerate(sequences) for piece in _pieces(sequence, context)]
    pieces.sort(key=lambda each: len(each[1]))
    total, counted = torch.zeros(2, len(sequences), dtype=torch.float64)
    for start in range(0, len(pieces), batch):
        places, rows = zip(*pieces[start : start + batch], strict=True)
        ids, mask = (part.to(model.device) for part in padded(rows))
        losses = token_losses(model, ids, mask).double().sum(dim=1).cpu()
        total.index_add_(0, torch.tensor(places), -losses)
        counted.index_add_(0, torch.tensor(places), mask[:, 1:].sum(dim=1).double().cpu())
    divisors = {"mean": counted, "sum": (counted > 0).double(), "per_byte": torch.tensor(sizes or [0.0]).double()}
    return torch.where(counted > 0, total / divisors[score], torch.nan)


def _pieces(sequence: Sequence[int], context: int) -> list[Sequence[int]]:
    return [sequence[start : start + context] for start in range(0, len(sequence) - 1, context - 1)]


# ── selection ───────────────────────────────────────────────────────────────────────────────────────────────────────


class Selection(NamedTuple):
    """Places of the kept sequences in corpus order, their scores' range, and how many had no score."""

    kept: Tensor
    least_kept: float
    most_dropped: float
    unscored: int


def difference(large: Tensor, reference: Tensor, sequences: int) -> Tensor:
    """r(x) = log p(x) − log p_ref(x) for each sequence [N]: how much better the large model knows it.

    Raises ValueError unless there is one score of each model per sequence.
    """
    if not len(large) == len(reference) == sequences:
        raise ValueError(f"{len(large)} and {len(reference)} scores for {sequences} sequences: score all of them, once")
    return large - reference


def select(scores: Tensor, ratio: float, places: Sequence[int], reference: Collection[int] = ()) -> Selection:
    """The K = ⌊ratio · n⌋ sequences with the largest scores, n those that have one; ties go to the earlier place.

    `places` are the sequences' places in the corpus, `reference` those that the reference model was trained on. A
    score that is NaN or infinite is dropped and counted. Raises ValueError unless 0 < ratio ≤ 1, and BaselineError
    where a sequence of the reference set is to be chosen from: its score is biased low. Warns where all scores are
    equal.
    """
    if not 0 < ratio <= 1:
        raise ValueError(f"ratio must lie in (0, 1], got {ratio}")
    if reused := {*places} & {*reference}:
        said = (
            f"{len(reused)} sequences, {min(reused)} among them, trained the reference model and are to be chosen from"
        )
        raise BaselineError(said, "score the corpus without the reference set: its scores are too low")
    scored = scores.isfinite().nonzero()[:, 0]
    values = scores[scored]
    if len(values) > 1 and values.max() == values.min():
        warnings.warn("scores carry no information: all are equal, so the first sequences are kept", stacklevel=2)
    ranked = values.sort(descending=True, stable=True).indices
    count = math.floor(ratio * len(values))
    kept, dropped = scored[ranked[:count]], values[ranked[count:]]
    return Selection(
        kept=torch.tensor(places)[kept].sort().values,
        least_kept=float(values[ranked[:count]].min()) if count else math.nan,
        most_dropped=float(dropped.max()) if len(dropped) else math.nan,
        unscored=len(scores) - len(scored),
    )


def difference_sampled(
    experiment, rows: Rows, ratio: float, ref_fraction: float, ref_layers: int, ref_width: int, ref_epochs: int
) -> Rows:
    """The rows of a corpus that an experiment's student is to learn from, in their order: ⌊ratio · n⌋ of the n that the
    reference model was not trained on (methods.md 6.1; log p is the teacher's, from its cache).

    The trial's seed draws the share `ref_fraction` that trains the reference model, at the plan's rate and in batches
    of the plan's size. Logs the mean score of what is kept and of what is dropped. The trial's own random numbers stay
    as they are.
    """
    order = torch.randperm(len(rows), generator=torch.Generator().manual_seed(experiment.seed)).tolist()
    cut = max(1, round(ref_fraction * len(rows)))
    drawn, places = sorted(order[:cut]), sorted(order[cut:])
    with undrawn():
        reference = _reference(experiment, _tokens(rows, drawn), ref_layers, ref_width, ref_epochs)
        theirs = log_likelihoods(reference, _tokens(rows, places))
    ours = experiment.teacher.likelihoods[torch.as_tensor(rows.ids)[places]]
    scores = difference(ours, theirs, len(places))
    chosen = select(scores, ratio, places, drawn)
    kept = torch.isin(torch.tensor(places), chosen.kept)
    experiment.log(score_kept=scores[kept].mean())
    if not kept.all():
        experiment.log(score_dropped=scores[~kept].mean())
    return rows.only(chosen.kept.tolist())


def _tokens(rows: Rows, places: Sequence[int]) -> list[list[int]]:
    return [rows.items[place].tolist() for place in places]


def _reference(experiment, sequences: list[list[int]], layers: int, width: int, epochs: int) -> PreTrainedModel:
    task, training = experiment.task, experiment.training_arguments()
    batch = training.per_device_train_batch_size * training.gradient_accumulation_steps
    model = gpt2.build(task["vocabulary"], task["input_size"], experiment.seed, width, layers, heads=1)
    steps = epochs * math.ceil(len(sequences) / batch)
    return causal.fit(model.to(DEVICE), sequences, steps, experiment.seed, batch, training.learning_rate)
