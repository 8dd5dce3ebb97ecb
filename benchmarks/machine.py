"""What figures were measured on."""

import os
import platform
from importlib.metadata import version
from pathlib import Path

import torch


def described(*packages: str) -> str:
    """One line: processor or card, versions, load."""
    lines = Path("/proc/cpuinfo").read_text().splitlines()
    names = {line.partition(": ")[2] for line in lines if line.startswith("model name")}
    cores = f"{os.cpu_count()} cores of {', '.join(names)}"
    where = torch.cuda.get_device_name() if torch.cuda.is_available() else cores
    versions = ", ".join(f"{name} {version(name)}" for name in ("torch", "transformers", "accelerate", *packages))
    load = os.getloadavg()[0]
    return f"Measured on {where}, Python {platform.python_version()}, {versions}; load at the end {load:.1f}."
