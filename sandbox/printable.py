"""Text that somebody else wrote, made harmless: for a terminal, and for a page or a prompt between fences."""


def printable(line: str) -> str:
    """Terminal sequences and direction marks become visible text instead of taking effect."""
    return "".join(c if c.isprintable() or c == "\t" else c.encode("unicode_escape").decode() for c in line)


def printable_lines(text: str) -> str:
    """The same for a text whose lines may stay lines."""
    return "\n".join(map(printable, text.split("\n")))
