"""The flow of a run, whole: plan → review → workspace → reference arms → edit → check → pilot → trials → prediction
→ scoring → keep, or another attempt → comparison → report.

The only import of langgraph. Checkpoints are written before the next step starts; a run that was cut off
continues where it stopped.
"""

import errno
import os
import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Literal, TypedDict

os.environ.setdefault("LANGGRAPH_STRICT_MSGPACK", "true")  # read at import: a checkpoint may contain plain values only
for variable in ("LANGSMITH_TRACING", "LANGCHAIN_TRACING_V2"):  # tracing would send a run's state elsewhere
    os.environ.pop(variable, None)

from langgraph.checkpoint.sqlite import SqliteSaver  # noqa: E402
from langgraph.graph import END, START, StateGraph  # noqa: E402
from langgraph.graph.state import CompiledStateGraph  # noqa: E402
from langgraph.types import interrupt  # noqa: E402

from agent.loop.steps import Steps  # noqa: E402
from agent.results import review  # noqa: E402
from agent.results.schema import Attempt  # noqa: E402

LEAST_FREE = 64 << 10  # bytes; less than a checkpoint takes
REPAIRS = 3  # edits that may follow a failed check or pilot before the attempt counts as rejected


class State(TypedDict, total=False):
    """The state that one step leaves for the next; everything larger is on disk."""

    plan: str
    approved: bool
    commits: dict[str, str]
    teachers: dict[str, str]
    attempt: int
    repairs: int
    commit: str
    problem: str
    dev_score: float | None
    history: list[dict[str, object]]
    """Attempts as plain values, the only kind that a checkpoint may contain."""
    kept: int
    exhausted: bool
    verdict: str


class Flow:
    """The steps as nodes of the graph: each takes the state and returns what it changed."""

    def __init__(self, steps: Steps) -> None:
        self.steps = steps
        self.attempts = steps.attempts

    def plan(self, state: State) -> State:
        return {"plan": self.steps.plan().hash}

    def review(self, state: State) -> State:
        """Waits for a decision; it is recorded before it counts."""
        found = review.decided(self.steps.run.paths) or interrupt({"plan": state["plan"]})
        review.write(self.steps.run.paths)  # whoever decided may have been killed between the log and the file
        return {"approved": found.decision == "approve"}

    def workspace(self, state: State) -> State:
        return {"commits": self.steps.references.commit(), "attempt": 1, "repairs": 0, "history": [], "kept": 0}

    def reference_arms(self, state: State) -> State:
        return {"teachers": self.steps.references.train(state["commits"])}

    def edit(self, state: State) -> State:
        base = _base(state)
        source = self.attempts.edit(state["attempt"], base, state.get("problem", ""), _attempts(state))
        if not source:
            return {"exhausted": True}
        return {"commit": self.attempts.commit(state["attempt"], source, base), "problem": ""}

    def check(self, state: State) -> State:
        return _tried(state, self.attempts.check(state["commit"], _base(state)))

    def pilot(self, state: State) -> State:
        return _tried(state, self.attempts.pilot(state["attempt"], state["commit"], state["teachers"]))

    def trials(self, state: State) -> State:
        self.attempts.train(state["attempt"], state["commit"], state["teachers"])
        return {}

    def predict(self, state: State) -> State:
        self.attempts.predict_dev(state["attempt"], state["teachers"])
        return {}

    def score(self, state: State) -> State:
        return {"dev_score": self.attempts.score_dev(state["attempt"])}

    def decide(self, state: State) -> State:
        problem = state.get("problem", "")
        score = None if problem else state["dev_score"]
        attempt = self.attempts.decide(state["attempt"], state["commit"], score, problem, _attempts(state))
        kept = attempt.number if attempt.outcome == "kept" else state["kept"]
        history = [*state["history"], attempt.model_dump()]
        return {"attempt": state["attempt"] + 1, "repairs": 0, "problem": "", "kept": kept, "history": history}

    def compare(self, state: State) -> State:
        self.steps.conclusion.measure(state["kept"], state["teachers"])
        return {"verdict": self.steps.conclusion.conclude().verdict}

    def report(self, state: State) -> State:
        self.steps.conclusion.report()
        return {}

    def after_decision(self, state: State) -> Literal["edit", "compare"]:
        more = state["attempt"] <= self.steps.run.plan.attempts
        return "edit" if more and self.attempts.time_left() else "compare"


