"""The things every step of a run needs. State that must survive a crash is on disk, not here."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeVar

from agent import config
from agent.errors import CacheChanged
from agent.jobs.harness import Jobs
from agent.jobs.runner import MOST_TRIES, Runner
from agent.jobs.shard_job import Inputs
from agent.llm.gateway import Gateway
from agent.plan.arms import ALONE
from agent.plan.options import Options
from agent.plan.plan import Plan
from agent.record import hashes
from agent.record.events import EventLog
from agent.record.paths import RunPaths
from agent.record.prepared import Prepared, read_facts

T = TypeVar("T")
TEACHERS = ALONE.file  # the train.py that trains them


@dataclass(frozen=True)
class Context:
    options: Options
    gateway: Gateway
    jobs: Jobs
    runner: Runner
    """The start of the jobs: the run's folder, its clock and its isolation."""

    @property
    def paths(self) -> RunPaths:
        return self.runner.paths

    @property
    def events(self) -> EventLog:
        return EventLog(self.paths.events)

    @property
    def plan(self) -> Plan:
        return Plan.model_validate_json(self.paths.plan.read_text())

    @property
    def prepared(self) -> dict[str, Prepared]:
        """Every track's rows and models, as they were planned with."""
        return read_facts(self.paths).tracks

    def inputs(self, teachers: dict[str, str]) -> Inputs:
        return Inputs(self.prepared, teachers)

    def fresh(self, *starts: str) -> dict[str, dict[str, str]]:
        """Hashes of the record's files under `starts` that no event notes yet."""
        return hashes.fresh(self.paths, self.events, starts)

    def hold(self) -> None:
        """What the run has taken from the cache is unchanged, or is rebuilt, which is recorded. Raises DataError."""
        self.jobs.hold(self.plan, self.prepared, train_file(TEACHERS) if self.events.count("teachers") else "")
        self.note_remade()

    def whole(self, work: Callable[[], T]) -> T:
        """The work's result, none of which came from an entry of the cache that changed while it was read: such an
        entry is rebuilt, and the work done again. Raises CacheChanged where that goes on."""
        for _ in range(MOST_TRIES - 1):
            try:
                return work()
            except CacheChanged as error:
                self.runner.progress.say(error.message)
                self.hold()
        return work()

    def note_remade(self) -> None:
        """Records the cache entries that did not match their hashes."""
        for what in self.jobs.remade:
            self.events.once("made again", what=what)


def train_file(name: str) -> str:
    """One of the finished train.py files."""
    return (config.TRAIN_FILES / f"{name}.py").read_text()
