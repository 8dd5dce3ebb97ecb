"""The hub path against a small hub on a loopback port: what is asked for, what is kept, and what is said without it."""

import hashlib
import json
import shutil
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from itertools import chain
from pathlib import Path

import pytest
from datasets import ClassLabel, Dataset, Features, Value
from safetensors.numpy import load_file
from transformers import BertConfig, BertForMaskedLM, DistilBertConfig, DistilBertForMaskedLM

from baselines.data import tasks
from baselines.errors import BaselineError
from baselines.processes.prepare import prepare
from tests.baselines.lab import PAPER, SIZES, SPEC, WORDS, process, sha256, texts

CARD, PAIRS = tasks.CARDS["ag_news"], tasks.CARDS["rte"]
SPECS = {who: SPEC | PAPER["ag_news"][who] | {"layers": 2, "width": 16, "heads": 2} for who in ("teacher", "student")}
TOKENS = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "number", *chain(*WORDS.values())]


class Hub(ThreadingHTTPServer):
    """Repositories as folders `<kind>/<owner>/<name>/<revision>`; remembers every path it was asked for."""

    daemon_threads = True

    def __init__(self, root: Path) -> None:
        super().__init__(("127.0.0.1", 0), Answer)
        self.root, self.asked = root, []
        threading.Thread(target=self.serve_forever, daemon=True).start()

    @property
    def address(self) -> str:
        return f"http://127.0.0.1:{self.server_port}"


class Answer(BaseHTTPRequestHandler):
    """`/api/<kind>/<owner>/<name>/tree/<revision>` and `[/datasets]/<owner>/<name>/resolve/<revision>/<file>`."""

    protocol_version = "HTTP/1.1"

    def do_HEAD(self) -> None:
        self._answer(body=False)

    def do_GET(self) -> None:
        self._answer(body=True)

    def _answer(self, body: bool) -> None:
        path, root = self.path.partition("?")[0], self.server.root
        self.server.asked.append(path)
        match path.removeprefix("/").removeprefix("api/").split("/"):
            case [("models" | "datasets") as kind, owner, name, "tree", revision]:
                folder = root / kind / owner / name / revision
                self._send(json.dumps([_entry(file, folder) for file in folder.rglob("*.*")]).encode(), revision, body)
            case ["datasets", owner, name, "resolve", revision, folder, file]:
                self._send((root / "datasets" / owner / name / revision / folder / file).read_bytes(), revision, body)
            case [owner, name, "resolve", revision, file]:
                self._send((root / "models" / owner / name / revision / file).read_bytes(), revision, body)
            case _:
                self.send_error(404)

    def _send(self, content: bytes, revision: str, body: bool) -> None:
        self.send_response(200)
        self.send_header("ETag", f'"{hashlib.sha256(content).hexdigest()}"')
        self.send_header("X-Repo-Commit", revision)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        if body:
            self.wfile.write(content)

    def log_message(self, *arguments) -> None:
        pass


def _entry(file: Path, folder: Path) -> dict:
    oid = sha256(file)[:40]
    return {"type": "file", "path": str(file.relative_to(folder)), "size": file.stat().st_size, "oid": oid}


def publish(root: Path) -> None:
    """AG News and both checkpoints of the paper preset, small, at the revisions that are pinned."""
    features = Features({"text": Value("string"), "label": ClassLabel(names=CARD["labels"])})
    data = root / "datasets" / CARD["hub"] / CARD["revision"]
    for split, count in (("train", 220), ("test", 30)):
        columns = {"text": [text for text, _ in texts(count, seed=count)], "label": [n % 4 for n in range(count)]}
        Dataset.from_dict(columns, features=features).to_parquet(data / f"data/{split}-00000-of-00001.parquet")
    (data / "README.md").write_text("# AG News\n")
    publish_pairs(root / "datasets" / PAIRS["hub"] / PAIRS["revision"])
    sizes = {"vocab_size": len(TOKENS), "max_position_embeddings": 16}
    bert = BertConfig(hidden_size=16, num_hidden_layers=2, num_attention_heads=2, intermediate_size=32, **sizes)
    distilbert = DistilBertConfig(dim=16, n_layers=2, n_heads=2, hidden_dim=32, **sizes)
    for who, model in (("teacher", BertForMaskedLM(bert)), ("student", DistilBertForMaskedLM(distilbert))):
        write_checkpoint(root / "models" / SPECS[who]["checkpoint"] / SPECS[who]["revision"], model)


