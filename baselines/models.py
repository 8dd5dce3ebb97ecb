"""Teachers and students: built from sizes, or loaded from a folder, the local cache or the hub at a pinned revision.

A spec is the plan's ModelSpec as a dict. Weights depend on the seed alone, so arms that share a seed start equal.
"""

import hashlib
import shutil
from pathlib import Path

import torch
from huggingface_hub import snapshot_download
from torch import nn
from transformers import (
    AutoModelForImageClassification,
    AutoModelForSequenceClassification,
    BertConfig,
    BertForSequenceClassification,
    DistilBertConfig,
    DistilBertForSequenceClassification,
    MobileNetV2Config,
    MobileNetV2ForImageClassification,
    ResNetConfig,
    ResNetForImageClassification,
    set_seed,
)

from baselines.errors import BaselineError

PLAIN_FILES = ["model*.safetensors", "*.json", "vocab.txt", "merges.txt"]


def build(spec: dict, task: dict, seed: int) -> nn.Module:
    """A classifier for `task` (task.json of the prepared data), in fp32, in training mode.

    A checkpoint is a local folder by now (`fetch`); its classification head is new, and drawn from `seed`. Raises BaselineError when a checkpoint cannot be had or is not the planned architecture.
    """
    set_seed(seed)  # before the weights exist: TrainingArguments.seed comes too late for them
    labels = dict(enumerate(task["labels"]))
    names = {"num_labels": len(labels), "id2label": labels, "label2id": {name: i for i, name in labels.items()}}
    model = _pretrained(spec, task, names) if spec["checkpoint"] else _BUILDERS[spec["architecture"]](spec, task, names)
    if spec["stem"] == "cifar":
        _cifar_stem(model)
    return model


def _bert(spec: dict, task: dict, names: dict) -> nn.Module:
    return BertForSequenceClassification(
        BertConfig(
            vocab_size=task["vocabulary"],
            hidden_size=int(spec["width"]),
            num_hidden_layers=spec["layers"],
            num_attention_heads=spec["heads"],
            intermediate_size=4 * int(spec["width"]),
            max_position_embeddings=task["input_size"],
            pad_token_id=task["padding"],
            **names,
        )
    )


def _distilbert(spec: dict, task: dict, names: dict) -> nn.Module:
    return DistilBertForSequenceClassification(
        DistilBertConfig(
            vocab_size=task["vocabulary"],
            dim=int(spec["width"]),
            n_layers=spec["layers"],
            n_heads=spec["heads"],
            hidden_dim=4 * int(spec["width"]),
            max_position_embeddings=task["input_size"],
            pad_token_id=task["padding"],
            seq_classif_dropout=0.1,
            **names,
        )
    )


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
    model = MobileNetV2ForImageClassification(
        MobileNetV2Config(
            num_channels=task["channels"],
            image_size=task["input_size"],
            depth_multiplier=spec["width"],
            classifier_dropout_prob=0.2,
            **names,  # the class's own default is 0.8
        )
    )
    for module in model.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.momentum = 0.1  # the class passes TensorFlow's 0.997, which torch reads as "only the last batch"
    return model


_BUILDERS = {"bert": _bert, "distilbert": _distilbert, "resnet": _resnet, "mobilenetv2": _mobilenetv2}


def _pretrained(spec: dict, task: dict, names: dict) -> nn.Module:
    auto = AutoModelForSequenceClassification if task["kind"] == "text" else AutoModelForImageClassification
    wanted = spec["architecture"].replace("mobilenetv2", "mobilenet_v2")
    try:
        model = auto.from_pretrained(
            spec["checkpoint"], dtype=torch.float32, use_safetensors=True, ignore_mismatched_sizes=True, **names
        )
    except (OSError, ValueError) as error:
        raise BaselineError(
            f"checkpoint {spec['checkpoint']} cannot be loaded: {str(error).splitlines()[0]}",
            "name a folder with the weights, fill the local Hugging Face cache, or choose --scale demo or small",
        ) from error
    if model.config.model_type != wanted:
        raise BaselineError(
            f"checkpoint {spec['checkpoint']} is a {model.config.model_type}, the plan says {wanted}",
            "name a checkpoint of the planned architecture",
        )
    return model


def fetch(spec: dict, folder: Path) -> dict:
    """The spec with its checkpoint copied to `folder`: from a folder, the local cache, or the hub at the revision.

    Only safetensors weights and JSON/text files come along: a pickle could run code when it is loaded.
    """
    if not spec["checkpoint"]:
        return spec
    try:
        source = spec["checkpoint"]
        if not Path(source).is_dir():
            source = snapshot_download(source, revision=spec["revision"] or None, allow_patterns=PLAIN_FILES)
        folder.mkdir(parents=True, exist_ok=True)
        for path in (path for pattern in PLAIN_FILES for path in Path(source).glob(pattern)):
            shutil.copyfile(path, folder / path.name)
    except (OSError, ValueError) as error:
        raise BaselineError(
            f"checkpoint {spec['checkpoint']} cannot be had: {str(error).splitlines()[0][:200]}",
            "name a folder with the weights, fill the local Hugging Face cache, or choose --scale demo or small",
        ) from error
    return spec | {"checkpoint": str(folder)}


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


def parameters(model: nn.Module) -> int:
    return sum(parameter.numel() for parameter in model.parameters())


def fingerprint(model: nn.Module) -> str:
    """SHA-256 over names, shapes and bytes of every weight and buffer."""
    digest = hashlib.sha256()
    for name, tensor in sorted(model.state_dict().items()):
        digest.update(f"{name} {tuple(tensor.shape)} {tensor.dtype}".encode())
        digest.update(tensor.detach().cpu().contiguous().numpy().tobytes())
    return digest.hexdigest()
