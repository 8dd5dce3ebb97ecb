"""One declaration per setting of a method: what a plan, a proposal, the prompt and a refusal make of it."""

import json
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from agent import config
from agent.commands.methods import method_settings
from agent.errors import PlanError
from agent.llm.prompts import plan_text
from agent.llm.recipes import _value
from agent.plan import planner
from agent.plan.cards import cards
from agent.plan.method import STATED, Method
from agent.plan.plan import Plan
from agent.plan.proposal import Proposal
from agent.plan.settings import Setting, declared, shared
from tests.agent.plan.test_planner import options, planned, proposal

PLAYED = Path(__file__).parents[2] / "campaigns" / "records" / "played"


def outside(setting: Setting) -> Any:
    """A value that the declaration rules out."""
    if setting.type in ("choice", "blocks"):
        return "odd"
    if setting.type == "flag":
        return "perhaps"
    bounds = [(setting.above, 0), (setting.below, 0), (setting.least, -1), (setting.most, 1)]
    value = next(bound + step for bound, step in bounds if bound is not None)
    return [value] if setting.type == "numbers" else value


def owner(setting: str) -> str:
    """The method that brings it along, or one that has all that a plan always states."""
    return next((name for name, card in cards().items() if setting in card.settings), "kd_selective")


def refusal(setting: Setting) -> tuple[str, str]:
    """Message and hint for a value that the declaration rules out."""
    values = {"method.name": owner(setting.name), setting.name: outside(setting)}
    with pytest.raises(PlanError) as error:
        planner.draft(options(values=values))
    return error.value.message, error.value.hint


@pytest.mark.parametrize("setting", declared().values(), ids=lambda setting: setting.name)
def test_a_value_outside_its_range_is_refused_by_name_wherever_it_comes_from(setting: Setting) -> None:
    value = outside(setting)
    message, hint = refusal(setting)
    assert (
        message.startswith(f"digits.method.{setting.name}")
        and f" = {value[0] if isinstance(value, list) else value!r}" in message
    )
    assert hint.startswith("choose another value: --set digits.method.")
    for record in (lambda: Method(name="kd", **{setting.name: value}), lambda: proposal(**{setting.name: value})):
        with pytest.raises(ValidationError, match=setting.name):
            record()


@pytest.mark.parametrize("setting", declared().values(), ids=lambda setting: setting.name)
def test_it_can_be_planned_proposed_and_read_about(setting: Setting) -> None:
    method, value = owner(setting.name), cards()[owner(setting.name)].defaults[setting.name]
    track = planned(options(), proposal(method=method, **{setting.name: value})).tracks[0]
    assert json.loads(track.method.model_dump_json())[setting.name] == value
    assert setting.name in Proposal.model_fields
    prompt = plan_text("KD", {})
    assert f"- `{setting.name}` ({setting.range}" in prompt and setting.meaning in prompt
    assert method_settings(method)[setting.name] == {
        "default": value, "type": setting.type, "range": setting.range, "unit": setting.unit, "meaning": setting.meaning
    }  # fmt: skip


def test_a_model_may_propose_how_hidden_states_are_normalised() -> None:
    plan = planned(options(), proposal(method="kd_selective", norm="l2"))
    assert plan.tracks[0].method.norm == "l2"
    assert plan.provenance["tracks.digits.method.norm"] == "model"


@pytest.mark.parametrize(
    ("setting", "idea", "value"),
    [
        ("keep_ratio", "distil a keep ratio of 0.4 of the rows", "0.4"),
        ("min_map_size", "attention transfer, min_map_size = 4", "4"),
        ("outer", "weighted peers, outer = fixed", "fixed"),
        ("teachers", "an ensemble of four teachers", 4),
        ("generations", "3 generations", "3"),
        ("norm", "match l2-normalised hidden states", "l2"),
        ("tau", "temperature tau = 4", None),
    ],
)
def test_the_recipes_read_it_from_an_idea(setting: str, idea: str, value: Any) -> None:
    assert _value(idea, declared()[setting].patterns) == value


def test_declarations_are_whole() -> None:
    assert [*STATED] == ["name", *shared(), "unused"] and {*shared()} <= {*declared()}
    assert {*declared()} == {name for card in cards().values() for name in card.defaults}
    for setting in declared().values():
        assert setting.meaning.endswith(".") and setting.range
        assert bool(setting.choices) == (setting.type in ("choice", "blocks"))
        assert {*setting.layouts, *(setting.implies)} <= {*setting.choices}
        assert not isinstance(setting.patterns, dict) or {*setting.patterns} <= {*setting.choices, "true", "false"}
        assert setting.shared_by in ("", *declared())


def test_a_setting_has_one_declaration(monkeypatch: pytest.MonkeyPatch) -> None:
    again = config.cards(config.SETTINGS) | {"eta": {"type": "number", "default": 1.0, "meaning": "Twice."}}
    monkeypatch.setattr("agent.plan.settings.config.cards", lambda path: again)
    shared.cache_clear(), declared.cache_clear()
    try:
        with pytest.raises(ValueError, match="the setting eta of wml is declared twice"):
            declared()
    finally:
        monkeypatch.undo()
        shared.cache_clear(), declared.cache_clear()


def test_a_plan_of_before_keeps_its_form_and_its_hash() -> None:
    text = (PLAYED / "plan.json").read_text()
    plan = Plan.model_validate_json(text)
    [planned] = [line for line in (PLAYED / "events.jsonl").read_text().splitlines() if '"planned"' in line]
    assert json.loads(planned)["data"]["hash"] == plan.hash
    now, before = plan.model_dump(mode="json", by_alias=True), json.loads(text)
    assert before["tracks"][0]["method"].items() <= now["tracks"][0]["method"].items()
