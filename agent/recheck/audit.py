"""The audit of a record whose files match its log: whether their contents follow from each other.

Each check yields findings, and nothing where all is well. Steps that a run has not reached yet are not checked.
"""

import hashlib
import json
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

from agent.llm.conversation import Conversation, Exchange
from agent.metrics.arithmetic import Printed
from agent.metrics.contradictions import contradictions
from agent.metrics.reported import Evaluation
from agent.record.files import file_hash
from agent.record.paths import attempt_name
from agent.results.derive import decision
from agent.results.run_record import RunRecord
from agent.results.schema import Attempt, Results
from sandbox.errors import KdagentError
from sandbox.workspace import FILE, Workspace

Event = dict[str, Any]


@dataclass(frozen=True)
class Discrepancy:
    file: str
    line: int
    """From 1; 0 where it is about the whole file."""
    found: str
    expected: str
    column: int = 0

    def __str__(self) -> str:
        place = f"{self.file}:{self.line}:{self.column}" if self.column else f"{self.file}:{self.line}"
        return f"{place if self.line else self.file}: {self.found}; should be {self.expected}"


def audit(record: RunRecord) -> Iterator[Discrepancy]:
    for check in (_altered, _plan, _labels, _data, _commits, _trials, _decisions, _exposures, _conversation):
        yield from guarded(check, record)


def guarded(check: Callable[[RunRecord], Iterator[Discrepancy]], record: RunRecord) -> Iterator[Discrepancy]:
    """A check that breaks has found something: an error is never a pass."""
    try:
        yield from check(record)
    except Exception as error:
        said = error.message if isinstance(error, KdagentError) else f"{type(error).__name__}: {error}"
        yield Discrepancy(
            "record", 0, f"{check.__name__.strip('_')} cannot be checked ({said[:200]})", "a readable record"
        )


def _events(record: RunRecord, *kinds: str) -> Iterator[tuple[int, str, Event]]:
    """Line, kind and data of every event of these kinds."""
    for event in record.events:
        if event["kind"] in kinds:
            yield event["seq"] + 1, event["kind"], event["data"]


def _said(line: int, found: str, expected: str) -> Discrepancy:
    return Discrepancy("events.jsonl", line, found, expected)


def _altered(record: RunRecord) -> Iterator[Discrepancy]:
    """Files that were altered while the run was stopped; what followed from them did not follow from the originals."""
    for line, _, data in _events(record, "resumed"):
        for name in data["altered"]:
            yield _said(line, f"{name} altered while the run was stopped", "as the run had left it")


def _plan(record: RunRecord) -> Iterator[Discrepancy]:
    """One plan, frozen before anything else was made, of the data that were prepared."""
    for line, _, data in _events(record, "planned"):
        if data["hash"] != record.plan.hash:
            yield Discrepancy(
                "plan.json", 0, f"a plan of hash {record.plan.hash}", f"{data['hash']} (events.jsonl:{line})"
            )
    made = [line for line, _, _ in _events(record, "workspace", "teachers", "attempt", "trial")]
    planned = [line for line, _, _ in _events(record, "planned")]
    if not planned or (made and planned[0] > made[0]):
        yield _said(planned[0] if planned else 0, "a plan after files made from it", "the plan first")
    for track in record.plan.tracks:
        for name in ("hash", "encoded"):
            found, due = getattr(track.task, name), getattr(record.prepared[track.name], name)
            if found != due:
                yield Discrepancy("plan.json", 0, f"{name} {found} of the data of {track.name}", f"{due} (facts.json)")


