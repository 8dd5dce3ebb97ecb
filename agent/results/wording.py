"""The sentences of results of schema 1: a record of that time is verified against the words of its time.

Schema 2 words them differently. Nothing else about them changed, so a table of what differs is enough.
"""

from typing import Any

from agent.frozen import Record
from agent.results.schema import Results

BEFORE = {
    "interval of the difference includes zero": "interval of the difference holds zero",
    "Every statement about variation between seeds rests on": "What is said about variation between seeds rests on",
    "so distillation has little to gain": "so distillation has little to win",
    "One task was tried; the results may not carry over to others": "One task was tried; nothing is said about others",
    "rest on the training process's own report:": "rest on what the training process said about itself:",
    "were evaluated on the test inputs": "met the test inputs",
    "times; one evaluation was planned": "times; a single look was planned",
    "was cut off and continued from its checkpoint": "was cut off and went on from its checkpoint",
    "To leave the student further behind: `": "What leaves the student further behind: `",
    " started from different weights": " started from other weights",
    " had different weights at the first step": " had other weights at the first step",
    " handed in weights that differ from those its training": " handed in other weights than its training",
    "handed in the weights its training ended with, changed only by the optimizer": "handed in what its training "
    "ended with, changed by the optimizer alone",
    "equals the seed's weights, rebuilt outside": "equals the seed's, built again outside",
    "no end in the trace of ": "no end on the trace of ",
    "no start in the trace of ": "no start on the trace of ",
    "a gradient reached its outputs in every batch": "a gradient reached what it said in every batch",
    "the hash of its weights file changed during the trials": "its weights file has another hash after the trials",
    "were practically unused in one batch": "were as good as unused in one batch",
    "too short for compiling to be tried": "too little for compiling to be tried",
    " plain, ": " as it is, ",
    "not compiled: ": "trained as it is: ",
}
"""Words of schema 2 → words of schema 1."""

THEIRS = {"plan", "idea", "title", "code", "attempts", "warnings", "source", "isolation", "command"} | {
    "failures",
    "notes",
}
"""Fields in which somebody else wrote the words, or that were recorded as they are."""


def in_words_of_schema_1(results: Results) -> Results:
    """The same results as the version that wrote schema 1 would have worded them."""
    found: Results = _before(results)
    return found


def _before(value: Any) -> Any:
    match value:
        case str():
            for ours, before in BEFORE.items():
                value = value.replace(ours, before)
            return value
        case Record():
            return value.model_copy(update={name: _before(item) for name, item in value if name not in THEIRS})
        case tuple():
            return tuple(map(_before, value))
        case dict():
            return {name: _before(item) for name, item in value.items()}
    return value
