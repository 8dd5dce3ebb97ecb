"""Prepared rows and models as tests need them: small, and altered where a test says so."""

from typing import Any

from agent.record.prepared import Prepared

MODEL = {"spec": {"checkpoint": "", "revision": ""}, "class": "Model", "parameters": 100, "size_mb": 1.0, "layers": 3}
MODELS = {"teacher": MODEL | {"parameters": 1000}, "student": MODEL}
ROWS = dict.fromkeys(("train", "transfer", "dev", "test"), 9)


def prepared(models: dict[str, Any] | None = None, **values: Any) -> Prepared:
    """`models` alter those that there are, and may add an assistant."""
    usual: dict[str, Any] = {
        "task": {"kind": "text", "labels": ["a", "b"]},
        "models": MODELS | {who: MODEL | given for who, given in (models or {}).items()},
        "rows": ROWS,
        "label_counts": {},
        "notes": [],
        "overlap": 0,
    }
    return Prepared.model_validate(usual | dict.fromkeys(("source", "revision", "hash", "encoded"), "") | values)
