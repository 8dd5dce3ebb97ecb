"""Guards: checks of a track with three outcomes, each made outside or resting on the training process's own report.

A guard that could not run, for whatever reason, is `not_run` and blocks the claim. Nothing fails open.
"""

from collections.abc import Callable, Sequence
from typing import Literal, NamedTuple

from agent.plan.method import Method
from agent.plan.plan import Track, Training
from agent.results.evidence import Evidence, TrialRecord
from agent.results.executed import batches
from agent.results.schema import FieldRow, Guard

CHANCE_LEVEL = 0.01
WATCH_EVERY = 10
"""Calls for features of which one is watched (baselines.training.cached_teacher)."""
FADED = 1e-6
"""A gradient this much smaller than the trial's largest counts as none."""
Where = Literal["in-process", "outside"]


class CheckResult(NamedTuple):
    """The outcome of a check: fine, problems, or the reason why it could not run."""

    problems: list[str]
    fine: str
    unknown: str = ""


def guards(evidence: Evidence, rows: Sequence[FieldRow]) -> tuple[Guard, ...]:
    """Every check of one track, each run on its own."""
    distils, in_loss = evidence.distils, evidence.track.method.card.distils
    selects = _selects(evidence.track.method)
    checks: list[tuple[str, Where, bool, Callable[[], CheckResult]]] = [
        ("every trial finished", "outside", True, lambda: _complete(evidence)),
        ("executed as planned", "in-process", True, lambda: _as_planned(rows, "in-process")),
        ("data and models as planned", "outside", True, lambda: _as_planned(rows, "outside")),
        ("same budget in every arm", "in-process", True, lambda: _same_budget(evidence)),
        ("same initial weights", "in-process", True, lambda: _same_start(evidence)),
        ("weights are the trainer's", "in-process", True, lambda: _trainers_own(evidence)),
        ("weights changed", "outside", True, lambda: _weights_moved(evidence)),
        ("weights within reach", "outside", True, lambda: _within_reach(evidence)),
        ("loss fell", "in-process", True, lambda: _loss_fell(evidence)),
        ("distillation term", "in-process", in_loss, lambda: _term(evidence)),
        ("teacher used at every step", "in-process", in_loss, lambda: _used(evidence)),
        ("teacher feeds the training", "outside", distils, lambda: _teacher_feeds(evidence)),
        ("selected layers feed the training", "outside", selects, lambda: _layers_feed(evidence)),
        ("teacher unchanged", "outside", True, lambda: _teacher_same(evidence)),
        ("no test row among the others", "outside", True, lambda: _no_overlap(evidence)),
        ("above chance", "outside", True, lambda: _above_chance(evidence)),
    ]
    return tuple(_run(name, where, check) for name, where, applies, check in checks if applies)


def _run(name: str, where: Where, check: Callable[[], CheckResult]) -> Guard:
    """One check. One that breaks has not run: an error is never a pass."""
    try:
        said = check()
    except Exception as error:
        said = CheckResult([], "", f"the check broke: {type(error).__name__}: {error}"[:200])
    if said.problems:
        return Guard(name=name, where=where, outcome="fail", detail="; ".join(said.problems[:3]))
    if said.unknown:
        return Guard(name=name, where=where, outcome="not_run", detail=said.unknown)
    return Guard(name=name, where=where, outcome="pass", detail=said.fine)


def _trials(evidence: Evidence) -> list[tuple[str, TrialRecord]]:
    """Every finished trial with its name."""
    return [
        (f"{arm} seed {seed}", record)
        for arm, records in evidence.arms.items()
        for seed, record in zip(evidence.plan.seeds, records, strict=True)
        if not record.failure
    ]


def _complete(evidence: Evidence) -> CheckResult:
    problems = [f"{arm}: {r.failure[:120]}" for arm, records in evidence.arms.items() for r in records if r.failure]
    count = sum(map(len, evidence.arms.values()))
    return CheckResult(
        problems, f"{count} trials left weights that load in the planned model", "" if count else "no trial"
    )


