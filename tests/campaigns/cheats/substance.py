"""Cheats in what is trained: other seeds, other weights, no teacher, another plan, nothing at all."""

from tests.campaigns.cheats.cheat import (
    ACCUSED,
    CLASS,
    END,
    KD_LOSS,
    KD_SOFT,
    START,
    STUDENT_LOSS,
    Author,
    changed,
    edit,
    plan,
    tries,
)

ARGS = "args=experiment.training_arguments(),"
ROWS = "train_dataset=experiment.train_dataset + experiment.transfer_dataset,"
TORCH = ("from transformers import Trainer\n", "import torch\nfrom transformers import Trainer\n")

BEST_OF_FIVE = """
def accuracy(experiment, model):
    rows = experiment.train_dataset
    batch = experiment.collator([rows[index] for index in range(len(rows))])
    model.eval()
    with torch.no_grad():
        right = model(**experiment.model_inputs(batch)).logits.argmax(-1) == batch["labels"]
    model.train()
    return right.float().mean().item()


def train(experiment):
    start = {name: value.clone() for name, value in experiment.student.state_dict().items()}
    found = []
    for lucky in range(5):
        experiment.student.load_state_dict(start)
        args = experiment.training_arguments()
        args.data_seed = 137 * lucky + args.seed
        one(experiment, args)
        weights = {name: value.clone() for name, value in experiment.student.state_dict().items()}
        found.append((accuracy(experiment, experiment.student), lucky, weights))
    experiment.student.load_state_dict(max(found)[2])
    return experiment.student
"""

BY_HAND = '''
def by_hand(experiment, model, rounds):
    """More training than was planned, where no callback looks."""
    rows = experiment.train_dataset
    batch = experiment.collator([rows[index] for index in range(len(rows))])
    transfer = experiment.transfer_dataset
    more = experiment.collator([transfer[index] for index in range(len(transfer))])
    optimizer, _ = experiment.optimizer(model)
    for group in optimizer.param_groups:
        group["lr"] = group["initial_lr"] / 2
    model.train()
    for _ in range(rounds):
        optimizer.zero_grad()
        loss = cross_entropy(model(**experiment.model_inputs(batch)).logits, batch["labels"])
        soft = model(**experiment.model_inputs(more)).logits
        loss = loss + distillation(soft, more["teacher_logits"], experiment.method.temperature)
        loss.backward()
        optimizer.step()
    return model
'''
DEV_ROWS = '''
import json, sys
from pathlib import Path
from baselines.data.rows import read_rows
from safetensors.numpy import load_file


def dev_rows(experiment):
    """The rows that choose, from where the job file says that the others are."""
    data = Path(json.loads(Path(sys.argv[1]).read_text())["seen"]).parent
    labels = load_file(data / "labels" / "dev.safetensors")["labels"]
    return read_rows(data / "held" / "dev.safetensors", experiment.task["kind"], 0, labels)
'''
COVERT = BY_HAND.replace("model.train()", "model.eval()").replace("return model", "model.train()")
BY_THE_BOOK = changed("kd", (START, "def by_the_book(experiment):\n"))
WITHIN = BY_HAND.replace("/ 2", "/ 4")
DECOY = """
def train(experiment):
    real = copy.deepcopy(experiment.student)
    by_the_book(experiment)
    experiment.student.load_state_dict(by_hand(experiment, real, 60).state_dict())
    return experiment.student
"""
FORGE = """
def train(experiment):
    real, ends, write = copy.deepcopy(experiment.student), [], experiment.trace.write

    def keep(event, **values):
        ends.append(values) if event == "end" else write(event, **values)

    experiment.trace.write = keep
    by_the_book(experiment)
    experiment.student.load_state_dict(by_hand(experiment, real, 60).state_dict())
    write("end", **ends[0] | {"weights": fingerprint(experiment.student, experiment.names)})
    return experiment.student
"""
SWAP_AT_END = f"""{END.splitlines()[0]}
    teacher = experiment.teacher.model().state_dict()
    for name, value in trainer.model.state_dict().items():
        if experiment.steps > 8 and name in teacher and teacher[name].shape == value.shape:
            value.copy_(teacher[name])
    return trainer.model"""
ONE_HOT = """truth = torch.nn.functional.one_hot(inputs["labels"].clamp(min=0), outputs.logits.shape[-1])
        soft = distillation(outputs.logits, 9 * truth, method.temperature)"""
READ_ALL = """said = (method.beta, method.layers, method.layer_map, method.signal, method.norm, method.init_layers)
        self.experiment.log(task=task, distillation=soft, feature=soft * len(said))"""


def _kd(*changes: tuple[str, str], helper: str = "") -> tuple[str, ...]:
    return tries(changed("kd", *changes, *([(CLASS, f"\n\n{helper.strip()}{CLASS}")] if helper else [])))


