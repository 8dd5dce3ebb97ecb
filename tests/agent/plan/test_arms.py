"""Which reference arms a run has, and what the proposed arm must beat."""

import pytest

from agent import config
from agent.plan.arms import ARMS, Circumstances, benchmark, reference_arms

ALWAYS = ["student_only", "vanilla_kd"]


@pytest.mark.parametrize(
    ("methods", "transfer", "generated", "arms", "beaten"),
    [
        ({"dkd"}, False, False, ALWAYS, "vanilla_kd"),
        ({"kd"}, False, False, ALWAYS, "student_only"),
        ({"dml"}, True, False, [*ALWAYS, "pseudo_label", "all_labels"], "student_only"),
        ({"dkd"}, False, True, [*ALWAYS, "generated_kd", "pseudo_label"], "generated_kd"),
        ({"genset"}, False, True, [*ALWAYS, "generated_kd", "pseudo_label"], "vanilla_kd"),
        ({"kd"}, True, True, [*ALWAYS, "pseudo_label", "all_labels"], "vanilla_kd"),
        ({"unheard of"}, False, False, ALWAYS, "student_only"),
    ],
)
def test_a_run_has_the_arms_of_its_rows_and_a_benchmark_of_its_methods(
    methods: set[str], transfer: bool, generated: bool, arms: list[str], beaten: str
) -> None:
    run = Circumstances(methods, transfer, generated)
    assert (reference_arms(run), benchmark(run)) == (arms, beaten)
    assert beaten in arms


def test_every_arm_has_its_train_file_and_only_one_without_a_teacher_sees_labels_of_transfer_rows() -> None:
    for arm in ARMS.values():
        assert (config.TRAIN_FILES / f"{arm.file}.py").is_file()
        assert not (arm.reveal_transfer and arm.teacher) and arm.learns_from
