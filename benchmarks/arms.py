"""The arms that need nothing but what kdagent needs: the floor, two ways to use Hugging Face's Trainer, and ours.

An arm trains one pass over a setting and gives back its `Pass`. Its turn of a few steps, or of one, ends with an
optimizer's step: a hook there takes the time, the same for every arm, and lets the other arms take their turns where
several are at work (measure.turns).
"""

import io
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import torch
import torch.nn.functional as F
from accelerate.utils import convert_outputs_to_fp32
from greenlet import getcurrent
from transformers import Trainer, TrainingArguments

from baselines.data.collator import Collator
from baselines.models.by_length import in_parts
from baselines.models.padding import SelfPadding
from baselines.training.cached_teacher import load
from baselines.training.experiment import Experiment
from baselines.training.trainfile import import_file
from benchmarks.setting import METHOD, SEED, TRAIN_FILES, Setting

CUDA = torch.cuda.is_available()
DEVICE = "cuda" if CUDA else "cpu"
FIRST = 10
"""Losses that are taken down."""


@dataclass
class Pass:
    """When each turn of `block` steps ended and the next began, on one clock, the first losses, and the memory that the
    first turns needed, in MB, where it was measured."""

    block: int = 1
    steps: int = 0
    ends: list[float] = field(default_factory=list)
    begins: list[float] = field(default_factory=list)
    losses: list[float] = field(default_factory=list)
    memory: float = 0.0

    def watch(self, optimizer: torch.optim.Optimizer) -> torch.optim.Optimizer:
        optimizer.register_step_post_hook(self._step)
        return optimizer

    def _step(self, *_) -> None:
        self.steps += 1
        if self.steps % self.block:
            return
        self.ends.append(now())
        if (others := getcurrent().parent) is not None:
            others.switch(self)
        self.begins.append(now())

    def seconds(self, warm: int) -> list[float]:
        """Of a step in each turn after the first `warm`."""
        spans = [end - begin for begin, end in zip(self.begins, self.ends[1:], strict=False)]
        return [span / self.block for span in spans[warm - 1 :]]

    def note(self, loss: torch.Tensor) -> None:
        if len(self.losses) < FIRST:
            self.losses.append(float(loss.detach()))


Arm = Callable[[Setting], Pass]


def now() -> float:
    if CUDA:
        torch.cuda.synchronize()
    return time.perf_counter()


def optimizer(setting: Setting, model: torch.nn.Module, done: Pass) -> torch.optim.Optimizer:
    """AdamW as the product has it: fused, no decay of biases and norms."""
    plain = [p for p in model.parameters() if p.ndim <= 1]
    decayed = [p for p in model.parameters() if p.ndim > 1]
    groups = [{"params": decayed, "weight_decay": 0.01}, {"params": plain, "weight_decay": 0.0}]
    return done.watch(torch.optim.AdamW(groups, lr=setting.training["learning_rate"], fused=True))


def student_of(setting: Setting) -> torch.nn.Module:
    """Without dropout, so that losses can be compared."""
    return undropped(setting.build_student().to(DEVICE).train())


def teacher_of(setting: Setting) -> torch.nn.Module:
    return cast(load(setting.folder / "teacher").to(DEVICE), setting)


def cast(model: torch.nn.Module, setting: Setting) -> torch.nn.Module:
    """It computes in the setting's precision and answers in fp32, as accelerate has it."""
    if setting.precision == "bf16":
        model.forward = convert_outputs_to_fp32(torch.autocast(DEVICE, torch.bfloat16)(model.forward))
    return model


def undropped(model: torch.nn.Module) -> torch.nn.Module:
    for module in model.modules():
        if isinstance(module, torch.nn.Dropout):
            module.p = 0.0
    return model


def inputs_of(batch: dict) -> dict:
    return {name: value.to(DEVICE) for name, value in batch.items() if name not in ("ids", "labels")}


