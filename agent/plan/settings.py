"""The settings of methods, each declared once: in baselines/methods/settings.toml, or in the card that brings it along.

Everything that a plan may contain, a model propose, `--set` name, the prompts offer, `kdagent methods show` print and
the embedded recipes read from an idea follows from the declaration.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cache
from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field

from agent import config
from agent.plan.cards import cards
from agent.plan.families import Layout

Type = Literal["number", "integer", "choice", "flag", "numbers", "blocks"]

BOUNDS = {"above": "gt", "least": "ge", "below": "lt", "most": "le"}
"""Bound in a declaration → in pydantic."""


@dataclass(frozen=True)
class Setting:
    name: str
    type: Type
    """`numbers` is a list of them, `blocks` a choice or a list of the teacher's blocks, counted from one."""
    default: Any
    """Its value in a plan whose method does not have it."""
    meaning: str
    unit: str = ""
    above: float | None = None
    least: float | None = None
    below: float | None = None
    most: float | None = None
    choices: tuple[str, ...] = ()
    shared_by: str = ""
    """A setting that counts those among whom it is shared out: an even share is the most it can be."""
    layouts: Mapping[str, Layout] = field(default_factory=dict)
    """Choice → the layout of the features that it is for alone."""
    words: Mapping[str, str] | tuple[str, ...] | None = None
    """Of an idea, as regular expressions: value → its own, or those after which a number stands."""
    place: int | None = None
    """Where it stands in a plan's text. Only those that were there when settings had no cards have one, so that records
    of then are derived to the letter; a new one stands behind them."""
    implies: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    """Value → settings that follow from it."""

    @property
    def annotation(self) -> Any:
        """The type that a record checks a value with."""
        bounds = {bound: value for name, bound in BOUNDS.items() if (value := getattr(self, name)) is not None}
        match self.type:
            case "number":
                return Annotated[float, Field(**bounds)]
            case "integer":
                return Annotated[int, Field(**bounds)]
            case "numbers":
                return Annotated[tuple[Annotated[float, Field(**bounds)], ...], Field(min_length=1)]
            case "flag":
                return bool
            case "choice":
                return Literal[self.choices]
        return Annotated[Literal[self.choices] | tuple[Annotated[int, Field(ge=1)], ...], BeforeValidator(self._blocks)]

    def _blocks(self, said: Any) -> Any:
        """A word, or blocks as they are written on a command line, `1,3,5`; a single one is a list too."""
        listed = re.fullmatch(r"\d{1,4}( *, *\d{1,4})*", said) if isinstance(said, str) else None
        found = [int(number) for number in said.split(",")] if listed else [said] if type(said) is int else said
        blocks = isinstance(found, list | tuple) and found and all(type(each) is int and each > 0 for each in found)
        if not blocks and found not in self.choices:
            words = f"{', '.join(self.choices[:-1])} or {self.choices[-1]}"
            raise ValueError(f"give {words}, or the teacher's blocks from 1 on, such as 1,3,5")
        return found

    @property
    def range(self) -> str:
        """Its range in words: `number above 0, at most 100`."""
        listed = ", ".join(self.choices)
        match self.type:
            case "choice":
                return f"one of {listed}"
            case "flag":
                return "true or false"
            case "blocks":
                return f"one of {listed}, or teacher blocks from 1 on, such as 1,3,5"
        names = {"above": "above", "least": "at least", "below": "below", "most": "at most"}
        bounds = [f"{said} {value:g}" for name, said in names.items() if (value := getattr(self, name)) is not None]
        return " ".join([self.type, *([", ".join(bounds)] if bounds else [])])

    @property
    def patterns(self) -> Mapping[str, str] | tuple[str, ...]:
        """Regular expressions for its words; without any it is named by its own name."""
        if self.words is not None:
            return self.words
        called = rf"\b{self.name.replace('_', '[ _-]')}IS "
        if self.type in ("number", "integer"):
            return (called + "NUMBER",)
        return {choice: rf"{called}{re.escape(choice)}(?!\w)" for choice in self.choices}


@cache
def shared() -> Mapping[str, Setting]:
    """Those that a plan always states."""
    return {name: _setting(name, said) for name, said in config.cards(config.SETTINGS).items()}


@cache
def declared() -> Mapping[str, Setting]:
    """All of them, by name: those that a plan always states, then those of the cards, by their places.

    Raises ValueError where two declare the same one.
    """
    found = dict[str, Setting]()
    for method, card in cards().items():
        for name, said in card.settings.items():
            if name in found or name in shared():
                raise ValueError(f"the setting {name} of {method} is declared twice")
            found[name] = _setting(name, {"default": card.defaults[name]} | dict(said))
    placed = sorted(found.values(), key=lambda setting: setting.place or len(found) + 1)
    return dict(shared()) | {setting.name: setting for setting in placed}


def _setting(name: str, said: Mapping[str, Any]) -> Setting:
    values: dict[str, Any] = {part: tuple(value) if isinstance(value, list) else value for part, value in said.items()}
    return Setting(name=name, **values)
