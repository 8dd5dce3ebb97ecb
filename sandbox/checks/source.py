"""A parsed train.py: what its names stand for, and which of its expressions are parts of `experiment`."""

import ast
import re
from collections.abc import Iterator

_Scopes = tuple[int, ...]
_MODULE = 0

_VIEWS = re.compile(
    r"model|training_arguments|optimizer|(named_)?(parameters|buffers|modules|children)|state_dict|get_submodule|items"
    r"|values|keys|get|view|reshape|flatten|(un)?squeeze|transpose|permute|expand|detach|cpu|to|numpy"
)
"""Methods whose result is still the thing itself, or shares its memory."""


class Source:
    """Raises SyntaxError, ValueError, RecursionError or MemoryError for text that Python cannot parse."""

    def __init__(self, text: str) -> None:
        tree: ast.Module = _WithoutGetattr().visit(ast.parse(text))
        self.body = tree.body
        self.nodes = list(ast.walk(tree))
        self.calls = [node for node in self.nodes if isinstance(node, ast.Call)]
        self.functions = {node.name: node for node in self.nodes if isinstance(node, ast.FunctionDef)}
        self.classes = {node.name: node for node in self.nodes if isinstance(node, ast.ClassDef)}
        self.imported = dict(_imported(self.nodes))
        self._packages = {name.partition(".")[0] for name in self.imported.values()}
        self._scopes = dict(_scopes(tree, (_MODULE,)))
        self._bound = self._bindings()
        self._names: dict[tuple[_Scopes, str], str] = {}
        self._places: dict[tuple[_Scopes, str], str] = {}
        self.called = [(call.lineno, self.full_name(call.func)) for call in self.calls]
        self.references = [(node.lineno, self.full_name(node)) for node in _outermost(self.nodes)]
        self.references += [(node.lineno, name) for node, name in _members(self.nodes)]

    def full_name(self, node: ast.AST) -> str:
        """`torch.optim.AdamW` for `optim.AdamW` after `from torch import optim`; `.item` for `f(x).item`."""
        parts: list[str] = []
        while isinstance(node, ast.Attribute):
            parts.append(node.attr)
            node = node.value
        root = self._root(node) if isinstance(node, ast.Name) else ""
        return ".".join([root, *reversed(parts)])

    def is_imported(self, node: ast.AST) -> bool:
        """Whether the expression is, or hangs on, something imported."""
        while isinstance(node, ast.Attribute | ast.Subscript):
            node = node.value
        return isinstance(node, ast.Name) and self._root(node).partition(".")[0] in self._packages

    def place(self, node: ast.AST) -> str:
        """`experiment.train_dataset.items` for that and for what is taken from it or bound to it; "" for all else."""
        match node:
            case ast.Name(id="experiment") | ast.Attribute(attr="experiment"):
                return "experiment"
            case ast.Name(id=name):
                return self._place(node, name)
            case ast.Attribute(value=ast.Name(id="self"), attr=name):
                return self._place(node, f"self.{name}")
            case ast.Attribute(value=holder, attr=name):
                outer = self.place(holder)
                return f"{outer}.{name}" if outer else ""
            case ast.Call(func=ast.Attribute(attr=name) as holder):
                return self.place(holder) if _VIEWS.fullmatch(name) else ""
            case ast.Subscript(slice=ast.Constant(value="teacher_logits")):
                return "experiment.teacher.logits"
            case ast.Subscript(value=holder) | ast.Starred(value=holder):
                return self.place(holder)
            case ast.BinOp(left=left, op=ast.Add()):  # two sets of rows, one after the other
                return found if (found := self.place(left)).endswith("_dataset") else ""
            case ast.IfExp(body=body, orelse=other):
                return self.place(body) or self.place(other)
        return ""

    def is_fixed(self, node: ast.AST) -> bool:
        """True for `experiment` and everything in it except the student, which is there to be changed."""
        first, *rest = self.place(node).split(".")
        return bool(first) and rest[:1] != ["student"]

    def values(self, node: ast.AST) -> list[ast.expr]:
        """Everything the file binds to a name, or to an attribute of `self`, where it can be seen from there."""
        match node:
            case ast.Name(id=name):
                scopes = reversed(self._scopes[id(node)])
                return next((self._bound[scope, name] for scope in scopes if (scope, name) in self._bound), [])
            case ast.Attribute(value=ast.Name(id="self"), attr=name):
                return self._bound.get((_MODULE, f"self.{name}"), [])
        return []

    def mentions(self, node: ast.AST, place: str) -> bool:
        """Whether `place` is part of an expression, or of what the names in it are bound to."""
        waiting, seen = [node], {id(node)}
        while waiting:
            for part in ast.walk(waiting.pop()):
                if isinstance(part, ast.Name | ast.Attribute) and self.place(part) == place:
                    return True
                new = [value for value in self.values(part) if id(value) not in seen]
                seen |= {id(value) for value in new}
                waiting += new
        return False

    def arguments(self, call: ast.Call) -> Iterator[tuple[str, ast.expr]]:
        """(parameter, value) for each argument that has a name: given, or known from a function or class here."""
        yield from zip(self._parameters(call.func), call.args, strict=False)
        yield from ((keyword.arg, keyword.value) for keyword in call.keywords if keyword.arg)

    def _parameters(self, function: ast.AST) -> list[str]:
        name = function.id if isinstance(function, ast.Name) else ""
        made = self._defined(name)
        names = [argument.arg for argument in (*made.args.posonlyargs, *made.args.args)] if made else []
        return names[1:] if name in self.classes else names

    def _defined(self, name: str) -> ast.FunctionDef | None:
        """The function of this file that a call of `name` enters."""
        if name not in self.classes:
            return self.functions.get(name)
        methods = (node for node in self.classes[name].body if isinstance(node, ast.FunctionDef))
        return next((method for method in methods if method.name == "__init__"), None)

    def _bindings(self) -> dict[tuple[int, str], list[ast.expr]]:
        """(scope, name) → values: by assignment, or as the argument of a call."""
        bound: dict[tuple[int, str], list[ast.expr]] = {}
        for node in self.nodes:
            if isinstance(node, ast.arg):
                bound.setdefault((self._scopes[id(node)][-1], node.arg), [])  # hides what has this name outside
            for target, value in _assigned(node):
                if isinstance(target, ast.Name):
                    bound.setdefault((self._scopes[id(target)][-1], target.id), []).append(value)
                elif isinstance(target, ast.Attribute) and isinstance(target.value, ast.Name):
                    bound.setdefault((_MODULE, f"{target.value.id}.{target.attr}"), []).append(value)
        for call in self.calls:
            if isinstance(call.func, ast.Name) and (made := self._defined(call.func.id)):
                for name, value in self.arguments(call):
                    bound.setdefault((id(made), name), []).append(value)
        return bound

    def _root(self, node: ast.Name) -> str:
        """The full name that a name stands for: an import, or a variable that was bound to one."""
        if node.id in self.imported:
            return self.imported[node.id]
        key = (self._scopes[id(node)], node.id)
        if key not in self._names:
            self._names[key] = node.id  # for a name that is bound to itself
            chains = (value for value in self.values(node) if self.is_imported(value))
            self._names[key] = next((self.full_name(chain) for chain in chains), node.id)
        return self._names[key]

    def _place(self, node: ast.AST, name: str) -> str:
        key = (self._scopes[id(node)], name)
        if key not in self._places:
            self._places[key] = ""  # for a name that is bound to itself
            self._places[key] = next(filter(None, map(self.place, self.values(node))), "")
        return self._places[key]


