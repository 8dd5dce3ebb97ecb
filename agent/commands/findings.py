"""The findings of `kdagent doctor`: what is there, what is missing, and how to fix it."""

import importlib.util
import json
import shutil
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from agent import config
from agent.errors import UsageError
from agent.record.runs import check_folder
from sandbox.errors import IsolationUnavailable
from sandbox.isolation.choose import choose


@dataclass(frozen=True)
class Check:
    name: str
    status: Literal["ok", "weak", "missing"]
    detail: str
    fix: str = ""


def findings(settings: config.Settings, data_dir: str, base_url: str) -> Iterator[Check]:
    yield _git()
    yield _torch()
    yield _isolation()
    yield _folder("runs", settings.runs, "--runs-dir or KDAGENT_RUNS")
    yield _folder("cache", settings.cache, "KDAGENT_CACHE")
    for name, card in config.cards(config.TASKS).items():
        yield _data(name, card["embedded"], data_dir)
    yield _endpoint(base_url, settings)


def _git() -> Check:
    if not shutil.which("git"):
        return Check("git", "missing", "git is not installed", "install git, for example: apt install git")
    said = subprocess.run(["git", "--version"], capture_output=True, text=True, timeout=10).stdout.strip()
    return Check("git", "ok", said)


def _torch() -> Check:
    """Asked in a process of its own: kdagent itself never imports torch."""
    card = "torch.cuda.get_device_name() if torch.cuda.is_available() else 'cpu'"
    code = f"import torch; print(torch.__version__, {card})"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=120)
    if done.returncode:
        return Check("torch", "missing", done.stderr.strip().splitlines()[-1], "make install")
    return Check("torch", "ok", done.stdout.strip())


def _isolation() -> Check:
    try:
        backend = choose()
    except IsolationUnavailable as error:
        return Check("isolation", "missing", error.message, error.hint)
    status: Literal["ok", "weak"] = "ok" if backend.level else "weak"
    return Check("isolation", status, f"{backend.name}, level {backend.level}, self-test contained {backend.selftest}")


def _folder(name: str, folder: Path, setting: str) -> Check:
    try:
        check_folder(folder, setting)
    except UsageError as error:
        return Check(name, "missing", error.message, error.hint)
    existing = next(parent for parent in (folder, *folder.parents) if parent.exists())
    return Check(name, "ok", f"{folder}, {shutil.disk_usage(existing).free >> 30} GB free")


def _data(name: str, embedded: bool, data_dir: str) -> Check:
    if embedded:
        needed = ("sklearn", "torch", "transformers", "scipy")
        lacking = [package for package in needed if not importlib.util.find_spec(package)]
        if lacking:
            return Check(name, "missing", f"embedded, needs {', '.join(lacking)}", "make install")
        return Check(name, "ok", "embedded")
    folder = Path(data_dir) / name
    if data_dir and any(folder.glob("train*")):
        return Check(name, "ok", str(folder))
    where = f"{folder} has no train file" if data_dir else "no data folder named"
    return Check(
        name, "weak", f"{where}; rows will be downloaded from the hub", "use --data-dir DIR if you have the files"
    )


def _endpoint(base_url: str, settings: config.Settings) -> Check:
    if not base_url:
        return Check("endpoint", "ok", "none: the embedded recipes are used, without a network or a key")
    if not base_url.startswith(("http://", "https://")):
        return Check(
            "endpoint", "weak", f"{base_url} is not a valid HTTP address", "write it as http://127.0.0.1:8000/v1"
        )
    from http.client import HTTPException
    from urllib.error import HTTPError
    from urllib.request import Request, urlopen

    key = {"Authorization": f"Bearer {settings.api_key or 'unused'}"}
    try:
        with urlopen(Request(f"{base_url.rstrip('/')}/models", headers=key), timeout=10) as answer:
            models = [str(model["id"]) for model in json.load(answer)["data"]]
        return Check("endpoint", "ok", f"{base_url}: {', '.join(models[:5]) or 'no models listed'}")
    except HTTPError as error:
        fix = "set OPENAI_API_KEY or KDAGENT_API_KEY" if error.code in (401, 403) else "check --base-url"
        return Check("endpoint", "weak", f"{base_url} answered {error.code}", fix)
    except (OSError, HTTPException) as error:
        fix = "start the server, or check --base-url"
        return Check("endpoint", "weak", f"{base_url} cannot be reached: {error}", fix)
    except (ValueError, KeyError, TypeError):
        return Check("endpoint", "weak", f"{base_url} answered, but without a list of models", "check --base-url")
