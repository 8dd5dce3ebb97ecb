"""C22: no sentence of a prompt counts as a control. Each names the test of the code that keeps it.

A sentence that is new or reworded fails here until a test stands beside it.
"""

import re
from collections.abc import Callable, Iterator

import pytest

from agent import config
from tests.agent.command import ROOT

CHECKS = "tests/sandbox/checks/test_check.py"
EDITS = "tests/agent/llm/test_edits.py"
EXPERIMENT = "tests/baselines/training/test_experiment.py"
FAILED = "tests/baselines/processes/test_trial_failures.py"
FIELDS = "tests/agent/results/test_executed.py"
GUARDS = "tests/agent/results/test_guards.py"
LANGUAGE = "tests/baselines/processes/test_language.py"
PREDICT = "tests/baselines/processes/test_predict.py"
PREPARE = "tests/baselines/processes/test_prepare.py"
REPLY = "tests/agent/llm/test_reply.py"
REPORT = "tests/agent/results/test_report.py"
ROWS = "tests/baselines/data/test_rows.py"
RULES = "tests/campaigns/cheats/test_rules.py"
RUN = "tests/agent/loop/test_endpoint_run.py"
TRIAL = "tests/baselines/processes/test_trial.py"

SYSTEM = {
    "Prose holds no numbers.": (REPLY, "test_every_wrong_field_of_a_proposal_is_named"),
    "Name the setting in braces instead": (REPORT, "test_placeholders_in_prose_become_the_values_of_the_plan"),
    "Names such as ResNet-50": (RULES, "test_names_are_no_numbers"),
    "Hyperparameters belong in the plan.": (CHECKS, "test_hyperparameters_of_ones_own_are_rejected"),
    "Code never writes their values": (RUN, "test_forbidden_number_is_named_with_its_line"),
    "No seeds": (CHECKS, "test_seeds_are_rejected"),
    "Only `train.py` changes": (EDITS, "test_no_other_file_may_be_named"),
    "Nothing is promised.": (REPORT, "test_a_run_that_trained_nothing_still_has_every_section"),
    "An inconclusive result is a good": (REPORT, "test_three_seeds_read_as_inconclusive_with_the_reason"),
}
EDIT = {
    "no numbers for hyperparameters": (CHECKS, "test_hyperparameters_of_ones_own_are_rejected"),
    "no seeds": (CHECKS, "test_seeds_are_rejected"),
    "no reading or writing of files": (CHECKS, "test_data_and_weights_from_elsewhere_are_rejected"),
    "no evaluation": (CHECKS, "test_trainers_of_ones_own_making_are_rejected"),
    "no other file": (EDITS, "test_no_other_file_may_be_named"),
    "no imports but": (CHECKS, "test_other_imports_are_rejected"),
}
CONTRACT = {
    "`train.py` defines `train(experiment)`": (CHECKS, "test_missing_entry_point_is_rejected"),
    "The same file serves": (TRIAL, "test_every_method_trains_on_the_rows_it_is_defined_for"),
    "Everything it needs comes from": (CHECKS, "test_data_and_weights_from_elsewhere_are_rejected"),
    "`experiment.student`": (
        PREDICT,
        "test_weights_that_are_not_the_planned_students_are_refused_and_the_others_answered",
    ),
    "It must come back": (FAILED, "test_a_train_py_that_fails_is_a_result_and_the_other_arms_still_run"),
    "`experiment.train_dataset`, ": (TRIAL, "test_transfer_labels_reach_only_the_arm_that_measures_their_worth"),
    "Transfer rows carry": (ROWS, "test_rows_written_without_labels_have_none"),
    "`experiment.train_dataset + ": (ROWS, "test_sum_keeps_ids_labels_and_order"),
    "`experiment.collator`": (ROWS, "test_texts_are_padded_to_the_longest_of_the_batch_and_masked"),
    "A batch holds": (ROWS, "test_teacher_logits_are_joined_by_the_id_of_the_row"),
    "Where the plan shows images": (
        "tests/baselines/data/test_augmented_views.py",
        "test_a_row_is_shown_in_its_next_view_each_time_and_the_rows_of_a_batch_in_different_ones",
    ),
    "Rows of a corpus": (LANGUAGE, "test_a_batch_of_a_corpus_asks_for_every_next_token"),
    "The batches of a method that keeps": (
        LANGUAGE,
        "test_the_student_learns_from_the_planned_number_of_texts_and_from_none_that_trained_the_reference",
    ),
    "`experiment.model_inputs": (TRIAL, "test_every_method_trains_on_the_rows_it_is_defined_for"),
    "`experiment.training_arguments": (TRIAL, "test_planned_optimizer_runs_and_spares_biases_and_norms_from_decay"),
    "`experiment.callbacks`": (FIELDS, "test_what_one_trial_left_no_trace_of_is_not_seen"),
    "It gets its `args`": (CHECKS, "test_only_the_loss_of_a_trainer_may_be_replaced"),
    "`trainer.train(resume_from_checkpoint": (
        "tests/baselines/training/test_checkpoints.py",
        "test_an_edit_that_does_not_go_on_begins_anew_and_its_checkpoints_are_gone",
    ),
    "`experiment.method`": (EXPERIMENT, "test_method_settings_are_read_only_and_count_their_reads"),
    "`experiment.teacher.features": (TRIAL, "test_kd_12_cached_and_online_features_give_the_same_losses"),
    "`experiment.peer": (
        "tests/baselines/methods/test_dml.py",
        "test_a_peer_is_a_model_like_the_student_whose_weights_its_number_and_the_seed_decide",
    ),
    "`experiment.log": (TRIAL, "test_logged_loss_is_made_of_the_logged_terms_and_the_planned_weights"),
    "Log each term": (TRIAL, "test_logged_loss_is_made_of_the_logged_terms_and_the_planned_weights"),
    "The teacher must matter": (
        GUARDS,
        "test_teacher_that_makes_no_difference_fails_and_without_a_probe_nothing_is_said",
    ),
    "Train on every labelled": (FAILED, "test_rows_that_are_left_out_are_missed"),
    "The harness alone holds": (PREPARE, "test_a_trial_sees_no_dev_row_no_test_row_and_no_hidden_label"),
    "`self.model_accepts_loss_kwargs": (TRIAL, "test_four_batches_of_eight_equal_one_of_thirty_two"),
    "`baselines.methods` offers": (TRIAL, "test_every_method_trains_on_the_rows_it_is_defined_for"),
}
"""The beginning of a sentence → the file and the test that keep it."""


