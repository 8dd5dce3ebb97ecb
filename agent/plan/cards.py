"""The method cards (baselines/methods/cards): the library's facts about each method, the richest first.

A card has everything that plan, checks and recipes must know of a method, so none of them knows one by its name.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cache
from typing import Any, Literal

from agent import config

Kind = Literal["text", "image", "language"]
NOUNS: Mapping[Kind, str] = {"text": "labelled texts", "image": "images", "language": "a corpus of unlabelled texts"}


@dataclass(frozen=True)
class Card:
    title: str
    summary: str
    formula: str
    source: Mapping[str, str]
    """`paper`, and the `equation` in it."""
    good_for: tuple[str, ...]
    """Researchers' words for the method, a plural s understood; they also tell that an idea is of this field."""
    decided_by: tuple[str, ...]
    """Settings that point to it where an idea names their values."""
    needs: tuple[str, ...]
    cost: str
    cautions: tuple[str, ...]
    file: str
    """Its finished train.py."""
    uses: tuple[Literal["logits", "features", "likelihoods"], ...]
    """The outputs of a frozen teacher in its loss, at every step; of a language model also the likelihood of each row,
    which chooses rows before the first; nothing where there is no teacher."""
    pairs: Literal["", "mapped", "patient", "middle", "last"]
    """Which layers it matches: by the setting `layer_map`, all but the final one, the middle ones, the last ones."""
    kinds: tuple[Kind, ...]
    unlabelled: bool
    """Whether it learns from rows without a label."""
    defaults: Mapping[str, object]
    """Its settings, each with its default."""
    proposal: Mapping[str, str]
    """The text of the embedded recipes; a name in braces stands for a setting of the plan."""
    settings: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)  # any: TOML, which `plan.settings` types
    """Declarations of the settings that it brings along (agent/plan/settings.py); other methods may have them too."""
    offers: Mapping[str, str] = field(default_factory=dict)
    """Functions of baselines/methods offered to an author of train.py: call → description."""
    scaled: bool = False
    """Whether the settings of a scale are meant for it; another method has its own."""
    everyday: tuple[str, ...] = ()
    """Those of `good_for` that everyday language has too: by themselves they do not make an idea one of this field."""
    assistant: bool = False
    """Whether a model of a size in between learns from the teacher first, and teaches the student in its place."""
    generated: int = 0
    """Rows that a language model writes for it, by default; nothing for a method that is not about
    them."""
    reads: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    """Signal → the settings that it alone reads."""
    weights: Mapping[str, float] = field(default_factory=dict)
    """Signal → the usual `beta`, where it is not the method's."""
    critical: bool = False
    """Whether it may match those layers of a text model that cost it most when they are left out."""
    parts: tuple[str, ...] = ()
    """The methods that it is composed of."""
    before: str = ""
    """The method that it stands right in front of: an idea gets the first one that it names."""
    instead: str = ""
    """The nearest legal choice where a task is of another kind."""

    @property
    def teacher(self) -> bool:
        return bool(self.uses)

    @property
    def distils(self) -> bool:
        """Whether the teacher is in the loss."""
        return "logits" in self.uses or "features" in self.uses

    def layers(self, settings: Mapping[str, object], student_layers: int) -> int:
        """How many layers of the teacher are in the loss."""
        if self.pairs == "mapped" and settings["layer_map"] != "last1":
            return int(str(settings["layers"]))
        return student_layers - 1 if self.pairs == "patient" else int(bool(self.pairs))


@cache
def cards() -> Mapping[str, Card]:
    """Every method's card, by name."""
    return {name: _card(said) for name, said in config.cards(config.METHODS).items()}


def _card(said: dict[str, Any]) -> Card:
    values: dict[str, Any] = {name: tuple(value) if isinstance(value, list) else value for name, value in said.items()}
    return Card(**values)