def _labels(record: RunRecord) -> Iterator[Discrepancy]:
    """The labels are those that were prepared, and there are as many of each as the facts say."""
    for track, known in record.prepared.items():
        for split in ("dev", "test"):
            path = record.paths.label_file(track, split)
            name, digest = str(path.relative_to(record.paths.folder)), file_hash(path)
            if digest != (due := known.files[f"labels/{split}.safetensors"]):
                yield Discrepancy(name, 0, f"SHA-256 {digest}", f"{due}, as it was prepared (facts.json)")
            labels = record.labels(record.plan.track(track), split).tolist()
            counts = [labels.count(number) for number in range(len(known.task.labels))]
            if counts != [*known.label_counts[split]] or len(labels) != known.rows[split]:
                yield Discrepancy(name, 0, f"{counts} rows per label", f"{[*known.label_counts[split]]} (facts.json)")


def _data(record: RunRecord) -> Iterator[Discrepancy]:
    """Prepared rows that came with an archive are those the plan was made for."""
    for track, known in record.prepared.items():
        for name, due in known.files.items():
            path = record.paths.data(track) / name
            if path.exists() and (digest := file_hash(path)) != due:
                yield Discrepancy(
                    str(path.relative_to(record.paths.folder)), 0, f"SHA-256 {digest}", f"{due} (facts.json)"
                )


def commits(record: RunRecord) -> dict[str, list[str]]:
    """The commits of every arm, in the order they were made."""
    found: dict[str, list[str]] = {}
    for _, kind, data in _events(record, "workspace", "attempt"):
        made = data["commits"] if kind == "workspace" else {attempt_name(data["number"]): data["commit"]}
        for arm, commit in made.items():
            found.setdefault(arm, []).append(commit)
    return found


def _commits(record: RunRecord) -> Iterator[Discrepancy]:
    """Every commit matches its id, its tree is the recorded one, its branch points to it, and it is what ran."""
    made = commits(record)
    if not made:
        return
    workspace = Workspace.open(record.paths.repository)
    sources = {commit: workspace.read(commit) for each in made.values() for commit in each}
    for line, _, data in _events(record, "attempt"):
        if data["tree"] != (due := tree(sources[data["commit"]])):
            yield _said(line, f"tree {data['tree']}", due)
    for arm, each in made.items():
        branch = record.paths.repository / "refs" / "heads" / arm
        if branch.exists() and (found := branch.read_text().strip()) != each[-1]:
            yield Discrepancy(f"repository/refs/heads/{arm}", 1, found, each[-1])
        for path in sorted(record.paths.jobs.glob(f"*/{arm}/{FILE}")):
            if path.read_text() not in {sources[commit] for commit in each}:
                name = str(path.relative_to(record.paths.folder))
                yield Discrepancy(name, 0, "a file that is in no commit", f"{FILE} of {' or '.join(each)}")


def tree(source: str) -> str:
    """The id of the tree that contains only this train.py."""
    blob = _object("blob", source.encode())
    return _object("tree", f"100644 {FILE}\0".encode() + bytes.fromhex(blob))


def _object(kind: str, content: bytes) -> str:
    return hashlib.sha1(b"%s %d\0%s" % (kind.encode(), len(content), content)).hexdigest()


def _trials(record: RunRecord) -> Iterator[Discrepancy]:
    """Each trial once, after the commit it ran, with the outcome in its files."""
    known, seen = set[str](), Counter[tuple[str, str, int]]()
    for line, kind, data in _events(record, "workspace", "attempt", "trial"):
        if kind != "trial":
            known |= set(data["commits"]) if kind == "workspace" else {attempt_name(data["number"])}
            continue
        arm, track, seed = data["arm"], data["track"], data["seed"]
        seen[arm, track, seed] += 1
        status = json.loads((record.paths.trial(arm, track, seed) / "trial.json").read_text())["status"]
        name = f"trials/{arm}/{track}/{seed}"
        if arm not in known:
            yield _said(line, f"a trial of {arm} before its commit", "the commit first")
        if seen[arm, track, seed] > 1:
            yield _said(line, f"{name} for the second time", "one trial")
        if data["status"] != status:
            yield _said(line, f"status {data['status']} of {name}", f"{status} ({name}/trial.json)")
        if data["weights"] != data["files"].get(f"{name}/weights.safetensors", ""):
            yield _said(line, f"weights {data['weights']}", "the hash among the files of the event")


