"""The output of a child, drained however much it is, and the log that keeps both ends of it."""

import os
import re
import select
import subprocess
import time
from contextlib import suppress
from typing import BinaryIO

from sandbox.printable import printable_lines

_TAIL_LINES = 40
_TAIL_BYTES = 16 << 10


class Output:
    """The pipe from a child to its log, which keeps the first and the last half of `keep` bytes."""

    def __init__(self, child: subprocess.Popen[bytes], log: BinaryIO, keep: int) -> None:
        assert child.stdout is not None
        self.taken = 0
        """Bytes, kept or not."""
        self.trouble = ""
        """Why the log could not be written, if so; the rest is drained all the same."""
        self._child, self._pipe, self._log = child, child.stdout.fileno(), log
        self._head = self._half = keep // 2
        self._tail = bytearray()
        self._left_out = 0
        self._open = True
        self._poll = select.poll()
        self._poll.register(self._pipe, select.POLLIN)

    def turn(self, seconds: float) -> None:
        """Reads for that long, or until the output has ended and the child with it."""
        end = time.monotonic() + seconds
        while self._open and (left := end - time.monotonic()) > 0:
            if self._poll.poll(left * 1000):
                self._take(os.read(self._pipe, 1 << 16))
        with suppress(subprocess.TimeoutExpired):
            self._child.wait(max(0.0, end - time.monotonic()))

    def close(self, reason: str) -> str:
        """Completes the log, with why the job was stopped if it was, and returns the tail of it."""
        if self._left_out:
            self._write(b"\n[kdagent: %d bytes left out]\n" % self._left_out)
        self._write(self._tail)
        if reason:
            self._write(f"\n[kdagent: {reason}]\n".encode())
        return _tail(self._log)

    def _take(self, chunk: bytes) -> None:
        self._open = bool(chunk)
        self.taken += len(chunk)
        head, rest = chunk[: self._head], chunk[self._head :]
        self._write(head)
        self._head -= len(head)
        self._tail += rest
        excess = max(0, len(self._tail) - self._half)
        del self._tail[:excess]
        self._left_out += excess

    def _write(self, text: bytes | bytearray) -> None:
        try:
            self._log.write(text)
            self._log.flush()  # a person may be following it
        except OSError as error:
            self.trouble = error.strerror or str(error)


def _tail(log: BinaryIO) -> str:
    """The last lines that are not empty."""
    log.seek(max(0, log.seek(0, os.SEEK_END) - _TAIL_BYTES))
    lines = [line for line in re.split(r"[\r\n]+", log.read().decode(errors="replace")) if line]
    return printable_lines("\n".join(lines[-_TAIL_LINES:]))
