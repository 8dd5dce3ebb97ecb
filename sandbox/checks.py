"""A static look at an edited train.py before it runs.

A courtesy to an honest author, who learns in a moment what would have cost a training run, and a first fence. It is not
the wall: Python offers many ways around any such list. What must hold is held by the isolation the file runs in, by
what the harness reads back from the live trainer, and by scoring outside.
"""

import ast
import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

Rule = Literal[
    "syntax", "entry", "no_change", "seed", "experiment", "hyperparameter", "import", "call", "data", "dunder"
]

IMPORTS = (
    *("torch", "transformers", "numpy", "baselines.methods", "__future__"),
    *("math", "typing", "collections", "dataclasses", "functools", "itertools", "contextlib"),
)
HYPERPARAMETER = re.compile(
    r"T|(?i:(.*_)?(learning_rate|lr|(num_train_|num_)?epochs|max_steps|batch_size|gradient_accumulation_steps"
    r"|weight_decay|momentum|beta[s12]?|warmup_steps|warmup_ratio|max_grad_norm|label_smoothing_factor"
    r"|temperature|alpha|seed|max_length|image_size))"
)
"""Also matches ALPHA, kd_temperature and per_device_train_batch_size."""

_SEEDING = re.compile(r"\b(set_seed|manual_seed(_all)?|set_rng_state|enable_full_determinism|default_rng)\b")
_OPTIMIZER = re.compile(r"torch\.optim\.(?!swa_utils)|transformers\.(optimization\.|Adafactor|get_\w*schedule)")
_ESCAPE = re.compile(
    r"(eval|exec|compile|open|__import__|breakpoint|globals|locals|vars)\b"
    r"|.*\.(os|sys|subprocess|importlib|builtins|ctypes|pickle|shutil|socket)\b"
)
_FILES = re.compile(
    r"torch\.(load|save|hub|from_file|jit\.load|jit\.save)\b|numpy\.(load|save|genfromtxt|fromfile|memmap)"
    r"|(.*\.)?(from_pretrained|load_dataset|load_from_disk|load_state_dict_from_url|push_to_hub|tofile)\b"
)
_DUNDER = re.compile(r"__(?!(init|name|call|len|iter|getitem|all|future|import)__)\w+__")


@dataclass(frozen=True, order=True)
class Finding:
    line: int
    rule: Rule
    message: str
    """The line, what is wrong there, and what to do instead."""


def check(source: str, before: str) -> tuple[Finding, ...]:
    """What must change in `source`, an edit of `before`, before it may run; empty when nothing must."""
    try:
        file = _File(source)
        findings = {_finding(*found) for rule in _RULES for found in rule(file)}
        if _same(source, before):
            findings.add(_finding(1, "no_change", "only comments, docstrings or layout differ", "change what it does"))
    except SyntaxError as error:
        what = f"column {error.offset or 1}: {error.msg}"
        return (_finding(error.lineno or 1, "syntax", what, "send a file that Python can parse"),)
    except (ValueError, RecursionError, MemoryError) as error:  # a NUL character; hundreds of nested brackets
        return (_finding(1, "syntax", f"it cannot be parsed: {error}", "send simpler code"),)
    return tuple(sorted(findings))


def _finding(line: int, rule: Rule, what: str, instead: str) -> Finding:
    return Finding(line, rule, f"line {line}: {what}; {instead}")


_Found = Iterator[tuple[int, Rule, str, str]]


class _File:
    """A parsed train.py and what its names stand for."""

    def __init__(self, source: str) -> None:
        tree = ast.parse(source)
        self.body = tree.body
        self.nodes = list(ast.walk(tree))
        self.calls = [node for node in self.nodes if isinstance(node, ast.Call)]
        self.imported = dict(_imported(self.nodes))
        self.called = [(call.lineno, self.full_name(call.func)) for call in self.calls]
        self.references = [(node.lineno, self.full_name(node)) for node in _outermost(self.nodes)]
        self.references += [(node.lineno, name) for node, name in _members(self.nodes)]
        self.experiments = {"experiment"}
        for node in self.nodes:
            if isinstance(node, ast.Assign) and isinstance(node.value, ast.Name) and node.value.id in self.experiments:
                self.experiments |= {target.id for target in node.targets if isinstance(target, ast.Name)}

    def full_name(self, node: ast.AST) -> str:
        """`torch.optim.AdamW` for `optim.AdamW` after `from torch import optim`; `.item` for `f(x).item`."""
        parts: list[str] = []
        while isinstance(node, ast.Attribute):
            parts.append(node.attr)
            node = node.value
        root = self.imported.get(node.id, node.id) if isinstance(node, ast.Name) else ""
        return ".".join([root, *reversed(parts)])

    def is_experiment(self, node: ast.AST) -> bool:
        name = self.full_name(node)
        return name in self.experiments or name.endswith(".experiment")

    def is_fixed(self, node: ast.AST) -> bool:
        """True for `experiment` and whatever hangs on it, but for the student: that one is there to be changed."""
        while not self.is_experiment(node):
            if not isinstance(node, ast.Attribute | ast.Subscript):
                return False
            if isinstance(node, ast.Attribute) and node.attr == "student":
                return False
            node = node.value
        return True


