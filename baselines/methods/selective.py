"""Selective distillation: which layers of the student learn from which layers of the teacher, and how.

Layers are counted from 1: the blocks of a transformer, the stages of a CNN. Features are states [B, L, d] or maps
[B, C, H, W], one per pair of layers; every loss is a mean over the pairs and computed in fp32.
"""

from collections.abc import Mapping, Sequence
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from transformers import PreTrainedConfig, PreTrainedModel

from baselines.methods.kd import cross_entropy, fp32
from baselines.models.families import a_or_an, family_of
from baselines.models.layers import blocks

# The ones below are for train.py, which may import methods alone.
from baselines.models.layers import features as features
from baselines.models.layers import spatial as spatial
from baselines.models.layers import taps as taps
from baselines.models.layers import widths as widths

Norm = Literal["layer", "none", "l2"]
LayerMap = Literal["last", "last_stretched", "skip", "last1", "critical"]
Pairs = tuple[tuple[int, int], ...]


def layer_pairs(layer_map: LayerMap, n_teacher: int, n_student: int, k: int, critical: Sequence[int] = ()) -> Pairs:
    """(student layer, teacher layer) for each pair, in order.

    `last` pairs the last k with the last k, `last_stretched` spreads the student's k over its depth, `skip` spreads
    both (PKD-skip, TinyBERT), `last1` takes the final layers alone, `critical` the teacher layers that were measured.
    Raises ValueError when k is not legal (the message names the largest that is), when a spread map meets a student
    deeper than its teacher, and when `critical` does not hold k layers.
    """
    if layer_map == "last1":
        return ((n_student, n_teacher),)
    legal = min(n_student, n_teacher)
    if not 1 <= k <= legal:
        raise ValueError(f"k={k} layers of {n_student} (student) and {n_teacher} (teacher): choose 1 to {legal}")
    if n_student > n_teacher and layer_map != "last":
        raise ValueError(f'student has {n_student} layers, teacher {n_teacher}: only "last" and "last1" fit')
    if layer_map == "critical" and len(critical) != k:
        raise ValueError(f"{k} critical layers are needed, got {[*critical]}: measure them with critical_layers")
    last_student, last_teacher = (tuple(range(n - k + 1, n + 1)) for n in (n_student, n_teacher))
    spread_student, spread_teacher = (tuple(round(j * n / k) for j in range(1, k + 1)) for n in (n_student, n_teacher))
    chosen = {
        "last": (last_student, last_teacher),
        "last_stretched": (spread_student, last_teacher),
        "skip": (spread_student, spread_teacher),
        "critical": (last_student, sorted(critical)),
    }
    return tuple(zip(*chosen[layer_map], strict=True))


def critical_layers(
    teacher: PreTrainedModel, batches: Sequence[Mapping[str, Tensor]], k: int
) -> tuple[tuple[int, ...], tuple[float, ...]]:
    """The k blocks of a transformer that cost it most when each is replaced by identity, and every block's score:
    the validation loss without it minus the loss with it, in nats. Ties go to the later block.

    `batches` hold the teacher's inputs and `labels`; 512 examples are enough. Costs N_t + 1 passes over them.
    """
    whole = _loss(teacher, batches)
    scores = []
    for block in blocks(teacher):
        with block.register_forward_hook(lambda module, arguments, output: arguments[0]):
            scores.append(_loss(teacher, batches) - whole)
    return most_critical(scores, k), tuple(scores)


def most_critical(scores: Sequence[float], k: int) -> tuple[int, ...]:
    """The k blocks of largest score, in their order; ties go to the later one."""
    ranked = sorted(range(1, len(scores) + 1), key=lambda layer: (scores[layer - 1], layer))
    return tuple(sorted(ranked[-k:]))


@torch.no_grad()
def _loss(model: PreTrainedModel, batches: Sequence[Mapping[str, Tensor]]) -> float:
    model.eval()
    losses = []
    for batch in batches:
        logits = model(**{name: value for name, value in batch.items() if name != "labels"}).logits
        losses.append(cross_entropy(logits, batch["labels"]) * len(logits))
    return float(torch.stack(losses).sum() / sum(len(batch["labels"]) for batch in batches))


class Projections(nn.Module):
    """One learned map per pair from the student's width to the teacher's; it exists only while training.

    A linear layer for states, a 1×1 convolution with bias for maps; identity at the start where the widths are equal,
    else orthogonal.
    """

    def __init__(self, student_widths: Sequence[int], teacher_widths: Sequence[int], spatial: bool) -> None:
        super().__init__()
        sizes = zip(student_widths, teacher_widths, strict=True)
        self.maps = nn.ModuleList(nn.Conv2d(s, t, 1) if spatial else nn.Linear(s, t) for s, t in sizes)
        for layer in self.maps:
            square = layer.weight.shape[0] == layer.weight.shape[1]
            (nn.init.eye_ if square else nn.init.orthogonal_)(layer.weight.flatten(1))
            nn.init.zeros_(layer.bias)

    def forward(self, student_features: Sequence[Tensor]) -> tuple[Tensor, ...]:
        return tuple(layer(fp32(x)) for layer, x in zip(self.maps, student_features, strict=True))


