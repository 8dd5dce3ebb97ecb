"""How closely a replay matches its run: plan, code, decisions, and numbers, compared in an order fixed beforehand.

    exact        the environment is the same: every prediction and every logged loss must be, bit by bit
    tolerance    the environment differs: losses within a share, probabilities within a distance, few classes flipped
    statistical  the last class: paired over examples and seeds; it can only ever be compatible, never the same

Times and memory are shown, never judged.
"""

import json
from collections import Counter
from collections.abc import Iterator, Sequence
from itertools import zip_longest
from pathlib import Path
from typing import Any, NamedTuple

from agent.figures import count
from agent.frozen import Known
from agent.jobs.machine import environment
from agent.llm.conversation import Conversation
from agent.plan.read import plan_of
from agent.recheck import diff
from agent.recheck.likeness import Agreement, Decision, Difference, Level, Likeness, Pair, Parting, Row
from agent.record.events import EventLog
from agent.record.files import file_hash
from agent.record.paths import RunPaths, attempt_name
from agent.results.compare import compare
from agent.results.read import results_of
from agent.results.score import Scores, score

DECIDES = (
    *("python", "processor", "graphics card", "torch", "transformers", "accelerate", "tokenizers", "numpy"),
    *("datasets", "scipy", "scikit-learn"),
)
"""What of the environment may change a number. PyTorch promises no equality across releases, platforms and devices."""
LOSS = 1e-3
PROBABILITY = 1e-4
FLIPS = 0.001
"""The tolerances: share of a loss, distance of a probability, share of the answers of one trial."""


def drifted(level: Level, original: RunPaths, replay: RunPaths, reason: str, verdict: Agreement = "drift") -> Likeness:
    """A replay that could not continue, with the comparison as far as it got."""
    return _known(level, original, replay, verdict=verdict, how="", reason=reason)


def same_bytes(original: RunPaths, replay: RunPaths, due: str) -> Likeness:
    """`due` is the report as it is rendered now."""
    found = original.report.read_text() if original.report.exists() else ""
    if found == due:
        reason = f"report.md, {len(due.encode()):,} bytes, is reproduced exactly"
        return _known("report", original, replay, verdict="match", how="bytes", reason=reason)
    lines = enumerate(zip_longest(found.split("\n"), due.split("\n")), 1)
    first = next(number for number, (ours, theirs) in lines if ours != theirs)
    reason = f"report.md differs from line {first} on"
    return _known("report", original, replay, verdict="differs", how="bytes", reason=reason)


def same_decisions(original: RunPaths, replay: RunPaths) -> Likeness:
    """Of a replay that reached its last decision without drift."""
    known = _known("agent", original, replay, verdict="match", how="decisions", reason="")
    wrong = [f"attempt {each.number}" for each in known.attempts if not (each.same_commit and each.same_decision)]
    if known.plan:
        wrong.insert(0, "the plan")
    if wrong or known.code:
        return known.model_copy(update={"verdict": "drift", "reason": f"not as recorded: {', '.join(wrong) or 'code'}"})
    replies = "reply" if known.asked == 1 else "replies"
    reason = f"{known.asked} recorded {replies} led to the same plan, the same commits and the same decisions"
    if known.reworded:
        reason += f"; {known.reworded} of the requests are worded differently now and got the reply at their place"
    return known.model_copy(update={"reason": reason})


def same_numbers(level: Level, original: RunPaths, replay: RunPaths) -> Likeness:
    """Of a replay that was trained. The first class that the two environments allow decides."""
    known = _known(level, original, replay, verdict="match", how="", reason="")
    predictions, partings = _predictions(original), tuple(_partings(original, replay))
    equal = [_bytes(original, name) == _bytes(replay, name) for name in predictions]
    found = {"rows": tuple(_rows(original, replay)), "partings": partings, "equal": (sum(equal), len(equal))}
    known = known.model_copy(update=found)
    if level == "live":
        return _statistically(known, original, replay)
    apart = [change.name for change in known.environment if change.name in DECIDES]
    if not apart:
        return _exactly(known)
    if within := _within(original, replay, predictions, partings):
        reason = f"{within}; the environments differ in {', '.join(apart)}"
        return known.model_copy(update={"how": "tolerance", "reason": reason})
    return _statistically(known, original, replay)


