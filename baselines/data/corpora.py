"""Corpora: the texts of a task without their labels."""

from collections.abc import Callable, Iterator
from dataclasses import replace

from baselines.data.examples import DataSource, Examples

ALIKE = 40  # characters at their beginning, by which two texts of a corpus are told apart


def as_corpus(source: DataSource) -> DataSource:
    """The texts of a task without their labels. Of texts that begin alike the first is kept, a test row before all
    others: the beginning of a text is asked how it goes on."""
    test, pool = _beginning_apart(source.test.inputs, source.pool.inputs)
    notes = [*source.notes, f"{len(source.test) - len(test):,} test texts left out: another test text begins alike"]
    if dropped := len(source.pool) - len(pool):
        notes.append(f"{dropped:,} training texts left out: a test text or another training text begins alike")
    unlabelled = (Examples(texts, [0] * len(texts)) for texts in (pool, test))
    return DataSource("language", [], *unlabelled, source.source, source.revision, notes)


def _beginning_apart(*parts: list[str]) -> Iterator[list[str]]:
    seen: set[str] = set()
    for texts in parts:
        keep = {}
        for text in texts:
            keep.setdefault(" ".join(text.lower().split())[:ALIKE], text)
        yield [text for beginning, text in keep.items() if beginning not in seen]
        seen |= keep.keys()


def at_least(source: DataSource, longest: int, lengths: Callable[[list[str]], list[int]]) -> DataSource:
    """The texts of a corpus that `lengths` gives that many tokens or more: each is cut to as many, so that no arm
    learns from more tokens than another."""
    parts, notes = [], list(source.notes)
    for what, examples in (("training", source.pool), ("test", source.test)):
        parts.append(examples.take([n for n, length in enumerate(lengths(examples.inputs)) if length >= longest]))
        notes.append(f"{len(examples) - len(parts[-1]):,} {what} texts left out: shorter than {longest} tokens")
    return replace(source, pool=parts[0], test=parts[1], notes=notes)
