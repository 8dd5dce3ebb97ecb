"""What a language model may set in a plan."""

from typing import Annotated

from pydantic import Field, field_validator, model_validator

from agent.frozen import Record
from agent.plan.method import (
    Count,
    Generations,
    InitLayers,
    Kept,
    LayerMap,
    MethodName,
    Mode,
    Outer,
    Part,
    Partition,
    Peers,
    PeerSizes,
    Positive,
    Relations,
    Revise,
    Selector,
    Share,
    Shares,
    Signal,
    Teachers,
    Temperature,
    Temperatures,
    Weight,
    _settings,
)
from agent.plan.prose import stray_number, title_problem


class Proposal(Record):
    """What a language model may say about a plan. None means: keep the default."""

    title: Annotated[str, Field(min_length=3, max_length=120)]
    objective: Annotated[str, Field(min_length=3, max_length=1500)]
    hypothesis: Annotated[str, Field(min_length=3, max_length=1500)]
    methodology: Annotated[str, Field(min_length=3, max_length=3000)]
    method: MethodName
    temperature: Temperature | None = None
    alpha: Share | None = None
    beta: Weight | None = None
    layers: Count | None = None
    layer_map: LayerMap | None = None
    signal: Signal | None = None
    init_layers: InitLayers | None = None
    relation_heads: Count | None = None
    relations: Relations | None = None
    contrast_temperature: Positive | None = None
    contrast_width: Count | None = None
    queue: Count | None = None
    min_map_size: Count | None = None
    correct: Part | None = None
    teachers: Teachers | None = None
    mode: Mode | None = None
    stage_one: Share | None = None
    head_start: Share | None = None
    partition: Partition | None = None
    revision: Part | None = None
    revise: Revise | None = None
    keep_ratio: Share | None = None
    selector: Selector | None = None
    ridge: Positive | None = None
    samples_per_class: Annotated[int, Field(ge=2)] | None = None
    boost: Weight | None = None
    tau: Weight | None = None
    temperatures: Temperatures | None = None
    alphas: Shares | None = None
    tuning: Part | None = None
    peers: Peers | None = None
    outer: Outer | None = None
    eta: Positive | None = None
    update_every: Count | None = None
    weight_floor: Share | None = None
    peer_sizes: PeerSizes | None = None
    generations: Generations | None = None
    ratio: Kept | None = None
    ref_fraction: Part | None = None
    ref_layers: Count | None = None
    ref_width: Count | None = None
    ref_epochs: Count | None = None
    unused: tuple[str, ...] | None = None
    learning_rate: Annotated[float, Field(gt=0)] | None = None
    batch_size: Annotated[int, Field(ge=1)] | None = None
    epochs: Annotated[float, Field(gt=0)] | None = None

    @model_validator(mode="after")
    def _prose_writes_no_number(self) -> "Proposal":
        for field in ("title", "objective", "hypothesis", "methodology"):
            if number := stray_number(getattr(self, field)):
                raise ValueError(
                    f"{field} writes the number {number!r}; numbers belong in their own fields: "
                    "name the field instead (for example {temperature})"
                )
        return self

    @field_validator("unused")
    @classmethod
    def _unused_are_settings(cls, names: tuple[str, ...] | None) -> tuple[str, ...] | None:
        return names and _settings(names)

    @model_validator(mode="after")
    def _title_is_whole(self) -> "Proposal":
        if problem := title_problem(self.title, f"{self.objective} {self.hypothesis} {self.methodology}"):
            raise ValueError(f"title {problem}")
        return self
