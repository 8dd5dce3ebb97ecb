"""The plan's prose: numbers and titles that are refused, and `{field}` filled in."""

import re
from typing import Any

from agent.plan.plan import Plan, Track

_NAMES = re.compile(
    r"\b(ResNet|WRN|VGG|DenseNet|MobileNet-?V|EfficientNet-?B|ViT|CIFAR|SST|GPT|T|BERT|DistilBERT|TinyBERT|MiniLM-?v"
    r"|L|H|Adam-?W|KD|Llama|Qwen|OPT)-?\d{1,3}[a-z]?(?!\w|\.\d|\s?%)",
    re.IGNORECASE,
)
_WORDS = re.compile(
    r"\b(one|two|three|four|five|six|seven|eight|nine|ten|eleven|twelve|\w+teen|(twen|thir|for|fif|six|seven|eigh|nine)ty"
    r"(-\w+)?|hundred)\s+(\w+\s+){0,3}?(percent|per\s+cent|percentage|points?)\b",
    re.IGNORECASE,
)


def stray_number(prose: str) -> str:
    """The first number written in prose, in digits or in words, or "" (ResNet-50 and CIFAR-10 are names)."""
    found = re.search(r"\S*\d[\d.,]*%?", _NAMES.sub("", prose)) or _WORDS.search(prose)
    return found.group() if found else ""


def title_problem(title: str, prose: str) -> str:
    """The problem with a title: it numbers itself, or it breaks off. Else "". `prose` is about the same thing."""
    if re.match(r"\W*(\d+|[a-zA-Z]|[ivxIVX]{1,4})[.):]\s|[-*#•]\s", title):
        return f"{title!r} begins like an item of a list: write the title alone"
    if re.search(r"(\.\.\.|…|[-–,:;&]|\b(a|an|and|by|for|from|in|of|on|or|the|to|with))\s*$", title, re.IGNORECASE):
        return f"{title!r} breaks off: finish it"
    if broken := re.search(r"\b(\w+)\W+(\w+)$", title):
        pair = rf"\b{re.escape(broken[1])}\W+{re.escape(broken[2])}"
        whole = re.search(rf"{pair}(?!(?:e?s|e?d|ing|e?r)\b)\w{{2,}}", prose, re.IGNORECASE)
        if whole and not re.search(rf"{pair}\b", prose, re.IGNORECASE):
            return f"{title!r} breaks off in {whole.group()!r}: finish it"
    return ""


def fill(prose: str, plan: Plan) -> str:
    """Prose with every `{field}` replaced by the plan's value; tracks that differ give `3.0 / 4.0`."""
    named = [_named(track) for track in plan.tracks]

    def value(match: re.Match[str]) -> str:
        found = dict.fromkeys(str(fields[match[1]]) for fields in named if match[1] in fields)
        return " / ".join(found) or match[0]

    return re.sub(r"\{(\w+)\}", value, prose)


def _named(track: Track) -> dict[str, Any]:
    settings = {**track.training.model_dump(), **track.method.model_dump()}
    return settings | {"method": track.method.name, "generated_rows": track.task.generated_rows}


def filled(plan: Plan) -> Plan:
    return plan.model_copy(
        update={name: fill(getattr(plan, name), plan) for name in ("objective", "hypothesis", "methodology")}
    )
