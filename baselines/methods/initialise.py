"""A student that starts from layers of its teacher."""

from collections.abc import Sequence
from typing import Literal

from torch import nn
from transformers import PreTrainedConfig, PreTrainedModel

from baselines.models.layers import blocks

BERT_TO_DISTILBERT = {
    "attention.self.query": "attention.q_lin",
    "attention.self.key": "attention.k_lin",
    "attention.self.value": "attention.v_lin",
    "attention.output.dense": "attention.out_lin",
    "attention.output.LayerNorm": "sa_layer_norm",
    "intermediate.dense": "ffn.lin1",
    "output.dense": "ffn.lin2",
    "output.LayerNorm": "output_layer_norm",
}


def init_from_teacher(
    student: PreTrainedModel, teacher: PreTrainedModel, layers: Literal["last", "first", "alternate"] | Sequence[int]
) -> None:
    """Copies the teacher's embeddings and one teacher block into each student block; heads and poolers stay.

    `layers` are teacher blocks counted from 1; "alternate" spreads them from first to last (1 3 5 8 10 12 for 12 → 6,
    as DistilBERT does). Takes BERT → DistilBERT and an encoder → its own family. DistilBERT has no token types, so
    the row of type 0 is folded into every position. Raises ValueError when the families or the shapes differ.
    """
    sources, targets = blocks(teacher), blocks(student)
    _refuse_mismatch(student.config, teacher.config)
    chosen = _chosen_blocks(layers, len(sources), len(targets))
    renamed = student.config.model_type != teacher.config.model_type
    for target, layer in zip(targets, chosen, strict=True):
        for old, new in BERT_TO_DISTILBERT.items() if renamed else [("", "")]:
            target.get_submodule(new).load_state_dict(sources[layer - 1].get_submodule(old).state_dict())
    _copy_embeddings(student.base_model.embeddings, teacher.base_model.embeddings)


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
    if not hasattr(target, "token_type_embeddings"):
        weights["position_embeddings.weight"] = (
            weights["position_embeddings.weight"] + weights.pop("token_type_embeddings.weight")[0]
        )
    target.load_state_dict(weights)


def _refuse_mismatch(student: PreTrainedConfig, teacher: PreTrainedConfig) -> None:
    families = (teacher.model_type, student.model_type)
    if families != ("bert", "distilbert") and families[0] != families[1]:
        raise ValueError(f"a {families[1]} student cannot start from {families[0]} blocks: use projection losses")
    ours, theirs = _shape(student), _shape(teacher)
    differing = ", ".join(f"{name} {theirs[name]} → {ours[name]}" for name in ours if ours[name] != theirs[name])
    if differing:
        raise ValueError(f"teacher blocks do not fit the student ({differing}): use projection losses instead")


def _shape(config: PreTrainedConfig) -> dict[str, int]:
    return {
        "width": config.hidden_size,
        "heads": config.num_attention_heads,
        "feed-forward width": config.hidden_dim if config.model_type == "distilbert" else config.intermediate_size,
        "vocabulary": config.vocab_size,
        "positions": config.max_position_embeddings,
    }
