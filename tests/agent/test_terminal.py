"""The terminal: one way out to it, on which nothing that somebody else wrote takes effect."""

import ast
import io
import json
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from rich.console import Console
from rich.panel import Panel
from rich.table import Table
from rich.text import Text

from agent import terminal

AGENT = Path(__file__).parents[2] / "agent"
INSTEAD = "print with agent/terminal.py: say, complain, say_json, ask, tell, or cell in a table on its screen"
TABLES = {"agent/commands/show.py", "agent/plan/table.py", "agent/recheck/readable.py"}
"""Files that print a table of rich, whose foreign texts are cells."""
HOSTILE = ("\x1b]0;x\x07", "\x9b31m", "\x7f", "\r", "\x08", "\u202e", "\u2066", "\u200b", "\u2028", "\x85", "\ud800")
MARKUP = ("[red]x[/red]", "[/nothing]", "[link=http://x]y[/link]", ":skull:")


def ways_out(path: Path) -> Iterator[str]:
    """Everything in a file that prints on its own."""
    name = path.relative_to(AGENT.parent).as_posix()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        match node:
            case ast.Call(func=ast.Name(id="print" | "input" | "Console" as called)):
                yield f"{name}:{node.lineno}: {called}()"
            case ast.Call(func=ast.Attribute(attr="print" | "print_json" | "rule" as called)) if name not in TABLES:
                yield f"{name}:{node.lineno}: .{called}()"
            case ast.Call(
                func=ast.Attribute(attr="write" | "writelines", value=ast.Attribute(attr="stdout" | "stderr"))
            ):
                yield f"{name}:{node.lineno}: sys.stdout.write()"
            case ast.Call(func=ast.Attribute(attr="exit", value=ast.Name(id="sys")), args=[ast.JoinedStr()]):
                yield f"{name}:{node.lineno}: sys.exit(text)"
            case ast.Import(names=names) if {each.name for each in names} & {"logging", "warnings"}:
                yield f"{name}:{node.lineno}: {names[0].name}"


def test_nothing_in_the_agent_prints_but_by_the_one_way_out() -> None:
    files = sorted(path for path in AGENT.rglob("*.py") if path.name != "terminal.py")
    found = [each for path in files for each in ways_out(path)]
    assert len(files) > 80 and not found, f"{found}: {INSTEAD}"


def test_another_way_out_would_be_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(f"{__name__}.AGENT", tmp_path / "agent")
    (tmp_path / "agent").mkdir()
    lines = ("print(1)", "input()", "Console()", "console.print(1)", "sys.stderr.write('x')", "sys.exit(f'{1}')")
    (tmp_path / "agent" / "x.py").write_text("\n".join((*lines, "import logging")))
    assert len(list(ways_out(tmp_path / "agent" / "x.py"))) == 7


def harmless(text: str) -> bool:
    return all(sign.isprintable() or sign in "\n\t" for sign in text)


@pytest.mark.parametrize("sign", HOSTILE)
def test_whatever_is_printed_is_one_line_and_takes_no_effect(sign: str, capsys: pytest.CaptureFixture[str]) -> None:
    terminal.say(f"a{sign}b\nc", 1)
    terminal.complain(f"a{sign}b")
    terminal.say_json({f"a{sign}": [f"b{sign}\n"]})
    out, err = capsys.readouterr()
    assert harmless(out + err) and out.count("\n") == 3 and err.count("\n") == 1
    assert json.loads(out.splitlines()[-1]) == {f"a{sign}": [f"b{sign}\n"]}


@pytest.mark.parametrize("text", [*HOSTILE, *MARKUP])
def test_no_renderable_carries_it_to_the_screen(text: str, capsys: pytest.CaptureFixture[str]) -> None:
    screen, table = terminal.screen(), Table(f"h{text}", title=f"t{text}")
    table.add_row(f"c{text}")
    table.add_row(terminal.cell(f"d{text}"))
    for each in (table, f"s{text}", Text(f"T{text}"), Panel(f"P{text}")):
        screen.print(each)
    terminal.tell(screen, f"l{text}")
    out = capsys.readouterr().out
    assert harmless(out) and "💀" not in out
    if text in MARKUP:
        assert all(f"{where}{text}" in out for where in "htcdsTPl")


def test_styles_of_our_own_stay(monkeypatch: pytest.MonkeyPatch) -> None:
    screen = terminal.screen()
    screen.file, screen._force_terminal = io.StringIO(), True
    screen._color_system = Console(force_terminal=True, color_system="standard")._color_system
    screen.print(Text("bold\x1b[31m", style="bold"))
    assert screen.file.getvalue() == "\x1b[1mbold\\x1b[31m\x1b[0m\n"


@given(st.text())
@settings(max_examples=200, derandomize=True, deadline=None)
def test_any_text_is_one_line(text: str) -> None:
    out = terminal.printable(text)
    assert harmless(out) and "\n" not in out
