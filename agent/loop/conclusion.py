"""The test rows, once; results.json from the record; report.md from results.json."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from agent import __version__
from agent.cache import entries
from agent.cache.keys import training_code
from agent.jobs.machine import environment
from agent.jobs.teachers import teacher_hashes
from agent.loop.context import Context
from agent.record import hashes
from agent.record.clock import Clock
from agent.record.files import write_whole
from agent.record.paths import attempt_name
from agent.results import review
from agent.results.derive import code_hash, derive
from agent.results.report import render_report
from agent.results.run_record import RunRecord
from agent.results.schema import SCHEMA, Results

BETWEEN = "between the phases"


@dataclass(frozen=True)
class Conclusion:
    run: Context

    def measure(self, kept: int, teachers: dict[str, str]) -> None:
        """Predict the test rows, once per final arm, count that, and record what can be observed only now."""
        run, plan = self.run, self.run.plan
        assistant = ["assistant"] if any(track.assistant for track in plan.tracks) else []
        arms = ["teacher", *assistant, *plan.reference_arms, *([attempt_name(kept)] if kept else [])]
        new = [arm for arm in arms if not run.events.count("test predicted", arm=arm)]
        run.whole(lambda: run.jobs.predict(plan, new, run.inputs(teachers), "test"))
        for arm in new:
            run.events.append("test predicted", arm=arm, **run.fresh(f"trials/{arm}/"))
        if not run.events.count("measured"):
            run.events.append("measured", **self._observed(teachers))

    def _observed(self, teachers: dict[str, str]) -> dict[str, Any]:
        """The observations that cannot be derived from the run's files."""
        runner, source, prepared = self.run.runner, self.run.gateway.source, self.run.prepared
        isolation = {name: getattr(runner.backend, name) for name in ("level", "selftest", "protects", "not_protected")}
        return {
            "version": __version__,
            "results": SCHEMA,
            "code": code_hash(),
            "training_code": training_code(),
            "source": {"name": source.name, "model": source.model},
            "environment": {name: known.model_dump() for name, known in environment().items()},
            "isolation": {"backend": runner.backend.name} | isolation,
            "seconds": _rounded(runner.progress.clock),
            "late": runner.remaining <= 0,
            "teachers": teacher_hashes(self.run.plan, prepared, teachers),
            "data": {name: entries.hashes(Path(known.folder)) for name, known in prepared.items()},
        }

    def conclude(self) -> Results:
        """results.json: all measurements, and the conclusions from them."""
        results = derive(RunRecord.read(self.run.paths))
        write_whole(self.run.paths.results, results.model_dump_json(by_alias=True, indent=1))
        return results

    def report(self) -> Path:
        """report.md, from results.json and nothing else. With it the record is complete."""
        run, paths = self.run, self.run.paths
        results = Results.model_validate_json(paths.results.read_text())
        write_whole(paths.report, render_report(results, review.read(paths)))
        if not run.events.count("reported"):
            noted = hashes.notes(paths, (paths.results.name, paths.report.name))
            run.events.append("reported", verdict=results.verdict, **noted)
        if not run.events.count("sealed"):
            run.events.append("sealed", **run.fresh(""))
        return paths.report


def _rounded(clock: Clock) -> dict[str, float]:
    """Seconds of each phase, and between them: imports, replies of a model, scoring."""
    phases = clock.phases
    return {name: round(value, 1) for name, value in (phases | {BETWEEN: clock.spent - sum(phases.values())}).items()}
