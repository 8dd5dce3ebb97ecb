"""The table of growth finds again what a run, an attempt, a trial and an epoch were said to cost."""

from tests.campaigns.attempts import __main__ as attempts


def test_costs_per_attempt_trial_and_epoch_are_found_again() -> None:
    sizes = [(tried, seeds, epochs, seeds * (4 + tried)) for tried, seeds, epochs in attempts.WANTED]
    found = [attempts.Run(*each, 20 + 3 * each[0] + 0.5 * each[3] + 0.02 * each[3] * each[2]) for each in sizes]
    *rows, _, said = attempts.table(found).splitlines()[2:]
    assert "20.0 s for a run, 3.0 s more for each attempt, 0.50 s for each trial, 20 ms for each epoch" in said
    assert len(rows) == len(found) and all(row.split(" | ")[-1] == f"{row.split(' | ')[-2]} |" for row in rows)