def hinton(student: torch.Tensor, teacher: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
    """The objective of every arm with a teacher, as a user would write it down."""
    alpha, t = METHOD["alpha"], METHOD["temperature"]
    soft = F.kl_div(F.log_softmax(student / t, -1), F.softmax(teacher / t, -1), reduction="batchmean") * t**2
    return (1 - alpha) * F.cross_entropy(student, labels) + alpha * soft


def floor(setting: Setting) -> Pass:
    """F0: a bare loop over batches that are tensors already, the student alone; on a card, where a floor must not wait,
    with the mask made ready as in a trial of ours."""
    model = student_of(setting)
    return _bare(setting, in_parts(model) if CUDA else model)


def floor_of_copies(setting: Setting) -> Pass:
    """F0-copy: the same with the library's own MobileNetV2, which copies each feature map to pad it."""
    model = student_of(setting)
    for layer in model.modules():
        if isinstance(getattr(layer, "convolution", None), SelfPadding):
            layer.convolution.__class__, layer.config.tf_padding = torch.nn.Conv2d, True
    return _bare(setting, model)


def _bare(setting: Setting, model: torch.nn.Module) -> Pass:
    done, model = Pass(setting.block), cast(model, setting)
    rule = optimizer(setting, model, done)
    for batch in [inputs_of(batch) | {"labels": batch["labels"].to(DEVICE)} for batch in setting.batches()]:
        labels = batch.pop("labels")
        loss = F.cross_entropy(model(**batch).logits, labels)
        step(loss, model, rule, done)
    return done


def step(loss: torch.Tensor, model: torch.nn.Module, rule: torch.optim.Optimizer, done: Pass) -> None:
    """What a loop without a framework does with a loss."""
    loss.backward()
    torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
    rule.step()
    rule.zero_grad()
    done.note(loss)


class _Noting(Trainer):
    """Takes down the losses."""

    done: Pass
    teacher: torch.nn.Module | None = None

    def compute_loss(self, model, inputs, return_outputs=False, num_items_in_batch=None):
        given = {name: value for name, value in inputs.items() if name not in ("ids", "labels")}
        logits = model(**given).logits
        if self.teacher is None:
            loss = F.cross_entropy(logits, inputs["labels"])
        else:
            with torch.no_grad():
                answers = self.teacher(**given).logits
            loss = hinton(logits, answers, inputs["labels"])
        self.done.note(loss)
        return loss


def tuned_trainer(setting: Setting) -> Pass:
    """F1: Hugging Face's Trainer, the student alone, its known brakes released and its rows grouped by length."""
    grouped = "group_by_length" if setting.mixed else "sequential"
    return _with_trainer(setting, False, train_sampling_strategy=grouped, logging_nan_inf_filter=False)


def naive_trainer(setting: Setting) -> Pass:
    """N: the recipe of Hugging Face's guide: the teacher asked at every step, Trainer's defaults."""
    return _with_trainer(setting, True, train_sampling_strategy="random" if setting.mixed else "sequential")


def _with_trainer(setting: Setting, taught: bool, **own) -> Pass:
    done, model = Pass(setting.block), student_of(setting)
    with tempfile.TemporaryDirectory() as out:
        arguments = TrainingArguments(
            output_dir=out,
            max_steps=setting.steps,
            per_device_train_batch_size=setting.batch_size,
            max_grad_norm=1.0,
            remove_unused_columns=False,
            dataloader_drop_last=True,
            save_strategy="no",
            report_to="none",
            disable_tqdm=True,
            use_cpu=not CUDA,
            bf16=setting.precision == "bf16",
            seed=SEED,
            **own,
        )
        rule = optimizer(setting, model, done)
        constant = torch.optim.lr_scheduler.LambdaLR(rule, lambda _: 1.0)
        trainer = _Noting(
            model=model,
            args=arguments,
            train_dataset=setting.ordered(),
            data_collator=Collator(setting.task),
            optimizers=(rule, constant),
        )
        trainer.done = done
        trainer.teacher = teacher_of(setting) if taught else None
        trainer.train()
    return done


def ours_online(setting: Setting) -> Pass:
    """K-on: a trial of ours whose teacher is asked at every step, as one is whose answers do not fit the cache."""
    return _ours(setting, online=True)


def ours_cached(setting: Setting) -> Pass:
    """K-c: a trial of ours as it is: the teacher's answers come from the cache, every check is on."""
    return _ours(setting, online=False)


def _ours(setting: Setting, online: bool) -> Pass:
    done = Pass(setting.block)
    with tempfile.TemporaryDirectory() as out:
        job, unit = setting.job(), setting.unit | {"reveal_transfer": False}
        experiment = Experiment(job, unit, SEED, Path(out), io.StringIO())
        undropped(experiment.student)
        if online:
            experiment.teacher.logits = None
        made = experiment.optimizer

        def watched(model: torch.nn.Module):
            rule, schedule = made(model)
            return done.watch(rule), schedule

        experiment.optimizer = watched
        log = experiment.log

        def noted(task, distillation):
            alpha = METHOD["alpha"]
            done.note((1 - alpha) * task + alpha * distillation)
            log(task=task, distillation=distillation)

        experiment.log = noted
        import_file(TRAIN_FILES / "kd.py").train(experiment)
    return done


OF_IMAGES: dict[str, Arm] = {"F0-copy": floor_of_copies}
OWN: dict[str, Arm] = {
    "F0": floor,
    "F1": tuned_trainer,
    "N": naive_trainer,
    "K-on": ours_online,
    "K-c": ours_cached,
}
