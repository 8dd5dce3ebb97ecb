"""Values that belong to the plan: hyperparameters, the weights of the loss terms, seeds."""

import ast
import re
from collections.abc import Iterator
from typing import TypeGuard

from sandbox.checks.source import Source
from sandbox.checks.violation import Check, Violation, finding

HYPERPARAMETER = re.compile(
    r"T|(?i:(.*_)?(learning_rate|lr|(num_train_|num_)?epochs|max_steps|batch_size|gradient_accumulation_steps"
    r"|weight_decay|momentum|beta[s12]?|warmup_steps|warmup_ratio|max_grad_norm|label_smoothing(_factor)?"
    r"|temperature|tau|alpha|lambda_?|seed|max_length|image_size)"
    r"|layers|((last|num|n|student|teacher)_layers)"
    r"|(.*_)?(kd|soft|hard|distill\w*|feature|hint|task|loss|ce|kl|logits?)_(weight|coef\w*|scale|ratio|factor))"
)
"""Also matches ALPHA, kd_temperature and per_device_train_batch_size."""

METHODS = "baselines.methods."

_SEEDING = re.compile(
    r"\b(set_seed|manual_seed(_all)?|set_rng_state(_all)?|enable_full_determinism|default_rng|fork_rng|RandomState"
    r"|SeedSequence|torch\.Generator)\b"
)
_OPTIMIZER = re.compile(r"torch\.optim\.(?!swa_utils)|transformers\.(optimization\.|Adafactor|get_\w*schedule)")
_TERM = re.compile(r"(task|hard|soft|ce|kl|kd|hint|logits?|attention|.*(distill|feature|loss).*)", re.IGNORECASE)
_TO_NUMBER = ("float", "int", "abs", "round", "pow", "min", "max")
_FROM_PLAN = "read it from the plan: `experiment.method`, `experiment.training_arguments()`"


def _seeds(source: Source) -> Iterator[Violation]:
    found = [(line, name) for line, name in source.references if _SEEDING.search(name)]
    found += [(line, name) for line, name in source.called if name.endswith(".seed")]  # uncalled, it may be the plan's
    for line, name in found:
        yield finding(line, "seed", f"`{name}` sets a seed", "delete it: seeds belong to the plan")


def _hyperparameters(source: Source) -> Iterator[Violation]:
    for node in source.nodes:
        for name, value in named_values(source, node):
            if HYPERPARAMETER.fullmatch(name) and _is_number(source, value):
                yield finding(value, "hyperparameter", f"`{name}` is written as a number", _FROM_PLAN)


def named_values(source: Source, node: ast.AST) -> Iterator[tuple[str, ast.expr]]:
    """Every (name, value) that an argument, an assignment, a default, a dictionary or setattr writes down."""
    match node:
        case ast.Call(func=ast.Name(id="setattr"), args=[_, ast.Constant(value=str(name)), value]):
            yield name, value
        case ast.Call():
            yield from source.arguments(node)
        case ast.Assign(targets=targets, value=value):
            for target in targets:
                yield from _assigned(target, value)
        case ast.AnnAssign(target=target, value=ast.expr() as value):
            yield from _assigned(target, value)
        case ast.AugAssign(target=target, value=value) | ast.NamedExpr(target=target, value=value):
            yield from _assigned(target, value)
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


def _is_number(source: Source, value: ast.expr, kinds: tuple[type, ...] = (int, float), depth: int = 2) -> bool:
    """True for 4.0, -1, 2 * 0.5, (0.9, 0.999), float("4") and for a name that always stands for such a value."""
    around = (ast.BinOp, ast.UnaryOp, ast.operator, ast.unaryop, ast.Tuple, ast.List, ast.expr_context)
    match value:
        case ast.Constant(value=constant):
            return type(constant) in kinds
        case ast.Call(func=ast.Name(id=name), args=[_, *_] as inner) if name in _TO_NUMBER:
            return all(_is_number(source, part, (*kinds, str), depth) for part in inner)
        case ast.Name():
            bound = source.values(value) if depth else []
            return bool(bound) and all(_is_number(source, part, kinds, depth - 1) for part in bound)
    parts = [part for part in ast.iter_child_nodes(value) if isinstance(part, ast.expr)]
    return isinstance(value, around) and bool(parts) and all(_is_number(source, p, kinds, depth) for p in parts)


