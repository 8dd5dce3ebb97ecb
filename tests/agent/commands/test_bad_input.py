"""Everything a user may get wrong: one line that names what, where and which value, a hint, an exit code, no traceback.

docs/bad-input.md shows what each row printed; KDAGENT_WRITE_DOCS=1 pytest tests/agent/commands/test_bad_input.py
writes it again.
"""

import json
import os
import re
import shlex
import shutil
import subprocess
import sys
from collections.abc import Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from agent.plan.settings import declared
from tests.agent.command import ROOT, Kdagent, Said
from tests.agent.plan.test_settings import outside, owner, refusal

PAGE = ROOT / "docs" / "bad-input.md"
HEAD = """# Bad input

What each mistake prints, as `tests/agent/commands/test_bad_input.py` found it. Exit codes: 2 usage, plan or data ·
3 language model · 4 credentials. Folders are those of the tests; `ID` stands for a run's id.

| mistake | command | exit code | message | hint |
|---|---|---|---|---|
"""
SETTINGS = """
## Settings of methods

Each is declared once, with its range (`kdagent methods show NAME`). A value outside it ends
`kdagent run 'efficient KD' --task digits` with exit code 2 and the hint to choose another value.

| setting | range | options | message |
|---|---|---|---|
"""
ROOT_USER = os.geteuid() == 0


@dataclass(frozen=True)
class Bad:
    what: str
    words: tuple[str, ...]
    """Of the command; HERE/ is the folder with the bad files."""
    names: str
    """What the message must name."""
    code: int = 2
    stdin: bytes = b""
    environment: Mapping[str, str] = field(default_factory=dict)
    slow: bool = False
    """Seen only after the data were looked at, in a process that takes seconds to start."""
    skip: str = ""

    @property
    def command(self) -> str:
        settings = "".join(f"{name}={value.replace('HERE/', '')} " for name, value in self.environment.items())
        return settings + "kdagent " + shlex.join(word.replace("HERE/", "") for word in self.words)


def on_digits(*words: str) -> tuple[str, ...]:
    return ("run", "efficient KD", "--task", "digits", *words)


def own(path: str, *words: str) -> tuple[str, ...]:
    return ("run", "efficient KD", "--data", f"HERE/{path}", *words)


