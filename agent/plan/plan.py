"""The plan: every hyperparameter of a run, fixed and hashed before anything trains.

A plan is frozen. Nothing amends it after approval; an amendment is a new plan that names its parent.
`Proposal` has the fields that a language model may set; the rest comes from the user and from the scale's defaults.
"""

import hashlib
import json
import math
from typing import Annotated, Any, Literal

from pydantic import ConfigDict, Field, field_validator, model_validator

from agent.frozen import Record
from agent.plan.arms import ALONE, ARMS, DISTILLED
from agent.plan.cards import Kind
from agent.plan.families import Architecture
from agent.plan.method import STATED, Method

Origin = Literal["user", "model", "default"]
Metric = Literal["accuracy", "precision", "recall", "f1", "inference_ms", "size_mb"]

Count = Annotated[int, Field(ge=1)]

HIGHER_IS_BETTER: dict[str, bool] = {
    "accuracy": True,
    "precision": True,
    "recall": True,
    "f1": True,
    "inference_ms": False,
    "size_mb": False,
}


class ModelSpec(Record):
    """A teacher or a student: a checkpoint, or sizes to build one with random weights."""

    architecture: Architecture
    """Its family: a row of baselines/families.toml."""
    checkpoint: str = ""
    """Hub id or folder of pretrained weights; empty means random weights with the sizes below."""
    revision: str = ""
    layers: Annotated[int, Field(ge=1)]
    """Transformer blocks, recurrent layers, or stages of a CNN."""
    width: Annotated[float, Field(gt=0)]
    """Hidden size of a transformer, of both directions of a bilstm together, channels of a ResNet's first stage, width
    multiplier of MobileNetV2."""
    heads: Annotated[int, Field(ge=0)] = 0
    blocks: tuple[int, ...] = ()
    """Residual blocks per stage (ResNet only)."""
    bottleneck: bool = False
    dropout: Annotated[float, Field(ge=0, lt=1)] = 0.1
    """Of a text model built from sizes."""
    stem: Literal["", "imagenet", "cifar"] = ""
    """First convolution of a CNN: `cifar` is 3×3, stride 1, without pooling."""


class Training(Record):
    """How one model is trained. The step count follows from it and from the data."""

    learning_rate: Annotated[float, Field(gt=0)]
    batch_size: Annotated[int, Field(ge=1)]
    epochs: Annotated[float, Field(gt=0)]
    optimizer: Literal["adam", "adamw", "sgd"] = "adamw"
    schedule: Literal["linear", "cosine", "constant"] = "linear"
    warmup: Annotated[float, Field(ge=0, le=1)] = 0.06
    """Share of the steps spent warming up."""
    weight_decay: Annotated[float, Field(ge=0)] = 0.01
    max_grad_norm: Annotated[float, Field(gt=0)] = 1.0
    accumulation: Annotated[int, Field(ge=1)] = 1
    precision: Literal["fp32", "bf16"] = "fp32"
    compiled: bool = False
    """Whether torch.compile turns the model into kernels of its own."""

    @property
    def settings(self) -> dict[str, object]:
        """Its serialised form: later fields only where they are not the default."""
        return {name: value for name, value in self.model_dump().items() if name != "compiled" or value}

    def rates(self, steps: int) -> list[float]:
        """The learning rate of each step, as the schedules of transformers.get_scheduler give it."""
        warmup = round(self.warmup * steps)
        return [self.learning_rate * self._factor(step, warmup, steps) for step in range(steps)]

    def _factor(self, step: int, warmup: int, steps: int) -> float:
        if step < warmup:
            return step / max(1, warmup)
        done = (step - warmup) / max(1, steps - warmup)
        return {"constant": 1.0, "linear": 1 - done, "cosine": 0.5 * (1 + math.cos(math.pi * done))}[self.schedule]


class TeacherTraining(Training):
    """No epochs at all: a checkpoint that somebody trained for the task is the teacher as it is."""

    epochs: Annotated[float, Field(ge=0)]