def _imported(nodes: list[ast.AST]) -> Iterator[tuple[str, str]]:
    """(name in the file, full name) for each import."""
    for node in nodes:
        if isinstance(node, ast.Import):
            for alias in node.names:
                first = alias.name.partition(".")[0]
                yield (alias.asname, alias.name) if alias.asname else (first, first)
    for member, name in _members(nodes):
        yield member.asname or member.name, name


def _members(nodes: list[ast.AST]) -> Iterator[tuple[ast.alias, str]]:
    """What `from module import member` brings in, with its full name."""
    for node in nodes:
        if isinstance(node, ast.ImportFrom):
            yield from ((alias, f"{node.module}.{alias.name}") for alias in node.names)


def _outermost(nodes: list[ast.AST]) -> Iterator[ast.Attribute | ast.Name]:
    """`a.b.c` once, without its parts `a.b` and `a`."""
    inner = {id(node.value) for node in nodes if isinstance(node, ast.Attribute)}
    for node in nodes:
        if isinstance(node, ast.Attribute | ast.Name) and id(node) not in inner:
            yield node


def _same(source: str, before: str) -> bool:
    try:
        return _meaning(source) == _meaning(before)
    except (SyntaxError, ValueError):  # `source` has been parsed already: it is `before` that cannot be
        return False


def _meaning(source: str) -> str:
    """The syntax tree without comments, layout, docstrings and other statements that are only a constant."""
    tree = ast.parse(source)
    for node in ast.walk(tree):
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
            node.body = [s for s in node.body if not (isinstance(s, ast.Expr) and isinstance(s.value, ast.Constant))]
    return ast.dump(tree)


def _entry(file: _File) -> _Found:
    instead = "define `def train(experiment):`"
    entries = [node for node in file.body if isinstance(node, ast.FunctionDef) and node.name == "train"]
    if not entries:
        yield 1, "entry", "there is no top-level function `train`", instead
    for entry in entries:
        if ast.unparse(entry.args).partition(":")[0] != "experiment":
            yield entry.lineno, "entry", "`train` takes other arguments", instead


def _seeds(file: _File) -> _Found:
    found = [(line, name) for line, name in file.references if _SEEDING.search(name)]
    found += [(line, name) for line, name in file.called if name.endswith(".seed")]  # uncalled, it may be the plan's
    for line, name in found:
        yield line, "seed", f"`{name}` sets a seed", "delete it: seeds belong to the plan"


def _experiment(file: _File) -> _Found:
    for node in file.nodes:
        match node:
            case ast.Attribute(value=holder, ctx=ast.Store() | ast.Del()):
                changed = file.is_fixed(holder)
            case ast.Subscript(value=holder, ctx=ast.Store() | ast.Del()):
                changed = file.is_fixed(holder)
            case ast.Call(func=ast.Name(id="setattr" | "delattr"), args=[holder, *_]):
                changed = file.is_fixed(holder)
            case ast.Name(id="experiment", ctx=ast.Store() | ast.Del()):
                changed = True
            case _:
                continue
        if changed:
            yield node.lineno, "experiment", "changes `experiment`", "it is fixed: keep values in variables of your own"


def _hyperparameters(file: _File) -> _Found:
    for node in file.nodes:
        for name, value in _named_values(node):
            if HYPERPARAMETER.fullmatch(name) and _is_number(value):
                instead = "read it from the plan: `experiment.method`, `experiment.training_arguments()`"
                yield value.lineno, "hyperparameter", f"`{name}` is written as a number", instead


