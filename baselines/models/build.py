"""Teachers and students: built from sizes, or loaded from a folder, the local cache or the hub at a pinned revision.

A spec is the plan's ModelSpec as a dict. Weights depend on the seed alone, so arms that share a seed start equal.
"""

import shutil
from collections.abc import Iterator
from pathlib import Path

import torch
from safetensors import safe_open
from torch import nn
from transformers import (
    AutoConfig,
    AutoModelForImageClassification,
    AutoModelForSequenceClassification,
    BertConfig,
    BertForSequenceClassification,
    DistilBertConfig,
    DistilBertForSequenceClassification,
    GPT2Config,
    MobileNetV2Config,
    MobileNetV2ForImageClassification,
    ResNetConfig,
    ResNetForImageClassification,
    RobertaConfig,
    RobertaForSequenceClassification,
    set_seed,
)

from baselines.data.hub import snapshot
from baselines.errors import BaselineError, reason
from baselines.models.bilstm import BiLSTMConfig, BiLSTMForSequenceClassification
from baselines.models.gpt2 import GPT2ForNextTokens
from baselines.models.gpt2 import settings as causal_settings
from baselines.models.layers import taps
from baselines.models.padding import by_convolutions

PLAIN_FILES = ["model*.safetensors", "*.json", "vocab.txt", "merges.txt"]


def build(spec: dict, task: dict, seed: int) -> nn.Module:
    """A classifier for `task` (task.json of the prepared data), in fp32, in training mode.

    A checkpoint is a local folder by now (`fetch`); its classification head is new, and drawn from `seed`.
    Raises BaselineError when a checkpoint cannot be loaded or is not the planned architecture.
    """
    set_seed(seed)  # before the weights exist: TrainingArguments.seed comes too late for them
    labels = dict(enumerate(task["labels"]))
    names = {"num_labels": len(labels), "id2label": labels, "label2id": {name: i for i, name in labels.items()}}
    model = _pretrained(spec, task, names) if spec["checkpoint"] else _BUILDERS[spec["architecture"]](spec, task, names)
    if spec["architecture"] == "mobilenetv2":
        _as_published(model)
    if spec["stem"] == "cifar":
        _cifar_stem(model)
    return by_convolutions(model)


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
    head = [module for module in model.modules() if isinstance(module, nn.Linear)][-1]
    order = [own.index(name) for name in wanted]
    with torch.no_grad():
        head.weight.copy_(head.weight[order].clone())
        head.bias.copy_(head.bias[order].clone())
    return model


def _bert(spec: dict, task: dict, names: dict) -> nn.Module:
    config = BertConfig(
        vocab_size=task["vocabulary"],
        hidden_size=int(spec["width"]),
        num_hidden_layers=spec["layers"],
        num_attention_heads=spec["heads"],
        intermediate_size=4 * int(spec["width"]),
        hidden_dropout_prob=spec["dropout"],
        attention_probs_dropout_prob=spec["dropout"],
        max_position_embeddings=task["input_size"],
        pad_token_id=task["padding"],
        initializer_range=_spread(spec),
        **names,
    )
    return BertForSequenceClassification(config)


def _distilbert(spec: dict, task: dict, names: dict) -> nn.Module:
    config = DistilBertConfig(
        vocab_size=task["vocabulary"],
        dim=int(spec["width"]),
        n_layers=spec["layers"],
        n_heads=spec["heads"],
        hidden_dim=4 * int(spec["width"]),
        dropout=spec["dropout"],
        attention_dropout=spec["dropout"],
        seq_classif_dropout=spec["dropout"],
        max_position_embeddings=task["input_size"],
        pad_token_id=task["padding"],
        initializer_range=_spread(spec),
        **names,
    )
    return DistilBertForSequenceClassification(config)


def _stored(file: Path) -> set[str]:
    with safe_open(file, "pt") as tensors:  # the header alone is read
        return set(tensors.keys())


