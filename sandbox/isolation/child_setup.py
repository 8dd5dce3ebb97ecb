"""The setup of every child under any backend: a clean environment, checked paths, limits that the kernel enforces."""

import math
import re
import resource
import site
import sys
from collections.abc import Iterable
from pathlib import Path

from sandbox.errors import LaunchError
from sandbox.isolation.job import Job, Limits

ROOT = Path(__file__).parents[2]
OURS = ROOT / "baselines"  # not the whole checkout: runs/, with every label, lies there too
INSTALLED = str(ROOT) in site.getsitepackages()
SYSTEM = ("/usr", "/bin", "/sbin", "/lib", "/lib32", "/lib64")
FILES = ("/etc/ld.so.cache", "/etc/localtime", "/etc/alternatives", "/sys/devices/system")
"""With `SYSTEM`, all of the machine that Python and torch read; each where it exists."""
MEMORY = {
    "GLIBC_TUNABLES": ":".join(
        f"glibc.malloc.{name}={value}"
        for name, value in {"hugetlb": 1, "mmap_threshold": 1 << 30, "trim_threshold": 1 << 33}.items()
    )
}
"""The memory of a tensor that is gone is kept for the next one, and asked for in large pages: else a training is given
the same pages again at every step (docs/benchmarks.md, K-given). Other C libraries than GNU's do not read it."""

_BURST = 4 << 30  # what a process might allocate between two looks of the supervisor's watch over memory
_GRACE = 5  # seconds from the signal that names the exceeded processor time to the one that cannot be ignored
_REFUSED = re.compile(
    r".*(KEY|TOKEN|SECRET|PASSW).*|(LD|GIT|SSH|DBUS)_.*|.*_PROXY|PYTHON(.*PATH|STARTUP|HOME)|XDG_RUNTIME_DIR",
    re.IGNORECASE,
)


def python() -> tuple[Path, ...]:
    """What a Python child must be able to read: its environment, the interpreter behind it, and our package."""
    return Path(sys.prefix), Path(sys.base_prefix), OURS


def environment(job: Job, temporary: Path) -> dict[str, str]:
    """All the child gets: nothing is inherited. Raises LaunchError when the job names a refused variable."""
    for name in job.env:
        if _REFUSED.fullmatch(name):
            raise LaunchError(
                f"the variable {name} must not enter the sandbox", "hand over what the job needs as a file"
            )
    return {
        "PATH": f"{Path(sys.executable).parent}:/usr/bin:/bin",
        "LANG": "C.UTF-8",
        "USER": "sandbox",  # torch asks for a name to call its caches by
        "HOME": str(job.write),
        "TMPDIR": str(temporary),
        "PYTHONHASHSEED": "0",
        "PYTHONDONTWRITEBYTECODE": "1",
        "PYTHONUNBUFFERED": "1",
        "PYTHONSAFEPATH": "1",  # modules in the working folder, which the job writes, are not imported by name
        "PYTHONNOUSERSITE": "1",
        **({} if INSTALLED else {"PYTHONPATH": str(ROOT)}),
        "HF_HUB_OFFLINE": "1",
        "HF_DATASETS_OFFLINE": "1",
        "TOKENIZERS_PARALLELISM": "false",
        "PYTORCH_NVML_BASED_CUDA_CHECK": "1",  # asking whether there is a card then leaves it to a copy of the process
        "TRANSFORMERS_NO_ADVISORY_WARNINGS": "1",
        **MEMORY,
        **job.env,
    }


def check_paths(job: Job) -> None:
    """Raises LaunchError when the job names a path that is missing or of the wrong kind."""
    for path in (job.write, *job.read, *job.hide, *job.devices):
        if not path.is_absolute():
            raise LaunchError(f"the job's path {path} is not absolute")
    if not job.write.is_dir():
        raise LaunchError(f"the job's folder {job.write} does not exist", "make it first")
    for path in (*job.read, *job.devices):
        if not path.exists():
            raise LaunchError(f"the job may use {path}, but it does not exist")
    for path in job.hide:
        if path.exists() and not path.is_dir():
            raise LaunchError(f"{path} cannot be hidden: it is not a folder", "hide the folder it lies in")


def kernel_limits(job: Job, limits: Limits) -> dict[str, tuple[int, int]]:
    """Soft and hard limit by the name that prlimit(1) has for it, for each process but `nproc`, which is per user.

    None exceeds our own hard limit: a child without privileges could not set it.
    """
    wanted = {
        "nproc": (limits.processes, limits.processes),
        "fsize": (limits.file_size, limits.file_size),
        "nofile": (limits.open_files, limits.open_files),
        "core": (0, 0),
        "msgqueue": (0, 0),
    }
    if math.isfinite(limits.cpu_s):
        wanted["cpu"] = (math.ceil(limits.cpu_s), math.ceil(limits.cpu_s) + _GRACE)
    if not job.devices:  # a card's driver reserves far more than it uses
        wanted["data"] = (limits.memory + _BURST, limits.memory + _BURST)
    return {name: _at_most(name, pair) for name, pair in wanted.items() if _known(name)}


def _known(name: str) -> bool:
    return hasattr(resource, f"RLIMIT_{name.upper()}")


def _at_most(name: str, wanted: tuple[int, int]) -> tuple[int, int]:
    _, hard = resource.getrlimit(getattr(resource, f"RLIMIT_{name.upper()}"))
    return wanted if hard == resource.RLIM_INFINITY else (min(wanted[0], hard), min(wanted[1], hard))


def device_nodes(job: Job) -> tuple[Path, ...]:
    """The job's cards, and the nodes through which their drivers are spoken to."""
    found = set(job.devices)
    if any(path.name.startswith("nvidia") for path in job.devices):
        found |= {Path("/dev", name) for name in ("nvidiactl", "nvidia-uvm", "nvidia-uvm-tools")}
        found |= set(Path("/dev/nvidia-caps").glob("*"))
    if any(path.name.startswith("renderD") for path in job.devices):
        found.add(Path("/dev/kfd"))
    return tuple(sorted(path for path in found if path.exists()))


def closed_to_others(paths: Iterable[Path], parents: bool) -> Path | None:
    """The first of the paths, or of the folders above them, that a user they do not belong to cannot read or enter."""
    for path in (path.resolve() for path in paths):
        if path.stat().st_mode & (wanted := 0o005 if path.is_dir() else 0o004) != wanted:
            return path
        for folder in path.parents if parents else ():
            if not folder.stat().st_mode & 0o001:
                return folder
    return None


def can_read_past_modes() -> bool:
    """Whether we hold CAP_DAC_READ_SEARCH, which most containers take from their root."""
    with open("/proc/self/status") as lines:
        return any(line.startswith("CapEff:") and int(line.split()[1], 16) >> 2 & 1 for line in lines)