def _exactly(known: Likeness) -> Likeness:
    same, of = known.equal
    moved = [f"{row.metric} of {row.arm} on {row.track}" for row in known.rows if row.original != row.replay]
    if same == of and of and not moved and not known.partings:
        reason = f"{of} of {of} predictions and every logged loss are equal bit by bit"
        return known.model_copy(update={"how": "exact", "reason": reason})
    first = f"; losses first differ at step {known.partings[0].step}" if known.partings else ""
    code = "; kdagent's training code has changed" if any("code" in each.name for each in known.environment) else ""
    reason = f"{same} of {of} predictions are equal in the same environment{first}{code}"
    return known.model_copy(update={"verdict": "differs", "how": "exact", "reason": reason})


def _predictions(original: RunPaths) -> list[str]:
    """The names of all predictions of the original, its teachers' too; one that the replay lacks is not equal to it."""
    files = original.folder.glob("trials/**/*.safetensors")
    return sorted(f.relative_to(original.folder).as_posix() for f in files if f.stem in ("dev", "test"))


def _bytes(paths: RunPaths, name: str) -> bytes:
    path = paths.folder / name
    return path.read_bytes() if path.exists() else repr(paths.id).encode()


def _within(original: RunPaths, replay: RunPaths, names: Sequence[str], partings: Sequence[Parting]) -> str:
    """What was found, where every difference is within the tolerances; "" where one is not."""
    import numpy as np

    if any(p.replay is None or abs(p.original - p.replay) > LOSS * abs(p.original) for p in partings):
        return ""
    furthest = flipped = 0.0
    for name in names:
        if not (replay.folder / name).exists():
            return ""
        ours, theirs = (_probabilities(paths.folder / name) for paths in (original, replay))
        furthest = max(furthest, float(np.abs(ours - theirs).max()))
        flipped = max(flipped, float((ours.argmax(1) != theirs.argmax(1)).mean()))
    if furthest > PROBABILITY or flipped > FLIPS:
        return ""
    answers = f"at most {100 * flipped:.2f} % of the predictions of a trial flipped"
    return f"probabilities within {furthest:.2g} (allowed {PROBABILITY:g}), {answers}"


def _probabilities(path: Path) -> Any:
    from safetensors.numpy import load_file
    from scipy.special import softmax

    return softmax(load_file(path)["logits"].astype("float64"), axis=1)


def _statistically(known: Likeness, original: RunPaths, replay: RunPaths) -> Likeness:
    """Compatible where the interval of every arm's difference includes zero."""
    pairs, missing = list[Pair](), list[str]()
    plans = (plan_of(original), plan_of(replay))
    for track in plans[0].tracks if plans[0] else ():
        for arm, ours, theirs in _scored(original, replay, track.name):
            if not ours or len(ours) != len(theirs):
                missing.append(f"{arm} on {track.name}")
                continue
            found = compare(replay.id, original.id, theirs, ours)[0]
            said = found.model_dump(include={"difference", "low", "high", "mcnemar"})
            pairs.append(Pair(track=track.name, arm=arm, **said))
    apart = [f"{pair.arm} on {pair.track}" for pair in pairs if not pair.low <= 0 <= pair.high]
    update: dict[str, Any] = {"pairs": tuple(pairs), "how": "statistical"}
    if missing or not pairs:
        update |= {"verdict": "differs", "reason": f"not comparable: {', '.join(missing) or 'no arm'}"}
    elif apart:
        update |= {
            "verdict": "differs",
            "reason": f"the interval of the difference excludes zero: {', '.join(apart)}",
        }
    else:
        reason = f"the interval of the difference includes zero for {count(len(pairs), 'arm')}"
        update |= {"verdict": "compatible", "reason": reason}
    return known.model_copy(update=update)