def feature_loss(
    student_features: Sequence[Tensor],
    teacher_features: Sequence[Tensor],
    projections: Projections | None = None,
    attention_mask: Tensor | None = None,
    norm: Norm = "layer",
) -> Tensor:
    """Mean squared distance between projected student features and teacher features, over the teacher's width and
    the positions that `attention_mask` [B, L] keeps (FitNets, arXiv 1412.6550; TinyBERT, arXiv 1909.10351).

    `norm` acts on both sides along the width or the channels: layer norm without affine, unit length, or none. Of two
    maps of different size the larger is average-pooled to the smaller. Raises ValueError where shapes cannot meet.
    """
    losses = []
    for student, teacher in _matched(student_features, teacher_features, projections):
        distance = _normalised(student, norm) - _normalised(teacher, norm)
        losses.append(_masked_mean(distance.square().mean(dim=-1), attention_mask))
    return torch.stack(losses).mean()


def cls_loss(
    student_features: Sequence[Tensor], teacher_features: Sequence[Tensor], projections: Projections | None = None
) -> Tensor:
    """Squared distance between the unit-length first-token states (PKD, arXiv 1908.09355). The two sides may be
    tokenised differently. Raises ValueError for maps, which have no first token."""
    if any(states.dim() != 3 for states in student_features):
        raise ValueError('maps have no first token: use signal "hidden" or "attention"')
    first = [[states[:, :1] for states in side] for side in (student_features, teacher_features)]
    distances = [_normalised(s, "l2") - _normalised(t, "l2") for s, t in _matched(*first, projections)]
    return torch.stack([distance.square().sum(dim=-1).mean() for distance in distances]).mean()


def cosine_loss(
    student_features: Sequence[Tensor],
    teacher_features: Sequence[Tensor],
    projections: Projections | None = None,
    attention_mask: Tensor | None = None,
) -> Tensor:
    """1 - cos over the positions the mask keeps (DistilBERT, arXiv 1910.01108, which uses the final layers alone)."""
    pairs = _matched(student_features, teacher_features, projections)
    return torch.stack([_masked_mean(1 - F.cosine_similarity(s, t, dim=-1), attention_mask) for s, t in pairs]).mean()


def attention_loss(
    student_attentions: Sequence[Tensor], teacher_attentions: Sequence[Tensor], attention_mask: Tensor
) -> Tensor:
    """Mean squared difference of attention matrices [B, heads, L, L] over valid queries and valid keys (TinyBERT).
    Heads are averaged first when their numbers differ. Raises ValueError when a model returned no matrices."""
    if not student_attentions or not teacher_attentions:
        raise ValueError('no attention matrices to compare: load both models with attn_implementation="eager"')
    valid = attention_mask[:, :, None] * attention_mask[:, None, :]
    losses = []
    for student, teacher in zip(student_attentions, teacher_attentions, strict=True):
        if student.shape[1] != teacher.shape[1]:
            student, teacher = (side.mean(dim=1, keepdim=True) for side in (student, teacher))
        losses.append(_masked_mean((fp32(student) - fp32(teacher)).square().mean(dim=1), valid))
    return torch.stack(losses).mean()


def auto_beta(distilled: Tensor, feature: Tensor) -> float:
    """The weight at which the feature term is as large as the distillation term. Raises ValueError at feature = 0."""
    if not feature.item() > 0:
        raise ValueError(f"beta cannot be set from a feature term of {feature.item()}: give beta a number")
    return distilled.item() / feature.item()


def refuse_token_signals(
    student_vocabulary: Mapping[str, int], teacher_vocabulary: Mapping[str, int], signal: str
) -> None:
    """Raises ValueError when position l of the student is not position l of the teacher and `signal` needs it to be."""
    if signal != "cls" and student_vocabulary != teacher_vocabulary:
        raise ValueError(
            f'signal "{signal}" compares token by token, but the student\'s vocabulary ({len(student_vocabulary)} '
            f'tokens) is not the teacher\'s ({len(teacher_vocabulary)}): use "cls" or the logits alone'
        )


