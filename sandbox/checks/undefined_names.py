"""Names that a file uses without defining them: found without running it, by pyflakes."""

import ast
from collections.abc import Iterator


def undefined(source: str) -> Iterator[tuple[int, str]]:
    """(line, name) of every name that is defined nowhere, or read before anything is bound to it.

    Raises SyntaxError for what Python cannot parse.
    """
    from pyflakes import messages
    from pyflakes.checker import Checker

    kinds = (messages.UndefinedName, messages.UndefinedLocal, messages.UndefinedExport)
    found = Checker(ast.parse(source)).messages
    yield from sorted((each.lineno, each.message_args[0]) for each in found if isinstance(each, kinds))
