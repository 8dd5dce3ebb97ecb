"""A run repeated from its record, compared with it, and the comparison kept: replay.json and replay-report.md.

    report   the report is rendered again                                   byte by byte
    agent    the recorded conversation is played again; nothing is trained  same plan, commits and decisions
    full     the same, and everything is trained again, teachers too        exact, or within tolerances, or compatible
    live     a language model is asked again, and everything is trained      compatible, or not

A replay is a run whose parent is the one that it replays; that one is only read. Except at level live nobody is asked.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import TYPE_CHECKING

from agent.cache.keys import training_code
from agent.errors import DataError, DriftError, NoReplay, TrainingError
from agent.loop.going_on import next_command
from agent.loop.session import Session, console_progress, source
from agent.plan.draft import put_recorded
from agent.plan.read import plan_of
from agent.recheck import likeness, similarity
from agent.recheck.data import same_data
from agent.recheck.likeness import Likeness
from agent.record import hashes, runs
from agent.record.clock import Clock
from agent.record.events import EventLog
from agent.record.files import write_whole
from agent.record.paths import RunPaths
from agent.render import render
from agent.results import review
from agent.results.derive import code_hash
from agent.results.read import results_of
from agent.results.report import escaped, render_report, show
from agent.terminal import say, say_json
from sandbox.folder import remove

if TYPE_CHECKING:
    import threading

    from agent.llm.gateway import Author
    from agent.loop.steps import Steps
    from agent.plan.draft import Draft
    from agent.plan.plan import Plan
    from agent.results.schema import Results


@dataclass(frozen=True)
class Replay(Session):
    """Level full or live: a run like any other, but for who answers, and a comparison at its end."""

    original: RunPaths = field(kw_only=True)

    def go(self) -> int:
        with _kept(self):
            return super().go()

    @property
    def source(self) -> "Author":
        if self.options.replay == "live":
            return source(self.options, self.settings)
        from agent.llm.conversation import Recorded

        return Recorded(self.original.conversation, by_place=changed_since(self.original))

    @cached_property
    def _draft(self) -> "Draft":
        """From the recorded defaults, where kdagent and perhaps its defaults have changed since."""
        made, recorded = super()._draft, plan_of(self.original)
        if recorded and self.options.replay != "live" and changed_since(self.original):
            put_recorded(made, recorded)
        return made

    def _planned(self, steps: "Steps", plan: "Plan") -> None:
        """Raises DriftError for a plan that is not the recorded one."""
        super()._planned(steps, plan)
        if self.options.replay != "live":
            same_data(self.original, plan, self.options)
            same_plan(self.original, plan)

    def _advance(self, steps: "Steps") -> None:
        """Raises NoReplay where data are missing."""
        try:
            super()._advance(steps)
        except DataError as error:
            if self.paths.plan.exists():
                raise
            raise NoReplay(error.message, error.hint) from error

    def _finish(self, note: str) -> None:
        """In JSON the comparison is the one document."""
        if not self.as_json:
            super()._finish(note)

    def _ended(self, found: "Results") -> int:
        code = super()._ended(found)
        remove(self.paths.scratch / "cache")  # data and teachers were made anew there
        return code or compared(self, similarity.same_numbers(self.options.replay or "full", self.original, self.paths))


@dataclass(frozen=True)
class Rehearse(Replay):
    """Level agent: up to the last decision, on what the recorded trials left."""

    def _steps(self, cancelled: "threading.Event", clock: Clock) -> "Steps":
        from agent.jobs.runner import Runner
        from agent.llm.conversation import Conversation
        from agent.llm.gateway import Gateway
        from agent.loop.context import Context
        from agent.recheck.playback import RecordedJobs, Rehearsal
        from sandbox.isolation.process import Process

        progress, budget = console_progress(True, clock), self._budget()
        runner = Runner(self.paths, self.settings, Process(), progress, cancelled, budget.seconds)
        gateway = Gateway(self.source, Conversation(self.paths.conversation), budget.tokens)
        run = Context(self.options, gateway, RecordedJobs(self.original, self.paths), runner)
        steps = Rehearsal(run, lambda: self._draft, lambda plan: self._planned(steps, plan), self.original)
        return steps

    def _show(self, steps: "Steps", plan: "Plan") -> None:
        """It is the recorded one."""

    def _advance(self, steps: "Steps") -> None:
        """Raises NoReplay where an imported record leads to an error of any kind: nothing but the record is read."""
        from agent.loop import graph

        try:
            graph.advance(steps, self.paths.state)
            review.add(self.paths, "approve", "as recorded", review.author())
            graph.advance(steps, self.paths.state)
        except (LookupError, TypeError, ValueError, AttributeError, ArithmeticError, RecursionError) as error:
            if "imported" not in runs.read(self.original):
                raise
            problem = f"run {self.original.id} cannot be played again: {type(error).__name__}: {error}"
            raise NoReplay(problem[:300], "verify it; get it again from whoever made it") from error

    def _stopped(self) -> int:
        runs.update(self.paths, status="succeeded", reason="")
        return compared(self, similarity.same_decisions(self.original, self.paths))


@dataclass(frozen=True)
class Render(Replay):
    """Level report: the report again, from results.json and the reviews on record."""

    def go(self) -> int:
        with runs.locked(self.paths), runs.refusals():
            results = results_of(self.original)
            if not results:
                raise NoReplay(f"run {self.original.id} has no results", "restore its folder")
            text = render_report(results, review.read(self.original))
            EventLog(self.paths.events).append("sealed", **hashes.notes(self.paths, hashes.record(self.paths)))
            runs.update(self.paths, status="succeeded", reason="")
            return compared(self, similarity.same_bytes(self.original, self.paths, text))


LEVELS: dict[likeness.Level, type[Replay]] = {"report": Render, "agent": Rehearse, "full": Replay, "live": Replay}


def replay(original: RunPaths, made: RunPaths, session: Session) -> Replay:
    """The replay that `made` was created for."""
    level = session.options.replay or "full"
    fresh = replace(session.settings, cache=made.scratch / "cache")
    settings = session.settings if level == "live" else fresh
    return LEVELS[level](
        made, session.options, settings, session.as_json, session.backend, session.draft, original=original
    )


def replayable(original: RunPaths) -> None:
    """Raises NoReplay for a run that has not come to its end."""
    if not original.results.exists() or not original.plan.exists():
        status = runs.read(original)["status"]
        raise NoReplay(
            f"run {original.id} is {status}: it has no results to replay", f"continue with: {next_command(original)}"
        )


def changed_since(original: RunPaths) -> bool:
    """Whether the kdagent that made a run is not this one, so that its prompts may be worded differently."""
    measured = [event["data"] for event in EventLog(original.events).read() if event["kind"] == "measured"]
    now = (code_hash(), training_code())
    return any((data.get("code"), data.get("training_code")) != now for data in measured)


def same_plan(original: RunPaths, plan: "Plan") -> None:
    recorded = plan_of(original)
    if not recorded or recorded.hash == plan.hash:
        return
    from agent.recheck.diff import plan_changes

    first = next(iter(plan_changes(recorded, plan)), None)
    what = f"{first.name} was {first.first[:80]}, is {first.second[:80]}" if first else "their provenance differs"
    raise DriftError(f"the plan is not the recorded one: {what}", "the data, the defaults or kdagent have changed")


@contextmanager
def _kept(made: Replay) -> Iterator[None]:
    """A replay that could not continue leaves its comparison, too."""
    try:
        yield
    except (DriftError, NoReplay, TrainingError) as error:
        verdict: likeness.Agreement = "drift" if isinstance(error, DriftError) else "failed"
        level = made.options.replay or "full"
        keep(made.paths, similarity.drifted(level, made.original, made.paths, error.message, verdict))
        raise


def compared(made: Session, found: Likeness) -> int:
    keep(made.paths, found)
    if made.as_json:
        say_json(found.model_dump(mode="json", by_alias=True))
    else:
        say(f"replay of {found.original}, level {found.level}: {word(found)}. {found.reason}")
        say(f"replay report: {made.paths.replay_report}")
    return found.exit_code


def word(found: Likeness) -> str:
    return f"{found.verdict} ({found.how})" if found.how else found.verdict


def keep(paths: RunPaths, found: Likeness) -> None:
    """On record: replay.json, and the same for a reader."""
    texts = {
        paths.replay: found.model_dump_json(by_alias=True, indent=1),
        paths.replay_report: render("report/replay.md.j2", found=escaped(found), code=found.code, word=word, show=show),
    }
    notes = hashes.notes(paths, (), {path.name: text for path, text in texts.items()})
    EventLog(paths.events).append("replayed", verdict=found.verdict, how=found.how, **notes)
    for path, text in texts.items():
        write_whole(path, text)
