"""One process of a run: its environment and its scratch folder."""

import importlib.util
import os
from pathlib import Path
from typing import TypeVar

from agent import config
from sandbox.folder import remove

T = TypeVar("T")
R = TypeVar("R")


def _online(settings: config.Settings) -> dict[str, str]:
    """What the prepare process needs to reach the user's Hugging Face cache and the hub."""
    home = Path(os.environ.get("HF_HOME") or Path.home() / ".cache" / "huggingface")
    offline = os.environ.get("HF_HUB_OFFLINE", "0")
    found = {
        "HF_HOME": str(home),
        "HF_HUB_OFFLINE": offline,
        "HF_DATASETS_OFFLINE": offline,
        "KDAGENT_ARROW_CACHE": str(settings.arrow),
    }
    return found | {
        name: os.environ[name] for name in ("HF_ENDPOINT", "HF_HUB_CACHE", "SSL_CERT_FILE") if name in os.environ
    }


def _bundled_data() -> tuple[Path, ...]:
    """Data sets that ship inside packages and hold test labels of embedded tasks."""
    found = importlib.util.find_spec("sklearn")
    return (Path(found.origin).parent / "datasets" / "data",) if found and found.origin else ()


def _fresh(folder: Path) -> Path:
    remove(folder)
    folder.mkdir(parents=True)
    return folder