class _WithoutGetattr(ast.NodeTransformer):
    """`getattr(x, "name")`, with a default or without, becomes `x.name`."""

    def visit_Call(self, call: ast.Call) -> ast.AST:
        self.generic_visit(call)
        match call:
            case ast.Call(func=ast.Name(id="getattr"), args=[holder, ast.Constant(value=str(name)), *_]):
                return ast.copy_location(ast.Attribute(holder, name, ast.Load()), call)
        return call


def _scopes(node: ast.AST, scopes: _Scopes) -> Iterator[tuple[int, _Scopes]]:
    """(node, functions around it from the module inwards) for a tree; a parameter lies in its function."""
    yield id(node), scopes
    inner = (*scopes, id(node)) if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda) else scopes
    for child in ast.iter_child_nodes(node):
        yield from _scopes(child, inner)


def _assigned(node: ast.AST) -> Iterator[tuple[ast.expr, ast.expr]]:
    """(target, value) of each assignment that a node makes, tuples taken apart."""
    match node:
        case ast.Assign(targets=targets, value=value):
            for target in targets:
                yield from _pairs(target, value)
        case ast.AnnAssign(target=target, value=ast.expr() as value):
            yield target, value
        case ast.AugAssign(target=target, value=value) | ast.NamedExpr(target=target, value=value):
            yield target, value
        case ast.For(target=target, iter=value) | ast.comprehension(target=target, iter=value):
            yield from _pairs(target, value)


def _pairs(target: ast.expr, value: ast.expr) -> Iterator[tuple[ast.expr, ast.expr]]:
    match target, value:
        case ((ast.Tuple(elts=targets) | ast.List(elts=targets)), (ast.Tuple(elts=values) | ast.List(elts=values))):
            for inner, part in zip(targets, values, strict=False):
                yield from _pairs(inner, part)
        case ((ast.Tuple(elts=targets) | ast.List(elts=targets)), _):
            yield from ((inner, value) for inner in targets)
        case _:
            yield target, value


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
    """The names that `from module import member` brings in, with their full names."""
    for node in nodes:
        if isinstance(node, ast.ImportFrom):
            yield from ((alias, f"{node.module}.{alias.name}") for alias in node.names)


def _outermost(nodes: list[ast.AST]) -> Iterator[ast.Attribute | ast.Name]:
    """`a.b.c` once, without its parts `a.b` and `a`."""
    inner = {id(node.value) for node in nodes if isinstance(node, ast.Attribute)}
    for node in nodes:
        if isinstance(node, ast.Attribute | ast.Name) and id(node) not in inner:
            yield node