def _as_planned(rows: Sequence[FieldRow], where: Where) -> CheckResult:
    rows = [row for row in rows if row.where == where]
    deviated = [f"{row.field}: planned {row.planned}, seen {row.executed}" for row in rows if row.status == "DEVIATED"]
    unseen = [row.field for row in rows if row.status == "NOT_SEEN"]
    unknown = f"not seen: {', '.join(unseen)}" if unseen else "" if rows else "no field was looked at"
    seen = "the live trainer" if where == "in-process" else "predictions, probe and files"
    return CheckResult(deviated, f"{len(rows)} fields read back from {seen}", unknown)


def _same_budget(evidence: Evidence) -> CheckResult:
    """Every arm takes the planned number of steps, and its optimizer the same number of updates."""
    steps, problems, silent = evidence.track.steps, list[str](), list[str]()
    for name, record in _trials(evidence):
        seen = {record.ended("step"), record.ended("updates")}
        if None in seen:
            silent.append(name)
        elif seen != {steps}:
            problems.append(
                f"{name} took {record.ended('step')} steps with {record.ended('updates')} updates, not {steps}"
            )
    return CheckResult(
        problems, f"{steps} steps in every trial", f"no end in the trace of {', '.join(silent[:3])}" * bool(silent)
    )


def _same_start(evidence: Evidence) -> CheckResult:
    """Arms of one seed start from the same weights: those the seed gives when they are rebuilt outside."""
    problems, silent = list[str](), list[str]()
    for name, record in _trials(evidence):
        arm, start = name.split(" ")[0], record.line("start").get("weights")
        from_teacher = arm == "proposed" and evidence.track.method.init_layers != "none"
        if record.report.get("initial") != record.prediction.get("initial"):
            problems.append(f"{name} started from different weights")
        elif start is None:
            silent.append(name)
        elif not from_teacher and start != record.prediction.get("initial"):
            problems.append(f"{name} had different weights at the first step")
    fine = "each trial's start equals the seed's weights, rebuilt outside"
    return CheckResult(problems, fine, f"no start in the trace of {', '.join(silent[:3])}" * bool(silent))


def _trainers_own(evidence: Evidence) -> CheckResult:
    """The weights handed in are those the watched Trainer ended with, and only its optimizer changed them before."""
    problems, silent = list[str](), list[str]()
    for name, record in _trials(evidence):
        ended, touched = record.ended("weights"), record.ended("touched")
        if ended is None or touched is None:
            silent.append(name)
        elif ended != record.prediction.get("fingerprint"):
            problems.append(f"{name} handed in weights that differ from those its training ended with")
        elif touched:
            problems.append(f"{name} changed weights {touched} times between two updates")
    fine = "every trial handed in the weights its training ended with, changed only by the optimizer"
    return CheckResult(problems, fine, f"no end in the trace of {', '.join(silent[:3])}" * bool(silent))


def _weights_moved(evidence: Evidence) -> CheckResult:
    still = [
        f"{name}: the trained weights equal the initial ones"
        for name, r in _trials(evidence)
        if not r.prediction.get("change")
    ]
    return CheckResult(still, "the distance from the initial weights is above zero in every trial")


def _within_reach(evidence: Evidence) -> CheckResult:
    """No weight moved further than the planned optimizer, learning rate and steps can move it."""
    problems, closest = list[str](), 0.0
    for name, record in _trials(evidence):
        moved, most = reach(evidence.track.training, evidence.track.steps, record.prediction)
        closest = max(closest, moved / most)
        if moved > most:
            problems.append(f"{name} moved its weights by {moved:.3g}, the plan's optimizer by {most:.3g} at most")
    return CheckResult(problems, f"the furthest went {closest:.0%} of the way that the planned steps allow")


