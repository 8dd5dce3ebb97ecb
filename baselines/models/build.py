"""Teachers and students: built from sizes, or loaded from a folder, the local cache or the hub at a pinned revision.

A spec is the plan's ModelSpec as a dict. Weights depend on the seed alone, so arms that share a seed start equal.
"""

import shutil
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import safe_open
from torch import nn
from transformers import (
    AutoConfig,
    AutoModelForImageClassification,
    AutoModelForSequenceClassification,
    set_seed,
)

from baselines.data.hub import snapshot
from baselines.errors import BaselineError, reason
from baselines.models.families import Family, a_or_an, families, family, model_class, named
from baselines.models.layers import taps
from baselines.models.padding import by_convolutions

PLAIN_FILES = ["model*.safetensors", "*.json", "vocab.txt", "merges.txt"]
SIZES: Mapping[str, Callable[[dict, dict], Any]] = {
    "vocabulary": lambda spec, task: task["vocabulary"],
    "positions": lambda spec, task: _positions(spec, task),
    "padding": lambda spec, task: task["padding"],
    "width": lambda spec, task: int(spec["width"]),
    "layers": lambda spec, task: spec["layers"],
    "heads": lambda spec, task: spec["heads"],
    "feed_forward": lambda spec, task: 4 * int(spec["width"]),
    "dropout": lambda spec, task: spec["dropout"],
    "spread": lambda spec, task: _spread(spec),
    "channels": lambda spec, task: task["channels"],
    "pixels": lambda spec, task: task["input_size"],
    "multiplier": lambda spec, task: spec["width"],
    "blocks": lambda spec, task: list(spec["blocks"]),
    "stage_widths": lambda spec, task: _stage_widths(spec),
    "unit": lambda spec, task: "bottleneck" if spec["bottleneck"] else "basic",
}
"""What a plan's spec and the prepared rows say of a model; a family's row names the fields of its config for each."""
CLASSES = {name: model_class(row) for name, row in families().items()}
"""Imported here, once: a trial is a copy of the process that imports this."""


def build(spec: dict, task: dict, seed: int) -> nn.Module:
    """A classifier for `task` (task.json of the prepared data), in fp32, in training mode.

    A checkpoint is a local folder by now (`fetch`); its classification head is new, and drawn from `seed`.
    Raises BaselineError for an unknown family, when a checkpoint cannot be loaded or is not the planned architecture.
    """
    row = family(spec["architecture"])
    set_seed(seed)  # before the weights exist: TrainingArguments.seed comes too late for them
    labels = dict(enumerate(task["labels"]))
    names = {"num_labels": len(labels), "id2label": labels, "label2id": {name: i for i, name in labels.items()}}
    model = _pretrained(spec, task, names) if spec["checkpoint"] else _from_sizes(row, spec, task, names)
    _regularise(model, row.regularisation)
    return _fitted(model, row, spec["stem"])


def finished(spec: dict, task: dict) -> nn.Module:
    """A checkpoint as somebody trained it for this task; its answers stand in the order of the task's classes.

    Classes are matched by their names, never by their places; those of a language model are its own tokens. Raises
    BaselineError where the names differ, upper and lower case aside, and where the checkpoint has no head.
    """
    if task["kind"] == "language":
        return build(spec, task, seed=0)
    folder, wanted = Path(spec["checkpoint"]), [name.casefold() for name in task["labels"]]
    known = AutoConfig.from_pretrained(folder).id2label
    names = [str(known[place]) for place in sorted(known)]
    own = [name.casefold() for name in names]
    if sorted(own) != sorted(wanted):
        raise BaselineError(
            f"the teacher's classes are {', '.join(names)}; the task's are {', '.join(task['labels'])}",
            "name them alike in id2label of its config.json, or train it: --set teacher_training.epochs=2",
        )
    model = build(spec, task, seed=0)
    stored = {name for file in folder.glob("*.safetensors") for name in _stored(file)}
    heads = [name for name, _ in model.named_parameters() if not name.startswith(model.base_model_prefix)]
    if missing := [name for name in heads if name not in stored]:
        raise BaselineError(
            f"the teacher's checkpoint has no classification head: {missing[0]} is missing",
            "train it first: --set teacher_training.epochs=2",
        )
    head = model.get_submodule(family(spec["architecture"]).head)
    order = [own.index(name) for name in wanted]
    with torch.no_grad():
        head.weight.copy_(head.weight[order].clone())
        head.bias.copy_(head.bias[order].clone())
    return model


