"""The settings of a method, each with its type and range."""

import math
import re
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BeforeValidator, Field, field_validator, model_validator

from agent.frozen import Record
from agent.plan.cards import Card, Kind, cards


def _known(name: str) -> str:
    if name not in cards():
        raise ValueError(f"unknown method: choose one of {', '.join(cards())}")
    return name


def _start(said: Any) -> Any:
    """A word, or blocks as they are written on a command line, `1,3,5`; a single one is a list too."""
    listed = re.fullmatch(r"\d{1,4}( *, *\d{1,4})*", said) if isinstance(said, str) else None
    found = [int(number) for number in said.split(",")] if listed else [said] if type(said) is int else said
    blocks = isinstance(found, list | tuple) and found and all(type(each) is int and each > 0 for each in found)
    if not blocks and found not in ("none", "last", "first", "alternate"):
        raise ValueError("say none, last, first or alternate, or the teacher's blocks from 1 on, such as 1,3,5")
    return found


KINDS: dict[str, Kind] = {"cls": "text", "cos": "text", "critical": "text", "attention": "image"}
"""Signals and layer maps that are for one kind of rows alone."""
MethodName = Annotated[str, AfterValidator(_known)]
Temperature = Annotated[float, Field(gt=0, le=100)]
Positive = Annotated[float, Field(gt=0)]
Weight = Annotated[float, Field(ge=0)]
Share = Annotated[float, Field(ge=0, le=1)]
Part = Annotated[float, Field(gt=0, lt=1)]
Kept = Annotated[float, Field(gt=0, le=1)]
Count = Annotated[int, Field(ge=1)]
LayerMap = Literal["last", "last_stretched", "skip", "last1", "critical"]
Signal = Literal["hidden", "cls", "cos", "attention", "relation", "crd"]
InitLayers = Annotated[Literal["none", "last", "first", "alternate"] | tuple[Count, ...], BeforeValidator(_start)]
Relations = Literal["self", "attention"]
Temperatures = Annotated[tuple[Temperature, ...], Field(min_length=1)]
Shares = Annotated[tuple[Share, ...], Field(min_length=1)]
Outer = Literal["bilevel", "direct", "fixed"]
Mode = Literal["1-o-1", "1avg-o-1", "m-o-1"]
Revise = Literal["wrong", "all"]
Partition = Literal["supervised", "unsupervised"]
Selector = Literal["influence", "p_true", "none"]
Peers = Annotated[int, Field(ge=2)]
PeerSizes = Literal["same", "searched"]
Generations = Annotated[int, Field(ge=2, le=8)]
Teachers = Annotated[int, Field(ge=1, le=8)]