def reach(training: Training, steps: int, prediction: dict[str, float]) -> tuple[float, float]:
    """How far training moved, and how far it can at most: one weight for Adam, all together (L2) for SGD.

    Adam: |update| ≤ lr · c_t by Cauchy–Schwarz on its two moving averages (Kingma and Ba 2015, section 2, give the two
    limits of it); decoupled decay adds lr · decay · |weight|. SGD with clipping at G: lr · G / (1 − momentum).
    """
    rates, slack = training.rates(steps), 1.001
    decay = sum(rates) * training.weight_decay
    if training.optimizer == "sgd":
        most = sum(rates) * training.max_grad_norm * 10
        return prediction["change"], slack * (most + 10 * decay * (prediction["size"] + most)) + 1e-6
    most = sum(rate * _adam(step) for step, rate in enumerate(rates, 1))
    pull = decay * (prediction["largest"] + most) if training.optimizer == "adamw" else 0.0
    return prediction["furthest"], slack * (most + pull) + 1e-6


def _adam(step: int, beta1: float = 0.9, beta2: float = 0.999) -> float:
    """The largest |m̂| / √v̂ that any sequence of gradients can give at that step."""
    ratio = beta1**2 / beta2
    first = (1 - beta1) / (1 - beta1**step)
    second = ((1 - beta2**step) / (1 - beta2)) ** 0.5
    return float(first * second * ((1 - ratio**step) / (1 - ratio)) ** 0.5)


