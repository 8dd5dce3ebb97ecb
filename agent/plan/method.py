"""The method of a track, with its settings."""

import math
from typing import TYPE_CHECKING, Annotated, Any

from pydantic import (
    AfterValidator,
    SerializerFunctionWrapHandler,
    create_model,
    field_validator,
    model_serializer,
    model_validator,
)

from agent.frozen import Record
from agent.plan.cards import Card, Kind, cards
from agent.plan.families import Layout
from agent.plan.settings import declared, shared


def _known(name: str) -> str:
    if name not in cards():
        raise ValueError(f"unknown method: choose one of {', '.join(cards())}")
    return name


MethodName = Annotated[str, AfterValidator(_known)]

if TYPE_CHECKING:

    class _Settings(Record):
        """A name, and a field for each declared setting, of its type and range."""

        name: MethodName

        def __getattr__(self, setting: str) -> Any: ...

else:
    _Settings = create_model(
        "_Settings",
        __base__=Record,
        name=(MethodName, ...),
        **{name: (each.annotation, each.default) for name, each in declared().items()},
    )


class Method(_Settings):
    """The distillation settings an arm reads from `experiment.method`; each method has some of them."""

    unused: tuple[str, ...] = ()
    """Settings that the idea's own loss has no use for; reference arms use them all the same."""

    @field_validator("unused")
    @classmethod
    def _unused_are_settings(cls, names: tuple[str, ...]) -> tuple[str, ...]:
        return known_settings(names)

    @model_validator(mode="after")
    def _shares_leave_room(self) -> "Method":
        for name, setting in declared().items():
            if setting.shared_by and (value := getattr(self, name)) * (among := getattr(self, setting.shared_by)) > 1:
                raise ValueError(f"{name} = {value:g} is more than an even share of {among} {setting.shared_by}")
        return self

    @model_serializer(mode="wrap")
    def _as_it_was_read(self, dump: SerializerFunctionWrapHandler) -> dict[str, object]:
        """A plan of before lacks the settings that came later, and goes on lacking them."""
        found: dict[str, object] = dump(self)
        later = {name for name, setting in declared().items() if name not in shared() and setting.place is None}
        return {name: value for name, value in found.items() if name not in later - self.model_fields_set}

    @property
    def whole(self) -> "Method":
        """The same with every setting said, those that came later too."""
        return Method.model_validate({**Method.usual(), **self.model_dump()})

    @property
    def card(self) -> Card:
        return cards()[self.name]

    def chosen(self, rows: int) -> int:
        """Of that many training rows, those that it learns from: all, or the share that it keeps of those left over."""
        if "ratio" not in self.card.defaults:
            return rows
        ratio, held_out = float(self.ratio), int(max(1, round(self.ref_fraction * rows)))
        return math.floor(ratio * (rows - held_out))

    @property
    def idle(self) -> tuple[str, ...]:
        """Settings that only another signal reads."""
        return tuple(name for signal, own in self.card.reads.items() if signal != self.signal for name in own)

    @property
    def scored(self) -> bool:
        """Whether its layers are chosen by their score for the teacher."""
        return self.card.critical and bool(self.layer_map == "critical")

    def suits(self, kind: Kind, layout: Layout) -> bool:
        """Whether it is defined, with these settings, for rows of that kind and models with features of that layout."""
        own = (declared()[name] for name in self.card.defaults)
        bound = {each.layouts[choice] for each in own if (choice := getattr(self, each.name)) in each.layouts}
        return kind in self.card.kinds and bound <= {layout}

    @property
    def settings(self) -> dict[str, object]:
        """The settings in `experiment.method`: the method's own, and those that every idea may use."""
        held = {*STATED, *self.card.defaults}
        return {name: value for name, value in self.whole.model_dump().items() if name in held}


STATED = ("name", *shared(), "unused")
"""The settings of a method that a plan always states; others where they are its own, or not the default."""


def known_settings(names: tuple[str, ...]) -> tuple[str, ...]:
    """Raises ValueError for a name that is not a setting of any method."""
    if odd := [name for name in names if name not in declared()]:
        raise ValueError(f"{odd[0]!r} is not a setting of a method")
    return names
