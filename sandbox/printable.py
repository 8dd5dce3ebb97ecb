"""Text that a child wrote, made harmless for a terminal."""


def printable(line: str) -> str:
    """Terminal sequences and direction marks become visible text instead of taking effect."""
    return "".join(c if c.isprintable() or c == "\t" else c.encode("unicode_escape").decode() for c in line)
