"""Families of models (families.toml), as the training code reads them: whether a row is there, and what it holds.

Whatever depends on a model's family is looked up here. One without a row is refused by its name, so that no code has to
guess what an unknown model is like.
"""

import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cache
from importlib import import_module
from pathlib import Path
from typing import Any, Literal

from transformers import PreTrainedConfig, PreTrainedModel

from baselines.errors import BaselineError

TABLE = Path(__file__).parents[1] / "families.toml"


@dataclass(frozen=True)
class Family:
    name: str
    kind: Literal["text", "image", "language"]
    """Rows that it is for; those of a language are a corpus, whose next tokens it predicts."""
    layout: Literal["sequence", "map"]
    """Of its features: states [B, L, d] or maps [B, C, H, W]."""
    layers: Literal["blocks", "stages", "recurrent"]
    """Blocks of a transformer, stages of a CNN, or recurrent layers."""
    starts_from: tuple[str, ...]
    """Families whose layers its own can start from."""
    model_type: str
    """In the config.json of a checkpoint."""
    model: str
    """Import path of its class."""
    head: str
    """The linear layer that gives the logits."""
    ends: str | tuple[int, ...]
    """Where in `hidden_states` its layers end: the config's field of their number, when these are the places from 1 on
    (0 is the embedding, or the stem), or the places."""
    width: str
    """The config's field of the layers' widths, one for all or one each; or the convolution that gives a layer's map,
    whose place is {}."""
    compiled: Literal["blocks", "whole", "nothing"]
    """Blocks where inputs differ in length, each compiled for any length; the whole model where all are of one size."""
    sizes: Mapping[str, tuple[str, ...]]
    """What a plan and its rows say of a model (`build.SIZES`) → the fields of its config."""
    fixed: Mapping[str, Any] = field(default_factory=dict)
    """Further fields of the config of a model built from sizes."""
    unset: tuple[str, ...] = ()
    """Fields of that config that are None."""
    halved: bool = False
    """Whether its width must be even."""
    blocks: str = ""
    """The list of its blocks in the base model, where methods may reach into them."""
    parts: Mapping[str, str] = field(default_factory=dict)
    """Parts of a block, by a name that all families share."""
    embeddings: tuple[str, ...] = ()
    """What comes before the first block in the base model; one that a model of these sizes lacks is left out."""
    shape: Mapping[str, str] = field(default_factory=dict)
    """Fields of the config, by their noun, in which two models agree when one starts from the other's layers."""
    positions_after_padding: bool = False
    """Whether positions are counted from one after the padding's id."""
    stem: Literal["", "convolution", "strides"] = ""
    """How its stem is fitted to 32-pixel images: another first convolution, or the first two strides."""
    regularisation: Mapping[str, float] = field(default_factory=dict)
    """As published, where the class has other defaults: `classifier_dropout_prob`, and the `momentum` of BatchNorm."""
    pads_itself: bool = False
    """Whether its convolutions can pad their own input (padding.py)."""
    by_length: bool = False
    """Whether a batch may be read in parts of similar length (by_length.py)."""


def family(name: str) -> Family:
    """The row of that name. Raises BaselineError where there is none."""
    if name not in families():
        raise _unknown(name)
    return families()[name]


def family_of(config: PreTrainedConfig) -> Family:
    """The row of a model with this config. Raises BaselineError where there is none."""
    return family(named(config.model_type))


def named(model_type: str) -> str:
    """The family that a config.json of this type is of; the type itself where none is."""
    return next((row.name for row in families().values() if row.model_type == model_type), model_type)


def model_class(row: Family) -> type[PreTrainedModel]:
    module, _, name = row.model.rpartition(".")
    found: type[PreTrainedModel] = getattr(import_module(module), name)
    return found


def a_or_an(name: str) -> str:
    """The name after its article."""
    return f"{'an' if name[0] in 'aeiou' else 'a'} {name}"


@cache
def families() -> Mapping[str, Family]:
    """Every family, by name."""
    rows = tomllib.loads(TABLE.read_text(encoding="utf-8"))
    return {name: _family(name, row) for name, row in rows.items()}


def _family(name: str, row: dict[str, Any]) -> Family:
    facts = {key: value for key, value in row.items() if key not in ("code", "plan")} | row["code"]
    sizes = {size: tuple(fields) for size, fields in facts.pop("sizes").items()}
    plain = {key: tuple(value) if isinstance(value, list) else value for key, value in facts.items()}
    return Family(name=name, sizes=sizes, **plain)


def _unknown(name: str) -> BaselineError:
    return BaselineError(
        f"unknown family of models {name!r:.80}: known are {', '.join(families())}",
        "choose one of them, or give it a row in baselines/families.toml",
    )