def _choices(source: Source) -> Iterator[Violation]:
    """Numbers and words handed to the library's methods: a temperature, a number of layers, a norm."""
    for call in source.calls:
        name = source.full_name(call.func)
        if name.startswith(METHODS):
            for value in (*call.args, *(keyword.value for keyword in call.keywords)):
                if _is_number(source, value, (int, float, str)):
                    what = f"`{name.rpartition('.')[2]}` is given `{ast.unparse(value)[:60]}`"
                    yield finding(value, "hyperparameter", what, _FROM_PLAN)


def _weights(source: Source) -> Iterator[Violation]:
    """A loss term that is scaled by numbers alone carries a hidden alpha. A number beside a value of the plan, or
    inside the author's own definition of a term, is not a weight."""
    products = [node for node in source.nodes if _is_product(node)]
    inner = {id(part) for node in products for part in ast.iter_child_nodes(node)}
    chains = [[*_factors(node)] for node in products if id(node) not in inner]
    for node in source.nodes:
        match node:
            case ast.AugAssign(target=target, op=ast.Mult() | ast.Div(), value=value):
                chains.append([target, value])
            case ast.Call(func=ast.Attribute(value=term, attr="mul" | "div" | "mul_" | "div_"), args=[value]):
                chains.append([term, value])
    logged = _logged(source)
    for chain in chains:
        terms = [factor for factor in chain if _is_term(source, factor, logged)]
        others = [factor for factor in chain if factor not in terms]
        if terms and others and all(_is_number(source, factor) for factor in others):
            what = f"`{ast.unparse(terms[0])[:60]}` is weighted by a number"
            yield finding(terms[0], "hyperparameter", what, "weight it by `experiment.method.alpha` or `.beta`")


def _is_product(node: ast.AST) -> TypeGuard[ast.BinOp]:
    return isinstance(node, ast.BinOp) and isinstance(node.op, ast.Mult | ast.Div)


def _factors(node: ast.expr) -> Iterator[ast.expr]:
    if _is_product(node):
        yield from _factors(node.left)
        yield from _factors(node.right)
    else:
        yield node


def _logged(source: Source) -> set[str]:
    """The arguments of `experiment.log` that are loss terms."""
    logs = (call for call in source.calls if isinstance(call.func, ast.Attribute) and call.func.attr == "log")
    keywords = (k for call in logs if source.place(call.func) == "experiment.log" for k in call.keywords if k.arg)
    return {ast.unparse(keyword.value) for keyword in keywords if _TERM.fullmatch(str(keyword.arg))}


def _is_term(source: Source, node: ast.expr, logged: set[str]) -> bool:
    if isinstance(node, ast.Call):
        return source.full_name(node.func).startswith(METHODS)
    if not isinstance(node, ast.Name | ast.Attribute):
        return False
    return ast.unparse(node) in logged or any(
        isinstance(value, ast.Call) and _is_term(source, value, logged) for value in source.values(node)
    )


def _builders(source: Source) -> Iterator[Violation]:
    bases = [base for made in source.classes.values() for base in made.bases]
    for made in (*(call.func for call in source.calls), *bases):
        name = source.full_name(made)
        if name.endswith("TrainingArguments"):
            yield finding(made, "hyperparameter", f"builds `{name}`", "use `experiment.training_arguments()`")
        elif _OPTIMIZER.match(name):
            yield finding(made, "hyperparameter", f"builds `{name}`", "use `experiment.optimizer(student)`")


CHECKS: tuple[Check, ...] = (_seeds, _hyperparameters, _choices, _weights, _builders)