class Method(Record):
    """The distillation settings an arm reads from `experiment.method`; each method has some of them."""

    name: MethodName
    temperature: Temperature = 3.0
    alpha: Share = 0.5
    """Weight of the distillation term; the labels weigh 1 − alpha."""
    beta: Weight = 1.0
    """Weight of the feature term, or of the part of the distillation that a method weighs apart."""
    layers: Count = 3
    """How many layers are matched, counted from the last."""
    layer_map: LayerMap = "last"
    signal: Signal = "hidden"
    norm: Literal["layer", "none", "l2"] = "layer"
    init_layers: InitLayers = "none"
    """Teacher layers the student starts from: by a word, or one block of the teacher per block of the student."""
    relation_heads: Count = 4
    """Into how many heads queries, keys and values are cut anew."""
    relations: Relations = "self"
    contrast_temperature: Positive = 0.1
    contrast_width: Count = 128
    """Dimensions in which examples are told apart."""
    queue: Count = 1024
    """Recent examples that others are told apart from."""
    min_map_size: Count = 2
    """Pixels a side of the smallest map whose attention is transferred."""
    correct: Part = 0.99
    """Probability of the label in a teacher written by hand."""
    teachers: Teachers = 1
    """Trained from one seed after another."""
    mode: Mode = "m-o-1"
    """One student from the first teacher, from the mean of all, or with a head per teacher."""
    stage_one: Share = 0.5
    """Share of the steps that go without labels."""
    head_start: Share = 0.5
    """Share of the steps that the labels alone have, before a copy of the student is frozen."""
    partition: Partition = "supervised"
    """Whether who is surer of a row is asked about its label or about any class."""
    revision: Part = 0.8
    """How much of a wrong answer of the teacher is kept: the label then leads by one minus it."""
    revise: Revise = "wrong"
    """Which of the teacher's answers are revised."""
    keep_ratio: Share = 0.7
    """Share of the rows that are distilled."""
    selector: Selector = "influence"
    ridge: Positive = 0.01
    """Ridge penalty of the probe that influence is measured with."""
    samples_per_class: Annotated[int, Field(ge=2)] = 40
    """Rows whose embeddings say how alike classes are."""
    boost: Weight = 0.0225
    """Added to how alike a class is to itself."""
    tau: Weight = 0.0
    """Temperature of the table of soft labels; zero chooses it."""
    temperatures: Temperatures = (1.0, 2.0, 3.0, 4.0, 5.0, 8.0, 10.0, 20.0)
    alphas: Shares = (0.1, 0.3, 0.5, 0.7, 0.9, 1.0)
    tuning: Part = 0.1
    """Share of the steps of each short training by which temperature and weight are chosen."""
    peers: Peers = 2
    """Students that teach each other, in all."""
    outer: Outer = "bilevel"
    """By what gradient the weights of peers move, if they do."""
    eta: Positive = 0.5
    """Step size of these weights."""
    update_every: Count = 5
    """Training steps between two steps of these weights."""
    weight_floor: Share = 0.02
    """The least such a weight can be."""
    peer_sizes: PeerSizes = "same"
    """Whether peers are as large as the student, or smaller, each by another share of its parameters."""
    generations: Generations = 2
    """Models of the student's size that follow each other, the student the last of them."""
    ratio: Kept = 0.5
    """Share of the texts that are learned from, of those that did not train the reference model."""
    ref_fraction: Part = 0.05
    """Share of the texts that train the reference model and nothing else."""
    ref_layers: Count = 1
    ref_width: Count = 32
    ref_epochs: Count = 20
    """How often the reference model sees its texts."""
    unused: tuple[str, ...] = ()
    """Settings that the idea's own loss has no use for; reference arms use them all the same."""

    @field_validator("unused")
    @classmethod
    def _unused_are_settings(cls, names: tuple[str, ...]) -> tuple[str, ...]:
        return _settings(names)

    @model_validator(mode="after")
    def _floor_leaves_room(self) -> "Method":
        if self.weight_floor * self.peers > 1:
            raise ValueError(f"weight_floor = {self.weight_floor:g} is more than an even share of {self.peers} peers")
        return self

    @property
    def card(self) -> Card:
        return cards()[self.name]

    def chosen(self, rows: int) -> int:
        """Of so many training rows, those that it learns from: all, or the share that it keeps of those left over."""
        if "ratio" not in self.card.defaults:
            return rows
        return math.floor(self.ratio * (rows - max(1, round(self.ref_fraction * rows))))

    @property
    def idle(self) -> tuple[str, ...]:
        """Settings that only another signal reads."""
        return tuple(name for signal, own in self.card.reads.items() if signal != self.signal for name in own)

    @property
    def scored(self) -> bool:
        """Whether its layers are chosen by what each is worth to the teacher."""
        return self.card.critical and self.layer_map == "critical"

    @property
    def kinds(self) -> tuple[Kind, ...]:
        """The kinds of rows that it is defined for with these settings."""
        chosen = {"signal", "layer_map"} & self.card.defaults.keys()
        bound = {KINDS.get(getattr(self, name)) for name in chosen} - {None}
        return tuple(kind for kind in self.card.kinds if bound <= {kind})

    @property
    def settings(self) -> dict[str, Any]:
        """What `experiment.method` holds: the method's own settings, and those that every idea may use."""
        held = {*FIRST, *self.card.defaults}
        return {name: value for name, value in self.model_dump().items() if name in held}


FIRST = ("name", "temperature", "alpha", "beta", "layers", "layer_map", "signal", "norm", "init_layers", "unused")
"""Settings that a plan always states; others only where they are the method's own, or not as they come."""


def _settings(names: tuple[str, ...]) -> tuple[str, ...]:
    """Raises ValueError for a name that is no setting of any method."""
    if odd := [name for name in names if name in ("name", "unused") or name not in Method.model_fields]:
        raise ValueError(f"{odd[0]!r} is no setting of a method")
    return names