def _stored(file: Path) -> set[str]:
    with safe_open(file, "pt") as tensors:  # the header alone is read
        return set(tensors.keys())


def _from_sizes(row: Family, spec: dict, task: dict, names: dict) -> nn.Module:
    """A model of random weights. Raises BaselineError for a width that cannot be halved where it must be."""
    if row.halved and spec["width"] % 2:
        raise BaselineError(f"{a_or_an(row.name)} of width {spec['width']:g} has no two halves", "plan an even width")
    sizes = {place: SIZES[size](spec, task) for size, places in row.sizes.items() for place in places}
    made = CLASSES[row.name]
    return made(made.config_class(**sizes, **row.fixed, **dict.fromkeys(row.unset), **names))


def _positions(spec: dict, task: dict) -> int:
    return task["input_size"] + _before_positions(family(spec["architecture"]), task["padding"])


def _before_positions(row: Family, padding: int | None) -> int:
    """Places of the position table that no token takes: where positions begin after the padding's id, up to it."""
    return padding + 1 if row.positions_after_padding else 0


def _spread(spec: dict) -> float:
    """Standard deviation of the initial weights. The usual 0.02 is meant for width 768; narrow models stall with it."""
    return max(0.02, 0.4 * spec["width"] ** -0.5)


def _stage_widths(spec: dict) -> list[int]:
    """Channels of a ResNet's stages: each has twice those of the one before."""
    return [int(spec["width"]) * (4 if spec["bottleneck"] else 1) * 2**stage for stage in range(spec["layers"])]


def _regularise(model: nn.Module, values: Mapping[str, float]) -> None:
    """The published values, where a class has others."""
    if "classifier_dropout_prob" in values:
        model.dropout.p = model.config.classifier_dropout_prob = values["classifier_dropout_prob"]
    if "momentum" in values:
        for module in model.modules():
            if isinstance(module, nn.BatchNorm2d):
                module.momentum = values["momentum"]


def _fitted(model: nn.Module, row: Family, stem: str) -> nn.Module:
    """The model with the planned stem, its convolutions padding their own input where they can."""
    if stem == "cifar":
        _cifar_stem(model, row)
    return by_convolutions(model) if row.pads_itself else model


def _own_head(model: nn.Module, row: Family) -> None:
    """A published GPT-2 answers with the weights of its embedding. Here it answers with a copy of them, which training
    may lead elsewhere: safetensors holds no tensor under two names."""
    head = model.get_submodule(row.head)
    if head.weight is model.get_input_embeddings().weight:
        head.weight = nn.Parameter(head.weight.detach().clone())
        model.config.tie_word_embeddings = False


def refuse_foreign(spec: dict, kind: str) -> None:
    """Raises BaselineError where the model is not for rows of that kind, or of an unknown family."""
    row = family(spec["architecture"])
    if row.kind == kind:
        return
    fitting = ", ".join(name for name, other in families().items() if other.kind == kind)
    hint = f"choose one of {fitting}"
    if kind == "language":
        hint = f"only a causal language model, {fitting}, gives the likelihood of a text"
    elif row.kind == "language":
        hint = "its answers are the next tokens of a text: choose a task that is a corpus"
    raise BaselineError(f"{a_or_an(row.name)} is not for rows of the kind {kind}", hint)


def _loader(row: Family) -> type:
    """What reads a checkpoint: a class of the rows' kind, so that one of another architecture is told by its name."""
    classes = {"text": AutoModelForSequenceClassification, "image": AutoModelForImageClassification}
    return (classes | {"language": CLASSES[row.name]})[row.kind]


