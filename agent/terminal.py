"""The one way out to the terminal: whatever is printed passes here, and nothing in it takes effect.

A line may quote what somebody else wrote. Control characters, marks of direction, everything else that is not seen, and
line ends become visible text, so that no text can begin a line, move the cursor or hide. No markup is obeyed.
"""

import json
import sys
from collections.abc import Iterable
from functools import cache
from typing import IO, TYPE_CHECKING, Any

from sandbox.printable import printable, printable_lines

if TYPE_CHECKING:
    from rich.console import Console
    from rich.text import Text


def say(*lines: object) -> None:
    """Each on a line of its own, to standard output."""
    sys.stdout.write("".join(f"{printable(str(line))}\n" for line in lines))


def complain(*lines: object) -> None:
    """The same to standard error."""
    sys.stderr.write("".join(f"{printable(str(line))}\n" for line in lines))


def say_json(document: object) -> None:
    """One JSON document in ASCII; it is parsed again, so that its texts are as they are."""
    sys.stdout.write(json.dumps(document) + "\n")


def ask(question: str) -> str:
    """The answer of a person at the terminal. Raises EOFError."""
    return input(printable(question))


def screen(error: bool = False, file: IO[str] | None = None) -> "Console":
    """For tables and live progress: every text that is not a renderable of our own is shown as it is written."""
    return _kind()(stderr=error, file=file, markup=False, emoji=False, highlight=False)


def tell(console: "Console", *lines: str) -> None:
    """Each on a line of its own, above a table that is shown live."""
    for line in lines:
        console.print(printable(line), markup=False, highlight=False, emoji=False, soft_wrap=True)


def cell(text: str) -> "Text":
    """For a table on whatever console shows it."""
    from rich.text import Text

    return Text(printable(text))


@cache
def _kind() -> type["Console"]:
    """Made on demand: most commands print lines alone, and rich takes long to import."""
    from rich.console import Console
    from rich.segment import Segment
    from rich.text import Text

    class Screen(Console):
        def render_str(self, text: str, **more: Any) -> Text:  # any: as the method that it extends
            return super().render_str(printable(text), **more)

        def render(self, *what: Any, **more: Any) -> Iterable[Segment]:
            """Also what did not come as a text; the styles and movements of rich are not part of a segment's text."""
            for segment in super().render(*what, **more):
                yield segment if segment.control else segment._replace(text=printable_lines(segment.text))

    return Screen
