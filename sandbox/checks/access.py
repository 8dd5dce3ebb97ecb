"""The reach of an edited train.py: no other code, no files, no test rows, no inside of Python or of a library."""

import ast
import re
from collections.abc import Iterator

from sandbox.checks.source import Source
from sandbox.checks.violation import Check, Violation, finding

IMPORTS = (
    *("torch", "transformers", "numpy", "baselines.methods", "__future__"),
    *("math", "typing", "collections", "dataclasses", "functools", "itertools", "contextlib"),
)

_FROM = rf"({'|'.join(IMPORTS)})\.(.+\.)?"
_ESCAPE = re.compile(
    r"(eval|exec|compile|open|__import__|breakpoint|globals|locals|vars|(bytes|bytearray)\.fromhex)\b"
    r"|typing\.(get_type_hints|ForwardRef|evaluate_forward_ref)\b|torch\.jit\.CompilationUnit\b|numpy\.safe_eval\b"
    r"|.*\.(os|sys|subprocess|importlib|builtins|ctypes|pickle|shutil|socket)\b"
    rf"|{_FROM}(signal|threading|multiprocessing|distributed|concurrent|asyncio|atexit|inspect|gc|io|pathlib|tempfile"
    r"|glob|resource|cpp_extension|load_library|ctypeslib|f2py|testing)\b"
)
_MACHINERY = re.compile(
    r"torch\.(?:.+\.)?(accelerator|ao|builtins|classes|compiler|cpp|ctypes|export|futures|fx|glob|importlib|inspect|jit|library"
    r"|monitor|multiprocessing|ops|os|overrides|package|platform|profiler|quantization|serialization|sys|testing"
    r"|threading|torch|types|utils(?!\.(data|checkpoint)\b)|warnings|windows)\b"
)
"""Parts of torch that make, load, time or rewrite code; no loss needs them."""
_PRIVATE = re.compile(rf"{_FROM}_(?!_)\w+")
_OTHER_CODE = (_ESCAPE, _MACHINERY, _PRIVATE)
_FILES = re.compile(
    r"torch\.(load|save|hub|package|from_file|jit\.load|jit\.save|export\.(load|save)|utils\.tensorboard)\b"
    r"|numpy\.(load|save|genfromtxt|fromfile|fromregex|memmap|DataSource|lib\.(format|npyio))"
    r"|transformers\.(pipeline|utils\.hub|dynamic_module_utils)\b"
    r"|(.*\.)?(from_pretrained|save_pretrained|load_dataset|load_from_disk|load_state_dict_from_url|push_to_hub|tofile"
    r"|save_model|save_state|write_text|write_bytes|read_text|read_bytes|cached_file|dump)\b"
)
_PATH = re.compile(
    r"(/|~/|\.{1,2}/)\w.*|\w+://.*|.*\.(safetensors|csv|parquet|arrow|jsonl?|npy|npz|ptc?h?|pkl|bin|txt)", re.DOTALL
)
_TEST = re.compile(r"(test|held_?out)([-_. /](set|split|data|dataset|rows|labels|inputs))?", re.IGNORECASE)
_DUNDER = re.compile(
    r"__(?!(init|name|call|len|iter|getitem|all|future|import)__)\w+__|(gi|ag|cr)_(frame|code|await|origin)|tb_frame"
    r"|f_(back|builtins|code|globals|locals)"
)
_ACCESS = ("getattr", "setattr", "delattr")


def _imports(source: Source) -> Iterator[Violation]:
    modules: list[tuple[ast.stmt, str]] = []
    for node in source.nodes:
        if isinstance(node, ast.Import):
            modules += [(node, alias.name) for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            modules.append((node, "." * node.level + (node.module or "")))
            if node.names[0].name == "*":
                yield finding(node, "import", "imports everything (`*`)", "name what you import")
    for node, module in modules:
        if not any(module == allowed or module.startswith(f"{allowed}.") for allowed in IMPORTS):
            yield finding(node, "import", f"imports `{module}`", f"use only {', '.join(IMPORTS)}")


def _calls(source: Source) -> Iterator[Violation]:
    found = [(line, name) for line, name in source.references if any(p.match(name) for p in _OTHER_CODE)]
    found += [(line, name) for line, name in source.called if name == "input"]  # uncalled, it is a usual tensor's name
    for line, name in found:
        yield finding(line, "call", f"uses `{name}`", "delete it: train.py runs no other code and opens no files")


def _computed(source: Source) -> Iterator[Violation]:
    """`getattr(torch, name)`, `map(getattr, …)` and `case object(name=found)`; a `getattr` that writes its name down
    reads as an attribute."""
    instead = "write the attribute's name down, as in `torch.relu`"
    functions = {id(call.func) for call in source.calls}
    for node in source.nodes:
        match node:
            case ast.Call(func=ast.Name(id=name), args=[holder, key, *_]) if name in _ACCESS:
                if not isinstance(key, ast.Constant) and _is_closed(source, holder):
                    yield finding(node, "call", f"`{name}` with a computed name on `{_text(holder)}`", instead)
            case ast.Name(id=name) if name in _ACCESS and id(node) not in functions:
                yield finding(node, "call", f"hands `{name}` on", instead)
            case ast.MatchClass(kwd_attrs=[name, *_]):
                yield finding(node.cls, "call", f"takes `{name}` out of an object by a pattern", instead)


def _is_closed(source: Source, node: ast.expr) -> bool:
    return source.is_imported(node) or source.is_fixed(node) or _is_type(node)


def _is_type(node: ast.expr) -> bool:
    return isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "type"


def _patches(source: Source) -> Iterator[Violation]:
    instead = "write a function or a subclass of your own"
    for node in source.nodes:
        match node:
            case ast.Attribute(value=holder, ctx=ast.Store() | ast.Del()):
                pass
            case ast.Subscript(value=holder, ctx=ast.Store() | ast.Del()):
                pass
            case ast.Call(func=ast.Name(id="setattr" | "delattr"), args=[holder, *_]):
                pass
            case _:
                continue
        if source.is_imported(holder) or _is_type(holder):
            yield finding(holder, "patch", f"changes `{_text(holder)}`, which is a library's or a class", instead)


def _files(source: Source) -> Iterator[Violation]:
    instead = "use the student, the teacher and the data in `experiment`"
    for line, name in source.references:
        if _FILES.match(name):
            yield finding(line, "data", f"uses `{name}`", instead)
    docstrings = {id(node.value) for node in source.nodes if isinstance(node, ast.Expr)}
    for node in source.nodes:
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and id(node) not in docstrings:
            if _PATH.fullmatch(node.value):
                yield finding(node, "data", f"names a file, {node.value[:60]!a}", instead)
            elif _TEST.fullmatch(node.value):
                yield finding(node, "data", f"names test rows, {node.value!a}", instead)


def _dunders(source: Source) -> Iterator[Violation]:
    names = [(line, part) for line, name in source.references for part in name.split(".")]
    for call in source.calls:
        match call:
            case ast.Call(func=ast.Name(id="setattr" | "delattr"), args=[_, ast.Constant(value=str(name)), *_]):
                names.append((call.lineno, name))
    for line, name in names:
        if _DUNDER.fullmatch(name):
            what = f"reaches into Python through `{name}`"
            yield finding(line, "dunder", what, "use what the object offers by a public name")


def _text(node: ast.expr) -> str:
    return ast.unparse(node)[:60]


CHECKS: tuple[Check, ...] = (_imports, _calls, _computed, _patches, _files, _dunders)
