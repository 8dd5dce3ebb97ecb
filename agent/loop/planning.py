"""From the idea to the frozen plan: the author's proposal, the user's values, the rows that are really there."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from agent import config
from agent.errors import PlanError
from agent.llm.prompts import plan_prompt
from agent.llm.reply import parse_proposal
from agent.loop.context import Context
from agent.plan import planner
from agent.plan.draft import Draft
from agent.plan.freeze import freeze
from agent.plan.lint import Lint
from agent.plan.plan import Plan
from agent.plan.proposal import Proposal
from agent.plan.rules import foreseen, lint
from agent.record import hashes
from agent.record.files import write_whole
from agent.record.pace import Pace
from agent.record.prepared import Facts, Prepared


@dataclass(frozen=True)
class Planning:
    run: Context
    draft: Draft
    """The scale's defaults with the user's values."""

    def make(self) -> Plan:
        """The plan, on disk and on record. Raises PlanError for a refusal, DataError for the data."""
        run, draft, options = self.run, self.draft, self.run.options
        proposal = self._proposal()
        planner.merge(draft, proposal)
        left_out = planner.leave_out(draft, options)
        _refuse(foreseen(freeze(draft, options, proposal, {})))
        names = draft.values["tracks"]
        prepared = run.jobs.prepare(names, {name: self._source(name) for name in names})
        prepared = self._pace(freeze(draft, options, proposal, prepared), prepared)
        plan = freeze(draft, options, proposal, prepared)
        self._keep(plan, prepared, [*left_out, *_warnings(lint(plan, prepared))])
        return plan

    def _proposal(self) -> Proposal:
        """The author's proposal for the idea; an amended plan keeps the earlier one."""
        if self.run.options.proposal:
            return Proposal.model_validate(self.run.options.proposal)
        return self.run.gateway.ask("plan", plan_prompt(self.draft, self.run.options), parse_proposal)

    def _source(self, name: str) -> dict[str, object]:
        """Where the prepare process finds a task's rows."""
        options = self.run.options
        if options.own:
            return {"name": name, "data": str(Path(options.data).absolute())}
        card = config.cards(config.TASKS)[name]
        if card["embedded"] or not options.data_dir:
            return {"name": name}
        return {"name": name, "data_dir": str(Path(options.data_dir).absolute())}

    def _pace(self, plan: Plan, prepared: dict[str, Prepared]) -> dict[str, Prepared]:
        """Where compiling is left open, it is measured, recorded, and decided in the draft."""
        tracks, known = planner.open_to_compiling(self.draft, plan), self.run.options.paces
        paces = {track.name: Pace.model_validate(known[track.name]) for track in tracks if track.name in known}
        paces |= self.run.jobs.paces([track for track in tracks if track.name not in known], prepared)
        planner.compile_where_it_pays(self.draft, plan, paces)
        return prepared | {name: prepared[name].model_copy(update={"pace": pace}) for name, pace in paces.items()}

    def _keep(self, plan: Plan, prepared: dict[str, Prepared], warnings: Sequence[str]) -> None:
        """On record first: a plan on disk is always on record."""
        run, paths = self.run, self.run.paths
        write_whole(paths.facts, Facts(prepared, tuple(warnings)).text())
        run.jobs.keep_labels(prepared)
        text = json.dumps(plan.model_dump(mode="json", by_alias=True), indent=1)
        known = (paths.run.name, paths.idea.name, paths.facts.name, *hashes.record(paths, "labels/"))
        noted = hashes.notes(paths, known, {paths.plan.name: text})
        run.events.once("planned", hash=plan.hash, warnings=list(warnings), **noted)
        write_whole(paths.plan, text)
        run.note_remade()


def _warnings(found: Sequence[Lint]) -> list[str]:
    """To be shown and kept. Raises PlanError for the first refusal."""
    _refuse(found)
    return [f"{each.field}: {each.message}" + (f" ({each.hint})" if each.hint else "") for each in found]


def _refuse(found: Sequence[Lint]) -> None:
    for refusal in (each for each in found if each.level == "refusal"):
        raise PlanError(f"{refusal.field}: {refusal.message}", refusal.hint)
