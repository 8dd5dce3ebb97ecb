"""A family of models is a row, and one without a row is refused by its name."""

import pytest

from agent.errors import PlanError
from agent.plan import planner
from agent.plan.families import families
from agent.plan.options import Options
from agent.plan.plan import ModelSpec
from agent.plan.training_rules import _usable


@pytest.mark.parametrize("who", ["teacher", "student"])
@pytest.mark.parametrize("bf16", [False, True])
def test_an_unknown_family_is_refused_by_name_with_those_there_are(who: str, bf16: bool) -> None:
    wanted = Options(idea="efficient KD", tasks=("docstrings",), values={f"{who}.architecture": "gpt5"}, bf16=bf16)
    with pytest.raises(PlanError, match=f"docstrings.{who}.architecture = 'gpt5': unknown family of models") as error:
        planner.draft(wanted)
    assert all(name in str(error.value) for name in families()) and error.value.exit_code == 2
    assert f"--set docstrings.{who}.architecture=" in error.value.hint


def test_what_is_no_name_is_refused_too() -> None:
    wanted = Options(idea="efficient KD", tasks=("docstrings",), values={"student.architecture": ["bert"]}, bf16=True)
    with pytest.raises(PlanError, match=r"student\.architecture"):
        planner.draft(wanted)


def test_a_rule_finds_no_rates_for_an_unknown_family() -> None:
    track = planner.freeze(
        planner.draft(options := Options(idea="efficient KD", tasks=("docstrings",))), options, planner._SILENT, {}
    ).tracks[0]
    unknown = ModelSpec.model_construct(**track.student.model_dump() | {"architecture": "gpt5"})
    with pytest.raises(KeyError, match="gpt5"):
        _usable(unknown, track.training)


@pytest.mark.parametrize("name", families())
def test_rates_of_every_family_are_ranges(name: str) -> None:
    family = families()[name]
    ranges = [getattr(rates, start) for rates in (family.rates, family.sgd_rates) for start in ("random", "pretrained")]
    assert all(0 < low < high for low, high in ranges)
