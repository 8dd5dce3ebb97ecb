"""The lints of a plan, before anything trains, in the order in which they are told."""

from collections.abc import Iterator, Mapping

from agent.figures import count
from agent.plan.lint import Lint
from agent.plan.method_rules import kind, layers_unlike, method_settings, unread, views
from agent.plan.model_rules import assistant_size, sizes, tokenizers
from agent.plan.plan import Plan
from agent.plan.prose import title_problem
from agent.plan.row_rules import generated_rows, logits_size, rows
from agent.plan.training_rules import rates, schedule, untrained_teacher
from agent.record.prepared import Prepared
from agent.statistics import fewest_seeds, least_p


def foreseen(plan: Plan) -> list[Lint]:
    """Refusals that do not depend on rows: made before data are prepared, and texts written."""
    rules = (untrained_teacher, kind, views, layers_unlike, generated_rows)
    found = [*_tracks_agree(plan), *(each for track in plan.tracks for about in rules for each in about(track))]
    return [each for each in found if each.level == "refusal"]


def lint(plan: Plan, prepared: Mapping[str, Prepared]) -> list[Lint]:
    """Warnings and refusals, now that rows and models were prepared, per track."""
    found = [*_title(plan), *_seeds(plan), *_tracks_agree(plan)]
    for track in plan.tracks:
        found += unread(plan, track)
        found += untrained_teacher(track)
        for about in (rates, schedule, kind, views, method_settings, layers_unlike, generated_rows, rows):
            found += about(track)
        found += logits_size(plan, track)
        found += sizes(track, prepared[track.name])
        found += tokenizers(track, prepared[track.name])
        found += assistant_size(track, prepared[track.name])
    return found


def _title(plan: Plan) -> Iterator[Lint]:
    if problem := title_problem(plan.title, plan.idea):
        yield Lint("refusal", "title", problem, "run it again: a new proposal may have a complete title")


def _seeds(plan: Plan) -> Iterator[Lint]:
    n = len(plan.seeds)
    if least_p(n) >= plan.level:
        yield Lint(
            "warning",
            "seeds",
            f"{count(n, 'seed')} cannot reach the level {plan.level:g}, whatever the results",
            f"{fewest_seeds(plan.level)} are needed at least",
        )


def _tracks_agree(plan: Plan) -> Iterator[Lint]:
    """The arms of a plan are those of all its tracks."""
    without = [track.name for track in plan.tracks if not track.task.generated_rows]
    if 0 < len(without) < len(plan.tracks):
        yield Lint(
            "refusal",
            f"tracks.{without[0]}.task.generated_rows",
            "this track has no generated rows while another track has some, so the arms would differ",
            "plan them for every track, or one run per task: --task NAME",
        )
