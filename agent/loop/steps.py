"""The steps of a run: one method each, small, idempotent, and on record before the next begins.

A step that a crash cut off is done again; what it had finished is found on disk and not repeated.
"""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from agent import __version__, config
from agent.cache import entries
from agent.cache.keys import training_code
from agent.errors import EditError, NoFurtherEdit, PlanError
from agent.jobs.arm import Arm
from agent.jobs.harness import Jobs
from agent.jobs.machine import environment
from agent.jobs.runner import Runner
from agent.jobs.shard_job import Inputs
from agent.jobs.teachers import teacher_hashes
from agent.llm.edits import apply
from agent.llm.gateway import Gateway
from agent.llm.prompts import Tried, edit_prompt, plan_prompt
from agent.llm.reply import parse_proposal
from agent.plan import planner
from agent.plan.arms import ALONE, ARMS
from agent.plan.draft import Draft
from agent.plan.freeze import freeze
from agent.plan.options import Options
from agent.plan.plan import Plan
from agent.plan.proposal import Proposal
from agent.plan.rules import Lint, foreseen, lint
from agent.record import hashes
from agent.record.clock import Clock
from agent.record.events import EventLog
from agent.record.files import file_hash, write_whole
from agent.record.pace import Pace
from agent.record.paths import attempt_name
from agent.record.prepared import Facts, Prepared, read_facts
from agent.results import review
from agent.results.derive import Assembly, code_hash, decision
from agent.results.report import render_report
from agent.results.schema import SCHEMA, Attempt, Results
from sandbox.checks.check import check
from sandbox.folder import remove
from sandbox.workspace import Workspace

PILOT_STEPS = 4
TEACHERS = ALONE.file  # the train.py that trains them
BETWEEN = "between the phases"
REPAIRS = 3  # edits that may follow a failed check or pilot before the attempt counts as rejected


