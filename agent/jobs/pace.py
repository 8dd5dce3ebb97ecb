"""The pace process: it sees training rows and their labels and returns the time of a step, plain and compiled."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from agent.cache import entries
from agent.cache.keys import digest, versions
from agent.errors import Interrupted
from agent.jobs.checked import Checked
from agent.jobs.job_files import PaceJob
from agent.jobs.machine import machine
from agent.jobs.outputs import PACE
from agent.jobs.runner import Request, Runner, fresh_folder
from agent.plan.compiling import worth
from agent.plan.plan import Track
from agent.record.files import write_whole
from agent.record.pace import Pace
from agent.record.prepared import Prepared
from sandbox import intake
from sandbox.errors import IntakeRejected
from sandbox.folder import remove


@dataclass(frozen=True)
class Pacing:
    runner: Runner
    checked: Checked

    def measure(self, tracks: Sequence[Track], prepared: Mapping[str, Prepared]) -> dict[str, Pace]:
        """By track, measured now or found in the cache."""
        if not tracks:
            return {}
        with self.runner.progress.phase("try compiling", [track.name for track in tracks]):
            return {track.name: self._pace(track, prepared[track.name]) for track in tracks}  # one at a time

    def _pace(self, track: Track, prepared: Prepared) -> Pace:
        job = PaceJob(
            seen=str(prepared.seen),
            model=prepared.models["student"].spec,
            training=track.training.model_dump() | {"compiled": False},
            threads=track.threads,
            worth=worth(track),
        )
        key = digest([job.plain(), prepared.files, versions(), machine()])
        folder = self.runner.settings.cache / "paces" / key
        with entries.alone(folder):
            self.checked.check(f"{track.name}: what compiling takes", folder)
            folder.mkdir(exist_ok=True)
            entries.use(folder)
            if (folder / "pace.json").exists():
                return _read(folder)
            found = self._measured(job, prepared.seen, track)
            if not found.problem:  # which may be gone when it is tried again
                write_whole(folder / "pace.json", found.model_dump_json())
                entries.note(folder, {"track": track.name})
            return found

    def _measured(self, job: PaceJob, seen: Path, track: Track) -> Pace:
        out = fresh_folder(self.runner.paths.scratch / f"pace-{track.name}")
        told = job.model_copy(update={"out": str(out)})
        outcome = self.runner.run(Request(out.name, "pace", [told], out, (seen,), track, must_work=False))
        if outcome.status == "cancelled":
            raise Interrupted("stopped while compiling was tried")
        try:
            return _read(out)
        except IntakeRejected:
            return Pace(problem=f"trying it ended with {outcome.status}")
        finally:
            remove(out)


def _read(folder: Path) -> Pace:
    return Pace(**intake.read_json(folder, "pace.json", schema=PACE))