def _named_values(node: ast.AST) -> Iterator[tuple[str, ast.expr]]:
    """Every (name, value) that a keyword, an assignment, a default, a dictionary or setattr writes down."""
    match node:
        case ast.keyword(arg=str(name), value=value):
            yield name, value
        case ast.Assign(targets=targets, value=value):
            for target in targets:
                yield from _assigned(target, value)
        case ast.AnnAssign(target=target, value=ast.expr() as value):
            yield from _assigned(target, value)
        case ast.AugAssign(target=target, value=value) | ast.NamedExpr(target=target, value=value):
            yield from _assigned(target, value)
        case ast.Call(func=ast.Name(id="setattr"), args=[_, ast.Constant(value=str(name)), value]):
            yield name, value
        case ast.Dict(keys=keys, values=values):
            for key, value in zip(keys, values, strict=True):
                if isinstance(key, ast.Constant) and isinstance(key.value, str):
                    yield key.value, value
        case ast.arguments():
            first = [*node.posonlyargs, *node.args]
            pairs = [*zip(reversed(first), reversed(node.defaults), strict=False)]
            pairs += [(arg, d) for arg, d in zip(node.kwonlyargs, node.kw_defaults, strict=True) if d]
            yield from ((arg.arg, default) for arg, default in pairs)


def _assigned(target: ast.expr, value: ast.expr) -> Iterator[tuple[str, ast.expr]]:
    match target, value:
        case ((ast.Name(id=name) | ast.Attribute(attr=name) | ast.Subscript(slice=ast.Constant(value=str(name)))), _):
            yield name, value
        case ast.Tuple(elts=targets), ast.Tuple(elts=values):
            for inner, part in zip(targets, values, strict=False):
                yield from _assigned(inner, part)


def _is_number(value: ast.expr) -> bool:
    """True for 4.0, -1, 2 * 0.5 and (0.9, 0.999): numbers and nothing else."""
    around = (ast.BinOp, ast.UnaryOp, ast.operator, ast.unaryop, ast.Tuple, ast.List, ast.expr_context)
    leaves = [node for node in ast.walk(value) if not isinstance(node, around)]
    return bool(leaves) and all(isinstance(n, ast.Constant) and type(n.value) in (int, float) for n in leaves)


def _builders(file: _File) -> _Found:
    bases = [base for node in file.nodes if isinstance(node, ast.ClassDef) for base in node.bases]
    for made in (*(call.func for call in file.calls), *bases):
        name = file.full_name(made)
        if name.endswith("TrainingArguments"):
            yield made.lineno, "hyperparameter", f"builds `{name}`", "use `experiment.training_arguments()`"
        elif _OPTIMIZER.match(name):
            yield made.lineno, "hyperparameter", f"builds `{name}`", "use `experiment.optimizer(student)`"


def _imports(file: _File) -> _Found:
    modules: list[tuple[int, str]] = []
    for node in file.nodes:
        if isinstance(node, ast.Import):
            modules += [(node.lineno, alias.name) for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            modules.append((node.lineno, "." * node.level + (node.module or "")))
            if node.names[0].name == "*":
                yield node.lineno, "import", "imports everything there is", "name what you import"
    for line, module in modules:
        if not any(module == allowed or module.startswith(f"{allowed}.") for allowed in IMPORTS):
            yield line, "import", f"imports `{module}`", f"use only {', '.join(IMPORTS)}"


def _calls(file: _File) -> _Found:
    found = [(line, name) for line, name in file.references if _ESCAPE.match(name)]
    found += [(line, name) for line, name in file.called if name == "input"]  # uncalled, it is a usual tensor's name
    for line, name in found:
        yield line, "call", f"uses `{name}`", "delete it: train.py runs no other code and opens no files"


def _data(file: _File) -> _Found:
    for line, name in file.references:
        if _FILES.match(name):
            yield line, "data", f"uses `{name}`", "use the student, the teacher and the data that `experiment` holds"


def _dunders(file: _File) -> _Found:
    names = [(line, part) for line, name in file.references for part in name.split(".")]
    for call in file.calls:
        match call:
            case ast.Call(
                func=ast.Name(id="getattr" | "setattr" | "delattr"), args=[_, ast.Constant(value=str(name)), *_]
            ):
                names.append((call.lineno, name))
    for line, name in names:
        if _DUNDER.fullmatch(name):
            yield line, "dunder", f"reaches into Python through `{name}`", "use what the object offers by a public name"


_RULES = (_entry, _seeds, _experiment, _hyperparameters, _builders, _imports, _calls, _data, _dunders)
