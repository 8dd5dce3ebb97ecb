"""The base of every record: frozen, closed, finite."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict


class Record(BaseModel):
    """A frozen record that refuses fields it does not know and numbers that are not finite."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    @classmethod
    def usual(cls) -> dict[str, object]:
        """The value of each field that need not be said."""
        return {name: field.get_default() for name, field in cls.model_fields.items() if not field.is_required()}


class Known(Record):
    """A value of the environment, or the reason why it is unknown."""

    value: str | None = None
    reason: str = ""
