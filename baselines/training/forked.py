"""Work done in a copy of this process (fork): imports are paid once, and nothing of the work is left in memory."""

import os
import select
import sys
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import TextIO

import torch

MOST_SAID = 64 << 20  # bytes of a trace


def apart(work: Callable[[TextIO], None], trace: Path) -> int:
    """Do the work in a copy of this process; its exit code, negative for a signal.

    What the work writes to the stream it is given ends up in `trace`, whatever else the copy does to that file. Where a
    copy could not compute the work is done here.
    """
    if not _copies_compute():
        with trace.open("w") as stream:
            work(stream)
        return 0
    reader, writer = os.pipe()
    if child := os.fork():
        os.close(writer)
        return _listen(child, reader, trace)
    try:
        os.close(reader)
        with os.fdopen(writer, "w") as stream:
            work(stream)
        sys.stdout.flush()
    finally:  # never back into the caller's loop
        os._exit(0)


@cache
def _copies_compute() -> bool:
    """Whether a copy of this process could use what it computes with: macOS's frameworks it cannot, and a graphics card
    only as long as nobody asked for one in a way that takes it (PYTORCH_NVML_BASED_CUDA_CHECK is the other way)."""
    if sys.platform != "linux":
        return False
    if not torch.cuda.is_available():
        return True
    if child := os.fork():
        return os.waitpid(child, 0)[1] == 0
    os._exit(torch.cuda._is_in_bad_fork())


def _listen(child: int, reader: int, trace: Path) -> int:
    """Records what the child reports until it ends, for others to follow, and once more when it can do no more."""
    said, status = bytearray(), None
    with os.fdopen(reader, "rb", buffering=0) as pipe:
        while status is None or select.select([pipe], [], [], 0)[0]:
            if select.select([pipe], [], [], 0.1)[0]:
                if chunk := pipe.read(1 << 16):
                    said += chunk[: MOST_SAID - len(said)]
                    trace.write_bytes(said)
                elif status is not None:
                    break
            if status is None and (ended := os.waitpid(child, os.WNOHANG))[0]:
                status = ended[1]
    trace.unlink(missing_ok=True)
    trace.write_bytes(said)
    return os.waitstatus_to_exitcode(status)
