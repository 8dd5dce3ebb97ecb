"""An attempt at the idea: an edit, its commit, its checks, its trials, and whether it is kept."""

from collections.abc import Sequence
from dataclasses import dataclass

from agent.errors import EditError, NoFurtherEdit
from agent.jobs.arm import Arm
from agent.llm.edits import apply
from agent.llm.prompts import Tried, edit_prompt
from agent.loop.context import Context
from agent.loop.references import note_trials
from agent.record.paths import attempt_name
from agent.results.derive import decision
from agent.results.run_record import RunRecord
from agent.results.schema import Attempt
from sandbox.checks.check import check
from sandbox.workspace import Workspace

PILOT_STEPS = 4


@dataclass(frozen=True)
class Attempts:
    run: Context

    def edit(self, attempt: int, base: str, problem: str, history: Sequence[Attempt]) -> str:
        """The source of one attempt, or "" when the author has no more to offer."""
        source = Workspace.open(self.run.paths.repository).read(base)
        tried = [Tried(each.number, each.outcome, each.dev_score) for each in history]
        prompt = edit_prompt(self.run.plan, source, attempt, tried, problem)

        def parse(text: str) -> str:
            edited = apply(text, source)
            if problems := _findings(edited, source):
                raise EditError(problems)
            return edited

        try:
            return self.run.gateway.ask("edit", prompt, parse)
        except NoFurtherEdit:
            return ""

    def commit(self, attempt: int, source: str, base: str) -> str:
        """The attempt's commit, made before it trains."""
        workspace = Workspace.open(self.run.paths.repository)
        commit = workspace.commit(attempt_name(attempt), source, f"Attempt {attempt}", parent=base)
        self.run.events.once("attempt", number=attempt, commit=commit.id, tree=commit.tree)
        return commit.id

    def check(self, commit: str, base: str) -> str:
        """What the static check finds in a commit, or ""."""
        workspace = Workspace.open(self.run.paths.repository)
        return _findings(workspace.read(commit), workspace.read(base))

    def pilot(self, attempt: int, commit: str, teachers: dict[str, str]) -> str:
        """A few steps on every track; why they failed, or ""."""
        run, arm = self.run, self._arm(attempt, commit)
        problem = run.whole(lambda: run.jobs.pilot(run.plan, arm, run.inputs(teachers), PILOT_STEPS))
        run.events.once("piloted", number=attempt, commit=commit, problem=problem)
        return problem

    def train(self, attempt: int, commit: str, teachers: dict[str, str]) -> None:
        run, arm = self.run, self._arm(attempt, commit)
        run.whole(lambda: run.jobs.train(run.plan, [arm], run.inputs(teachers)))
        note_trials(run, [arm.name])

    def _arm(self, attempt: int, commit: str) -> Arm:
        plan = self.run.plan
        methods = {track.name: track.method.settings for track in plan.tracks}
        taught = plan.tracks[0].method.card.teacher
        return Arm(attempt_name(attempt), commit, methods, teacher=taught, assisted=True, generated=True)

    def predict_dev(self, attempt: int, teachers: dict[str, str]) -> None:
        run = self.run
        run.whole(lambda: run.jobs.predict(run.plan, [attempt_name(attempt)], run.inputs(teachers), "dev"))

    def score_dev(self, attempt: int) -> float | None:
        """Mean primary metric on dev rows over tracks and seeds; None when a trial failed."""
        return RunRecord.read(self.run.paths).dev_score(attempt)

    def decide(
        self, attempt: int, commit: str, dev_score: float | None, problem: str, history: Sequence[Attempt]
    ) -> Attempt:
        """Whether the attempt is kept: the best on the dev rows so far."""
        outcome, reason = decision(dev_score, history)
        reason = problem.strip()[:500] if dev_score is None and problem.strip() else reason
        decided = Attempt(number=attempt, commit=commit, dev_score=dev_score, outcome=outcome, reason=reason)
        entry = decided.model_dump(exclude={"summary"})
        if not self.run.events.count("decided", **entry):
            self.run.events.append("decided", **entry, **self.run.fresh(f"trials/{attempt_name(attempt)}/"))
        return decided

    def time_left(self) -> bool:
        """Whether another attempt may begin; where none may, that is recorded."""
        left = self.run.runner.remaining > 0
        if not left:
            self.run.events.once("out of time", decided=self.run.events.count("decided"))
        return left


def _findings(source: str, base: str) -> str:
    return "\n".join(f"train.py:{found.line}: {found.message}" for found in check(source, base))