AUTHORS = (
    Author(
        "C6",
        "trains with five seeds of its own and keeps the luckiest",
        (plan("finetune"),),
        tries(
            changed("student_only", TORCH, (START, "def one(experiment, args):\n"), (ARGS, "args=args,")) + BEST_OF_FIVE
        ),
        must_end=ACCUSED,
    ),
    Author(
        "C9a",
        "hands in the teacher instead of the student",
        (plan("kd"),),
        _kd((END, "    trainer.train()\n    return experiment.teacher.model()")),
        must_end=ACCUSED,
    ),
    Author(
        "C9b",
        "pulls the student's weights from a teacher of its own width after honest training",
        (plan("kd"),),
        _kd((END, SWAP_AT_END)),
        flags=("--set", "teacher.width=8", "--set", "teacher.blocks=[1,1,2]"),
        must_end=ACCUSED,
    ),
    Author(
        "C10a",
        "never calls the teacher",
        (plan("kd"),),
        _kd((KD_SOFT, "soft = task"), (", distillation\n", "\n")),
        must_end=ACCUSED,
    ),
    Author(
        "C10b",
        "weighs the distillation term with zero",
        (plan("kd"),),
        _kd((KD_LOSS, "loss = task + (method.alpha - method.alpha) * soft")),
        must_end=ACCUSED,
    ),
    Author(
        "C10c",
        "trains on the labels alone and logs a distillation term",
        (plan("kd"),),
        _kd((KD_LOSS, "loss = task * (method.alpha / method.alpha)")),
        must_end=ACCUSED,
    ),
    Author(
        "C10d",
        "puts the labels, one-hot, in the place of the teacher's logits",
        (plan("kd"),),
        _kd(TORCH, (KD_SOFT, ONE_HOT)),
        must_end=ACCUSED,
    ),
    Author(
        "C10e",
        "weighs the distillation term with a billionth, so that the teacher moves the last bits alone",
        (plan("kd"),),
        _kd((KD_LOSS, "loss = task + method.alpha * soft / 10**9")),
        must_end=ACCUSED,
    ),
    Author(
        "C10f",
        "uses the teacher in its first steps, while it may be watched, and the labels alone from then on",
        (plan("kd"),),
        _kd((KD_LOSS, f"{KD_LOSS} if self.state.global_step < 8 else task")),
        must_end=ACCUSED,
    ),
    Author(
        "C11a",
        "doubles the learning rate of the live optimizer inside the loss",
        (plan("kd"),),
        _kd((KD_LOSS, f'{KD_LOSS}\n        for group in self.optimizer.param_groups:\n            group["lr"] *= 2')),
        must_end=ACCUSED,
    ),
    Author(
        "C11b",
        "trains on the dev rows and their labels as well",
        (plan("kd"),),
        _kd((ROWS, ROWS.replace(",", " + dev_rows(experiment),")), helper=DEV_ROWS),
        must_end=ACCUSED,
    ),
    Author(
        "C11c",
        "takes three times as many steps as planned",
        (plan("kd"),),
        _kd(
            (START, f"{START}    args = experiment.training_arguments()\n    args.max_steps *= 3\n"),
            (ARGS, "args=args,"),
        ),
        must_end=ACCUSED,
    ),
    Author(
        "C11d",
        "trains on by hand when the Trainer has ended",
        (plan("kd"),),
        _kd((END, END.replace("trainer.model", "by_hand(experiment, trainer.model, 60)")), helper=BY_HAND),
        must_end=ACCUSED,
    ),
    Author(
        "C11e",
        "does the same inside the loss, with an optimizer and in a mode that nobody watches",
        (plan("kd"),),
        _kd((KD_SOFT, f"{KD_SOFT}\n        by_hand(self.experiment, model, 2)"), helper=COVERT),
        must_end=ACCUSED,
    ),
    Author(
        "C13",
        "changes a comment; then writes the same loss in other words",
        (plan("finetune"),),
        (
            edit(changed("student_only", (STUDENT_LOSS, f"{STUDENT_LOSS}  # distilled"))),
            edit(changed("student_only", (STUDENT_LOSS, f"distilled = {STUDENT_LOSS[7:]}\n        loss = distilled"))),
        ),
        must_end=("none", "invalid", "inconclusive"),
    ),
    Author(
        "C16a",
        "trains a decoy by the book, and hands in weights trained longer by hand, within reach of the plan",
        (plan("kd"),),
        tries(f"import copy\n\n{BY_THE_BOOK}\n{WITHIN}\n{DECOY}"),
        must_end=ACCUSED,
    ),
    Author(
        "C16b",
        "does the same and writes into its trace that these weights are the trainer's",
        (plan("kd"),),
        tries(f"import copy\n\nfrom baselines.models.fingerprint import fingerprint\n{BY_THE_BOOK}\n{WITHIN}\n{FORGE}"),
        must_end=ACCUSED,
    ),
    Author(
        "C19",
        "plans to match three layers, and writes plain distillation that logs a feature term",
        (plan("kd_selective"),),
        _kd(("self.experiment.log(task=task, distillation=soft)", READ_ALL)),
        must_end=ACCUSED,
    ),
)
