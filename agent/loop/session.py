"""A run driven to its next stop: locked by one process, stoppable, with a true status whatever happens."""

import signal
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

from agent import config
from agent.cache import unused
from agent.errors import (
    BudgetError,
    DataChanged,
    DataError,
    DriftError,
    Interrupted,
    NoReplay,
    OutOfTime,
    PlanError,
    ReviewPending,
    TrainingError,
    UsageError,
)
from agent.loop.going_on import next_command
from agent.plan.options import Options
from agent.plan.read import plan_of
from agent.record import hashes, runs
from agent.record.clock import Clock
from agent.record.files import write_whole
from agent.record.paths import RunPaths
from agent.record.printed import command
from agent.results.read import results_of
from agent.terminal import ask, say, say_json, screen
from sandbox.errors import KdagentError

if TYPE_CHECKING:
    from agent.jobs.progress import Progress
    from agent.llm.gateway import Author
    from agent.loop.steps import Steps
    from agent.plan.draft import Draft
    from agent.plan.plan import Budget, Plan
    from agent.results.schema import Results
    from sandbox.isolation.backend import Backend


REJECTED = "the plan was rejected"
LASTING = (
    UsageError,
    PlanError,
    BudgetError,
    OutOfTime,
    DataChanged,
    DriftError,
    NoReplay,
)  # they would be repeated if the run continued


@dataclass(frozen=True)
class Session:
    paths: RunPaths
    options: Options
    settings: config.Settings
    as_json: bool
    backend: "Backend | None" = None
    """A backend that has been tried already."""
    draft: "Draft | None" = None
    """What the plan starts from, where that was made already."""

    def go(self) -> int:
        """To the next stop; the exit code."""
        with (
            runs.locked(self.paths),
            _cancellable() as cancelled,
            _noted(self.paths),
            runs.refusals(),
            Clock(self.paths.clock).kept() as clock,
        ):
            steps = self._steps(cancelled, clock)
            self._begin()
            if steps.run.paths.plan.exists():
                self._planned(steps, steps.run.plan)
                steps.references.hold()
            # LangGraph takes the last checkpoint by the clock, which may have gone back: the log knows better.
            if not steps.run.events.count("sealed"):
                self._advance(steps)
            return self._stopped()

    def _begin(self) -> None:
        from agent.jobs.machine import packages

        unused.register(self.settings.cache, self.paths.folder.parent)
        hashes.resume(self.paths)
        runs.update(self.paths, status="running", reason="")
        if not self.paths.packages.exists():
            write_whole(self.paths.packages, packages())

    def _planned(self, steps: "Steps", plan: "Plan") -> None:
        """The frozen plan exists: it is checked against the recorded one and shown."""
        runs.update(self.paths, tracks=[track.name for track in plan.tracks])
        if not steps.run.events.count("planned", hash=plan.hash):
            problem = f"{self.paths.plan} is not the plan that was frozen"
            raise DataError(problem, "restore the file, or start a new run")
        self._show(steps, plan)

    def _show(self, steps: "Steps", plan: "Plan") -> None:
        from agent.plan.table import plan_table
        from agent.record.prepared import read_facts

        if not self.as_json:
            plan_table(steps.run.runner.progress.console, plan, read_facts(self.paths))

    def _advance(self, steps: "Steps") -> None:
        """To the end, to a plan that waits for a review or was only asked for, or to one that was rejected."""
        from agent.loop.graph import advance
        from agent.results import review

        waiting = advance(steps, self.paths.state)
        if "review" in waiting and not review.decided(self.paths) and not self.options.plan_only:
            with steps.run.runner.progress.clock.stopped():
                how = "with --yes" if self.options.yes else self._ask()
            review.add(self.paths, "approve", how, review.author())
            advance(steps, self.paths.state)

    def _stopped(self) -> int:
        """Prints and records where the run is now; returns the exit code."""
        if found := results_of(self.paths):
            return self._ended(found)
        if self.options.plan_only:
            hashes.stop(self.paths, "planned", "")
            self._finish(f"planned; continue with: {next_command(self.paths, '--yes')}")
        else:
            hashes.stop(self.paths, "cancelled", REJECTED)
            self._finish(REJECTED)
        return 0

    def _ended(self, found: "Results") -> int:
        runs.update(self.paths, status=runs.ENDED[found.status], reason=found.status_reason, verdict=found.verdict)
        self._finish(found.status_reason)
        return TrainingError.exit_code if found.status == "failed" else 0

    def _ask(self) -> str:
        """How the person in front of the terminal approves. Raises ReviewPending where nobody does: the plan waits on,
        as only `kdagent review` rejects it for good."""
        answer = ""
        if not self.as_json and sys.stdin and sys.stdin.isatty():
            # Ctrl-C ends it at once: nothing runs that would have to stop first
            with _on_signal(signal.default_int_handler), suppress(EOFError):
                answer = ask("train this plan? [y/N] ").strip().lower()
        if answer in ("y", "yes"):
            return "at the terminal"
        raise ReviewPending("the plan waits for approval")

    # ── what the steps need ─────────────────────────────────────────────────────────────────────────────────────────

    def _steps(self, cancelled: threading.Event, clock: Clock) -> "Steps":
        from agent.cache.trials import TrialStore
        from agent.jobs.harness import Harness
        from agent.jobs.runner import Runner
        from agent.llm.conversation import Conversation
        from agent.llm.gateway import Gateway
        from agent.loop.context import Context
        from agent.loop.steps import Steps
        from sandbox.isolation.choose import choose

        progress, budget = console_progress(self.as_json, clock), self._budget()
        backend = self.backend or choose(self.options.isolation)
        weak = "" if backend.level else " (edited code runs with your rights: it can reach files and network)"
        gaps = [f"  not covered: {gap}" for gap in backend.not_protected]
        known = f"{backend.name}, level {backend.level}, self-test {backend.selftest}{weak}"
        progress.say(f"run {self.paths.id}", f"isolation: {known}", *gaps)
        store = None if self.options.replay else TrialStore(self.settings.cache / "trials", self.paths.id)
        runner = Runner(self.paths, self.settings, backend, progress, cancelled, budget.seconds)
        gateway = Gateway(self.source, Conversation(self.paths.conversation), budget.tokens)
        run = Context(self.options, gateway, Harness(runner, store), runner)
        steps = Steps(run, lambda: self._draft, lambda plan: self._planned(steps, plan))
        return steps

    @cached_property
    def _draft(self) -> "Draft":
        """The draft of the plan before an author was asked."""
        from agent.plan import planner

        return self.draft or planner.draft(self.options)

    def _budget(self) -> "Budget":
        """The plan's, or the expected one."""
        from agent.plan.plan import Budget

        plan = plan_of(self.paths)
        return plan.budget if plan else Budget.model_validate(self._draft.values["budget"])

    @property
    def source(self) -> "Author":
        return source(self.options, self.settings)

    def _finish(self, note: str) -> None:
        """The run's id and the report's path, last."""
        results = results_of(self.paths)
        if self.as_json:
            said = results.model_dump(mode="json", by_alias=True) if results else None
            known = {"run": runs.read(self.paths), "report": str(self.paths.report), "results": said}
            say_json({"schema": 1} | known)
            return
        if note:
            say(note)
        if results:
            say("", f"{results.verdict}: {results.conclusion}")
            if checks := results.on_its_word:
                say(f"on the word of the process that trained: {len(checks)} checks ({', '.join(checks)})")
        say(f"run: {self.paths.id}")
        say(f"report: {self.paths.report}" if self.paths.report.exists() else f"plan: {self.paths.plan}")


