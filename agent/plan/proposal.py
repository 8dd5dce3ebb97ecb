"""The fields that a language model may set in a plan."""

from typing import TYPE_CHECKING, Annotated, Any

from pydantic import Field, create_model, field_validator, model_validator

from agent.frozen import Record
from agent.plan.method import MethodName, known_settings
from agent.plan.prose import stray_number, title_problem
from agent.plan.settings import declared


class _Prose(Record):
    title: Annotated[str, Field(min_length=3, max_length=120)]
    objective: Annotated[str, Field(min_length=3, max_length=1500)]
    hypothesis: Annotated[str, Field(min_length=3, max_length=1500)]
    methodology: Annotated[str, Field(min_length=3, max_length=3000)]
    method: MethodName


if TYPE_CHECKING:

    class _Settings(_Prose):
        """A field for each declared setting of a method, which may be None."""

        def __getattr__(self, setting: str) -> Any: ...

else:
    _Settings = create_model(
        "_Settings",
        __base__=_Prose,
        **{name: (each.annotation | None, None) for name, each in declared().items()},
    )


class Proposal(_Settings):
    """A language model's proposal for a plan. None means: keep the default."""

    unused: tuple[str, ...] | None = None
    learning_rate: Annotated[float, Field(gt=0)] | None = None
    batch_size: Annotated[int, Field(ge=1)] | None = None
    epochs: Annotated[float, Field(gt=0)] | None = None

    @model_validator(mode="after")
    def _prose_writes_no_number(self) -> "Proposal":
        for field in ("title", "objective", "hypothesis", "methodology"):
            if number := stray_number(getattr(self, field)):
                raise ValueError(
                    f"{field} writes the number {number!r}; numbers belong in their own fields: "
                    "name the field instead (for example {temperature})"
                )
        return self

    @field_validator("unused")
    @classmethod
    def _unused_are_settings(cls, names: tuple[str, ...] | None) -> tuple[str, ...] | None:
        return names and known_settings(names)

    @model_validator(mode="after")
    def _title_is_whole(self) -> "Proposal":
        if problem := title_problem(self.title, f"{self.objective} {self.hypothesis} {self.methodology}"):
            raise ValueError(f"title {problem}")
        return self
