"""Lints of how models are trained: learning rates, schedules, and a teacher that nobody trains."""

from collections.abc import Iterator

from agent.plan.families import families
from agent.plan.lint import Lint
from agent.plan.plan import ModelSpec, Track, Training

MOST_WARMUP = 0.2


def untrained_teacher(track: Track) -> Iterator[Lint]:
    """A teacher that is not trained here must have been trained somewhere, and there is one of it."""
    if track.teacher_steps:
        return
    path = f"tracks.{track.name}.teacher_training.epochs"
    if not track.teacher.checkpoint:
        why = "a teacher with random weights must be trained"
        yield Lint(
            "refusal", path, why, f"train it, or name a checkpoint: --set {track.name}.teacher.checkpoint=FOLDER"
        )
    if track.method.teachers > 1:
        why = f"{track.method.teachers} teachers that are not trained are all the same"
        yield Lint("refusal", path, why, f"train them, or use --set {track.name}.teachers=1")


def rates(track: Track) -> Iterator[Lint]:
    trained = "teacher_" if track.teacher_steps else ""  # as the assistant is
    for who, spec, training in (
        ("teacher_", track.teacher, track.teacher_training),
        *([(trained, track.assistant, track.assistant_training)] if track.assistant else []),
        ("", track.student, track.training),
    ):
        low, high = _usable(spec, training)
        if training.epochs and not low <= training.learning_rate <= high:
            yield Lint(
                "warning",
                f"tracks.{track.name}.{who}training.learning_rate",
                f"{training.learning_rate:g} is outside {low:g}..{high:g}, where a {_called(spec)} with "
                f"{training.optimizer} is known to train",
                "expect divergence above it and an untrained model below it",
            )


def _usable(spec: ModelSpec, training: Training) -> tuple[float, float]:
    family = families()[spec.architecture]
    rates = family.sgd_rates if training.optimizer == "sgd" else family.rates
    return rates.pretrained if spec.checkpoint else rates.random


def _called(spec: ModelSpec) -> str:
    return f"pretrained {spec.architecture}" if spec.checkpoint else f"{spec.architecture} from random weights"


def schedule(track: Track) -> Iterator[Lint]:
    path = f"tracks.{track.name}.training"
    for who, training, steps in (
        ("teacher_", track.teacher_training, track.teacher_steps),
        ("", track.training, track.steps),
    ):
        if steps and training.warmup > MOST_WARMUP:
            yield Lint(
                "refusal",
                f"tracks.{track.name}.{who}training.warmup",
                f"{training.warmup:.0%} of {steps:,} steps are warm-up",
                f"{MOST_WARMUP:.0%} is the maximum: --set {who and 'teacher_training.'}warmup={MOST_WARMUP}",
            )
    if track.student.checkpoint and track.training.epochs > 5:
        yield Lint(
            "warning",
            f"{path}.epochs",
            f"{track.training.epochs:g} epochs for a pretrained {track.student.architecture}",
            "two to five are usual; more mostly overfit",
        )
    if track.training.optimizer == "adam" and track.training.weight_decay:
        yield Lint(
            "warning",
            f"{path}.weight_decay",
            "adam adds weight decay to the gradient, which couples the two",
            "use adamw, or no decay",
        )
