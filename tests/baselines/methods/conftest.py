"""Tiny real models and a small experiment: what a train.py is given, without the harness around it."""

import runpy
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from torch.utils.data import Dataset
from transformers import (
    BertConfig,
    BertForSequenceClassification,
    DistilBertConfig,
    DistilBertForSequenceClassification,
    MobileNetV2Config,
    MobileNetV2ForImageClassification,
    ResNetConfig,
    ResNetForImageClassification,
    TrainingArguments,
)

from baselines.methods.critical import most_critical
from baselines.models.layers import features, widths

TEMPLATE = Path(__file__).parents[3] / "templates" / "train" / "kd_selective.py"
PLAN = dict(
    temperature=3.0,
    alpha=0.5,
    beta=1.0,
    layers=3,
    layer_map="last",
    signal="hidden",
    norm="layer",
    init_layers="none",
    min_map_size=2,
    contrast_temperature=0.1,
    contrast_width=8,
    queue=8,
)
CLASSES = 4


def bert(layers=4, width=16, heads=2, **options):
    """A BERT without dropout whose every weight is random, so that a row which is not copied shows."""
    config = dict(vocab_size=40, max_position_embeddings=24, intermediate_size=32, num_labels=CLASSES)
    config |= dict(hidden_dropout_prob=0.0, attention_probs_dropout_prob=0.0, num_hidden_layers=layers)
    config |= dict(hidden_size=width, num_attention_heads=heads) | options
    return _scrambled(BertForSequenceClassification(BertConfig(**config)))


def distilbert(layers=3, width=16, heads=2, **options):
    config = dict(vocab_size=40, max_position_embeddings=24, hidden_dim=32, num_labels=CLASSES)
    config |= dict(dropout=0.0, attention_dropout=0.0, seq_classif_dropout=0.0, n_layers=layers)
    config |= dict(dim=width, n_heads=heads) | options
    return _scrambled(DistilBertForSequenceClassification(DistilBertConfig(**config)))


def resnet():
    config = ResNetConfig(embedding_size=8, hidden_sizes=[8, 16, 24, 32], depths=[1, 2, 1, 1], num_labels=CLASSES)
    return ResNetForImageClassification(config)


def mobilenet(depth_multiplier=0.25):
    config = MobileNetV2Config(depth_multiplier=depth_multiplier, num_labels=CLASSES, classifier_dropout_prob=0.0)
    return MobileNetV2ForImageClassification(config)


@torch.no_grad()
def _scrambled(model):
    for parameter in model.parameters():
        parameter.add_(0.2 * torch.randn_like(parameter))
    return model.eval()


class Rows(Dataset):
    def __init__(self, rows):
        self.rows = rows

    def __len__(self):
        return len(self.rows)

    def __getitem__(self, index):
        return self.rows[index]


def text_rows(count, labelled=True):
    """Sentences of 10 tokens, the last two of every second one padding."""
    rows = []
    for i in range(count):
        kept = 8 if i % 2 else 10
        mask = torch.tensor([1] * kept + [0] * (10 - kept))
        rows.append({"input_ids": torch.randint(1, 40, (10,)) * mask, "attention_mask": mask})
    return _labelled(rows, labelled)


def image_rows(count, labelled=True):
    return _labelled([{"pixel_values": torch.randn(3, 64, 64)} for _ in range(count)], labelled)


def _labelled(rows, labelled):
    for i, row in enumerate(rows):
        row |= {"labels": torch.tensor(i % CLASSES if labelled else -100), "ids": torch.tensor(i)}
    return rows


def collate(rows):
    return {name: torch.stack([row[name] for row in rows]) for name in rows[0]}


def inputs_of(batch):
    return {name: batch[name] for name in ("input_ids", "attention_mask", "pixel_values") if name in batch}


class Teacher:
    """A frozen teacher that answers online and counts how often."""

    def __init__(self, model):
        self.frozen = model.eval().requires_grad_(False)
        self.widths = widths(model)
        self.calls = 0
        self.scores = ()

    def model(self):
        return self.frozen

    def critical(self, count):
        return most_critical(self.scores, count)

    @torch.no_grad()
    def logits(self, batch):
        return self.frozen(**inputs_of(batch)).logits

    @torch.no_grad()
    def features(self, inputs, layers):
        self.calls += 1
        hidden_states = self.frozen(**inputs_of(inputs), output_hidden_states=True).hidden_states
        return features(self.frozen, hidden_states, layers)


class Experiment:
    def __init__(self, folder, student, teacher, train, transfer=(), rate=0.1, arguments=None, **plan):
        self.student, self.teacher = student, Teacher(teacher)
        for row in (*train, *transfer):
            row["teacher_logits"] = self.teacher.logits(collate([row]))[0]
        self.train_dataset, self.transfer_dataset = Rows(train), Rows(transfer)
        self.method = SimpleNamespace(**PLAN | plan)
        self.collator, self.callbacks, self.logged, self.seen = collate, [], [], []
        self.checkpoint = None
        self._folder, self._rate, self._arguments = folder, rate, arguments or {}

    def training_arguments(self):
        fixed = dict(output_dir=self._folder, use_cpu=True, report_to="none", save_strategy="no", disable_tqdm=True)
        fixed |= dict(per_device_train_batch_size=4, num_train_epochs=1, max_grad_norm=0.0, logging_strategy="no")
        fixed |= dict(remove_unused_columns=False)  # else Trainer drops ids and teacher_logits from every batch
        return TrainingArguments(**fixed | self._arguments)

    def optimizer(self, model):
        optimizer = torch.optim.SGD(model.parameters(), lr=self._rate)
        return optimizer, torch.optim.lr_scheduler.ConstantLR(optimizer, factor=1.0)

    def model_inputs(self, inputs):
        self.seen += inputs["ids"].tolist()
        return inputs_of(inputs)

    def log(self, **terms):
        noted = {name: torch.as_tensor(value).item() for name, value in terms.items()}
        if any(name.startswith("teacher_layer_of_") for name in noted):
            self.pairs = noted
        else:
            self.logged.append(noted)


@pytest.fixture(autouse=True)
def seeded():
    torch.manual_seed(0)


@pytest.fixture
def models():
    return SimpleNamespace(bert=bert, distilbert=distilbert, resnet=resnet, mobilenet=mobilenet)


@pytest.fixture
def rows():
    return SimpleNamespace(text=text_rows, image=image_rows, collate=collate, inputs_of=inputs_of)


@pytest.fixture
def experiment(tmp_path):
    """Builds an Experiment: student, teacher, train rows, then plan values and arguments by name."""
    return lambda *parts, **options: Experiment(tmp_path, *parts, **options)


@pytest.fixture(scope="session")
def kd_selective():
    """The finished train.py, loaded as the trial process loads it: from its file."""
    return runpy.run_path(str(TEMPLATE))
