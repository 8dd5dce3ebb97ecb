"""Checks of values read from a hostile file, composed like the object they describe.

    TRIAL = record({"schema": integer(1, 1), "status": choice("ok", "failed"), "error?": text(2000)})

A check takes a value and returns the problem with it, or "". True and False are not numbers.
"""

from collections.abc import Callable, Mapping
from typing import Any

Check = Callable[[Any], str]


def anything(value: Any) -> str:
    """For a value that is only kept, or checked elsewhere."""
    return ""


def integer(least: int, most: int) -> Check:
    """A whole number from `least` to `most`."""
    return _check(lambda value: type(value) is int and least <= value <= most, f"a whole number from {least} to {most}")


def number(least: float, most: float) -> Check:
    """Whole or not. NaN lies in no range."""
    return _check(
        lambda value: type(value) in (int, float) and least <= value <= most, f"a number from {least:g} to {most:g}"
    )


def text(most: int) -> Check:
    """Text of at most that many characters."""
    return _check(lambda value: isinstance(value, str) and len(value) <= most, f"text of at most {most} characters")


def digest(digits: int = 64) -> Check:
    """That many hexadecimal digits, in small letters."""
    return _check(
        lambda value: isinstance(value, str) and len(value) == digits and set(value) <= set("0123456789abcdef"),
        f"{digits} hexadecimal digits",
    )


def choice(*values: str | bool | None) -> Check:
    """One of these values, and of the same type."""
    return _check(lambda value: any(value is v or (isinstance(v, str) and value == v) for v in values), f"in {values}")


def either(*checks: Check) -> Check:
    """The problem reported is that of the last."""
    return lambda value: "" if any(not check(value) for check in checks[:-1]) else checks[-1](value)


def items(check: Check, most: int) -> Check:
    """A list of at most that many, each as `check` wants it."""

    def complaint(value: Any) -> str:
        if not isinstance(value, list) or len(value) > most:
            return f"is {_shown(value)}, not a list of at most {most}"
        return next((f"[{place}] {wrong}" for place, item in enumerate(value) if (wrong := check(item))), "")

    return complaint


def mapping(check: Check, most: int) -> Check:
    """An object with at most that many keys, whatever they are called, in at most 200 characters."""

    def complaint(value: Any) -> str:
        if not isinstance(value, dict) or len(value) > most or any(len(key) > 200 for key in value):
            return f"is {_shown(value)}, not an object of at most {most} keys"
        return _first(value, lambda key: check)

    return complaint


def record(fields: Mapping[str, Check]) -> Check:
    """An object with these keys and no others. A key that ends in `?` may be missing."""
    checks = {name.removesuffix("?"): check for name, check in fields.items()}
    needed = {name for name in fields if not name.endswith("?")}

    def complaint(value: Any) -> str:
        if not isinstance(value, dict):
            return f"is {_shown(value)}, not an object"
        if missing := sorted(needed - value.keys()):
            return f"has no {missing[0]!r}"
        if unknown := sorted(value.keys() - checks.keys()):
            return f"contains {_shown(unknown[0])}, which is not a known key"
        return _first(value, checks.__getitem__)

    return complaint


def holding(fields: Mapping[str, Check]) -> Check:
    """An object with these keys, whatever else it has. A key that ends in `?` may be missing."""
    checks = {name.removesuffix("?"): check for name, check in fields.items()}
    needed = [name for name in fields if not name.endswith("?")]

    def complaint(value: Any) -> str:
        if not isinstance(value, dict):
            return f"is {_shown(value)}, not an object"
        if missing := next((name for name in needed if name not in value), ""):
            return f"has no {missing!r}"
        return _first({name: value[name] for name in checks if name in value}, checks.__getitem__)

    return complaint


def tagged(key: str, kinds: Mapping[str, Check]) -> Check:
    """An object whose `key` selects the check that it must pass."""
    known = choice(*kinds)

    def complaint(value: Any) -> str:
        if not isinstance(value, dict) or not isinstance(value.get(key), str) or known(value[key]):
            return f"is {_shown(value)}, whose {key!r} is not in {tuple(kinds)}"
        return kinds[value[key]](value)

    return complaint


def _check(fits: Callable[[Any], bool], wanted: str) -> Check:
    return lambda value: "" if fits(value) else f"is {_shown(value)}, not {wanted}"


def _first(value: dict[str, Any], check: Callable[[str], Check]) -> str:
    return next((f"{_shown(key)} {wrong}" for key, item in value.items() if (wrong := check(key)(item))), "")


def _shown(value: Any) -> str:
    """Short, and without effect on a terminal: `ascii` escapes control characters and direction marks."""
    if isinstance(value, dict | list):
        return "an object" if isinstance(value, dict) else f"a list of {len(value)}"
    if type(value) is int and abs(value) > 10**30:
        return "a number of more than 30 digits"
    shown = ascii(value[:40] if isinstance(value, str) else value)
    return shown + ("…" if isinstance(value, str) and len(value) > 40 else "")