NEWS = ("run", "efficient KD", "--task", "ag_news", "--data-dir")
CACHE = {"KDAGENT_CACHE": "HERE/cache"}
BILSTM = ("--method", "kd", "--set", "student.architecture=bilstm", "--set", "student.layers=1")
TABLE = (
    # the idea
    Bad("no idea", ("run",), "IDEA"),
    Bad("empty idea", ("run", ""), "the idea is empty"),
    Bad("blank idea on standard input", ("run", "-"), "the idea is empty", stdin=b" \n\t "),
    Bad("idea of a megabyte", ("run", "-"), "1,048,576 characters", stdin=b"kd kd kd" * (1 << 18)),
    Bad("idea with a control character", ("run", "distil\x1b[2J"), r"'\x1b' at character 7"),
    Bad("idea that is not UTF-8", ("run", "distil \udcff"), r"'\udcff' at character 8"),
    Bad("idea about something else", ("run", "bake a cake"), "the idea was refused"),
    # the command
    Bad("no command", (), "COMMAND"),
    Bad("unknown command", ("rnu",), "'rnu'"),
    Bad("unknown flag", ("run", "kd", "--sede", "3"), "--sede"),
    Bad("unknown scale", ("run", "kd", "--scale", "huge"), "unknown scale 'huge'"),
    Bad("unknown task", ("run", "kd", "--task", "imagenet"), "unknown task 'imagenet'"),
    Bad("unknown method", on_digits("--method", "magic"), "'magic'"),
    Bad("unknown isolation", on_digits("--isolation", "hope"), "'hope'"),
    Bad("seeds that are not numbers", on_digits("--seeds", "many"), "'many'"),
    Bad("no seed", on_digits("--seeds", "0"), "--seeds: 0"),
    Bad("too many seeds", on_digits("--seeds", "101"), "--seeds: 101"),
    Bad("one seed twice", on_digits("--seeds", "3,3"), "seeds repeat: (3, 3)"),
    Bad("no attempt", on_digits("--attempts", "0"), "attempts = 0"),
    Bad("attempts in words", on_digits("--attempts", "two"), "'two'"),
    Bad("a budget that is not a time", on_digits("--budget", "soon"), "'soon'"),
    Bad("a budget of nothing", on_digits("--budget", "0s"), "'0s'"),
    Bad("fewer than no tokens", on_digits("--max-tokens", "-1"), "budget.tokens = -1"),
    # fields of the plan
    Bad("temperature zero", on_digits("--set", "temperature=0"), "digits.method.temperature = 0"),
    Bad("temperature below zero", on_digits("--set", "temperature=-3"), "digits.method.temperature = -3"),
    Bad("temperature NaN", on_digits("--set", "temperature=NaN"), "digits.method.temperature = nan"),
    Bad("temperature infinite", on_digits("--set", "temperature=Infinity"), "digits.method.temperature = inf"),
    Bad("alpha above one", on_digits("--set", "alpha=1.5"), "digits.method.alpha = 1.5"),
    Bad("alpha below zero", on_digits("--set", "alpha=-0.1"), "digits.method.alpha = -0.1"),
    Bad("no epochs", on_digits("--set", "epochs=0"), "digits.training.epochs = 0"),
    Bad("epochs below zero", on_digits("--set", "epochs=-1"), "digits.training.epochs = -1"),
    Bad("learning rate infinite", on_digits("--set", "learning_rate=Infinity"), "digits.training.learning_rate = inf"),
    Bad("a word for a number", on_digits("--set", "batch_size=big"), "digits.training.batch_size = 'big'"),
    Bad("fewer than no rows", on_digits("--set", "train_rows=-5"), "digits.train_rows = -5"),
    Bad("no dev rows", on_digits("--set", "dev_rows=0"), "digits.dev_rows = 0"),
    Bad("unknown field", on_digits("--set", "temprature=4"), "no field 'digits.temprature'"),
    Bad("unknown group", on_digits("--set", "distillation.alpha=1"), "no field 'digits.distillation.alpha'"),
    Bad("field of a number", on_digits("--set", "epochs.more=1"), "no field 'digits.epochs.more'"),
    Bad("group instead of a field", on_digits("--set", "training=5"), "digits.training is a group"),
    Bad("setting without a value", on_digits("--set", "temperature"), "'temperature'"),
    Bad("benchmark that is not a reference arm", on_digits("--set", "benchmark=me"), "'me'"),
    Bad("student larger than its teacher", on_digits("--set", "student.width=64"), "digits.student", slow=True),
    Bad(
        "more layers than there are",
        on_digits("--method", "kd_selective", "--set", "layers=9"),
        "digits.method.layers: 9 layers",
        slow=True,
    ),
    Bad(
        "a student that cannot be compiled",
        own("good.csv", *BILSTM, "--set", "compiled=true"),
        "good.training.compiled = True: a bilstm has no part that can be compiled",
        slow=True,
    ),
    # data
    Bad("data that are not there", own("nowhere.csv"), "nowhere.csv does not exist"),
    Bad("empty name of data", ("run", "kd", "--data", ""), "--data"),
    Bad("empty folder", own("empty"), "empty is empty"),
    Bad("own data and a known task", own("good.csv", "--task", "digits"), "--task"),
    Bad("data folder that is not there", (*NEWS, "HERE/nowhere"), "nowhere does not exist"),
    Bad("data folder for embedded tasks", on_digits("--data-dir", "HERE/news"), "digits ship"),
    Bad("parquet cut off", own("cut.parquet"), "cut.parquet"),
    Bad("file without permission", own("secret.csv"), "secret.csv", slow=True, skip="root may read all" * ROOT_USER),
    Bad("CSV that is not text", own("noise.csv"), "noise.csv", slow=True),
    Bad("no label column", own("columns.csv"), "no column label", slow=True),
    Bad("label that is not a class", (*NEWS, "HERE/news"), "has the label 9", slow=True),
    Bad("one class only", own("alike.csv"), "has the label 'yes'", slow=True),
    Bad("fewer rows than a batch", own("few.csv", "--set", "batch_size=64"), "fewer than one batch of 64", slow=True),
    Bad("image that is not one", own("images"), "a.png", slow=True),
    # the machine
    Bad("runs folder below a file", on_digits("--runs-dir", "HERE/good.csv/runs"), "good.csv is not a folder"),
    Bad(
        "cache below a file",
        on_digits(),
        "good.csv is not a folder",
        environment={"KDAGENT_CACHE": "HERE/good.csv/cache"},
    ),
    Bad("name too long", on_digits("--runs-dir", "HERE/" + 300 * "a"), "File name too long"),
    Bad("no git", on_digits(), "git cannot be run", environment={"PATH": "HERE/empty"}),
    Bad(
        "no bubblewrap",
        on_digits("--isolation", "bwrap"),
        "bwrap is not installed",
        environment={"PATH": "HERE/only-git"},
    ),
    # the language model
    Bad("endpoint without a model", on_digits("--base-url", "http://127.0.0.1:9/v1"), "not a model"),
    Bad("endpoint that is not an address", on_digits("--model", "m", "--base-url", "localhost"), "--base-url"),
    Bad("password in the address", on_digits("--model", "m", "--base-url", "http://me:pw@host/v1"), "password"),
    Bad("no key", on_digits("--model", "m"), "needs a key", code=4),
    Bad(
        "endpoint down",
        on_digits("--model", "m", "--base-url", "http://127.0.0.1:9/v1"),
        "http://127.0.0.1:9/v1 cannot be reached",
        code=3,
        slow=True,
    ),
    Bad(
        "token budget too small",
        on_digits("--model", "m", "--base-url", "http://127.0.0.1:9/v1", "--max-tokens", "100"),
        "100 of 100 are left",
        code=3,
    ),
    # runs
    Bad("no such run", ("resume", "20990101"), "no run '20990101'"),
    Bad("no run at all", ("show", "@last"), "no run '@last'"),
    Bad("half an id", ("show", "2026", "--runs-dir", "HERE/two"), "run '2026' is ambiguous: 2 runs"),
    Bad("report too early", ("report", "20260101", "--runs-dir", "HERE/two"), "is planned: it has no results"),
    Bad("run.json changed", ("show", "@last", "--runs-dir", "HERE/changed"), "is not a valid run record"),
    Bad("results.json changed", ("report", "@last", "--runs-dir", "HERE/results"), "results.json cannot be read"),
    # the cache
    Bad("no cache", ("cache", "ls"), "no cache at", environment={"KDAGENT_CACHE": "HERE/nowhere"}),
    Bad("nothing to remove named", ("cache", "rm"), "KEY --all --older"),
    Bad("no such key", ("cache", "rm", "0f", "--yes"), "no key '0f'", environment=CACHE),
    Bad("half a key", ("cache", "rm", "0", "--yes"), "key '0' is ambiguous: 2", environment=CACHE),
    Bad("days in words", ("cache", "rm", "--older", "long"), "'long'"),
)


