"""The plan: every hyperparameter of a run, fixed and hashed before anything trains.

A plan is frozen. Nothing amends it after approval; an amendment is a new plan that names its parent.
`Proposal` is what a language model may say about a plan; the rest comes from the user and from the scale's defaults.
"""

import hashlib
import json
import math
import re
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, field_validator, model_validator

from agent.cards import Card, Kind, cards

Origin = Literal["user", "model", "default"]
Metric = Literal["accuracy", "precision", "recall", "f1", "inference_ms", "size_mb"]

HIGHER_IS_BETTER: dict[str, bool] = {
    "accuracy": True,
    "precision": True,
    "recall": True,
    "f1": True,
    "inference_ms": False,
    "size_mb": False,
}


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


class Record(BaseModel):
    """A frozen record that refuses fields it does not know and numbers that are not finite."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)


class ModelSpec(Record):
    """A teacher or a student: a checkpoint, or sizes to build one with random weights."""

    architecture: Literal["bert", "distilbert", "roberta", "bilstm", "resnet", "mobilenetv2", "gpt2"]
    """A bilstm is a student built from sizes."""
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
    def settings(self) -> dict[str, Any]:
        """What is said of it: what came later, only where it is not as it always was."""
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
    """What a reader must know about the rows, such as how many of the published ones are there."""
    encoded: str
    """SHA-256 over what the models are fed: token ids, or pixels at the input size."""

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
    learning_rate: Positive = 0.003
    layers: Annotated[int, Field(ge=0)] = 2
    """Zero, as a width of zero: that of the checkpoint, until it was looked at."""
    width: Annotated[int, Field(ge=0, multiple_of=2)] = 64
    top_k: Count = 50
    top_p: Annotated[float, Field(gt=0, le=1)] = 0.95
    """A token is drawn from the likeliest `top_k`, and of these from the fewest that hold this share."""
    temperature: Temperature = 1.0
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
    """What the reference arms distil with, where it is not what the method states."""
    generator: Generator | None = None
    """Where there are generated rows."""
    threads: Annotated[int, Field(ge=1)] = 1

    @property
    def vanilla(self) -> Method:
        """What the reference arms distil with."""
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
    """What one process may leave on disk."""
    files: Annotated[int, Field(ge=100)] = 20_000
    processes: Annotated[int, Field(ge=8)] = 256
    output_mb: Annotated[int, Field(ge=1)] = 256
    """What one process may print before it is stopped."""
    checkpoints: Annotated[int, Field(ge=0, le=1000)] = 0
    """How many a training saves on the way, at most, so that one which is cut off can go on; each takes three times the
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
    benchmark: str = "vanilla_kd"
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
        for arm in ("student_only", self.benchmark):
            if arm not in self.reference_arms:
                raise ValueError(f"reference_arms lack {arm}: without it neither gap nor gain can be stated")
        return self

    @property
    def on_generated(self) -> tuple[str, ...]:
        """Reference arms that learn from the generated rows as the proposed arm does; none where there are none."""
        there = any(track.task.generated_rows for track in self.tracks)
        return tuple(arm for arm in self.reference_arms if there and arm in ("generated_kd", "pseudo_label"))

    @property
    def hash(self) -> str:
        """SHA-256 of the canonical JSON: the plan's identity."""
        return hashlib.sha256(self.canonical().encode()).hexdigest()

    def canonical(self) -> str:
        """Fields that came later are left out where they say nothing: earlier plans keep their hash."""
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
    usual = Method(name=method["name"]).model_dump(mode="json")
    return {name: value for name, value in method.items() if name in FIRST or value != usual[name]}


def written(generator: dict[str, Any]) -> dict[str, Any]:
    """What is said of a generator: settings that came later, only where they are not as they always were."""
    usual, late = Generator().model_dump(), ("checkpoint", "revision", "learning_rate")
    return {name: value for name, value in generator.items() if name not in late or value != usual[name]}


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


_NAMES = re.compile(
    r"\b(ResNet|WRN|VGG|DenseNet|MobileNet-?V|EfficientNet-?B|ViT|CIFAR|SST|GPT|T|BERT|DistilBERT|TinyBERT|MiniLM-?v"
    r"|L|H|Adam-?W|KD|Llama|Qwen|OPT)-?\d{1,3}[a-z]?(?!\w|\.\d|\s?%)",
    re.IGNORECASE,
)
_WORDS = re.compile(
    r"\b(one|two|three|four|five|six|seven|eight|nine|ten|eleven|twelve|\w+teen|(twen|thir|for|fif|six|seven|eigh|nine)ty"
    r"(-\w+)?|hundred)\s+(\w+\s+){0,3}?(percent|per\s+cent|percentage|points?)\b",
    re.IGNORECASE,
)


def stray_number(prose: str) -> str:
    """The first number written in prose, in digits or in words, or "" (ResNet-50 and CIFAR-10 are names)."""
    found = re.search(r"\S*\d[\d.,]*%?", _NAMES.sub("", prose)) or _WORDS.search(prose)
    return found.group() if found else ""


def title_problem(title: str, prose: str) -> str:
    """Why a title is no title: it numbers itself, or it breaks off. Else "". `prose` is about the same thing."""
    if re.match(r"\W*(\d+|[a-zA-Z]|[ivxIVX]{1,4})[.):]\s|[-*#•]\s", title):
        return f"{title!r} begins like an item of a list: write the title alone"
    if re.search(r"(\.\.\.|…|[-–,:;&]|\b(a|an|and|by|for|from|in|of|on|or|the|to|with))\s*$", title, re.IGNORECASE):
        return f"{title!r} breaks off: finish it"
    if broken := re.search(r"\b(\w+)\W+(\w+)$", title):
        pair = rf"\b{re.escape(broken[1])}\W+{re.escape(broken[2])}"
        whole = re.search(rf"{pair}(?!(?:e?s|e?d|ing|e?r)\b)\w{{2,}}", prose, re.IGNORECASE)
        if whole and not re.search(rf"{pair}\b", prose, re.IGNORECASE):
            return f"{title!r} breaks off in {whole.group()!r}: finish it"
    return ""


def steps(training: Training, rows: int) -> int:
    """Optimizer steps for `epochs` passes over `rows`."""
    per_epoch = math.ceil(rows / (training.batch_size * training.accumulation))
    return max(1, round(per_epoch * training.epochs))
