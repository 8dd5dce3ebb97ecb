"""The reference arms that every idea is compared with, one row each.

A row has the train.py that an arm runs, the labels and rows it may see and the runs it exists in; all rooms read it.
"""

from collections.abc import Callable, Set
from dataclasses import dataclass

from agent.plan.cards import cards

VANILLA = "kd"
"""The method of the arms that distil."""


@dataclass(frozen=True)
class Circumstances:
    """The facts that decide which arms a run has."""

    methods: Set[str]
    """Proposed, over all tracks."""
    transfer: bool
    generated: bool
    """Whether a track has such rows."""


@dataclass(frozen=True)
class ReferenceArm:
    name: str
    file: str
    """Its train.py, without the ending, in templates/train."""
    learns_from: str
    """Which rows, as the report words it."""
    teacher: bool = True
    reveal_transfer: bool = False
    """Whether it sees the labels of the transfer rows."""
    generated: bool = False
    """Whether it learns from the generated rows as the proposed arm does."""
    when: Callable[[Circumstances], bool] = lambda run: True


ALONE = ReferenceArm("student_only", "student_only", "the train rows", teacher=False)
DISTILLED = ReferenceArm("vanilla_kd", VANILLA, "the train and transfer rows")
ON_GENERATED = ReferenceArm(
    "generated_kd",
    VANILLA,
    "the train, transfer and generated rows",
    generated=True,
    when=lambda run: run.generated and run.methods != {VANILLA},  # else it is the proposal itself
)
PSEUDO_LABEL = ReferenceArm(
    "pseudo_label",
    "pseudo_label",
    "the train, transfer and generated rows",
    generated=True,
    when=lambda run: run.transfer or run.generated,
)
ALL_LABELS = ReferenceArm(
    "all_labels",
    "student_only",
    "both of these with their labels",
    teacher=False,
    reveal_transfer=True,
    when=lambda run: run.transfer,
)
ARMS = {arm.name: arm for arm in (ALONE, DISTILLED, ON_GENERATED, PSEUDO_LABEL, ALL_LABELS)}


def reference_arms(run: Circumstances) -> list[str]:
    """Names of the reference arms that a run has."""
    return [arm.name for arm in ARMS.values() if arm.when(run)]


def benchmark(run: Circumstances) -> str:
    """The arm to beat: vanilla distillation, on the same rows unless the rows are what is proposed; the
    student alone where there is no teacher, or where vanilla distillation is what is proposed."""
    if not all(method in cards() and cards()[method].teacher for method in run.methods):
        return ALONE.name
    if run.generated:
        rows_alone = all(method == VANILLA or cards()[method].generated for method in run.methods)
        return (DISTILLED if rows_alone else ON_GENERATED).name
    return (ALONE if VANILLA in run.methods else DISTILLED).name
