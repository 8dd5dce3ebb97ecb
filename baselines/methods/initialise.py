"""A student that starts from layers of its teacher."""

from collections.abc import Sequence
from typing import Literal

from torch import nn
from transformers import PreTrainedConfig, PreTrainedModel

from baselines.models.families import a_or_an, family_of
from baselines.models.layers import blocks


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
    """(teacher's, student's) modules of a block that do the same; the block itself where both are of one family."""
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
