"""Where there is no gap to close, what is proposed is a legal setting that leaves the student further behind."""

from typing import Any

import pytest

from agent.cli import parser
from agent.commands.options import values_of
from agent.plan.headroom import more_headroom
from agent.plan.options import Options
from agent.plan.plan import Plan, Track
from tests.agent.plan.test_planner import planned


def plan(**values: Any) -> Plan:
    return planned(Options(idea="efficient KD", tasks=("digits",), values=values))


def followed(track: Track) -> Track:
    """The track as planned by whoever does what is proposed."""
    words = ["run", "efficient KD", *more_headroom(track).split()]
    arguments = parser(words).parse_args(words)
    return planned(Options(idea="efficient KD", tasks=("digits",), values=values_of(arguments))).tracks[0]


def labelled(track: Track, labels: int = 10) -> Track:
    """As the track is once its data were looked at."""
    task = track.task.model_copy(update={"labels": tuple(map(str, range(labels)))})
    return track.model_copy(update={"task": task})


def test_many_labels_become_few_and_the_other_rows_the_teacher_s_to_answer() -> None:
    track = labelled(plan(train_rows=1000, transfer_rows=97).tracks[0])
    less = followed(track)
    assert (less.task.train_rows, less.pool_rows) == (100, track.pool_rows)


def test_where_labels_are_few_already_the_student_becomes_smaller() -> None:
    track = labelled(plan().tracks[0])
    assert followed(track).student.width == track.student.width / 2


def test_method_that_learns_from_labels_alone_is_offered_a_smaller_student() -> None:
    track = labelled(plan(**{"train_rows": 1000, "transfer_rows": 0, "method.name": "teacher_free"}).tracks[0])
    assert more_headroom(track) == "--set digits.student.width=4"


@pytest.mark.parametrize("change", [{"checkpoint": "some/model"}, {"width": 10.0, "heads": 2}])
def test_student_that_cannot_be_halved_is_not_offered_to_be(change: dict[str, Any]) -> None:
    track = labelled(plan().tracks[0])
    assert more_headroom(track.model_copy(update={"student": track.student.model_copy(update=change)})) == ""