def console_progress(quiet: bool, clock: Clock) -> "Progress":
    from agent.jobs.progress import Progress

    return Progress(screen(error=quiet), clock, quiet=quiet)


@contextmanager
def _noted(paths: RunPaths) -> Iterator[None]:
    """Record why a run stopped, and print how to continue."""
    try:
        yield
    except BaseException as error:
        status: runs.RunStatus = "failed"
        if isinstance(error, ReviewPending | Interrupted):
            status = "awaiting_review" if isinstance(error, ReviewPending) else "cancelled"
        reason = error.message if isinstance(error, KdagentError) else f"{type(error).__name__}: {error}"
        with suppress(OSError, KdagentError):  # a full disk or a damaged log must not hide why
            hashes.stop(paths, status, reason)
        if isinstance(error, KdagentError) and type(error) not in LASTING:
            again = _approve(paths) if isinstance(error, ReviewPending) else f"continue with: {next_command(paths)}"
            error.hint = f"{error.hint}; {again}" if error.hint else again
        raise


def _approve(paths: RunPaths) -> str:
    reject = command("review", paths.id, "--reject", folder=paths.folder.parent)
    return f"approve it with: {next_command(paths, '--yes')}; reject it for good with: {reject}"


def source(options: Options, settings: config.Settings) -> "Author":
    """The endpoint that was named, or the embedded recipes."""
    model, base_url = options.model or settings.model, options.base_url or settings.base_url
    if not model and not base_url:
        from agent.llm.recipes import Recipes

        return Recipes()
    if not model:
        raise UsageError("an endpoint is named, but not a model", "give --model NAME")
    if {"@", "?"} & set(options.base_url):
        problem = "--base-url contains a password or a query, which the run would record"
        raise UsageError(problem, "set KDAGENT_BASE_URL instead, which is not recorded")
    from agent.llm.gateway import Endpoint

    return Endpoint(model, base_url or None, settings.api_key or None)


@contextmanager
def _cancellable() -> Iterator[threading.Event]:
    """Ctrl-C asks running processes to stop, so that the record is whole when kdagent ends; twice ends it at once."""
    cancelled = threading.Event()

    def stop(number: int, frame: Any) -> None:
        if cancelled.is_set():
            raise KeyboardInterrupt
        cancelled.set()

    with _on_signal(stop):
        yield cancelled


@contextmanager
def _on_signal(handler: Callable[[int, Any], Any]) -> Iterator[None]:
    """Let `handler` take Ctrl-C, and the request to end that `kill` and batch systems send."""
    before = {number: signal.signal(number, handler) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    finally:
        for number, previous in before.items():
            signal.signal(number, previous)