@pytest.fixture(scope="module")
def here(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder with the bad files."""
    folder = tmp_path_factory.mktemp("bad")
    keys = (f"cache/data/{digits * 16}" for digits in ("00", "01"))
    for name in ("empty", "only-git", "news/ag_news", "images/cat", "images/dog", *keys):
        (folder / name).mkdir(parents=True)
    (folder / "only-git" / "git").symlink_to(shutil.which("git") or "/usr/bin/git")
    rows = [f"a sentence number {n},{('no', 'yes')[n % 2]}" for n in range(400)]
    write(folder / "good.csv", "text,label", *rows)
    write(folder / "columns.csv", "sentence,answer", *rows)
    write(folder / "few.csv", "text,label", *rows[:50])
    write(folder / "alike.csv", "text,label", *(f"a sentence number {n},yes" for n in range(400)))
    news = [f"some news {n},{(n % 4) or 9}" for n in range(400)]
    write(folder / "news" / "ag_news" / "train.csv", "text,label", *news)
    (folder / "noise.csv").write_bytes(b"\xff\xfe\x00\x81" * 4096)
    (folder / "cut.parquet").write_bytes(b"PAR1" + bytes(100))
    (folder / "images" / "cat" / "a.png").write_bytes(b"not a picture")
    (folder / "secret.csv").write_text("text,label\n")
    (folder / "secret.csv").chmod(0)
    for place in ("two/20260101-000000-kd-aaaa", "two/20260202-000000-kd-bbbb", "results/20260303-000000-kd-cccc"):
        record = {"schema": 1, "id": Path(place).name, "status": "planned", "created": "", "options": {"idea": "kd"}}
        (folder / place).mkdir(parents=True)
        (folder / place / "run.json").write_text(json.dumps(record))
    (folder / "results" / "20260303-000000-kd-cccc" / "results.json").write_text('{"schema": 1}')
    (folder / "changed" / "20260404").mkdir(parents=True)
    (folder / "changed" / "20260404" / "run.json").write_text("{")
    return folder


def write(path: Path, *lines: str) -> None:
    path.write_text("\n".join(lines) + "\n")


@dataclass(frozen=True)
class Tried:
    said: Said
    left: list[Path]
    """Run folders it made."""


def tried(bad: Bad, here: Path, cache: Path) -> Tried:
    kdagent = Kdagent(here / "runs" / re.sub(r"\W", "-", bad.what), cache)
    words = [word.replace("HERE", str(here)) for word in bad.words]
    environment = {name: value.replace("HERE", str(here)) for name, value in bad.environment.items()}
    said = kdagent(*words, stdin=bad.stdin, **environment)
    return Tried(said, sorted(kdagent.runs.iterdir()) if kdagent.runs.exists() else [])


@pytest.fixture(scope="module")
def tries(request: pytest.FixtureRequest, here: Path, cache: Path) -> Iterator[dict[str, Future[Tried]]]:
    """Every row that was selected, two at a time: most of a row's time is a process starting."""
    rows = [item.callspec.params.get("bad") for item in request.session.items if hasattr(item, "callspec")]
    with ThreadPoolExecutor(2) as pool:
        yield {bad.what: pool.submit(tried, bad, here, cache) for bad in rows if isinstance(bad, Bad) and not bad.skip}


def line(bad: Bad, said: Said, here: Path) -> str:
    """A row of the page, free of what differs from machine to machine."""
    message, hint = (text.split(": ", 1)[1] for text in said.err.splitlines())
    command = bad.command.encode("unicode_escape").decode()
    cells = [bad.what, f"`{command}`", str(bad.code), message, hint]
    text = " | ".join(cell.replace(f"{here}/", "").replace("|", "\\|") for cell in cells)
    for varying, shown in (
        (r"[0-9]{8}-[0-9]{6}(-[a-z0-9]+)+", "ID"),
        (r"may take [0-9]+", "may take N"),
        ("a{99,}", "a…a"),
    ):
        text = re.sub(varying, shown, text)
    return f"| {text} |"


def marked(bad: Bad) -> object:
    skip = [pytest.mark.skip(reason=bad.skip)] if bad.skip else []
    return pytest.param(bad, id=bad.what, marks=[*skip, *([pytest.mark.slow] if bad.slow else [])])


@pytest.mark.parametrize("bad", map(marked, TABLE))
def test_bad_input_is_named_on_one_line(bad: Bad, tries: dict[str, Future[Tried]], here: Path) -> None:
    result = tries[bad.what].result()
    said = result.said
    assert said.code == bad.code, said.err
    message, hint = said.err.splitlines()
    assert message.startswith("kdagent: ") and bad.names in message
    assert hint.startswith("hint: ")
    assert "Traceback" not in said.out + said.err
    for folder in result.left:  # what was found only after a run existed is written down in it
        record = json.loads((folder / "run.json").read_text())
        assert record["status"] == "failed" and record["reason"]
        assert not (folder / "plan.json").exists() and not list(folder.rglob("*.part"))
    if "KDAGENT_WRITE_DOCS" not in os.environ:
        assert line(bad, said, here) in PAGE.read_text().splitlines()


def test_page_shows_this_table(tries: dict[str, Future[Tried]], here: Path) -> None:
    if "KDAGENT_WRITE_DOCS" in os.environ:
        rows = [line(bad, tries[bad.what].result().said, here) for bad in TABLE if not bad.skip]
        PAGE.write_text(HEAD + "\n".join(rows) + "\n" + SETTINGS + of_settings())
    page, _, _ = PAGE.read_text().partition(SETTINGS)
    assert page.startswith(HEAD)
    shown = [row.split(" | ")[0].removeprefix("| ") for row in page.removeprefix(HEAD).splitlines()]
    assert shown == [bad.what for bad in TABLE if bad.what in shown]


def of_settings() -> str:
    """A row for each setting of a method, from its declaration: a value that is outside what it may be."""
    rows = [(setting, outside(setting), refusal(setting)[0]) for setting in declared().values()]
    return "".join(
        f"| {each.name} | {each.range} | `--method {owner(each.name)} --set {each.name}={shlex.quote(str(value))}` "
        f"| {message} |\n"
        for each, value, message in rows
    )


def test_page_has_a_row_for_each_setting_of_a_method() -> None:
    assert PAGE.read_text().partition(SETTINGS)[2] == of_settings()


@pytest.mark.parametrize("words", [("run", ""), ("rnu",), on_digits("--set", "alpha=2"), on_digits("--model", "m")])
def test_json_carries_the_same_error(kdagent: Kdagent, words: tuple[str, ...]) -> None:
    said = kdagent(*words, "--json")
    assert said.json["schema"] == 1
    error = said.json["error"]
    assert error["code"] == said.code
    assert said.err == f"kdagent: {error['message']}\nhint: {error['hint']}\n"


def test_run_held_by_another_process_is_refused(kdagent: Kdagent) -> None:
    folder = kdagent.runs / "20260101-000000-kd-aaaa"
    folder.mkdir(parents=True)
    options = {"idea": "efficient KD", "tasks": ["digits"]}
    record = {"schema": 1, "id": folder.name, "status": "running", "created": "", "options": options}
    (folder / "run.json").write_text(json.dumps(record))
    hold = "import fcntl, sys; f = open(sys.argv[1], 'w'); fcntl.flock(f, 2); print('held', flush=True); input()"
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE}
    with subprocess.Popen([sys.executable, "-c", hold, str(folder / "lock")], **pipes) as holder:
        assert holder.stdout is not None and holder.stdout.readline() == b"held\n"
        said = kdagent("resume", "@last", "--yes")
        holder.communicate(b"\n")
    assert said.code == 2
    assert said.err.startswith(f"kdagent: run {folder.name} is in use by another kdagent process\nhint: ")
    assert json.loads((folder / "run.json").read_text()) == record


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system that holds nine files, whatever their size."""
    place = tmp_path / "disk"
    place.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=1g,nr_inodes=10", "tmpfs", str(place)]
    if not ROOT_USER or subprocess.run(mount, capture_output=True).returncode:
        pytest.skip("mounting a small disk needs root")
    yield place
    subprocess.run(["umount", "--lazy", str(place)], check=True)


def test_nearly_full_disk_is_refused_before_a_run_exists(kdagent: Kdagent, small_disk: Path) -> None:
    subprocess.run(["mount", "-o", "remount,size=64m", str(small_disk)], check=True)
    said = kdagent(*on_digits("--runs-dir", str(small_disk)))
    assert (said.code, list(small_disk.iterdir())) == (2, [])
    message, hint = said.err.splitlines()
    assert message == f"kdagent: disk full: 64 MB free under {small_disk}, a run needs 512 MB"
    assert hint.startswith("hint: free some space")


@pytest.mark.slow
def test_run_cut_off_by_a_full_disk_goes_on_when_there_is_space(kdagent: Kdagent, small_disk: Path) -> None:
    said = kdagent(*on_digits("--runs-dir", str(small_disk), "--isolation", "process"))
    [folder] = small_disk.iterdir()
    assert said.code == 2
    again = f"continue with: kdagent resume {folder.name} --runs-dir {small_disk}"
    still = kdagent("resume", "@last", "--runs-dir", str(small_disk))
    for each in (said, still):
        message, hint = each.err.splitlines()
        assert message.startswith("kdagent: disk full: ") and hint == f"hint: free some space; {again}"
    subprocess.run(["mount", "-o", "remount,nr_inodes=1000", str(small_disk)], check=True)
    assert kdagent("resume", "@last", "--runs-dir", str(small_disk)).code == 8
    assert json.loads((folder / "run.json").read_text())["status"] == "awaiting_review"