def _scored(original: RunPaths, replay: RunPaths, track: str) -> Iterator[tuple[str, list[Scores], list[Scores]]]:
    """Test scores of every arm of the report in both runs; empty where they are not of the same rows and seeds."""
    found = (results_of(original), results_of(replay))
    names = [arm.name for results in found[:1] if results for t in results.tracks if t.name == track for arm in t.arms]
    for arm in names:
        ours, theirs = (_scores(paths, arm, track) for paths in (original, replay))
        yield arm, ours, theirs if _same_rows(original, replay, track) else []


def _same_rows(original: RunPaths, replay: RunPaths, track: str) -> bool:
    labels = [paths.label_file(track, "test") for paths in (original, replay)]
    return all(path.exists() for path in labels) and len({file_hash(path) for path in labels}) == 1


def _scores(paths: RunPaths, arm: str, track: str) -> list[Scores]:
    from safetensors.numpy import load_file

    results, plan = results_of(paths), plan_of(paths)
    kept = (
        [attempt_name(attempt.number) for attempt in results.attempts if attempt.outcome == "kept"] if results else []
    )
    name = (kept[-1] if kept else "none") if arm == "proposed" else arm
    labels = load_file(paths.label_file(track, "test"))["labels"]
    files = [paths.trial(name, track, seed) / "test.safetensors" for seed in (plan.seeds if plan else ())]
    return [score(load_file(path)["logits"], labels) for path in files if path.exists()]


def _known(level: Level, original: RunPaths, replay: RunPaths, **said: Any) -> Likeness:
    changes, talk = _plans(original, replay), _talk(original, replay, level)
    return Likeness(
        level=level,
        original=original.id,
        replay=replay.id,
        environment=tuple(_environment(original, replay)),
        plan=changes,
        code=_code(original, replay),
        attempts=tuple(_attempts(original, replay)),
        asked=talk.asked,
        unused=talk.unused,
        reworded=talk.reworded,
        **said,
    )


def _environment(original: RunPaths, replay: RunPaths) -> Iterator[Difference]:
    """The machine that this is, beside the one the original was made on."""
    results, again = results_of(original), results_of(replay)
    ours = results.environment if results else {}
    theirs = again.environment if again else environment()
    for name in {**theirs, **ours} if again else theirs:
        before, now = (_value(known.get(name)) for known in (ours, theirs))
        if before != now:
            yield Difference(name=name, original=before, replay=now)
    before, now = (_training_code(paths) for paths in (original, replay))
    if before and now and before != now:
        yield Difference(name="kdagent's training code", original=before, replay=now)


def _training_code(paths: RunPaths) -> str:
    said = [event["data"] for event in EventLog(paths.events).read() if event["kind"] == "measured"]
    return str(said[0].get("training_code", "unknown"))[:12] if said else ""


def _value(known: Known | None) -> str:
    return (known.value or known.reason) if known else "absent"


def _plans(original: RunPaths, replay: RunPaths) -> tuple[Difference, ...]:
    plans = [plan for plan in (plan_of(original), plan_of(replay)) if plan]
    if len(plans) < 2:
        return ()
    found = diff.plan_changes(*plans)
    return tuple(Difference(name=c.name, original=c.first, replay=c.second) for c in found)


def _code(original: RunPaths, replay: RunPaths) -> str:
    if not (replay.repository / "HEAD").exists() or not (original.repository / "HEAD").exists():
        return ""
    from difflib import unified_diff

    from sandbox.errors import WorkspaceError
    from sandbox.workspace import Workspace

    ours, theirs = (_proposed(paths) for paths in (original, replay))
    if ours == theirs or not ours or not theirs:
        return ""
    try:
        before = Workspace.open(original.repository).read(ours).splitlines(keepends=True)
        now = Workspace.open(replay.repository).read(theirs).splitlines(keepends=True)
    except WorkspaceError as error:
        return f"{error.message}\n"
    return "".join(unified_diff(before, now, "original/train.py", "replay/train.py"))