def _roberta(spec: dict, task: dict, names: dict) -> nn.Module:
    """Its positions are counted from one after the padding's id."""
    config = RobertaConfig(
        vocab_size=task["vocabulary"],
        hidden_size=int(spec["width"]),
        num_hidden_layers=spec["layers"],
        num_attention_heads=spec["heads"],
        intermediate_size=4 * int(spec["width"]),
        hidden_dropout_prob=spec["dropout"],
        attention_probs_dropout_prob=spec["dropout"],
        max_position_embeddings=task["input_size"] + task["padding"] + 1,
        type_vocab_size=1,
        pad_token_id=task["padding"],
        initializer_range=_spread(spec),
        **names,
    )
    return RobertaForSequenceClassification(config)


def _bilstm(spec: dict, task: dict, names: dict) -> nn.Module:
    """`width` is that of both directions together; heads have no meaning here.

    Raises BaselineError for an odd width.
    """
    if spec["width"] % 2:
        raise BaselineError(f"a bilstm of width {spec['width']:g} cannot be halved", "plan an even width")
    config = BiLSTMConfig(
        vocab_size=task["vocabulary"],
        hidden_size=int(spec["width"]),
        num_hidden_layers=spec["layers"],
        dropout=spec["dropout"],
        pad_token_id=task["padding"],
        initializer_range=_spread(spec),
        **names,
    )
    return BiLSTMForSequenceClassification(config)


def _spread(spec: dict) -> float:
    """Standard deviation of the initial weights. The usual 0.02 is meant for width 768; narrow models stall with it."""
    return max(0.02, 0.4 * spec["width"] ** -0.5)


def _resnet(spec: dict, task: dict, names: dict) -> nn.Module:
    width, bottleneck = int(spec["width"]), spec["bottleneck"]
    return ResNetForImageClassification(
        ResNetConfig(
            num_channels=task["channels"],
            embedding_size=width,
            depths=list(spec["blocks"]),
            hidden_sizes=[width * (4 if bottleneck else 1) * 2**stage for stage in range(spec["layers"])],
            layer_type="bottleneck" if bottleneck else "basic",
            **names,
        )
    )


def _mobilenetv2(spec: dict, task: dict, names: dict) -> nn.Module:
    sizes = {"num_channels": task["channels"], "image_size": task["input_size"], "depth_multiplier": spec["width"]}
    return MobileNetV2ForImageClassification(MobileNetV2Config(**sizes, **names))


def _as_published(model: nn.Module) -> None:
    """MobileNetV2's own regularisation (Sandler et al. 2018): two defaults of the class would keep it from learning."""
    model.dropout.p = model.config.classifier_dropout_prob = 0.2  # instead of 0.8
    for module in model.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.momentum = 0.1  # instead of TensorFlow's 0.997, which torch reads as "only the last batch"


def _gpt2(spec: dict, task: dict, names: dict) -> nn.Module:
    """Its classes are the tokens."""
    sizes = {"width": int(spec["width"]), "layers": spec["layers"], "heads": spec["heads"], "dropout": spec["dropout"]}
    own_head = {"tie_word_embeddings": False}  # safetensors cannot store a tensor under two names
    return GPT2ForNextTokens(causal_settings(task["vocabulary"], task["input_size"], **sizes, **own_head, **names))


def _own_head(model: nn.Module) -> None:
    """A published GPT-2 answers with the weights of its embedding. Here it answers with a copy of them, which training
    may lead elsewhere: safetensors cannot store a tensor under two names."""
    if model.lm_head.weight is model.transformer.wte.weight:
        model.lm_head.weight = nn.Parameter(model.lm_head.weight.detach().clone())
        model.config.tie_word_embeddings = False


