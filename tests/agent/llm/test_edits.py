import pytest

from agent.errors import EditError, NoFurtherEdit, ReplyError
from agent.llm.edits import apply
from agent.render import fence

SOURCE = '''"""Train."""

import torch


class Trainer:
    def compute_loss(self, model):
        loss = 1
        if model:
            loss = 2
        return loss


def train(experiment):
    loss = 1
    return experiment.student
'''


def block(search: str, replace: str) -> str:
    return f"<<<<<<< SEARCH\n{search}=======\n{replace}>>>>>>> REPLACE\n"


def complaint(reply: str) -> str:
    with pytest.raises(EditError) as error:
        apply(reply, SOURCE)
    assert isinstance(error.value, ReplyError)
    return error.value.message


def test_several_blocks_apply_in_order():
    reply = "Here:\n" + block("import torch\n", "import torch\nimport math\n") + "and\n" + block("import math\n", "")
    assert "changes nothing" in complaint(reply)
    reply += block("            loss = 2\n", "            loss = 3\n")
    assert apply(reply, SOURCE) == SOURCE.replace("loss = 2", "loss = 3")


def test_exact_match_wins_over_the_same_text_elsewhere():
    assert apply(block("        loss = 1\n", "        loss = 5\n"), SOURCE).count("\n        loss = 5\n") == 1


def test_a_block_shifted_as_a_whole_is_indented_as_found():
    reply = block("if model:\n    loss = 2\n", "if model:\n    loss = 3\n\nelse:\n    loss = 4\n")
    expected = "        if model:\n            loss = 3\n\n        else:\n            loss = 4\n        return loss\n"
    assert expected in apply(reply, SOURCE)
    deeper = block("                if model:\n                    loss = 2\n", "                if None:\n  pass\n")
    assert "        if None:\npass\n        return loss\n" in apply(deeper, SOURCE)


def test_spacing_inside_a_line_does_not_matter_and_code_does():
    assert "loss = 9" in apply(block("            loss  =  2  \n", "            loss = 9\n"), SOURCE)
    assert "does not occur" in complaint(block("            loss = 2.\n", "            loss = 9\n"))
    assert "does not occur" in complaint(block("if model:\nloss = 2\n", "pass\n"))
    assert "does not occur" in complaint(block("loss =\n", "pass\n"))


def test_what_does_not_apply_says_which_edit_and_where():
    good = block("import torch\n", "import math\n")
    text = complaint(good + block("loss = 1\n", "loss = 3\n"))
    assert text == "edit 2 of 2 does not apply to train.py: the search text occurs 2 times (lines 8, 15)"
    text = complaint(good + block("    loss = 7\n", "") + good)
    assert text == "edit 2 of 3 does not apply to train.py: the search text, which starts 'loss = 7', does not occur"
    assert "search text is empty" in complaint(block("", "import os\n"))


@pytest.mark.parametrize("cut", ["=======", ">>>>>>> REPLACE"])
def test_an_unfinished_block_is_named_even_before_a_finished_one(cut):
    unfinished = block("import torch\n", "import math\n").split(cut)[0]
    assert "edit 1 of 2 is not finished" in complaint(unfinished + block("    loss = 1\n", "    loss = 2\n"))
    assert "edit 1 of 1 is not finished" in complaint(unfinished)


@pytest.mark.parametrize("path", ["train.py", "./train.py", "**train.py**", "### `train.py`", "```python train.py"])
def test_train_py_may_be_named(path):
    assert "math" in apply(f"{path}\n" + block("import torch\n", "import math\n"), SOURCE)
    assert "math" in apply(f"{path}\n```\n" + block("import torch\n", "import math\n"), SOURCE)


@pytest.mark.parametrize(
    "path", ["model.py", "baselines/train.py", "/etc/train.py", "../train.py", "**score.py**", "```python plan.json"]
)
def test_no_other_file_may_be_named(path):
    good = block("import torch\n", "import math\n")
    text = complaint(good + f"\n{path}\n" + good)
    assert text.startswith("edit 2 of 2 names ") and text.endswith(": only train.py may change")
    assert "only train.py may change" in complaint(f"{path}\n```python\n{SOURCE}x = 1\n```")


def test_a_whole_file_is_taken_whole():
    assert apply(f"Done.\n```python\n{SOURCE}x = 1\n\n\n```\nEnjoy.", SOURCE) == SOURCE + "x = 1\n"
    assert apply("<think>```python\npass\n```</think>" + fence(SOURCE + "x = 1", "py"), SOURCE) == SOURCE + "x = 1\n"
    fenced = SOURCE.replace('"""Train."""', '"""Train.\n\n```\nloudly\n```\n"""')
    assert apply(fence(fenced, "python"), SOURCE) == fenced


def test_a_snippet_beside_the_whole_file_is_no_second_file():
    assert apply(f"```python\nx = 1\n```\n```python\n{SOURCE}x = 1\n```", SOURCE).endswith("x = 1\n")


@pytest.mark.parametrize(
    ("reply", "expected"),
    [
        (f"```python\n{SOURCE}", "never closed"),
        ("```python\ndef helper():\n    def train(x): ...\n```", "`def train(` is missing"),
        (f"```python\n{SOURCE}\n```\n```python\n{SOURCE}x = 1\n```", "2 whole files"),
        (f"```diff\n+{SOURCE}```", "the reply contains no edit"),
        (f"```json\n{SOURCE}```", "the reply contains no edit"),
        ("I would change the loss.", "the reply contains no edit"),
        ("", "the reply contains no edit"),
        (f"```python\n{SOURCE}```", "changes nothing"),
        (block("import torch\n", "import torch\n"), "changes nothing"),
    ],
)
def test_a_reply_without_a_usable_edit_says_why(reply, expected):
    assert expected in complaint(reply)


def test_no_further_edit_is_a_value_of_its_own():
    for reply in ("NO FURTHER EDIT", "<think>hm</think>\n**NO FURTHER EDIT**\n"):
        with pytest.raises(NoFurtherEdit) as error:
            apply(reply, SOURCE)
        assert not isinstance(error.value, ReplyError)


def test_windows_line_ends_apply():
    assert "math" in apply(block("import torch\n", "import math\n").replace("\n", "\r\n"), SOURCE)


def test_line_ends_of_a_reply_become_those_of_the_file() -> None:
    edit = "train.py\n<<<<<<< SEARCH\n    a = 1\n=======\n    a = 2\n>>>>>>> REPLACE\n"
    source = "def train(experiment):\n    a = 1\n"
    assert apply(edit.replace("\n", "\r\n"), source) == apply(edit, source) == source.replace("1", "2")
