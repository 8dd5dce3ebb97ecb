"""Generated transfer sets: a causal language model that was fine-tuned on the task's texts invents unlabelled ones, the
teacher answers them with logits, and the student learns from both sets (after Tang et al. 2019, arXiv 1903.12136).

Text is the interface between generator, teacher and student: no model's token ids reach another. A pair of texts is a
tuple of two. `causal` has the language model itself.
"""

import re
import unicodedata
import warnings
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Sequence
from typing import NamedTuple

import torch
from torch import Tensor, nn
from transformers import PreTrainedModel

from baselines.errors import BaselineError
from baselines.methods.kd import cross_entropy, fp32

Text = str | tuple[str, str]

SHORTEST = 4  # characters
MARKUP = re.compile(
    r"https?://|www\.\S|\S+@\S+\.\w|<\w[^>]*>|</\w+>|&\w+;|\+?\d[\d ()/.-]{7,}\d"  # links, e-mail, HTML, telephones
)


# ── sampling ────────────────────────────────────────────────────────────────────────────────────────────────────────


class Sampling(NamedTuple):
    """How texts are drawn. `longest` counts the tokens after the prompt."""

    longest: int
    top_k: int = 50
    top_p: float = 0.95
    temperature: float = 1.0
    seed: int = 0
    shard: int = 256
    """Texts drawn together; each shard has a seed of its own."""


def narrowed(logits: Tensor, top_k: int, top_p: float) -> Tensor:
    """Logits [B, V] with −∞ at all but the `top_k` likeliest tokens, and among these at all beyond the smallest prefix
    that covers at least the share `top_p` of their probability: never fewer than one token.

    Raises ValueError unless top_k ≥ 1 and 0 < top_p ≤ 1.
    """
    if top_k < 1 or not 0 < top_p <= 1:
        raise ValueError(f"top_k must be 1 or more and top_p in (0, 1], got {top_k} and {top_p}")
    values, places = fp32(logits).topk(min(top_k, logits.shape[-1]), dim=-1)
    shares = values.softmax(dim=-1)
    before = shares.cumsum(dim=-1) - shares
    kept = values.masked_fill(before >= top_p, -torch.inf)
    return torch.full_like(logits, -torch.inf, dtype=kept.dtype).scatter(-1, places, kept)


@torch.no_grad()
def sample(
    model: PreTrainedModel, prompts: Sequence[Sequence[int]], end: int, sampling: Sampling, banned: Collection[int] = ()
) -> list[list[int]]:
    """One continuation per prompt, in their order: the tokens after it, without `end`.

    The prompt is the start token alone for single texts, and the start token, the first text and the separator for
    pairs. `banned` tokens are never drawn. Where no `end` came within `sampling.longest` tokens the text stops there.
    Raises ValueError for a prompt without a token.
    """
    if any(not len(prompt) for prompt in prompts):
        raise ValueError("an empty prompt starts nothing: begin with the start token")
    found: list[list[int]] = []
    for number, start in enumerate(range(0, len(prompts), sampling.shard)):
        generator = torch.Generator().manual_seed(sampling.seed * 1_000_003 + number)
        found += _shard(model.eval(), prompts[start : start + sampling.shard], end, sampling, [*banned], generator)
    return found


def _shard(
    model: PreTrainedModel, prompts: Sequence[Sequence[int]], end: int, sampling: Sampling, banned: list[int], generator
) -> list[list[int]]:
    longest = max(map(len, prompts))
    ids = torch.tensor([[end] * (longest - len(p)) + [*p] for p in prompts])  # padded on the left, masked below
    mask = (torch.arange(longest) >= longest - torch.tensor([len(p) for p in prompts])[:, None]).long()
    drawn, cache, running = [], None, torch.ones(len(prompts), dtype=torch.bool)
    for _ in range(sampling.longest):
        positions = (mask.cumsum(dim=1) - 1).clamp_min(0)[:, -ids.shape[1] :]
        output = model(
            input_ids=ids, attention_mask=mask, position_ids=positions, past_key_values=cache, use_cache=True
        )
        logits, cache = fp32(output.logits[:, -1]) / sampling.temperature, output.past_key_values
        logits[:, banned] = -torch.inf
        chances = narrowed(logits, sampling.top_k, sampling.top_p).softmax(dim=-1)
        ids = torch.multinomial(chances, 1, generator=generator)
        drawn.append(ids)
        mask = torch.cat([mask, torch.ones_like(ids)], dim=1)
        running &= ids[:, 0] != end
        if not running.any():
            break
    rows = torch.cat(drawn, dim=1).tolist()
    return [row[: row.index(end)] if end in row else row for row in rows]