def _matched(
    student_features: Sequence[Tensor], teacher_features: Sequence[Tensor], projections: Projections | None
) -> list[tuple[Tensor, Tensor]]:
    """Each pair as fp32 rows [B, positions, width] that can be subtracted."""
    if projections is not None:
        student_features = projections(student_features)
    pairs = []
    for student, teacher in zip(student_features, teacher_features, strict=True):
        if student.dim() == 4:
            student, teacher = (side.flatten(2).transpose(1, 2) for side in same_size(student, teacher))
        if student.shape[-1] != teacher.shape[-1]:
            raise ValueError(f"width {student.shape[-1]} cannot meet width {teacher.shape[-1]}: pass Projections")
        if student.shape != teacher.shape:
            raise ValueError(
                f"student states {[*student.shape]} and teacher states {[*teacher.shape]} have different positions: "
                'one tokenizer is needed, or signal "cls"'
            )
        pairs.append((fp32(student), fp32(teacher)))
    return pairs


def same_size(student: Tensor, teacher: Tensor) -> tuple[Tensor, Tensor]:
    """Two maps in fp32, the larger average-pooled to the smaller."""
    size = [min(sides) for sides in zip(student.shape[2:], teacher.shape[2:], strict=True)]
    return F.adaptive_avg_pool2d(fp32(student), size), F.adaptive_avg_pool2d(fp32(teacher), size)


def _normalised(rows: Tensor, norm: Norm) -> Tensor:
    if norm == "layer":
        return F.layer_norm(rows, rows.shape[-1:])
    return F.normalize(rows, dim=-1) if norm == "l2" else rows


def _masked_mean(values: Tensor, mask: Tensor | None) -> Tensor:
    return values.mean() if mask is None else (values * mask).sum() / mask.sum()


def init_from_teacher(
    student: PreTrainedModel, teacher: PreTrainedModel, layers: Literal["last", "first", "alternate"] | Sequence[int]
) -> None:
    """Copies the teacher's embeddings and one teacher block into each student block; heads and poolers stay.

    `layers` are teacher blocks counted from 1; "alternate" spreads them from first to last (1 3 5 8 10 12 for 12 → 6,
    as DistilBERT does). Takes teachers of the student's shape, of a family that its own can start from. DistilBERT has
    no token types, so a BERT's row of type 0 is folded into every position. Raises ValueError when the families or the
    shapes differ, BaselineError for an unknown family.
    """
    sources, targets = blocks(teacher), blocks(student)
    _refuse_mismatch(student.config, teacher.config)
    chosen = _chosen_blocks(layers, len(sources), len(targets))
    for target, layer in zip(targets, chosen, strict=True):
        for old, new in _same_parts(student.config, teacher.config):
            target.get_submodule(new).load_state_dict(sources[layer - 1].get_submodule(old).state_dict())
    for name in family_of(student.config).embeddings:
        if hasattr(student.base_model, name):
            _copy_embeddings(getattr(student.base_model, name), getattr(teacher.base_model, name))


def _same_parts(student: PreTrainedConfig, teacher: PreTrainedConfig) -> list[tuple[str, str]]:
    """(teacher's, student's) modules of a block that hold the same; the block itself where both are of one family."""
    ours, theirs = family_of(student), family_of(teacher)
    return [("", "")] if ours is theirs else [(theirs.parts[part], own) for part, own in ours.parts.items()]


def _chosen_blocks(layers: str | Sequence[int], n_teacher: int, n_student: int) -> tuple[int, ...]:
    spread = (n_teacher - 1) / max(n_student - 1, 1)
    named = {
        "last": range(n_teacher - n_student + 1, n_teacher + 1),
        "first": range(1, n_student + 1),
        "alternate": [1 + round(i * spread) for i in range(n_student)],
    }
    chosen = tuple(named[layers] if isinstance(layers, str) else layers)
    if len(chosen) != n_student or not set(chosen) <= set(range(1, n_teacher + 1)):
        raise ValueError(f"{n_student} student blocks cannot start from blocks {chosen} of a {n_teacher}-block teacher")
    return chosen


def _copy_embeddings(target: nn.Module, source: nn.Module) -> None:
    weights = source.state_dict()
    if hasattr(source, "token_type_embeddings") and not hasattr(target, "token_type_embeddings"):
        weights["position_embeddings.weight"] = (
            weights["position_embeddings.weight"] + weights.pop("token_type_embeddings.weight")[0]
        )
    target.load_state_dict(weights)


def _refuse_mismatch(student: PreTrainedConfig, teacher: PreTrainedConfig) -> None:
    own, other = family_of(student), family_of(teacher)
    if other.name not in own.starts_from:
        raise ValueError(f"{a_or_an(own.name)} student cannot start from {other.name} blocks: use projection losses")
    ours, theirs = _shape(student), _shape(teacher)
    differing = ", ".join(f"{name} {theirs[name]} → {ours[name]}" for name in ours if ours[name] != theirs[name])
    if differing:
        raise ValueError(f"teacher blocks do not fit the student ({differing}): use projection losses instead")


def _shape(config: PreTrainedConfig) -> dict[str, int]:
    return {noun: getattr(config, field) for noun, field in family_of(config).shape.items()}