def refuse_foreign(spec: dict, kind: str) -> None:
    """Raises BaselineError where only one of model and rows is of a language."""
    if (spec["architecture"] == "gpt2") != (kind == "language"):
        why = "only a causal language model, gpt2, gives the likelihood of a text" if kind == "language" else ""
        why = why or "its answers are the next tokens of a text: choose a task that is a corpus"
        raise BaselineError(f"a {spec['architecture']} is not for rows of the kind {kind}", why)


_BUILDERS = {
    "bert": _bert,
    "distilbert": _distilbert,
    "roberta": _roberta,
    "bilstm": _bilstm,
    "gpt2": _gpt2,
    "resnet": _resnet,
    "mobilenetv2": _mobilenetv2,
}


def _auto(task: dict) -> type:
    named = {"text": AutoModelForSequenceClassification, "image": AutoModelForImageClassification}
    return named.get(task["kind"], GPT2ForNextTokens)


def _pretrained(spec: dict, task: dict, names: dict) -> nn.Module:
    try:
        model, loaded = _auto(task).from_pretrained(
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
    own = "" if task["kind"] == "language" else f"{model.base_model_prefix}."
    if body := sorted(key for key in fresh if key.startswith(own) and "pooler" not in key):
        raise BaselineError(
            f"checkpoint {spec['checkpoint']} lacks {len(body)} weights of the model, {body[0]} among them",
            "only the head of a classifier may be new: is the file complete, and of this architecture?",
        )
    if task["kind"] == "language":
        _own_head(model)
    return model


def _agreements(spec: dict, task: dict, model: nn.Module) -> Iterator[tuple[str, object, object]]:
    """What a checkpoint must share with the plan and the prepared rows: (name, planned, found)."""
    found = AutoConfig.from_pretrained(spec["checkpoint"]).model_type  # the model's own is what was asked for
    yield "architecture", spec["architecture"], found.replace("_", "")
    yield "number of layers", spec["layers"], len(taps(model))
    if task["kind"] != "image":
        yield "width", spec["width"], model.config.hidden_size
        yield "number of heads", spec["heads"], model.config.num_attention_heads
        yield "longest text", task["input_size"], min(task["input_size"], _longest(model))
        if spec["architecture"] == "roberta":  # it counts positions that are not padding
            yield "id of the padding", task["padding"], model.config.pad_token_id
        known = model.config.vocab_size
        yield "vocabulary", task["vocabulary"], known if task["kind"] == "language" else min(task["vocabulary"], known)


def _longest(model: nn.Module) -> int:
    """Tokens that the model has positions for; RoBERTa's begin after its padding's id."""
    config = model.config
    return config.max_position_embeddings - (config.pad_token_id + 1 if config.model_type == "roberta" else 0)


def from_config(folder: Path, spec: dict, task: dict) -> nn.Module:
    """The architecture that config.json in `folder` describes; its weights are still to be loaded."""
    if spec["architecture"] == "bilstm":
        return BiLSTMForSequenceClassification(BiLSTMConfig.from_pretrained(folder))
    if spec["architecture"] == "gpt2":
        return GPT2ForNextTokens(GPT2Config.from_pretrained(folder))
    model = _auto(task).from_config(AutoConfig.from_pretrained(folder), dtype=torch.float32)
    if spec["stem"] == "cifar":
        _cifar_stem(model)
    return by_convolutions(model)


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


def _cifar_stem(model: nn.Module) -> None:
    """A stem for 32-pixel images: 3×3, stride 1, no pooling (ResNet); the first two strides 1 (MobileNetV2)."""
    if hasattr(model, "resnet"):
        embedder = model.resnet.embedder
        old = embedder.embedder.convolution
        embedder.embedder.convolution = nn.Conv2d(old.in_channels, old.out_channels, 3, padding=1, bias=False)
        embedder.pooler = nn.Identity()
    else:
        strided = [m for m in model.modules() if isinstance(m, nn.Conv2d) and m.stride == (2, 2)]
        for convolution in strided[:2]:
            convolution.stride = (1, 1)