def _prompt(name: str) -> str:
    return (config.ROOT / "templates" / "prompts" / f"{name}.md.j2").read_text()


def _sentences(text: str) -> Iterator[str]:
    """Sentences of every paragraph and list item, each on one line."""
    for part in re.split(r"\n\n|\n(?=- )", text):
        yield from re.split(r"(?<=\.)\s+(?=[A-Z`])", " ".join(part.removeprefix("- ").split()))


def _system() -> list[str]:
    """The rules of the system prompt are its list."""
    return [*_sentences("- " + _prompt("system").partition("\n\n- ")[2])]


def _edit() -> list[str]:
    [rules] = re.findall(r"The rules, enforced by code: (.*?)\. ", " ".join(_prompt("edit").split()))
    return re.split(r", (?=no )", rules)


def _contract() -> list[str]:
    """What the methods' cards offer is listed behind the last of them, and tested with the methods."""
    return [*_sentences(re.sub(r"\n\{% for call.*?\{% endfor %\}\n?", "", _prompt("contract"), flags=re.DOTALL))]


@pytest.mark.parametrize(
    ("rules", "tests"), [(_system, SYSTEM), (_edit, EDIT), (_contract, CONTRACT)], ids=["system", "edit", "contract"]
)
def test_every_rule_of_a_prompt_has_a_test(rules: Callable[[], list[str]], tests: dict[str, tuple[str, str]]) -> None:
    told = rules()
    assert [rule for rule in told if not any(rule.startswith(start) for start in tests)] == []
    assert [start for start in tests if not any(rule.startswith(start) for rule in told)] == []


@pytest.mark.parametrize(("file", "name"), sorted({*SYSTEM.values(), *EDIT.values(), *CONTRACT.values()}))
def test_the_named_test_exists(file: str, name: str) -> None:
    assert re.search(rf"^def {name}\(", (ROOT / file).read_text(), re.MULTILINE)


@pytest.mark.parametrize("name", ["ResNet-50", "CIFAR-10", "BERT-base", "MobileNetV2", "GPT-4o"])
def test_names_are_no_numbers(name: str) -> None:
    from agent.plan.prose import stray_number

    assert stray_number(f"We distil {name} here.") == ""
