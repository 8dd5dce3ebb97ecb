"""The steps of a run, by the part of it that they belong to: small, idempotent, and recorded before the next begins.

A step that a crash cut off is repeated, except for work that is found finished on disk.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property

from agent.loop.attempts import Attempts
from agent.loop.conclusion import Conclusion
from agent.loop.context import Context
from agent.loop.planning import Planning
from agent.loop.references import References
from agent.plan.draft import Draft
from agent.plan.plan import Plan


@dataclass(frozen=True)
class Steps:
    run: Context
    draft: Callable[[], Draft]
    """The scale's defaults with the user's values; asked for where there is no plan yet."""
    shown: Callable[[Plan], None]
    """Called with a plan when it was made."""

    def plan(self) -> Plan:
        """The plan on disk, or a new one."""
        if self.run.paths.plan.exists():
            return self.run.plan
        plan = Planning(self.run, self.draft()).make()
        self.shown(plan)
        return plan

    @cached_property
    def references(self) -> References:
        return References(self.run)

    @cached_property
    def attempts(self) -> Attempts:
        return Attempts(self.run)

    @cached_property
    def conclusion(self) -> Conclusion:
        return Conclusion(self.run)
