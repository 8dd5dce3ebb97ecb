"""The base of every record: frozen, closed, finite."""

from __future__ import annotations

from typing import Any

from pydantic import BaseModel, ConfigDict


class Record(BaseModel):
    """A frozen record that refuses fields it does not know and numbers that are not finite."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    @classmethod
    def usual(cls) -> dict[str, Any]:
        """The value of each field that need not be said."""
        return {name: field.get_default() for name, field in cls.model_fields.items() if not field.is_required()}


class Fact(Record):
    """A frozen record in which every number is finite: what is unknown is absent and says why."""

    model_config = ConfigDict(allow_inf_nan=False)


class Known(Fact):
    """A value of the environment, or the reason why it is unknown."""

    value: str | None = None
    reason: str = ""