# ── filters ─────────────────────────────────────────────────────────────────────────────────────────────────────────


class Kept(NamedTuple):
    """The places of the texts that remain, in order, and how many were rejected for each reason."""

    places: list[int]
    rejected: Counter[str]


def kept(texts: Sequence[Text], train: Iterable[Text], held: Iterable[Text], longest: int | None = None) -> Kept:
    """Filters generated texts; each one is rejected for the first reason that applies.

    "short": fewer than four characters (of either text of a pair); "long": more than `longest`; "markup": links,
    e-mail addresses, telephone numbers, HTML; "leak": equals one of `held`, the validation and test texts; "copy":
    equals one of `train`; "duplicate": was there before. Equal means after `normalised`. Raises BaselineError, with the
    counts, when nothing remains.
    """
    known = {**dict.fromkeys(map(normalised, train), "copy"), **dict.fromkeys(map(normalised, held), "leak")}
    places, rejected = list[int](), Counter[str]()
    for place, text in enumerate(texts):
        same = normalised(text)
        if reason := _unfit(text, longest) or known.get(same):
            rejected[reason] += 1
        else:
            places.append(place)
            known[same] = "duplicate"
    if not places:
        counts = ", ".join(f"{reason} {count}" for reason, count in rejected.most_common())
        raise BaselineError(
            f"none of {len(texts)} generated texts remains ({counts or 'none was generated'})",
            "train the generator for fewer steps where it copies, for more where texts are short; or draw more",
        )
    return Kept(places, rejected)


def _unfit(text: Text, longest: int | None) -> str:
    parts = (text,) if isinstance(text, str) else text
    if any(len(part.strip()) < SHORTEST for part in parts):
        return "short"
    if longest is not None and any(len(part) > longest for part in parts):
        return "long"
    return "markup" if any(MARKUP.search(part) for part in parts) else ""


def normalised(text: Text) -> Text:
    """What makes two texts the same: compatibility forms, upper and lower case, punctuation and spaces put aside."""
    if not isinstance(text, str):
        return (normalised(text[0]), normalised(text[1]))
    plain = unicodedata.normalize("NFKC", text).casefold()
    return " ".join(re.sub(r"[\W_]+", " ", plain).split())


# ── labels and loss ─────────────────────────────────────────────────────────────────────────────────────────────────


@torch.no_grad()
def soft_labels(
    teacher: nn.Module, encode: Callable[[Sequence[Text]], dict[str, Tensor]], texts: Sequence[Text], batch: int = 128
) -> Tensor:
    """The teacher's logits [N, C] for each text, in fp32. `encode` is the teacher's own tokenizer: texts to its inputs.

    Warns with the counts per class where the teacher's most likely class is the same for all.
    """
    teacher.eval()
    parts = [teacher(**encode(texts[start : start + batch])).logits for start in range(0, len(texts), batch)]
    logits = fp32(torch.cat(parts))
    counts = logits.argmax(dim=-1).bincount(minlength=logits.shape[-1]).tolist()
    if sum(count > 0 for count in counts) == 1 and len(counts) > 1:
        warnings.warn(f"the teacher puts all {len(texts)} generated texts into one class: {counts}", stacklevel=2)
    return logits


def distance(student_logits: Tensor, teacher_logits: Tensor) -> Tensor:
    """1/(B·C) ‖z_s − z_t‖² in fp32 (Ba and Caruana 2014). Raises ValueError for shapes that differ."""
    if student_logits.shape != teacher_logits.shape:
        raise ValueError(
            f"student logits {[*student_logits.shape]} and teacher logits {[*teacher_logits.shape]} differ"
        )
    return (fp32(student_logits) - fp32(teacher_logits)).square().mean()


def imitation(
    student_logits: Tensor, teacher_logits: Tensor, labels: Tensor, lambda_d: float = 1.0, lambda_ce: float = 1.0
) -> Tensor:
    """λ_d · 1/(B·C) ‖z_s − z_t‖² + λ_ce · CE(z_s, y), the second term on labelled rows only (-100 has none).

    A single column is a score: then labels are left out and the first term alone compares scores.
    Raises ValueError for shapes that differ.
    """
    soft = lambda_d * distance(student_logits, teacher_logits)
    if student_logits.shape[-1] == 1:
        return soft
    return soft + lambda_ce * cross_entropy(student_logits, labels)