class Task(Record):
    """The data of a track: what is used, how much of it, and its content hash."""

    name: str
    kind: Kind
    source: str
    """Where the rows come from: embedded, a folder, the local cache or the hub."""
    revision: str = ""
    labels: tuple[str, ...]
    train_rows: Annotated[int, Field(ge=1)]
    """Labelled rows."""
    transfer_rows: Annotated[int, Field(ge=0)]
    """Rows without labels, for the teacher to label."""
    generated_rows: Annotated[int, Field(ge=0)] = 0
    """Rows without labels that a language model wrote, for the teacher to label."""
    dev_rows: Annotated[int, Field(ge=1)]
    test_rows: Annotated[int, Field(ge=1)]
    input_size: Annotated[int, Field(ge=1)]
    """Tokens per text at most, or pixels per image side."""
    data_seed: int = 0
    label_noise: Annotated[float, Field(ge=0, lt=1)] = 0.0
    """Share of the labelled training rows that were put to another class."""
    views: Annotated[int, Field(ge=1)] = 1
    """In which models learn from each image, in turn: as it is, and shifted by up to an eighth of its side."""
    mirror: bool = False
    """Whether some of the views are mirrored; only a mirror that leaves the class as it is should be asked for."""
    hash: str
    """SHA-256 over every row of every split, in order."""
    notes: tuple[str, ...] = ()
    """Remarks on the rows that a reader must know, such as how many of the published ones are there."""
    encoded: str
    """SHA-256 over the models' inputs: token ids, or pixels at the input size."""

    @property
    def most_views(self) -> int:
        """Of a text one; of an image as many as there are shifts, each of them mirrored too where that may be."""
        return (2 * max(1, self.input_size // 8) + 1) ** 2 * (1 + self.mirror) if self.kind == "image" else 1


class Generator(Record):
    """The causal language model that writes the generated rows, after training on the pool's texts. Its seed is that of
    the data."""

    checkpoint: str = ""
    """Hub id or folder of the weights that it starts from; empty means random weights with the sizes below."""
    revision: str = ""
    samples: Count = 4000
    """Texts that are drawn, before filters leave some out."""
    steps: Count = 400
    """Of its training: too few and its texts are noise, too many and they are copies."""
    learning_rate: Annotated[float, Field(gt=0)] = 0.003
    layers: Annotated[int, Field(ge=0)] = 2
    """Zero, as a width of zero: that of the checkpoint, until it was looked at."""
    width: Annotated[int, Field(ge=0, multiple_of=2)] = 64
    top_k: Count = 50
    top_p: Annotated[float, Field(gt=0, le=1)] = 0.95
    """A token is drawn from the likeliest `top_k`, and of these from the fewest that cover this share."""
    temperature: Annotated[float, Field(gt=0, le=100)] = 1.0
    """Above one, texts are more varied and more often nonsense."""

    @model_validator(mode="after")
    def _has_sizes(self) -> "Generator":
        if not self.checkpoint and not (self.layers and self.width):
            raise ValueError("layers and width of zero are those of a checkpoint, and none is named")
        return self


class Track(Record):
    """One task with its teacher and its student."""

    name: str
    task: Task
    teacher: ModelSpec
    teacher_training: TeacherTraining
    student: ModelSpec
    training: Training
    method: Method
    assistant: ModelSpec | None = None
    """A model of a size in between: it learns from the teacher, and the idea's student from it."""
    reference: Method | None = None
    """Settings that the reference arms distil with, where they differ from the method's."""
    generator: Generator | None = None
    """Where there are generated rows."""
    threads: Annotated[int, Field(ge=1)] = 1

    @property
    def vanilla(self) -> Method:
        """The settings that the reference arms distil with."""
        return self.reference or self.method

    @property
    def pool_rows(self) -> int:
        """Rows a distilled student can see: labelled, transfer and generated rows."""
        return self.labelled_rows + self.task.generated_rows

    @property
    def labelled_rows(self) -> int:
        """Rows whose labels are known, to the teacher if not to students."""
        return self.task.train_rows + self.task.transfer_rows

    @property
    def steps(self) -> int:
        """Optimizer steps of every student arm: the same budget for all."""
        return steps(self.training, self.pool_rows)

    @property
    def teacher_steps(self) -> int:
        return steps(self.teacher_training, self.labelled_rows) if self.teacher_training.epochs else 0

    @property
    def assistant_training(self) -> Training:
        """As its teacher's; as the student's where the teacher comes trained."""
        return self.teacher_training if self.teacher_training.epochs else self.training

    @property
    def assistant_steps(self) -> int:
        return steps(self.assistant_training, self.labelled_rows)


class Budget(Record):
    seconds: Annotated[float, Field(gt=0)] = 3600.0
    trial_seconds: Annotated[float, Field(gt=0)] = 1800.0
    memory_mb: Annotated[int, Field(ge=256)] = 4096
    disk_mb: Annotated[int, Field(ge=64)] = 4096
    """Disk space of one process."""
    files: Annotated[int, Field(ge=100)] = 20_000
    processes: Annotated[int, Field(ge=8)] = 256
    output_mb: Annotated[int, Field(ge=1)] = 256
    """Output of one process after which it is stopped."""
    checkpoints: Annotated[int, Field(ge=0, le=1000)] = 0
    """How many a training saves on the way, at most, so that it can continue when cut off; each takes three times the
    weights, and three lie on the disk at once."""
    tokens: Annotated[int, Field(ge=0)] = 200_000


class Plan(Record):
    schema_: Literal[1] = Field(1, alias="schema")
    idea: str
    title: str
    objective: str
    hypothesis: str
    methodology: str
    scale: Literal["demo", "small", "paper"]
    tracks: tuple[Track, ...] = Field(min_length=1)
    seeds: tuple[int, ...] = Field(min_length=1)
    metrics: tuple[Metric, ...] = ("accuracy", "precision", "recall", "f1", "inference_ms", "size_mb")
    averaging: Literal["macro"] = "macro"
    primary_metric: Literal["accuracy", "precision", "recall", "f1"] = "accuracy"
    least_effect: Annotated[float, Field(ge=0)] = 0.005
    """Smallest difference of the primary metric worth a claim."""
    level: Annotated[float, Field(gt=0, lt=1)] = 0.05
    reference_arms: tuple[str, ...]
    benchmark: str = DISTILLED.name
    """The reference arm the proposed arm must beat; student_only is always compared too."""
    attempts: Annotated[int, Field(ge=1, le=20)] = 1
    budget: Budget = Budget()
    provenance: dict[str, Origin]
    """Where each field came from, by dotted path."""
    parent: str = ""

    model_config = ConfigDict(frozen=True, extra="forbid", populate_by_name=True)

    @field_validator("seeds")
    @classmethod
    def _seeds_differ(cls, seeds: tuple[int, ...]) -> tuple[int, ...]:
        if len(set(seeds)) != len(seeds):
            raise ValueError(f"seeds repeat: {seeds}")
        return seeds

    @model_validator(mode="after")
    def _has_what_it_is_compared_with(self) -> "Plan":
        for arm in (ALONE.name, self.benchmark):
            if arm not in self.reference_arms:
                raise ValueError(f"reference_arms lack {arm}: without it neither gap nor gain can be stated")
        return self

    @property
    def on_generated(self) -> tuple[str, ...]:
        """Reference arms that learn from the generated rows as the proposed arm does; none where there are none."""
        there = any(track.task.generated_rows for track in self.tracks)
        return tuple(arm for arm in self.reference_arms if there and arm in ARMS and ARMS[arm].generated)

    @property
    def hash(self) -> str:
        """SHA-256 of the canonical JSON: the plan's identity."""
        return hashlib.sha256(self.canonical().encode()).hexdigest()

    def canonical(self) -> str:
        """Later fields are left out where they are the default: earlier plans keep their hash."""
        said = self.model_dump(mode="json", by_alias=True)
        if not self.budget.checkpoints:
            del said["budget"]["checkpoints"]
        for track, own in zip(said["tracks"], self.tracks, strict=True):
            track["method"] = _stated(track["method"])
            track |= {"training": own.training.settings, "teacher_training": own.teacher_training.settings}
            if track["task"]["views"] == 1:
                del track["task"]["views"], track["task"]["mirror"]
            late = {"reference": track, "assistant": track, "generator": track}
            track["generator"] = track["generator"] and written(track["generator"])
            for part, place in (late | dict.fromkeys(("label_noise", "generated_rows"), track["task"])).items():
                if not place[part]:
                    del place[part]
        return json.dumps(said, sort_keys=True, ensure_ascii=False)

    def track(self, name: str) -> Track:
        return next(track for track in self.tracks if track.name == name)


def _stated(method: dict[str, Any]) -> dict[str, Any]:
    usual = Method(name=method["name"]).whole.model_dump(mode="json")
    return {name: value for name, value in method.items() if name in STATED or value != usual[name]}


def written(generator: dict[str, Any]) -> dict[str, Any]:
    """The serialised form of a generator: later settings only where they are not the default."""
    usual, late = Generator().model_dump(), ("checkpoint", "revision", "learning_rate")
    return {name: value for name, value in generator.items() if name not in late or value != usual[name]}


def steps(training: Training, rows: int) -> int:
    """Optimizer steps for `epochs` passes over `rows`."""
    per_epoch = math.ceil(rows / (training.batch_size * training.accumulation))
    return max(1, round(per_epoch * training.epochs))
