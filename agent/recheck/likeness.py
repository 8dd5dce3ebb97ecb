"""What a replay found, compared with the run it replays: replay.json."""

from typing import Literal

from pydantic import ConfigDict, Field

from agent.frozen import Record

Level = Literal["report", "agent", "full", "live"]
Agreement = Literal["match", "compatible", "differs", "drift", "failed"]
How = Literal["bytes", "decisions", "exact", "tolerance", "statistical", ""]


class Difference(Record):
    name: str
    original: str
    replay: str


class Row(Record):
    """One metric of one arm, mean over seeds."""

    track: str
    arm: str
    metric: str
    original: float
    replay: float


class Parting(Record):
    """The first logged step at which the losses of a trial are no longer equal."""

    track: str
    arm: str
    seed: int
    step: int
    original: float
    replay: float | None
    """Absent where the replay logged none."""


class Pair(Record):
    """A replayed arm minus the original one, on the same rows and seeds."""

    track: str
    arm: str
    difference: float
    low: float
    """95 % interval."""
    high: float
    mcnemar: tuple[float, ...]
    """Exact level per seed over examples."""


class Decision(Record):
    number: int
    commit: str
    same_commit: bool
    outcome: str
    same_decision: bool


class Likeness(Record):
    """What a replay found (replay.json, schema 1)."""

    model_config = ConfigDict(frozen=True, extra="forbid", populate_by_name=True)

    schema_: Literal[1] = Field(default=1, alias="schema")
    level: Level
    original: str
    replay: str
    verdict: Agreement
    how: How
    reason: str
    environment: tuple[Difference, ...] = ()
    plan: tuple[Difference, ...] = ()
    code: str = ""
    """Unified diff of the two proposed train.py."""
    attempts: tuple[Decision, ...] = ()
    asked: int = 0
    """Requests that the record answered."""
    unused: int = 0
    """Replies of the record that nothing asked for."""
    reworded: int = 0
    """Requests that are worded differently from the recorded ones at their places."""
    equal: tuple[int, int] = (0, 0)
    """Predictions that are equal bit by bit, and how many there are."""
    rows: tuple[Row, ...] = ()
    partings: tuple[Parting, ...] = ()
    pairs: tuple[Pair, ...] = ()

    @property
    def exit_code(self) -> int:
        return {"match": 0, "compatible": 0, "differs": 1, "failed": 5, "drift": 6}[self.verdict]
