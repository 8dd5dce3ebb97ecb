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
from agent.jobs.harness import Harness
from agent.jobs.machine import environment
from agent.jobs.teachers import teacher_hashes
from agent.llm.conversation import Message
from agent.llm.edits import apply
from agent.llm.gateway import Gateway
from agent.llm.reply import parse_proposal
from agent.plan import planner
from agent.plan.cards import cards
from agent.plan.compiling import Pace
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
from agent.record.paths import RunPaths
from agent.render import render
from agent.results import review
from agent.results.derive import REFERENCE_FILES, Assembly, attempt_name, code_hash, decision
from agent.results.report import render_report
from agent.results.schema import Results
from sandbox.checks import check
from sandbox.folder import remove
from sandbox.workspace import Workspace

PILOT_STEPS = 4
TEACHERS = "student_only"  # the train.py that trains them
BETWEEN = "between the phases"
CNNS = ("resnet", "mobilenetv2")
COMPILED = (
    "\nThe student is compiled: what a hook takes from inside it may be learned from, but neither the gradient of its "
    "answers with respect to that nor a second derivative can be taken."
)
REPAIRS = 3  # edits that may follow a failed check or pilot before the attempt counts as rejected


@dataclass
class Steps:
    """Everything the steps need. State that must survive a crash is on disk, not here."""

    paths: RunPaths
    options: Options
    settings: config.Settings
    gateway: Gateway
    harness: Harness

    def __post_init__(self) -> None:
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
        facts = self.harness.prepare(names, {name: self._source(name) for name in names})
        self._pace(draft, freeze(draft, self.options, proposal, facts), facts)
        plan = freeze(draft, self.options, proposal, facts)
        warnings = left_out + self._lint(plan, facts)
        write_whole(self.paths.facts, json.dumps({"tracks": facts, "warnings": warnings}, indent=1))
        self.harness.keep_labels(facts)
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
        return self.gateway.ask("plan", self._plan_prompt(draft), parse_proposal)

    def _plan_prompt(self, draft: Draft) -> list[Message]:
        tracks = draft.values["tracks"]
        facts = {
            "idea": self.options.idea,
            "scale": self.options.scale,
            "methods": _method_facts(),
            "tracks": [_track_facts(name, settings) for name, settings in tracks.items()],
            "fixed_by_user": _fixed(draft, next(iter(tracks))),
        }
        prompt = render("prompts/plan.md.j2", idea=self.options.idea, facts=facts)
        return [Message("system", render("prompts/system.md.j2")), Message("user", prompt)]

    def _pace(self, draft: Draft, plan: Plan, facts: dict[str, Any]) -> None:
        """Where it is open whether students are compiled, that is measured, and settled in the draft."""
        tracks, known = planner.open_to_compiling(draft, plan), self.options.paces
        paces = {track.name: Pace(**known[track.name]) for track in tracks if track.name in known}
        paces |= self.harness.paces([track for track in tracks if track.name not in known], facts)
        for name, pace in paces.items():
            facts[name]["pace"] = pace.model_dump()
        planner.compile_where_it_pays(draft, plan, paces)

    def _source(self, name: str) -> dict[str, Any]:
        if self.options.own:
            return {"name": name, "data": str(Path(self.options.data).absolute())}
        card = config.cards(config.TASKS)[name]
        if card["embedded"] or not self.options.data_dir:
            return {"name": name}
        return {"name": name, "data_dir": str(Path(self.options.data_dir).absolute())}

    def _lint(self, plan: Plan, facts: dict[str, Any]) -> list[str]:
        """Warnings, shown and kept. Raises PlanError for the first refusal."""
        found = lint(plan, facts)
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
    def facts(self) -> dict[str, Any]:
        found: dict[str, Any] = json.loads(self.paths.facts.read_text())["tracks"]
        return found

    def hold(self) -> None:
        """Before a run goes on: what it takes from the cache is still what an earlier process of it took."""
        if self.events.count("measured"):
            return  # it takes no more
        self.harness.hold(self.plan, self.facts, _train_file(TEACHERS) if self.events.count("teachers") else "")
        self._note_remade()

    def _note_remade(self) -> None:
        """On record: what in the cache was not what had been written."""
        for what in self.harness.remade:
            self.events.once("made again", what=what)

    # ── workspace and reference arms ────────────────────────────────────────────────────────────────────────────────

    def make_workspace(self) -> dict[str, str]:
        """One commit per reference arm, before anything trains."""
        workspace = self._workspace()
        start = workspace.commit("start", _train_file("student_only"), "Plain fine-tuning, where every idea starts")
        commits = {"start": start.id}
        for arm in self.plan.reference_arms:
            source = _train_file(REFERENCE_FILES[arm])
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
        plan, facts = self.plan, self.facts
        teachers = self.harness.teachers(plan, facts, _train_file(TEACHERS))
        self._note_remade()
        weights = self.harness.keep_teachers(plan, facts, teachers)
        if not self.events.count("teachers", weights=weights):
            self.events.append("teachers", weights=weights, **self._fresh("trials/teacher/", "trials/assistant/"))
        arms = [self._reference(arm, commits[arm]) for arm in plan.reference_arms]
        self.harness.train(plan, arms, facts, teachers, ours=True)
        self._note_trials([arm.name for arm in arms])
        return teachers

    def _reference(self, name: str, commit: str) -> Arm:
        alone = name in ("student_only", "all_labels")
        methods = {track.name: {} if alone else track.vanilla.settings for track in self.plan.tracks}
        shown = {"reveal_transfer": name == "all_labels", "generated": name in self.plan.on_generated}
        return Arm(name, commit, methods, teacher=not alone, **shown)

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

    def edit(self, attempt: int, base: str, problem: str, history: list[dict[str, Any]]) -> str:
        """The source of one attempt, or "" when the source of edits has no more to offer."""
        source = Workspace.open(self.paths.repository).read(base)
        prompt = self._edit_prompt(attempt, source, problem, history)

        def parse(text: str) -> str:
            edited = apply(text, source)
            if findings := check(edited, source):
                raise EditError("\n".join(f"train.py:{f.line}: {f.message}" for f in findings))
            return edited

        try:
            return self.gateway.ask("edit", prompt, parse)
        except NoFurtherEdit:
            return ""

    def _edit_prompt(self, attempt: int, source: str, problem: str, history: list[dict[str, Any]]) -> list[Message]:
        plan = self.plan
        feedback = [{"attempt": h["number"], "outcome": h["outcome"], "dev_score": h["dev_score"]} for h in history]
        if problem:
            feedback.append(
                {
                    "attempt": attempt,
                    "outcome": f"failed before it could train:\n{_both_ends(problem)}",
                    "dev_score": None,
                }
            )
        prompt = render(
            "prompts/edit.md.j2",
            idea=plan.idea,
            plan_summary=_summary(plan),
            source=source,
            contract=render("prompts/contract.md.j2"),
            feedback=feedback,
            facts={"method": plan.tracks[0].method.name, "attempt": attempt},
        )
        return [Message("system", render("prompts/system.md.j2")), Message("user", prompt)]

    def commit(self, attempt: int, source: str, base: str) -> str:
        """The attempt's commit, made before it trains."""
        commit = Workspace.open(self.paths.repository).commit(
            f"attempt-{attempt}", source, f"Attempt {attempt}", parent=base
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
        problem = self.harness.pilot(self.plan, arm, self.facts, teachers, PILOT_STEPS)
        self.events.once("piloted", number=attempt, commit=commit, problem=problem)
        return problem

    def train_attempt(self, attempt: int, commit: str, teachers: dict[str, str]) -> None:
        arm = self._attempt_arm(attempt, commit)
        self.harness.train(self.plan, [arm], self.facts, teachers)
        self._note_trials([arm.name])

    def _attempt_arm(self, attempt: int, commit: str) -> Arm:
        methods = {track.name: track.method.settings for track in self.plan.tracks}
        shown = {"assisted": True, "generated": True}
        return Arm(attempt_name(attempt), commit, methods, teacher=self._has_teacher(), **shown)

    def _has_teacher(self) -> bool:
        return self.plan.tracks[0].method.card.teacher

    def predict_dev(self, attempt: int, teachers: dict[str, str]) -> None:
        self.harness.predict(self.plan, [attempt_name(attempt)], self.facts, "dev", teachers)

    def score_dev(self, attempt: int) -> float | None:
        """Mean primary metric on dev rows over tracks and seeds; None when a trial failed."""
        return self._assembly.dev_score(attempt)

    def decide(
        self, attempt: int, commit: str, dev_score: float | None, problem: str, history: list[dict[str, Any]]
    ) -> dict[str, Any]:
        """Whether the attempt is kept: the best on the dev rows so far."""
        outcome, reason = decision(dev_score, history)
        reason = problem.strip()[:500] if dev_score is None and problem.strip() else reason
        entry = {"number": attempt, "commit": commit, "dev_score": dev_score, "outcome": outcome, "reason": reason}
        if not self.events.count("decided", **entry):
            self.events.append("decided", **entry, **self._fresh(f"trials/{attempt_name(attempt)}/"))
        return entry

    def time_left(self) -> bool:
        """Whether another attempt may begin; where none may, that is on record."""
        left = self.harness.remaining > 0
        if not left:
            self.events.once("out of time", decided=self.events.count("decided"))
        return left

    # ── comparison and report ───────────────────────────────────────────────────────────────────────────────────────

    def measure(self, kept: int, teachers: dict[str, str]) -> None:
        """Predict the test rows, once per final arm, count that they were met, and note what is seen only now."""
        assistant = ["assistant"] if any(track.assistant for track in self.plan.tracks) else []
        arms = ["teacher", *assistant, *self.plan.reference_arms, *([attempt_name(kept)] if kept else [])]
        new = [arm for arm in arms if not self.events.count("test predicted", arm=arm)]
        self.harness.predict(self.plan, new, self.facts, "test", teachers)
        for arm in new:
            self.events.append("test predicted", arm=arm, **self._fresh(f"trials/{arm}/"))
        if not self.events.count("measured"):
            self.events.append("measured", **self._observed(teachers))

    def _observed(self, teachers: dict[str, str]) -> dict[str, Any]:
        """What of the results cannot be derived from the run's files."""
        backend, source = self.harness.backend, self.gateway.source
        isolation = {name: getattr(backend, name) for name in ("level", "selftest", "protects", "not_protected")}
        return {
            "version": __version__,
            "code": code_hash(),
            "training_code": training_code(),
            "source": {"name": source.name, "model": source.model},
            "environment": {name: known.model_dump() for name, known in environment().items()},
            "isolation": {"backend": backend.name} | isolation,
            "seconds": _rounded(self.harness.progress.clock),
            "late": self.harness.remaining <= 0,
            "teachers": teacher_hashes(self.plan, self.facts, teachers),
            "data": {name: entries.hashes(Path(facts["folder"])) for name, facts in self.facts.items()},
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


def _both_ends(text: str, most: int = 4000) -> str:
    """The first findings and the last lines of a traceback."""
    return text if len(text) <= most else f"{text[: most // 2]}\n…\n{text[-most // 2 :]}"


def _train_file(name: str) -> str:
    return (config.TRAIN_FILES / f"{name}.py").read_text()


def _method_facts() -> dict[str, dict[str, Any]]:
    """The part of each method card that a language model chooses by."""
    said = ("title", "summary", "good_for", "cautions", "kinds")
    chosen = {name: {key: getattr(card, key) for key in said} for name, card in cards().items()}
    return {name: known | {"settings": cards()[name].defaults} for name, known in chosen.items()}


def _track_facts(name: str, settings: dict[str, Any]) -> dict[str, Any]:
    """What a language model is told about a track."""
    teacher, student, sizes = settings["teacher"], settings["student"], settings["sizes"]
    return {
        "name": name,
        "kind": "image"
        if student["architecture"] in CNNS
        else "language"
        if student["architecture"] == "gpt2"
        else "text",
        "teacher": _called(teacher),
        "student": _called(student),
        "teacher_layers": teacher["layers"],
        "student_layers": student["layers"],
        "train_rows": sizes["train_rows"] or "all",
        "transfer_rows": sizes["transfer_rows"],
    }


def _called(model: dict[str, Any]) -> str:
    return model["checkpoint"] or f"{model['architecture']}, {model['layers']} layers, width {model['width']:g}"


def _fixed(draft: Draft, track: str) -> dict[str, Any]:
    """The user's own values, by the names a proposal uses."""
    start = f"tracks.{track}."
    fixed = {
        path.removeprefix(start): draft.value(path)
        for path, origin in draft.origins.items()
        if origin == "user" and path.startswith(start)
    }
    names = {"method.name": "method"}
    return {
        names.get(path, path.split(".")[-1]): value
        for path, value in fixed.items()
        if path.split(".")[0] in ("training", "method")
    }


def _summary(plan: Plan) -> str:
    """The plan as a language model needs it: words, and names of settings instead of their numbers."""
    method = plan.tracks[0].method
    return (
        f"{plan.title}\n\nObjective: {plan.objective}\nHypothesis: {plan.hypothesis}\nMethod: {method.name}\n"
        f"Settings that `experiment.method` holds: {', '.join(method.settings)}"
    ) + COMPILED * any(track.training.compiled for track in plan.tracks)


def _line(lint_found: Lint) -> str:
    hint = f" ({lint_found.hint})" if lint_found.hint else ""
    return f"{lint_found.field}: {lint_found.message}{hint}"