# ── where to go next ────────────────────────────────────────────────────────────────────────────────────────────────


def after_review(state: State) -> Literal["workspace", "__end__"]:
    return "workspace" if state["approved"] else "__end__"


def after_edit(state: State) -> Literal["check", "compare"]:
    return "compare" if state.get("exhausted") else "check"


def after_check(state: State) -> Literal["pilot", "edit", "decide"]:
    return _mend(state) or "pilot"


def after_pilot(state: State) -> Literal["trials", "edit", "decide"]:
    return _mend(state) or "trials"


def _mend(state: State) -> Literal["edit", "decide"] | None:
    if not state["problem"]:
        return None
    return "edit" if state["repairs"] <= REPAIRS else "decide"


def _tried(state: State, problem: str) -> State:
    return {"problem": problem, "repairs": state["repairs"] + bool(problem)}


def _base(state: State) -> str:
    """The commit an attempt starts from: the best so far, or plain fine-tuning."""
    kept = [attempt.commit for attempt in _attempts(state) if attempt.number == state["kept"]]
    return kept[0] if kept else state["commits"]["start"]


def _attempts(state: State) -> list[Attempt]:
    return [Attempt.model_validate(each) for each in state["history"]]


def build(steps: Steps) -> StateGraph[State]:
    flow = Flow(steps)
    graph = StateGraph(State)
    for node in (
        flow.plan,
        flow.review,
        flow.workspace,
        flow.reference_arms,
        flow.edit,
        flow.check,
        flow.pilot,
        flow.trials,
        flow.predict,
        flow.score,
        flow.decide,
        flow.compare,
        flow.report,
    ):
        graph.add_node(node.__name__, node)
    graph.add_edge(START, "plan")
    graph.add_edge("plan", "review")
    graph.add_conditional_edges("review", after_review)
    graph.add_edge("workspace", "reference_arms")
    graph.add_edge("reference_arms", "edit")
    graph.add_conditional_edges("edit", after_edit)
    graph.add_conditional_edges("check", after_check)
    graph.add_conditional_edges("pilot", after_pilot)
    graph.add_edge("trials", "predict")
    graph.add_edge("predict", "score")
    graph.add_edge("score", "decide")
    graph.add_conditional_edges("decide", flow.after_decision)
    graph.add_edge("compare", "report")
    graph.add_edge("report", END)
    return graph


def advance(steps: Steps, checkpoint: Path) -> tuple[str, ...]:
    """Run the graph until it ends or waits for a review, from its last checkpoint if there is one.

    The nodes that wait come back.
    """
    with _room_on_disk(checkpoint), SqliteSaver.from_conn_string(str(checkpoint)) as saver:
        graph: CompiledStateGraph[State] = build(steps).compile(checkpointer=saver)
        thread = {"configurable": {"thread_id": "run"}, "recursion_limit": 1000}
        begun = graph.get_state(thread).values  # type: ignore[arg-type]
        start: Any = None if begun else {"approved": False}
        graph.invoke(start, thread, durability="sync")  # type: ignore[call-overload]
        return graph.get_state(thread).next  # type: ignore[arg-type]


@contextmanager
def _room_on_disk(checkpoint: Path) -> Iterator[None]:
    """SQLite says of a full disk that it cannot open its file, or cannot write to it: an OSError names the cause."""
    try:
        yield
    except sqlite3.OperationalError as error:
        disk = os.statvfs(checkpoint.parent)
        if disk.f_bavail * disk.f_frsize < LEAST_FREE or (disk.f_files and not disk.f_favail):
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(checkpoint)) from error
        raise
