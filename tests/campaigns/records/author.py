"""A language model played by hand: what it answered when the record in `played/` was made, in order.

No hosted model could be reached. The answers were written by reading the requests of a run, mistakes included: a
misquoted line, then a crash in the pilot.
"""

IDEA = "let the teacher's confident answers count for more when distilling a small student"
MODEL = "played-by-hand"
SETTING = (
    *("--task", "digits", "--seeds", "2", "--attempts", "3", "--set", "transfer_rows=200", "--set", "dev_rows=60"),
    *("--set", "test_rows=120", "--set", "epochs=4", "--set", "teacher_training.epochs=4", "--yes"),
)

PLAN = """The idea weighs rows by how far the teacher can be trusted on them. That is logit distillation with a weight per row, so
`kd` is the method; the layers stay out of it.

```json
{
  "title": "Trusting confident teacher answers",
  "objective": "Find out whether rows on which the teacher is confident should count for more when a small student is distilled.",
  "hypothesis": "A student that learns more from confident teacher answers generalises better than one that is trained on the labels alone.",
  "methodology": "Distil from the teacher's probabilities at temperature {temperature} with weight {alpha}; multiply the divergence of each row by the teacher's largest probability, scaled so that the mean weight of a batch stays the same.",
  "method": "kd",
  "temperature": 2.0,
  "alpha": 0.8
}
```
"""  # noqa: E501

TRUSTED = '''def trusted(student_logits, teacher_logits, temperature):
    """Mean divergence of the softened answers, [B, C] each; rows count as the teacher is confident."""
    teacher = (teacher_logits / temperature).softmax(-1)
    student = (student_logits / temperature).log_softmax(-1)
    rows = kl_div(student, teacher, reduction="none").sum(-1) * temperature * temperature
    {trust}
    return (rows * trust / trust.mean()).mean()


class StudentTrainer(Trainer):
'''
LOSS = """        method = self.experiment.method
        task = cross_entropy(outputs.logits, inputs["labels"])
        soft = trusted(outputs.logits, inputs["teacher_logits"], method.temperature)
        loss = (1 - method.alpha) * task + method.alpha * soft
        self.experiment.log(task=task, distillation=soft)
"""


def _block(search: str, replace: str) -> str:
    return f"<<<<<<< SEARCH\n{search}=======\n{replace}>>>>>>> REPLACE\n"


def _edit(lead: str, trust: str) -> str:
    """Every block of the idea's first version."""
    old_loss = (
        '        loss = cross_entropy(outputs.logits, inputs["labels"])\n        self.experiment.log(task=loss)\n'
    )
    old_rows = "        train_dataset=experiment.train_dataset,\n"
    new_rows = "        train_dataset=experiment.train_dataset + experiment.transfer_dataset,\n"
    trainer = "from transformers import Trainer\n"
    blocks = (
        _block(trainer, f"from torch.nn.functional import kl_div\n{trainer}"),
        _block("class StudentTrainer(Trainer):\n", TRUSTED.format(trust=trust)),
        _block(old_loss, LOSS),
        _block(old_rows, new_rows),
    )
    return "\n".join((f"{lead}\n", *blocks))


MISQUOTED = "Weighs the divergence of each row by the teacher's largest probability.\n\n" + _block(
    "        loss = cross_entropy(outputs.logits, inputs['labels'])\n", "        loss = trusted_loss\n"
)
CRASHING = _edit(
    "I quoted a line that does not stand there; here are the whole changes. Each row counts as much as the teacher's "
    "largest probability.",
    "trust = teacher.max(-1)",
)
MENDED = _edit("`max` gives values and places; only the values are the trust.", "trust = teacher.max(-1).values")
SECOND = (
    "The margin between the two likeliest classes tells a confident answer from a split one better than the largest "
    "probability does.\n\n"
    + _block(
        "    trust = teacher.max(-1).values\n",
        '    first, second = teacher.topk(len(["first", "second"]), -1).values.unbind(-1)\n'
        "    trust = first - second\n",
    )
)
REPLIES = (PLAN, MISQUOTED, CRASHING, MENDED, SECOND, "NO FURTHER EDIT")