def publish_pairs(folder: Path) -> None:
    """RTE and a neighbour in GLUE's repository; its test rows have no labels."""
    for name in (PAIRS["folder"], "mnli"):
        for split, count in (("train", 200), ("validation", 30), ("test", 30)):
            ours, theirs = ([text for text, _ in texts(count, seed=count + n)] for n in (0, 1))
            labels = [-1 if split == "test" else n % 2 for n in range(count)]
            rows = Dataset.from_dict({"sentence1": ours, "sentence2": theirs, "label": labels})
            rows.to_parquet(folder / name / f"{split}-00000-of-00001.parquet")


def write_checkpoint(folder: Path, model, tokens: list[str] = TOKENS) -> None:
    model.save_pretrained(folder)
    (folder / "vocab.txt").write_text("\n".join(tokens))
    (folder / "pytorch_model.bin").write_bytes(b"a pickle that nobody asked for")


@pytest.fixture(scope="module")
def hub(tmp_path_factory):
    root = tmp_path_factory.mktemp("hub")
    publish(root)
    server = Hub(root)
    yield server
    server.shutdown()


def job(out: Path, **changes) -> dict:
    settings = {
        "sizes": SIZES | {"train_rows": 100},
        "data_seed": 0,
        "label_noise": 0.0,
        "input_size": 12,
        "batch_size": 16,
    }
    return {"out": str(out), "task": {"name": "ag_news"}} | settings | SPECS | changes


def without_folder(out: Path) -> dict:
    """The facts, but for where the copies of the checkpoints lie."""
    return json.loads((out / "facts.json").read_text().replace(str(out), ""))


@pytest.mark.slow
def test_hub_is_asked_for_the_pinned_revisions_and_then_no_more(hub, tmp_path):
    home = {"HF_HOME": str(tmp_path / "home"), "HF_ENDPOINT": hub.address}
    done = process("prepare", job(tmp_path / "online"), **home)
    assert done.returncode == 0, done.stderr[-2000:]
    found = without_folder(tmp_path / "online")
    assert (found["source"], found["revision"]) == (
        "hub: fancyzhx/ag_news (from a different endpoint)",
        CARD["revision"],
    )
    assert found["rows"]["train"] == 100 and found["task"]["vocabulary"] == len(TOKENS)
    assert found["models"]["teacher"]["spec"]["checkpoint"] == "/seen/teacher"

    pinned = {CARD["revision"], *(spec["revision"] for spec in SPECS.values())}
    asked = [path for path in hub.asked if "/tree/" in path or "/resolve/" in path]
    assert asked and all(pinned & set(path.split("/")) for path in asked), asked
    assert not [path for path in asked if path.endswith((".bin", ".md"))]
    stored = hub.root / "models" / SPECS["student"]["checkpoint"] / SPECS["student"]["revision"] / "model.safetensors"
    assert sha256(tmp_path / "online/seen/student/model.safetensors") == sha256(stored)

    hub.asked.clear()
    shutil.rmtree(tmp_path / "arrow")
    offline = {"HF_HOME": home["HF_HOME"], "HF_HUB_OFFLINE": "1", "HF_DATASETS_OFFLINE": "1"}
    done = process("prepare", job(tmp_path / "offline"), **offline, HF_ENDPOINT=hub.address)
    assert done.returncode == 0, done.stderr[-2000:]
    assert without_folder(tmp_path / "offline") == found
    assert not hub.asked


@pytest.mark.slow
def test_task_of_glue_takes_its_own_folder_and_the_rows_that_have_labels(hub, tmp_path):
    hub.asked.clear()
    home = {"HF_HOME": str(tmp_path / "home"), "HF_ENDPOINT": hub.address}
    done = process("prepare", job(tmp_path / "out", task={"name": "rte"}), **home)
    assert done.returncode == 0, done.stderr[-2000:]
    found = json.loads((tmp_path / "out/facts.json").read_text())
    assert (found["rows"]["train"], found["revision"]) == (100, PAIRS["revision"])
    assert "the published test rows have no labels: the rows of validation are the test rows" in found["notes"]
    asked = {path for path in hub.asked if "/nyu-mll/" in path and "/resolve/" in path}
    assert asked and all(f"/{PAIRS['folder']}/" in path for path in asked), asked