def _pretrained(spec: dict, task: dict, names: dict) -> nn.Module:
    row = family(spec["architecture"])
    try:
        model, loaded = _loader(row).from_pretrained(
            spec["checkpoint"],
            dtype=torch.float32,
            use_safetensors=True,
            ignore_mismatched_sizes=True,  # the head of another task
            output_loading_info=True,
            **names,
        )
    except (OSError, ValueError) as error:
        raise BaselineError(
            f"checkpoint {spec['checkpoint']} cannot be loaded: {reason(error)}",
            "give config.json and model.safetensors of the planned architecture",
        ) from error
    for what, planned, found in _agreements(spec, task, model):
        if planned != found:
            raise BaselineError(
                f"checkpoint {spec['checkpoint']}: {what} is {found}, the plan has {planned}",
                "name a checkpoint that fits the plan, or plan the checkpoint's sizes",
            )
    fresh = {*loaded["missing_keys"], *(key for key, *_ in loaded["mismatched_keys"])}
    own = "" if row.kind == "language" else f"{model.base_model_prefix}."
    if body := sorted(key for key in fresh if key.startswith(own) and "pooler" not in key):
        raise BaselineError(
            f"checkpoint {spec['checkpoint']} lacks {len(body)} weights of the model, {body[0]} among them",
            "only the head of a classifier may be new: is the file complete, and of this architecture?",
        )
    if row.kind == "language":
        _own_head(model, row)
    return model


def _agreements(spec: dict, task: dict, model: nn.Module) -> Iterator[tuple[str, object, object]]:
    """What a checkpoint must share with the plan and the prepared rows: (name, planned, found)."""
    row = family(spec["architecture"])
    found = AutoConfig.from_pretrained(spec["checkpoint"]).model_type  # the model's own is what was asked for
    yield "architecture", spec["architecture"], named(found)
    yield "number of layers", spec["layers"], len(taps(model))
    if row.layers == "blocks":
        yield "width", spec["width"], model.config.hidden_size
        yield "number of heads", spec["heads"], model.config.num_attention_heads
    if row.kind != "image":
        longest = model.config.max_position_embeddings - _before_positions(row, model.config.pad_token_id)
        yield "longest text", task["input_size"], min(task["input_size"], longest)
        if row.positions_after_padding:  # it counts positions by what is no padding
            yield "id of the padding", task["padding"], model.config.pad_token_id
        known = model.config.vocab_size
        yield "vocabulary", task["vocabulary"], known if row.kind == "language" else min(task["vocabulary"], known)


def from_config(folder: Path, spec: dict) -> nn.Module:
    """The architecture that config.json in `folder` describes; its weights are still to be loaded. Raises BaselineError
    for an unknown family."""
    row = family(spec["architecture"])
    made = CLASSES[row.name]
    return _fitted(made(made.config_class.from_pretrained(folder)), row, spec["stem"])


def fetch(spec: dict, folder: Path) -> dict:
    """The spec with its checkpoint copied to `folder`: from a folder, the local cache, or the hub at the revision.

    Only safetensors weights and JSON/text files come along: a pickle could run code when it is loaded.
    """
    if not spec["checkpoint"]:
        return spec
    source, revision = Path(spec["checkpoint"]), spec["revision"]
    if not source.is_dir():
        source = snapshot(spec["checkpoint"], revision, PLAIN_FILES)
        revision = source.name
    folder.mkdir(parents=True, exist_ok=True)
    for path in (path for pattern in PLAIN_FILES for path in source.glob(pattern)):
        shutil.copyfile(path, folder / path.name)
    return spec | {"checkpoint": str(folder), "revision": revision}


def _cifar_stem(model: nn.Module, row: Family) -> None:
    """A stem for 32-pixel images: 3×3, stride 1, no pooling (ResNet); the first two strides 1 (MobileNetV2). Raises
    BaselineError for a family that has no stem."""
    match row.stem:
        case "convolution":
            embedder = model.base_model.embedder
            old = embedder.embedder.convolution
            embedder.embedder.convolution = nn.Conv2d(old.in_channels, old.out_channels, 3, padding=1, bias=False)
            embedder.pooler = nn.Identity()
        case "strides":
            strided = [m for m in model.modules() if isinstance(m, nn.Conv2d) and m.stride == (2, 2)]
            for convolution in strided[:2]:
                convolution.stride = (1, 1)
        case _:
            raise BaselineError(f"{a_or_an(row.name)} has no stem", "leave out stem, or name a CNN")