def _decisions(record: RunRecord) -> Iterator[Discrepancy]:
    """Dev scores from dev predictions, and the attempts kept from dev scores."""
    made, history = commits(record), list[Attempt]()
    for line, _, data in _events(record, "decided"):
        number = data["number"]
        score = record.dev_score(number)
        if data["dev_score"] != score:
            yield _said(line, f"dev score {data['dev_score']} of attempt {number}", f"{score}, as predicted")
        if data["outcome"] != (due := decision(score, history)[0]):
            yield _said(line, f"attempt {number} {data['outcome']}", due)
        if made.get(attempt_name(number), [""])[-1] != data["commit"]:
            yield _said(line, f"commit {data['commit']}", f"the last of attempt {number}")
        history.append(Attempt(**{name: data[name] for name in Attempt.decided_fields()}))


def _exposures(record: RunRecord) -> Iterator[Discrepancy]:
    """No arm was predicted on the test rows more often than the log records, or without being in it."""
    logged = Counter(data["arm"] for _, _, data in _events(record, "test predicted"))
    told = Counter[str]()
    for path in record.paths.jobs.glob("predict-test-*/job-*.json"):
        units = json.loads(path.read_text())["units"]
        told.update({unit["name"].rpartition("-")[0] for unit in units})
    predicted = {path.parts[-4] for path in record.paths.folder.glob("trials/*/*/*/test.json")}
    if not any(_events(record, "measured")):
        return  # it was stopped between a prediction and its event
    for arm in sorted(set(told) | predicted):
        if not logged[arm]:
            yield _said(len(record.events), f"no record that {arm} was predicted on the test rows", "one event")


def _conversation(record: RunRecord) -> Iterator[Discrepancy]:
    """Every body has the hash of its name, and every exchange follows from its bodies and its place."""
    folder = record.paths.conversation
    talk, seen = Conversation(folder), set[tuple[str, int]]()
    for path in sorted((folder / "blobs").glob("*.json")):
        if hashlib.sha256(path.read_bytes()).hexdigest() != path.stem:
            yield Discrepancy(
                f"conversation/blobs/{path.name}", 1, "different content", "the content whose hash is its name"
            )
    for place, exchange in enumerate(talk.exchanges):
        for name, due in _due(talk, exchange, place, len({o for key, o in seen if key == exchange.key})).items():
            if (found := getattr(exchange, name)) != due:
                yield Discrepancy("conversation/exchanges.jsonl", place + 1, f"{name} {found}", str(due))
        seen.add((exchange.key, exchange.occurrence))


def _due(talk: Conversation, exchange: Exchange, place: int, before: int) -> dict[str, Any]:
    """The required fields of an exchange; `before` is how often the request had occurred."""
    request = talk.body(exchange.request)
    reply = talk.body(exchange.reply) if exchange.reply else {"prompt_tokens": 0, "completion_tokens": 0}
    spoilt = exchange.error is not None and exchange.occurrence < before
    return {
        "seq": place,
        "key": exchange.request,
        "purpose": request["purpose"],
        "model": request["model"],
        "tokens": reply["prompt_tokens"] + reply["completion_tokens"],
        "occurrence": exchange.occurrence if spoilt else before,
    }


def arithmetic(results: Results) -> Iterator[Discrepancy]:
    """Accuracies that are impossible for that number of rows."""
    for track in results.tracks:
        rows = Printed(Decimal(track.data.splits["test"].rows))
        for arm in track.arms:
            for trial in arm.trials:
                name = f"{track.name} {arm.name} seed {trial.seed}"
                numbers = {"accuracy": Printed(Decimal(str(trial.scores["accuracy"]))), "samples": rows}
                for found in contradictions([Evaluation("results.json", name, False, numbers)]):
                    if found.level == "E":
                        yield Discrepancy("results.json", 0, f"{name}: {found.message}", "a share of the rows")
