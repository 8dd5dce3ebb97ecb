"""The machine a run happened on: every field a value, or the reason why it is unknown. Names come from a list; nothing
is taken from the environment wholesale."""

import os
import platform
import subprocess
from collections.abc import Callable
from importlib.metadata import distributions, version
from pathlib import Path

from agent.frozen import Known

PACKAGES = (
    "torch",
    "transformers",
    "accelerate",
    "datasets",
    "tokenizers",
    "numpy",
    "scipy",
    "scikit-learn",
    "openai",
    "langgraph",
    "jinja2",
    "gitpython",
    "pydantic",
)
BF16 = {"avx512_bf16", "amx_bf16"}
CONTEXT = 1 << 30
"""Bytes of GPU memory that a process takes before it computes anything."""
ABREAST = 4
"""Processes on one card at most: they take turns on it, and fill each other's gaps. A round figure, not measured."""
VARIABLES = ("OMP_NUM_THREADS", "CUDA_VISIBLE_DEVICES", "HF_HUB_OFFLINE", "PYTHONHASHSEED")


def environment() -> dict[str, Known]:
    facts: dict[str, Callable[[], str]] = {
        "python": platform.python_version,
        "system": lambda: f"{platform.system()} {platform.release()} {platform.machine()}",
        "processor": _processor,
        "cores": lambda: str(len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()),
        "memory": lambda: f"{os.sysconf('SC_PAGE_SIZE') * os.sysconf('SC_PHYS_PAGES') / 2**30:.1f} GiB",
        "graphics card": _card,
        **{name: (lambda name=name: version(name)) for name in PACKAGES},  # type: ignore[misc]
        **{name: (lambda name=name: os.environ[name]) for name in VARIABLES},  # type: ignore[misc]
    }
    return {name: _known(read) for name, read in facts.items()}


def machine() -> list[str]:
    """What decides how fast it computes."""
    known = environment()
    return [str(known[name].value) for name in ("processor", "cores", "graphics card")]


def packages() -> str:
    """Every installed package with its version, one a line, as pip takes them."""
    found = {f"{each.name}=={each.version}" for each in distributions()}
    return "".join(f"{line}\n" for line in sorted(found, key=str.lower))


def _known(read: Callable[[], str]) -> Known:
    try:
        return Known(value=read())
    except KeyError:
        return Known(value="not set")
    except Exception as error:  # whatever a machine may lack
        return Known(reason=f"{type(error).__name__}: {error}")


def _processor() -> str:
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("model name"):
            return line.split(":", 1)[1].strip()
    return platform.processor()


def multiplies_bf16() -> bool:
    """Whether the processor has instructions for it, or there is a graphics card; which card is not asked."""
    try:
        flags = Path("/proc/cpuinfo").read_text().split()
    except OSError:  # not Linux
        flags = []
    return has_card() or not BF16.isdisjoint(flags)


def has_card() -> bool:
    return Path("/dev/nvidiactl").exists()


def abreast(need: int) -> int:
    """Processes that one card has room for when each needs as many bytes of it as one was measured to; 1 where none
    was."""
    return max(1, min(ABREAST, card_memory() // (need + CONTEXT))) if need else 1


def card_memory() -> int:
    """Bytes of the smallest GPU's memory; 0 where that is unknown."""
    try:
        return min(int(line) << 20 for line in _asked("memory.total").splitlines())
    except (OSError, ValueError, subprocess.SubprocessError):
        return 0


def _card() -> str:
    return _asked("name,driver_version") if has_card() else "none"


def _asked(fields: str) -> str:
    asked = ["nvidia-smi", f"--query-gpu={fields}", "--format=csv,noheader,nounits"]
    return subprocess.run(asked, capture_output=True, text=True, timeout=10, check=True).stdout.strip()