@pytest.mark.slow
def test_neither_cache_nor_hub_ends_the_process_with_one_line_and_a_hint(tmp_path):
    done = process("prepare", job(tmp_path / "out"), HF_HOME=str(tmp_path / "home"), HF_HUB_OFFLINE="1")
    said = json.loads((tmp_path / "out/error.json").read_text())
    assert said["message"].startswith("fancyzhx/ag_news is neither in the local Hugging Face cache nor on the hub: ")
    assert said["hint"] == "name a folder that has it, fill the cache, or choose --scale demo"
    assert done.returncode == 2 and "Traceback" not in done.stderr
    assert done.stderr.splitlines()[-2:] == [said["message"], said["hint"]]


# ── checkpoints that lie in a folder: the same path without the hub ──────────────────────────────────────────────────


def folders(hub: Hub, tmp_path: Path) -> dict:
    """The published checkpoints as folders of the user's own, and the published rows in another."""
    specs = {}
    for who, spec in SPECS.items():
        shutil.copytree(hub.root / "models" / spec["checkpoint"] / spec["revision"], tmp_path / who)
        specs[who] = spec | {"checkpoint": str(tmp_path / who), "revision": ""}
    rows = hub.root / "datasets" / CARD["hub"] / CARD["revision"] / "data"
    (tmp_path / "out").mkdir()
    return job(tmp_path / "out", task={"name": "ag_news", "data_dir": str(rows)}, **specs)


def refusal(job: dict) -> BaselineError:
    with pytest.raises(BaselineError) as caught:
        prepare(job)
    assert caught.value.hint and "\n" not in caught.value.message
    return caught.value


def test_models_of_different_vocabularies_each_read_their_own_tokens(hub, tmp_path, monkeypatch):
    monkeypatch.setenv("KDAGENT_ARROW_CACHE", str(tmp_path / "arrow"))
    made = folders(hub, tmp_path)
    (tmp_path / "student/vocab.txt").write_text("\n".join([*TOKENS[:-2], *TOKENS[:-3:-1]]))
    prepare(made)
    views = (tmp_path / "out", tmp_path / "out/teacher")
    own, other = (load_file(view / "seen/train.safetensors")["tokens"] for view in views)
    assert own.shape == other.shape and (own != other).any()


def test_assistant_with_another_vocabulary_than_its_student_is_refused(hub, tmp_path, monkeypatch):
    monkeypatch.setenv("KDAGENT_ARROW_CACHE", str(tmp_path / "arrow"))
    made = folders(hub, tmp_path)
    shutil.copytree(tmp_path / "teacher", tmp_path / "assistant")
    made["assistant"] = made["teacher"] | {"checkpoint": str(tmp_path / "assistant")}
    (tmp_path / "student/vocab.txt").write_text("\n".join([*TOKENS[:-2], *TOKENS[:-3:-1]]))
    said = refusal(made)
    assert "assistant and student have different vocabularies" in said.message
    assert said.hint == "choose an assistant and a student that share a tokenizer"


def test_checkpoint_without_a_tokenizer_is_refused(hub, tmp_path, monkeypatch):
    monkeypatch.setenv("KDAGENT_ARROW_CACHE", str(tmp_path / "arrow"))
    made = folders(hub, tmp_path)
    (tmp_path / "student/vocab.txt").unlink()
    assert "no tokenizer in the checkpoint of the student" in refusal(made).message


def test_student_of_sizes_takes_the_tokenizer_of_its_teacher(hub, tmp_path, monkeypatch):
    monkeypatch.setenv("KDAGENT_ARROW_CACHE", str(tmp_path / "arrow"))
    made = folders(hub, tmp_path)
    prepare(made | {"student": SPECS["student"] | {"checkpoint": "", "layers": 3}})
    found = json.loads((tmp_path / "out/facts.json").read_text())
    assert found["task"]["vocabulary"] == len(TOKENS) and found["models"]["student"]["layers"] == 3
    assert not (tmp_path / "out/seen/student").exists()
