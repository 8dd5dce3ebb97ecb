"""The fields that each process may leave behind. A file with any other field is refused."""

from sandbox.schema import choice, digest, either, integer, items, mapping, number, record, tagged, text

_COUNT = integer(0, 1 << 48)
_SECONDS = number(0, 1e8)
_REAL = number(-1e38, 1e38)
_FAILED = {"error?": text(2000), "traceback?": text(10_000)}

TRIAL = record(
    {
        "schema": integer(1, 1),
        "arm": text(100),
        "seed": integer(0, 1 << 32),
        "status": choice("ok", "failed"),
        "kind?": choice("diverged", "memory", "disk", "space", "killed", "crash"),
        "initial?": digest(),
        "continued?": _COUNT,
        "build_seconds?": _SECONDS,
        "train_seconds?": _SECONDS,
        "seconds": _SECONDS,
        **_FAILED,
    }
)

_LINE = {"event": text(20), "seconds": _SECONDS}
_EXECUTED = mapping(either(_REAL, choice(None, True, False), items(_REAL, 100), text(1000)), 50)
_LOSS = {"step": _COUNT, "of": _COUNT, "loss": _REAL, "terms": mapping(either(_REAL, choice(None)), 100)}
_END = {
    "step": _COUNT,
    "executed": _EXECUTED,
    "updates": _COUNT,
    "touched": _COUNT,
    "weights": digest(),
    "schedule": text(200),
    "forwards": _COUNT,
    "forward_rows": _COUNT,
    "samples": _COUNT,
    "distinct": mapping(_COUNT, 10),
    "largest": _COUNT,
    "views?": _COUNT,
    "reads": mapping(_COUNT, 100),
    "terms": mapping(record({"count": _COUNT, "zeros": _COUNT}), 100),
    "gradients": mapping(record({"watched": _COUNT, "reached": _COUNT, "least": _REAL, "most": _REAL}), 10),
    "teacher": mapping(either(_COUNT, digest()), 10),
}
TRACE = tagged(
    "event",
    {
        "start": record(_LINE | {"executed": _EXECUTED, "weights": digest()}),
        "continued": record(_LINE | {"step": _COUNT, "executed": _EXECUTED}),
        "log": record(_LINE | _LOSS),
        "claimed": record(_LINE | {"metrics": mapping(_REAL, 100)}),
        "end": record(_LINE | _END),
    },
)

CRITICAL = record({"schema": integer(1, 1), "rows": _COUNT, "scores": items(_REAL, 1000)})

PROBE = record({"schema": integer(1, 1), "variants": items(text(100), 1000)})

PREDICTION = record(
    {
        "schema": integer(1, 1),
        "status": choice("ok", "failed"),
        "error?": text(2000),
        "class?": text(200),
        "parameters?": _COUNT,
        "initial?": digest(),
        "fingerprint?": digest(),
        **{f"{name}?": number(0, 1e38) for name in ("change", "furthest", "size", "largest")},
        **{f"{name}?": number(0, 1e9) for name in ("inference_ms", "inference_ms_p95")},
        "device?": text(50),
        "threads?": integer(1, 10_000),
    }
)

PACE = record(
    {
        "plain?": _SECONDS,
        "compiled?": _SECONDS,
        "first?": _SECONDS,
        "same?": choice(True, False),
        "problem?": text(400),
    }
)

ERROR = record({"message": text(5000), "hint?": text(2000)})


MOST_TRACE = 64 << 20