def _proposed(paths: RunPaths) -> str:
    """The commit of the attempt that was kept last; of the last one where none was."""
    said = [(event["kind"], event["data"]) for event in EventLog(paths.events).read()]
    made = [data.get("commit", "") for kind, data in said if kind == "attempt"]
    kept = [data["commit"] for kind, data in said if kind == "decided" and data["outcome"] == "kept"]
    return str([*made, *kept][-1]) if made else ""


def _attempts(original: RunPaths, replay: RunPaths) -> Iterator[Decision]:
    ours, theirs = (_decided(paths) for paths in (original, replay))
    for number, said in (ours if theirs else {}).items():
        now = theirs.get(number, {})
        yield Decision(
            number=number,
            commit=said["commit"],
            same_commit=said["commit"] == now.get("commit"),
            outcome=said["outcome"],
            same_decision=all(said[name] == now.get(name) for name in ("outcome", "dev_score", "reason")),
        )


def _decided(paths: RunPaths) -> dict[int, dict[str, Any]]:
    return {e["data"]["number"]: e["data"] for e in EventLog(paths.events).read() if e["kind"] == "decided"}


class _Talk(NamedTuple):
    asked: int
    """Requests of the replay that were answered."""
    unused: int
    """Usable replies of the record that none of them got."""
    reworded: int


def _talk(original: RunPaths, replay: RunPaths, level: Level) -> _Talk:
    ours, theirs = Conversation(original.conversation), Conversation(replay.conversation)
    answered = [each for each in theirs.exchanges if each.reply]
    known = {each.key for each in ours.exchanges}
    unused = Counter(
        each.reply for purpose in {each.purpose for each in ours.exchanges} for each in ours.usable(purpose)
    )
    unused -= Counter(each.reply for each in answered)
    reworded = sum(each.key not in known for each in answered) if level != "live" else 0
    return _Talk(len(answered), unused.total() if answered else 0, reworded)


def _rows(original: RunPaths, replay: RunPaths) -> Iterator[Row]:
    ours, theirs = results_of(original), results_of(replay)
    if not ours or not theirs:
        return
    again = {(track.name, arm.name): arm for track in theirs.tracks for arm in track.arms}
    for track in ours.tracks:
        for arm in track.arms:
            other = again.get((track.name, arm.name))
            for metric, summary in arm.summaries.items():
                if other and metric in other.summaries:
                    values = {"original": summary.mean, "replay": other.summaries[metric].mean}
                    yield Row(track=track.name, arm=arm.name, metric=metric, **values)


def _partings(original: RunPaths, replay: RunPaths) -> Iterator[Parting]:
    """Per trial, the earliest first; trials/<arm>/<track>/<seed>, a teacher has no seed."""
    found = []
    for trace in sorted(original.folder.glob("trials/**/trace.jsonl")):
        place = trace.relative_to(original.folder)
        ours, theirs = _losses(trace), _losses(replay.folder / place)
        step = next((step for step, loss in ours.items() if theirs.get(step) != loss), None)
        if step is not None:
            _, arm, track, *seed = place.parent.parts
            trial = {"track": track, "arm": arm, "seed": int("".join(seed) or 0)}
            found.append(
                Parting.model_validate(trial | {"step": step, "original": ours[step], "replay": theirs.get(step)})
            )
    yield from sorted(found, key=lambda parting: parting.step)


def _losses(trace: Path) -> dict[int, float]:
    """Step → loss, of every logged one."""
    lines = [json.loads(line) for line in trace.read_text().splitlines()] if trace.exists() else []
    return {line["step"]: line["loss"] for line in lines if line.get("event") == "log"}
