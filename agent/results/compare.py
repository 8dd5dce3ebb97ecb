"""Comparison: the proposed arm beside another arm on the same test examples and the same seeds, and the verdict.

Everything is paired. A difference is always proposed minus benchmark. The verdict is computed here and nowhere else.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, NamedTuple

from agent.errors import DataError
from agent.figures import count, figure
from agent.plan.plan import HIGHER_IS_BETTER
from agent.results.schema import JUDGED, Comparison, Gap, Guard, Verdict
from agent.results.score import Scores
from agent.statistics import fewest_seeds, holm, least_p, sign_flip

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray


RESAMPLES = 10_000
MEMORY = 200_000_000
"""Bytes the bootstrap may use at once."""


def compare(
    proposed: str, benchmark: str, ours: Sequence[Scores], theirs: Sequence[Scores], resamples: int = RESAMPLES
) -> tuple[Comparison, ...]:
    """One comparison per judged metric; `ours` and `theirs` have one trial per seed, in the same order of seeds.

    Raises DataError when the two arms do not share seeds and test labels: then there is nothing to compare.
    """
    groups = _groups(ours, theirs)
    values = _metrics(groups.sizes[None, :], groups)[0]
    lows, highs = _intervals(groups, len(ours), resamples)
    comparisons = []
    for index, metric in enumerate(JUDGED):
        a, b = values[0, :, index], values[1, :, index]
        p = sign_flip(a - b)
        comparisons.append(
            Comparison(
                proposed=proposed,
                benchmark=benchmark,
                metric=metric,
                n_seeds=len(ours),
                n_examples=ours[0].n,
                mean_proposed=float(a.mean()),
                mean_benchmark=float(b.mean()),
                difference=float((a - b).mean()),
                low=float(lows[index]),
                high=float(highs[index]),
                resamples=resamples,
                p_sign_flip=p,
                least_p=least_p(len(ours)),
                p_holm=p,
                mcnemar=tuple(map(mcnemar, ours, theirs)) if metric == "accuracy" else (),
            )
        )
    return tuple(comparisons)


def judge(
    comparisons: Sequence[Comparison], guards: Sequence[Guard], primary: str, least_effect: float, level: float
) -> tuple[Comparison, ...]:
    """The comparisons of one pair of arms with their verdicts; Holm runs over all metrics but the primary one."""
    adjusted = holm({c.metric: c.p_sign_flip for c in comparisons if c.metric != primary})
    corrected = (c.model_copy(update={"p_holm": adjusted.get(c.metric, c.p_sign_flip)}) for c in comparisons)
    return tuple(decide(comparison, guards, least_effect, level) for comparison in corrected)


def decide(comparison: Comparison, guards: Sequence[Guard], least_effect: float, level: float) -> Comparison:
    """The comparison with its verdict and the sentence that gives the reason."""
    verdict, reason = _verdict(comparison, guards, least_effect, level)
    return comparison.model_copy(update={"verdict": verdict, "reason": reason})


def _verdict(c: Comparison, guards: Sequence[Guard], least_effect: float, level: float) -> tuple[Verdict, str]:
    if failed := _named(guards, "fail"):
        return "invalid", f"Failed: {failed}."
    if not guards:
        return "inconclusive", "No check of the run is on record, so it makes no claim."
    if c.metric not in JUDGED:
        direction = "higher" if HIGHER_IS_BETTER[c.metric] else "lower"
        return "inconclusive", f"{c.metric} is shown, not judged ({direction} is better)."
    if doubt := _doubt(c, least_effect, level):
        return "inconclusive", doubt
    verdict: Verdict = "better" if c.low > 0 else "worse"
    if missing := _named(guards, "not_run"):
        return "inconclusive", f"It looks {verdict}, but a check could not run: {missing}."
    side = "above" if verdict == "better" else "below"
    return verdict, (
        f"The 95 % interval lies {side} zero, the exact level over {count(c.n_seeds, 'seed')} is "
        f"{figure(c.p_holm, 'p')}, and the difference is at least the least effect."
    )


def _doubt(c: Comparison, least_effect: float, level: float) -> str:
    """The reason why the numbers alone allow no claim, or ""."""
    if c.least_p >= level:
        return (
            f"With {count(c.n_seeds, 'seed')} the exact level cannot go below {figure(c.least_p, 'p')}, "
            f"so no claim is possible at {level:g}; {fewest_seeds(level)} seeds are the fewest that allow one."
        )
    if c.low <= 0 <= c.high:
        return "The 95 % interval of the difference includes zero."
    if c.p_holm >= level:
        level_name = "exact level" if c.p_holm == c.p_sign_flip else "level after Holm's correction"
        return f"The {level_name} over {count(c.n_seeds, 'seed')} is {figure(c.p_holm, 'p')}, not below {level:g}."
    effect = c.difference if c.low > 0 else -c.difference
    if effect < least_effect - 1e-12:  # a difference of exactly the least effect counts, whatever its last bit
        return f"The difference is below the least effect worth a claim, {figure(least_effect, 'points')}."
    return ""


def _named(guards: Sequence[Guard], outcome: str) -> str:
    return "; ".join(f"{guard.name} ({guard.detail})" for guard in guards if guard.outcome == outcome)


def gap(teacher: Scores, students: Sequence[Scores]) -> Gap:
    """Teacher minus plain student (one trial per seed) on the same examples.

    The squared standard error adds the part from examples, var(d)/N, and the part from seeds, var(accuracy)/S.
    """
    import numpy as np

    _same_labels([teacher, *students])
    per_seed = np.array([student.accuracy for student in students])
    per_example = teacher.correct - np.mean([student.correct for student in students], axis=0)
    error = float(np.sqrt(_variance_of_mean(per_example) + _variance_of_mean(per_seed)))
    difference = float(per_example.mean())
    significant = difference > 0 and difference >= 2 * error
    distance = f"{figure(difference, 'points')} ± {100 * error:.2f}"
    return Gap(
        teacher=teacher.accuracy,
        student=float(per_seed.mean()),
        difference=difference,
        standard_error=error,
        significant=significant,
        note=f"There is a gap to close: teacher minus plain student is {distance}."
        if significant
        else f"No gap to close: teacher minus plain student is {distance}, less than two standard errors.",
    )


def _variance_of_mean(values: NDArray[np.float64]) -> float:
    return float(values.var(ddof=1) / len(values)) if len(values) > 1 else 0.0


def mcnemar(ours: Scores, theirs: Scores) -> float:
    """Exact two-sided McNemar level: a binomial test on the examples that only one of the two answers correctly."""
    from scipy.stats import binomtest

    won = int((ours.correct & ~theirs.correct).sum())
    lost = int((theirs.correct & ~ours.correct).sum())
    return float(binomtest(won, won + lost).pvalue) if won + lost else 1.0


class _Groups(NamedTuple):
    """Test examples with the same label and the same predictions under every seed of both arms form one group.

    Resampling examples is then drawing group sizes: exact, and small, because most examples behave alike.
    K groups, two arms, S seeds, C classes.
    """

    sizes: NDArray[np.int64]
    support: NDArray[np.float64]
    """[K, C] the label of a group, one-hot."""
    guesses: NDArray[np.float64]
    """[2, S, K, C] the prediction for a group, one-hot."""
    hits: NDArray[np.float64]
    """[2, S, K, C] the prediction where it is right."""


def _groups(ours: Sequence[Scores], theirs: Sequence[Scores]) -> _Groups:
    import numpy as np

    if len(ours) != len(theirs) or not ours:
        raise DataError(f"arms are compared seed by seed, but one has {len(ours)} trials and the other {len(theirs)}")
    _same_labels([*ours, *theirs])
    columns = np.stack([ours[0].labels, *(trial.predicted for trial in (*ours, *theirs))])
    kinds, sizes = np.unique(columns, axis=1, return_counts=True)
    classes = np.unique(ours[0].labels)
    support = kinds[0][:, None] == classes
    guesses = kinds[1:].reshape(2, len(ours), -1)[..., None] == classes
    return _Groups(sizes, support.astype(float), guesses.astype(float), (guesses & support).astype(float))


def _same_labels(trials: Sequence[Scores]) -> None:
    import numpy as np

    if any(not np.array_equal(trial.labels, trials[0].labels) for trial in trials):
        raise DataError(
            "the arms were scored on different test examples", "score every arm on the same test split, in one order"
        )


def _metrics(sizes: NDArray[np.integer], groups: _Groups) -> NDArray[np.float64]:
    """Metrics [R, 2, S, 4] in the order of JUDGED, for R draws of group sizes [R, K].

    Macro averages run over the classes that occur among a draw's labels, as in agent/results/score.py.
    """
    import numpy as np

    drawn = sizes.astype(float)
    support = (drawn @ groups.support)[:, None, None, :]
    guesses = np.tensordot(drawn, groups.guesses, axes=([1], [2]))
    hits = np.tensordot(drawn, groups.hits, axes=([1], [2]))
    classes = (support > 0).sum(axis=-1)
    return np.stack(
        [
            hits.sum(axis=-1) / drawn.sum(axis=1)[:, None, None],
            (hits / np.maximum(guesses, 1)).sum(axis=-1) / classes,
            (hits / np.maximum(support, 1)).sum(axis=-1) / classes,
            (2 * hits / np.maximum(guesses + support, 1)).sum(axis=-1) / classes,
        ],
        axis=-1,
    )


def _intervals(groups: _Groups, seeds: int, resamples: int) -> NDArray[np.float64]:
    """95 % percentile interval [2, 4] of the difference: seeds and examples are drawn independently.

    The pigeonhole bootstrap (Owen 2007). Few seeds make it narrow where seeds differ much; a claim therefore also
    needs the exact level over seeds.
    """
    import numpy as np

    generator = np.random.default_rng(0)
    draws = np.concatenate([_draw(groups, seeds, rows, generator) for rows in _parts(groups, resamples)])
    interval: NDArray[np.float64] = np.percentile(draws, [2.5, 97.5], axis=0)
    return interval


def _parts(groups: _Groups, resamples: int) -> Iterator[int]:
    """Resamples per part, so that each part fits into MEMORY."""
    arms, seeds, kinds, classes = groups.hits.shape
    rows = max(1, MEMORY // (8 * (2 * kinds + 6 * arms * seeds * classes)))
    for start in range(0, resamples, rows):
        yield min(rows, resamples - start)


def _draw(groups: _Groups, seeds: int, rows: int, generator: np.random.Generator) -> NDArray[np.float64]:
    """Resampled differences [rows, 4]."""
    import numpy as np

    sizes = generator.multinomial(groups.sizes.sum(), groups.sizes / groups.sizes.sum(), size=rows)
    weights = generator.multinomial(seeds, np.full(seeds, 1 / seeds), size=rows) / seeds
    values = _metrics(sizes, groups)
    drawn: NDArray[np.float64] = np.einsum("rs,rsm->rm", weights, values[:, 0] - values[:, 1])
    return drawn