def _loss_fell(evidence: Evidence) -> CheckResult:
    """The mean of the last quarter of each trial's logged losses lies below the mean of the first quarter.

    Where the method gives the labels a head start, which has another loss, only those after it are compared.
    """
    problems, silent, start = list[str](), list[str](), _head_start(evidence.track)
    for name, record in _trials(evidence):
        losses = record.losses(start if name.startswith("proposed ") else 0)
        part = max(1, len(losses) // 4)
        if len(losses) < 2:
            silent.append(name)
        elif (first := sum(losses[:part]) / part) <= (last := sum(losses[-part:]) / part):
            problems.append(f"{name}: the loss was {first:.4g} at first and {last:.4g} at last")
    return CheckResult(
        problems, "in every trial", f"fewer than two losses logged by {', '.join(silent[:3])}" * bool(silent)
    )


def _term(evidence: Evidence) -> CheckResult:
    """A distillation term at every step that is not a head start, and never zero."""
    due = evidence.track.steps - _head_start(evidence.track)
    problems, silent = list[str](), list[str]()
    for seed, record in zip(evidence.plan.seeds, evidence.proposed, strict=True):
        term = record.said("end", "terms").get("distillation")
        if not isinstance(term, dict):
            silent.append(f"seed {seed}")
        elif term["count"] < due:
            problems.append(f"seed {seed} logged it {term['count']} times in {due} steps")
        elif term["zeros"]:
            problems.append(f"seed {seed}: it was zero {term['zeros']} times")
    unknown = f'train.py logs no term called "distillation" ({", ".join(silent[:3])})' * bool(silent)
    return CheckResult(problems, "logged at every step of every trial, and never zero", unknown)


def _used(evidence: Evidence) -> CheckResult:
    """In each backward pass a gradient reached the teacher's outputs: its logits, and every tenth time its features."""
    problems, unknown = list[str](), list[str]()
    for seed, record in zip(evidence.plan.seeds, evidence.proposed, strict=True):
        for answers, due in _due(evidence, record).items():
            seen, name = record.said("end", "gradients").get(answers), f"seed {seed}: the teacher's {answers}"
            if not isinstance(seen, dict) or not seen["reached"]:
                unknown.append(f"{name} are detached, so their use cannot be seen")
            elif seen["reached"] < due:
                problems.append(f"{name} were used in {seen['reached']} of {due} batches")
            elif not seen["least"] > FADED * seen["most"]:
                problems.append(f"{name} were practically unused in one batch (gradient {seen['least']:.2g})")
    return CheckResult(problems, "a gradient reached its outputs in every batch", "; ".join(unknown[:3]))


def _head_start(track: Track) -> int:
    """Steps at the beginning that the planned method leaves to the labels."""
    return round(track.method.head_start * track.steps) if "head_start" in track.method.card.defaults else 0


def _imitates(method: Method) -> bool:
    """Whether the teacher's logits have a weight in the loss."""
    return "logits" in method.card.uses and method.alpha > 0


def _selects(method: Method) -> bool:
    """Whether the teacher's layers have a weight in the loss."""
    return "features" in method.card.uses and method.beta > 0


def _due(evidence: Evidence, record: TrialRecord) -> dict[str, int]:
    """How often a gradient must have reached each kind of answer."""
    method, count = evidence.track.method, batches(evidence.track, record.micro)
    count -= _head_start(evidence.track) * evidence.track.training.accumulation * record.micro
    due = {"logits": count} if _imitates(method) else {}
    if _selects(method) and (watched := count // WATCH_EVERY):
        due["features"] = watched
    return due


def _teacher_feeds(evidence: Evidence) -> CheckResult:
    probe, method = evidence.probe, evidence.track.method
    if probe is None:
        return CheckResult([], "", "no probe of the proposed arm is on record")
    answers = "likelihoods" if "likelihoods" in method.card.uses else "logits"
    if answers not in probe.shuffled:
        return CheckResult([], "", f"the probe did not shuffle the teacher's {answers}")
    wanted = "logits" in probe.outputs if _imitates(method) else bool(probe.outputs)
    far = f"{probe.shuffled[answers]:.3g}"
    how = f"{probe.steps} steps with the teacher's {answers} shuffled over the rows end {far} away"
    same = f"two runs of the same code {probe.again:.3g}"
    return CheckResult([] if wanted else [f"{how}, {same}: the teacher makes no difference"], f"{how}; {same}")


def _layers_feed(evidence: Evidence) -> CheckResult:
    probe = evidence.probe
    if probe is None or not probe.layers:
        return CheckResult([], "", "no probe of the teacher's layers is on record")
    idle = [layer for layer in probe.layers if f"features-{layer}" not in probe.outputs]
    problems = [f"shuffling teacher layer {layer} over the rows changes nothing" for layer in idle]
    fine = f"shuffling any of the teacher's layers {', '.join(probe.layers)} changes the weights"
    lost = evidence.track.method.scored and not evidence.scores
    return CheckResult(problems, fine + _scores(evidence), "no score of the teacher's layers is on record" * lost)


def _scores(evidence: Evidence) -> str:
    """How the layers were chosen, where their scores did it."""
    named = (f"{layer}: {score:+.3f}" for layer, score in enumerate(evidence.scores, 1))
    return f"; without each its loss on dev rows changes by {', '.join(named)} nats" if evidence.scores else ""


def _teacher_same(evidence: Evidence) -> CheckResult:
    changed = ["the hash of its weights file changed during the trials"] * (not evidence.teacher_same)
    return CheckResult(changed, "the hash of its weights file before and after the trials")


def _no_overlap(evidence: Evidence) -> CheckResult:
    which = (
        "training, transfer, generated and dev" if evidence.track.task.generated_rows else "training, transfer and dev"
    )
    found = f"{evidence.overlap} {which} rows equal a test row (case and blanks ignored)"
    return CheckResult([found] * bool(evidence.overlap), found)


def _above_chance(evidence: Evidence) -> CheckResult:
    """Exact binomial test of each arm's mean accuracy against always answering the most frequent class."""
    from scipy.stats import binomtest

    rows, majority = evidence.track.task.test_rows, evidence.majority
    means = {name: sum(values) / len(values) for name, values in evidence.accuracies.items() if values}
    problems = [
        f"{name}: {mean:.3f} is not above the majority class, {majority:.3f}"
        for name, mean in means.items()
        if binomtest(round(mean * rows), rows, majority, "greater").pvalue > CHANCE_LEVEL
    ]
    return CheckResult(problems, "every arm beats the majority class", "" if means else "no arm was scored")
