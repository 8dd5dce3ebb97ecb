"""Edits that an honest author might make of the library's files: the static check has nothing to say about any."""

from pathlib import Path

import pytest

from sandbox.checks.check import check

TEMPLATES = Path(__file__).parents[3] / "templates" / "train"
KD, SELECTIVE = ((TEMPLATES / f"{name}.py").read_text() for name in ("kd", "kd_selective"))
SOFT = 'soft = distillation(outputs.logits, inputs["teacher_logits"], method.temperature)'
LOSS = "loss = (1 - method.alpha) * task + method.alpha * soft"
CLASS = "class DistillationTrainer(Trainer):"
IMPORT = "from transformers import Trainer\n"


def kd(**parts: str) -> list[tuple[str, str]]:
    places = {"soft": SOFT, "loss": LOSS, "before": CLASS, "imports": IMPORT, "start": "    trainer = Dist"}
    kept = {"before": CLASS, "imports": IMPORT, "start": places["start"]}
    return [(places[name], text + kept.get(name, "")) for name, text in parts.items()]


TORCH = "import torch\nimport torch.nn.functional as F\nfrom torch import nn\n"
EDITS = {
    "mean squared error of logits": kd(
        imports=TORCH, soft='soft = F.mse_loss(outputs.logits.float(), inputs["teacher_logits"].float())'
    ),
    "Jensen-Shannon divergence": kd(
        imports=TORCH,
        before="""def jensen_shannon(student, teacher, temperature):
    p, q = (F.softmax(logits.float() / temperature, dim=-1) for logits in (student, teacher))
    middle = 0.5 * (p + q)
    kl = F.kl_div(middle.log(), p, reduction="batchmean") + F.kl_div(middle.log(), q, reduction="batchmean")
    return temperature**2 * kl / 2


""",
        soft='soft = jensen_shannon(outputs.logits, inputs["teacher_logits"], method.temperature)',
    ),
    "temperature falls with training": kd(
        soft="""progress = self.state.global_step / max(1, self.state.max_steps)
        temperature = 1.0 + (method.temperature - 1.0) * (1.0 - progress)
        soft = distillation(outputs.logits, inputs["teacher_logits"], temperature)
        self.experiment.log(temperature=temperature)"""
    ),
    "alpha follows a cosine": kd(
        imports="import math\n\n",
        loss="""progress = self.state.global_step / max(1, self.state.max_steps)
        alpha = method.alpha * 0.5 * (1 + math.cos(math.pi * progress))
        loss = (1 - alpha) * task + alpha * soft""",
    ),
    "rows weighted by the teacher's confidence": kd(
        imports=TORCH,
        soft="""teacher = F.softmax(inputs["teacher_logits"].float() / method.temperature, dim=-1)
        student = F.log_softmax(outputs.logits.float() / method.temperature, dim=-1)
        confidence = teacher.max(dim=-1).values.detach()
        rows = F.kl_div(student, teacher, reduction="none").sum(dim=-1)
        soft = method.temperature**2 * (confidence * rows).sum() / confidence.sum().clamp_min(1e-6)""",
    ),
    "only rows where the teacher is right": kd(
        imports=TORCH,
        soft="""teacher_logits, labels = inputs["teacher_logits"], inputs["labels"]
        keep = (teacher_logits.argmax(dim=-1) == labels) | (labels == -100)
        if keep.any():
            soft = distillation(outputs.logits[keep], teacher_logits[keep], method.temperature)
        else:
            soft = outputs.logits.sum() * 0.0""",
    ),
    "decoupled distillation": kd(
        imports=TORCH,
        before="""def decoupled(student, teacher, labels, alpha, beta, temperature):
    known = labels.clamp_min(0)
    mask = torch.zeros_like(student).scatter_(1, known[:, None], 1.0).bool()
    p, q = F.softmax(student / temperature, dim=1), F.softmax(teacher / temperature, dim=1)
    pair = lambda x: torch.stack([(x * mask).sum(1), (x * ~mask).sum(1)], dim=1)
    target = F.kl_div(pair(p).clamp_min(1e-8).log(), pair(q), reduction="batchmean")
    others = F.kl_div(
        F.log_softmax(student / temperature - 1000.0 * mask, dim=1),
        F.softmax(teacher / temperature - 1000.0 * mask, dim=1),
        reduction="batchmean",
    )
    return (alpha * target + beta * others) * temperature**2


""",
        soft='soft = decoupled(outputs.logits, inputs["teacher_logits"], inputs["labels"], method.alpha, method.beta, '
        "method.temperature)",
    ),
    "relations between rows": kd(
        imports=TORCH,
        before="""def relations(logits):
    rows = F.normalize(logits.float(), dim=-1)
    return rows @ rows.T


""",
        loss="""related = F.mse_loss(relations(outputs.logits), relations(inputs["teacher_logits"]))
        loss = (1 - method.alpha) * task + method.alpha * soft + method.beta * related
        self.experiment.log(relation=related)""",
    ),
    "standardised logits": kd(
        imports=TORCH,
        before="""def standardised(logits, eps=1e-7):
    logits = logits.float()
    return (logits - logits.mean(dim=-1, keepdim=True)) / (logits.std(dim=-1, keepdim=True) + eps)


""",
        soft='soft = distillation(standardised(outputs.logits), standardised(inputs["teacher_logits"]), '
        "method.temperature)",
    ),
    "a data set of one's own": [
        *kd(
            imports="import torch\nfrom torch.utils.data import Dataset\n",
            before="""class Twice(Dataset):
    \"\"\"Every row two times.\"\"\"

    def __init__(self, rows):
        self.rows = rows

    def __len__(self):
        return len(self.rows) + len(self.rows)

    def __getitem__(self, index):
        return self.rows[index % len(self.rows)]


""",
        ),
        ("experiment.train_dataset + experiment.transfer_dataset", "Twice(experiment.train_dataset)"),
    ],
    "mixup in the collator": [
        *kd(
            imports="import torch\n",
            before="""def mixing(collator):
    def collate(rows):
        batch = collator(rows)
        if "pixel_values" in batch:
            share = torch.rand(())
            order = torch.randperm(len(rows))
            batch["pixel_values"] = share * batch["pixel_values"] + (1 - share) * batch["pixel_values"][order]
        return batch

    return collate


""",
        ),
        ("data_collator=experiment.collator", "data_collator=mixing(experiment.collator)"),
    ],
    "a callback of one's own": [
        *kd(
            before="""class Average(TrainerCallback):
    \"\"\"Keeps a running mean of the student's head.\"\"\"

    def __init__(self):
        self.mean, self.count = None, 0

    def on_step_end(self, args, state, control, model=None, **kwargs):
        weight = model.get_output_embeddings() or model.classifier
        self.count += 1
        new = weight.weight.detach().clone()
        self.mean = new if self.mean is None else self.mean + (new - self.mean) / self.count


""",
        ),
        ("from transformers import Trainer\n", "from transformers import Trainer, TrainerCallback\n"),
        ("callbacks=experiment.callbacks", "callbacks=[*experiment.callbacks, Average()]"),
    ],
    "settings gathered first": [
        (
            "    trainer = DistillationTrainer(\n        experiment,\n        model=experiment.student,",
            "    settings = experiment.training_arguments()\n"
            "    optimizers = experiment.optimizer(experiment.student)\n"
            "    rows = experiment.train_dataset\n    if len(experiment.transfer_dataset) > 0:\n"
            "        rows = rows + experiment.transfer_dataset\n"
            "    trainer = DistillationTrainer(\n        experiment,\n        model=experiment.student,",
        ),
        ("args=experiment.training_arguments()", "args=settings"),
        ("experiment.train_dataset + experiment.transfer_dataset,", "rows,"),
        ("optimizers=experiment.optimizer(experiment.student)", "optimizers=optimizers"),
    ],
}
LAYERS = {
    "later layers weigh more": [
        (
            "    def feature_term",
            "    def layer_weights(self, count):\n        raw = [place + 1.0 for place in range(count)]\n"
            "        return [value / sum(raw) for value in raw]\n\n    def feature_term",
        ),
        (
            "return feature_loss(student, teacher, projections, mask, method.norm)",
            "weights = self.layer_weights(len(student))\n                mapped = projections(student)\n"
            "                return sum(\n                    w * feature_loss([s], [t], None, mask, method.norm)\n"
            "                    for w, s, t in zip(weights, mapped, teacher, strict=True)\n                )",
        ),
    ],
    "features fade in": [
        (
            "self.beta * feature\n",
            "beta * feature\n",
        ),
        (
            "        loss = (1",
            "        warm = min(1.0, self.state.global_step / max(1, self.state.max_steps // 4))\n"
            "        beta = self.beta * warm\n        loss = (1",
        ),
    ],
    "a deeper projection": [
        (IMPORT, TORCH + IMPORT),
        (
            "class SelectiveTrainer(Trainer):",
            "class Deep(nn.Module):\n    def __init__(self, first):\n        super().__init__()\n"
            "        self.first, self.activation = first, nn.GELU()\n\n    def forward(self, features):\n"
            "        return tuple(self.activation(x) for x in self.first(features))\n\n\n"
            "class SelectiveTrainer(Trainer):",
        ),
        (
            "projections = Projections(student_widths, teacher_widths, spatial(student))",
            "projections = Deep(Projections(student_widths, teacher_widths, spatial(student)))",
        ),
    ],
    "the embeddings stay as they are at first": [
        (
            "    pairs = layer_pairs",
            "    for parameter in student.get_input_embeddings().parameters():\n"
            "        parameter.requires_grad_(False)\n"
            "    pairs = layer_pairs",
        ),
    ],
}


@pytest.mark.parametrize(
    ("source", "edits"),
    [pytest.param(KD, edits, id=name) for name, edits in EDITS.items()]
    + [pytest.param(SELECTIVE, edits, id=name) for name, edits in LAYERS.items()],
)
def test_honest_edits_pass(source: str, edits: list[tuple[str, str]]) -> None:
    edited = source
    for old, new in edits:
        assert edited.count(old) == 1, old
        edited = edited.replace(old, new)
    assert [finding.message for finding in check(edited, source)] == []
