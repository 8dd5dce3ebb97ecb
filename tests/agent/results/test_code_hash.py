"""What the hash of the deciding code sees."""

from pathlib import Path

import pytest

from agent.results import derive


@pytest.mark.parametrize(
    "name", ["agent/run.py", "agent/room/inner.py", "sandbox/room/intake.py", "templates/report/r.j2"]
)
def test_code_hash_sees_files_in_every_room(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / name
    file.parent.mkdir(parents=True)
    file.write_text("a = 1\n")
    monkeypatch.setattr(derive, "ROOT", tmp_path)
    before = derive.code_hash()

    file.write_text("a = 2\n")

    assert derive.code_hash() != before