@dataclass
class Steps:
    """Everything the steps need. State that must survive a crash is on disk, not here."""

    options: Options
    gateway: Gateway
    jobs: Jobs
    runner: Runner
    """What the jobs are started with: the run's folder, its clock and its isolation."""

    def __post_init__(self) -> None:
        self.paths = self.runner.paths
        self.events = EventLog(self.paths.events)

    # ── plan ────────────────────────────────────────────────────────────────────────────────────────────────────────

    def make_plan(self) -> Plan:
        """The frozen plan: the idea's method, the user's values, the rows that are really there."""
        if self.paths.plan.exists():
            return self.plan
        draft = planner.draft(self.options)
        proposal = self._proposal(draft)
        planner.merge(draft, proposal)
        left_out = planner.leave_out(draft, self.options)
        self._refuse(foreseen(freeze(draft, self.options, proposal, {})))
        names = draft.values["tracks"]
        prepared = self.jobs.prepare(names, {name: self._source(name) for name in names})
        prepared = self._pace(draft, freeze(draft, self.options, proposal, prepared), prepared)
        plan = freeze(draft, self.options, proposal, prepared)
        warnings = left_out + self._lint(plan, prepared)
        write_whole(self.paths.facts, Facts(prepared, tuple(warnings)).text())
        self.jobs.keep_labels(prepared)
        text = json.dumps(plan.model_dump(mode="json", by_alias=True), indent=1)
        known = (
            self.paths.run.name,
            self.paths.idea.name,
            self.paths.facts.name,
            *hashes.record(self.paths, "labels/"),
        )
        noted = hashes.notes(self.paths, known, {self.paths.plan.name: text})
        self.events.once("planned", hash=plan.hash, warnings=warnings, **noted)  # first: a plan on disk is on record
        write_whole(self.paths.plan, text)
        self._note_remade()
        return plan

    def _proposal(self, draft: Draft) -> Proposal:
        """What a model makes of the idea; an amended plan keeps what one had made of it."""
        if self.options.proposal:
            return Proposal(**self.options.proposal)
        return self.gateway.ask("plan", plan_prompt(draft, self.options), parse_proposal)

    def _pace(self, draft: Draft, plan: Plan, prepared: dict[str, Prepared]) -> dict[str, Prepared]:
        """Where it is open whether students are compiled, that is measured, noted, and settled in the draft."""
        tracks, known = planner.open_to_compiling(draft, plan), self.options.paces
        paces = {track.name: Pace(**known[track.name]) for track in tracks if track.name in known}
        paces |= self.jobs.paces([track for track in tracks if track.name not in known], prepared)
        planner.compile_where_it_pays(draft, plan, paces)
        return prepared | {name: prepared[name].model_copy(update={"pace": pace}) for name, pace in paces.items()}

    def _source(self, name: str) -> dict[str, Any]:
        if self.options.data:
            return {"name": name, "data": str(Path(self.options.data).absolute())}
        card = config.cards(config.TASKS)[name]
        if card["embedded"] or not self.options.data_dir:
            return {"name": name}
        return {"name": name, "data_dir": str(Path(self.options.data_dir).absolute())}

    def _lint(self, plan: Plan, prepared: dict[str, Prepared]) -> list[str]:
        """Warnings, shown and kept. Raises PlanError for the first refusal."""
        found = lint(plan, prepared)
        self._refuse(found)
        return [_line(each) for each in found]

    def _refuse(self, found: Sequence[Lint]) -> None:
        """Raises PlanError for the first refusal."""
        for refusal in (each for each in found if each.level == "refusal"):
            raise PlanError(f"{refusal.field}: {refusal.message}", refusal.hint)

    @property
    def plan(self) -> Plan:
        return Plan.model_validate_json(self.paths.plan.read_text())

    @property
    def prepared(self) -> dict[str, Prepared]:
        """Every track's rows and models, as they were planned with."""
        return read_facts(self.paths).tracks

    def _inputs(self, teachers: dict[str, str]) -> Inputs:
        return Inputs(self.prepared, teachers)

    def hold(self) -> None:
        """Before a run goes on: what it takes from the cache is still what an earlier process of it took."""
        if self.events.count("measured"):
            return  # it takes no more
        self.jobs.hold(self.plan, self.prepared, _train_file(TEACHERS) if self.events.count("teachers") else "")
        self._note_remade()

    def _note_remade(self) -> None:
        """On record: what in the cache was not what had been written."""
        for what in self.jobs.remade:
            self.events.once("made again", what=what)

    # ── workspace and reference arms ────────────────────────────────────────────────────────────────────────────────

    def make_workspace(self) -> dict[str, str]:
        """One commit per reference arm, before anything trains."""
        workspace = self._workspace()
        start = workspace.commit("start", _train_file(ALONE.file), "Plain fine-tuning, where every idea starts")
        commits = {"start": start.id}
        for arm in self.plan.reference_arms:
            source = _train_file(ARMS[arm].file)
            commits[arm] = workspace.commit(arm, source, f"Reference arm {arm}", parent=start.id).id
        self.events.once("workspace", commits=commits)
        return commits

    def _workspace(self) -> Workspace:
        """The run's repository, which has its name only when it is whole."""
        if not self.paths.repository.exists():
            part = self.paths.scratch / self.paths.repository.name
            remove(part)
            Workspace.create(part)
            part.rename(self.paths.repository)
        return Workspace.open(self.paths.repository)

    def train_references(self, commits: dict[str, str]) -> dict[str, str]:
        """Teachers and every reference arm. Returns the teachers' folders."""
        plan, prepared = self.plan, self.prepared
        teachers = self.jobs.teachers(plan, prepared, _train_file(TEACHERS))
        self._note_remade()
        weights = self.jobs.keep_teachers(plan, prepared, teachers)
        if not self.events.count("teachers", weights=weights):
            self.events.append("teachers", weights=weights, **self._fresh("trials/teacher/", "trials/assistant/"))
        arms = [self._reference(arm, commits[arm]) for arm in plan.reference_arms]
        self.jobs.train(plan, arms, Inputs(prepared, teachers))
        self._note_trials([arm.name for arm in arms])
        return teachers

    def _reference(self, name: str, commit: str) -> Arm:
        arm = ARMS[name]
        methods = {track.name: track.vanilla.settings if arm.teacher else {} for track in self.plan.tracks}
        shown = {"reveal_transfer": arm.reveal_transfer, "generated": name in self.plan.on_generated}
        return Arm(name, commit, methods, teacher=arm.teacher, ours=True, **shown)

    def _note_trials(self, arms: Sequence[str]) -> None:
        """One event per finished trial, with the hash of its files."""
        plan = self.plan
        for arm, track, seed in (
            (arm, track.name, seed) for arm in arms for track in plan.tracks for seed in plan.seeds
        ):
            if not self.events.count("trial", arm=arm, track=track, seed=seed):
                place = self.paths.trial(arm, track, seed)
                weights = place / "weights.safetensors"
                digest = file_hash(weights) if weights.exists() else ""
                status = json.loads((place / "trial.json").read_text())["status"]
                named = {"arm": arm, "track": track, "seed": seed}
                noted = self._fresh(f"trials/{arm}/{track}/{seed}/")
                self.events.append("trial", **named, status=status, weights=digest, **noted)

    def _fresh(self, *starts: str) -> dict[str, dict[str, str]]:
        return hashes.fresh(self.paths, self.events, starts)

    # ── an attempt ──────────────────────────────────────────────────────────────────────────────────────────────────

    def edit(self, attempt: int, base: str, problem: str, history: Sequence[Attempt]) -> str:
        """The source of one attempt, or "" when the source of edits has no more to offer."""
        source = Workspace.open(self.paths.repository).read(base)
        tried = [Tried(each.number, each.outcome, each.dev_score) for each in history]
        prompt = edit_prompt(self.plan, source, attempt, tried, problem)

        def parse(text: str) -> str:
            edited = apply(text, source)
            if findings := check(edited, source):
                raise EditError("\n".join(f"train.py:{f.line}: {f.message}" for f in findings))
            return edited

        try:
            return self.gateway.ask("edit", prompt, parse)
        except NoFurtherEdit:
            return ""

    def commit(self, attempt: int, source: str, base: str) -> str:
        """The attempt's commit, made before it trains."""
        commit = Workspace.open(self.paths.repository).commit(
            attempt_name(attempt), source, f"Attempt {attempt}", parent=base
        )
        self.events.once("attempt", number=attempt, commit=commit.id, tree=commit.tree)
        return commit.id

    def check(self, commit: str, base: str) -> str:
        """What the static check says about a commit, or ""."""
        workspace = Workspace.open(self.paths.repository)
        findings = check(workspace.read(commit), workspace.read(base))
        return "\n".join(f"train.py:{f.line}: {f.message}" for f in findings)

    def pilot(self, attempt: int, commit: str, teachers: dict[str, str]) -> str:
        """A few steps on every track; why they failed, or ""."""
        arm = self._attempt_arm(attempt, commit)
        problem = self.jobs.pilot(self.plan, arm, self._inputs(teachers), PILOT_STEPS)
        self.events.once("piloted", number=attempt, commit=commit, problem=problem)
        return problem

    def train_attempt(self, attempt: int, commit: str, teachers: dict[str, str]) -> None:
        arm = self._attempt_arm(attempt, commit)
        self.jobs.train(self.plan, [arm], self._inputs(teachers))
        self._note_trials([arm.name])

    def _attempt_arm(self, attempt: int, commit: str) -> Arm:
        methods = {track.name: track.method.settings for track in self.plan.tracks}
        shown = {"assisted": True, "generated": True}
        return Arm(attempt_name(attempt), commit, methods, teacher=self._has_teacher(), **shown)

    def _has_teacher(self) -> bool:
        return self.plan.tracks[0].method.card.teacher

    def predict_dev(self, attempt: int, teachers: dict[str, str]) -> None:
        self.jobs.predict(self.plan, [attempt_name(attempt)], self._inputs(teachers), "dev")

    def score_dev(self, attempt: int) -> float | None:
        """Mean primary metric on dev rows over tracks and seeds; None when a trial failed."""
        return self._assembly.dev_score(attempt)

    def decide(
        self, attempt: int, commit: str, dev_score: float | None, problem: str, history: Sequence[Attempt]
    ) -> Attempt:
        """Whether the attempt is kept: the best on the dev rows so far."""
        outcome, reason = decision(dev_score, history)
        reason = problem.strip()[:500] if dev_score is None and problem.strip() else reason
        decided = Attempt(number=attempt, commit=commit, dev_score=dev_score, outcome=outcome, reason=reason)
        entry = decided.model_dump(exclude={"summary"})
        if not self.events.count("decided", **entry):
            self.events.append("decided", **entry, **self._fresh(f"trials/{attempt_name(attempt)}/"))
        return decided

    def time_left(self) -> bool:
        """Whether another attempt may begin; where none may, that is on record."""
        left = self.runner.remaining > 0
        if not left:
            self.events.once("out of time", decided=self.events.count("decided"))
        return left

    # ── comparison and report ───────────────────────────────────────────────────────────────────────────────────────

    def measure(self, kept: int, teachers: dict[str, str]) -> None:
        """Predict the test rows, once per final arm, count that they were met, and note what is seen only now."""
        assistant = ["assistant"] if any(track.assistant for track in self.plan.tracks) else []
        arms = ["teacher", *assistant, *self.plan.reference_arms, *([attempt_name(kept)] if kept else [])]
        new = [arm for arm in arms if not self.events.count("test predicted", arm=arm)]
        self.jobs.predict(self.plan, new, self._inputs(teachers), "test")
        for arm in new:
            self.events.append("test predicted", arm=arm, **self._fresh(f"trials/{arm}/"))
        if not self.events.count("measured"):
            self.events.append("measured", **self._observed(teachers))

    def _observed(self, teachers: dict[str, str]) -> dict[str, Any]:
        """What of the results cannot be derived from the run's files."""
        backend, source = self.runner.backend, self.gateway.source
        isolation = {name: getattr(backend, name) for name in ("level", "selftest", "protects", "not_protected")}
        return {
            "version": __version__,
            "results": SCHEMA,
            "code": code_hash(),
            "training_code": training_code(),
            "source": {"name": source.name, "model": source.model},
            "environment": {name: known.model_dump() for name, known in environment().items()},
            "isolation": {"backend": backend.name} | isolation,
            "seconds": _rounded(self.runner.progress.clock),
            "late": self.runner.remaining <= 0,
            "teachers": teacher_hashes(self.plan, self.prepared, teachers),
            "data": {name: entries.hashes(Path(known.folder)) for name, known in self.prepared.items()},
        }

    def conclude(self) -> Results:
        """results.json: everything measured, and what follows from it."""
        results = self._assembly.results()
        write_whole(self.paths.results, results.model_dump_json(by_alias=True, indent=1))
        return results

    def report(self) -> Path:
        """report.md, from results.json and nothing else. With it the record is complete."""
        results = Results.model_validate_json(self.paths.results.read_text())
        write_whole(self.paths.report, render_report(results, review.read(self.paths)))
        if not self.events.count("reported"):
            noted = hashes.notes(self.paths, (self.paths.results.name, self.paths.report.name))
            self.events.append("reported", verdict=results.verdict, **noted)
        if not self.events.count("sealed"):
            self.events.append("sealed", **self._fresh(""))
        return self.paths.report

    @property
    def _assembly(self) -> Assembly:
        return Assembly.read(self.paths)


def _rounded(clock: Clock) -> dict[str, float]:
    """Seconds of each phase, and what lies between them: imports, replies of a model, scoring."""
    phases = clock.phases
    return {name: round(value, 1) for name, value in (phases | {BETWEEN: clock.spent - sum(phases.values())}).items()}


def _train_file(name: str) -> str:
    return (config.TRAIN_FILES / f"{name}.py").read_text()


def _line(lint_found: Lint) -> str:
    hint = f" ({lint_found.hint})" if lint_found.hint else ""
    return f"{lint_found.field}: {lint_found.message}{hint}"
