"""Names that a record gives, as parts of paths."""

from pathlib import Path

import pytest

from agent.errors import DataError
from agent.record.paths import RunPaths

RUN = RunPaths(Path("/runs/a"))


@pytest.mark.parametrize(
    "name", ["..", "../x", "a/b", "/etc", "", ".hidden", "a\x1b[31m", "a\u202eb", "a\n", "x" * 200]
)
def test_name_that_could_lead_elsewhere_is_refused(name: str) -> None:
    for path in (RUN.data, RUN.teacher, RUN.assistant, RUN.outcome, lambda each: RUN.label_file(each, "dev")):
        with pytest.raises(DataError, match="cannot be the name of a file"):
            path(name)
    for arm, track in ((name, "digits"), ("kd", name)):
        with pytest.raises(DataError, match="cannot be the name of a file"):
            RUN.trial(arm, track, 0)
        with pytest.raises(DataError, match="cannot be the name of a file"):
            RUN.probe(arm, track)


@pytest.mark.parametrize("name", ["digits", "gefühle", "感情", "attempt-1", "predict-dev-attempt-1-my_rows"])
def test_name_in_any_language_is_a_step_of_a_path(name: str) -> None:
    assert RUN.trial(name, name, 0).relative_to(RUN.folder).parts == ("trials", name, name, "0")
