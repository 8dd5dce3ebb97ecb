"""The permitted use of `experiment`, of its rows and of the Trainer in an edited train.py: pass them on unchanged."""

import ast
import re
from collections.abc import Iterator

from sandbox.checks.plan_values import named_values
from sandbox.checks.source import Source
from sandbox.checks.violation import Check, Violation, finding

_OFFERED = (
    *("student", "teacher", "train_dataset", "transfer_dataset", "collator", "model_inputs"),
    *("training_arguments", "optimizer", "callbacks", "checkpoint", "method", "peer", "log", "seed", "steps", "task"),
)
_TEACHER_OFFERS = ("logits", "likelihoods", "features", "heads", "several", "critical", "widths", "model")

_CHANGING = re.compile(
    r"clear|pop|popitem|update|append|extend|insert|remove|setdefault|fill|put|itemset|resize|setflags|load_state_dict"
    r"|train|apply|add_module|register_\w+|copyto|put|place|putmask|shuffle|[a-z]\w*_"
)
_ROWS = re.compile(r"experiment\.(train|transfer)_dataset(\..*)?")
_CHOOSING = re.compile(r"select|filter|shard|take|skip|sample|train_test_split")
_CHOOSER = re.compile(r"torch\.utils\.data\.(.*\.)?(Subset|random_split|\w*Sampler)|transformers\..*Sampler")
_LOADER = re.compile(r"(.*\.)?(islice|DataLoader|StatefulDataLoader)")

_HANDED = {
    "args": "training_arguments",
    "train_dataset": "train_dataset",
    "data_collator": "collator",
    "optimizers": "optimizer",
    "callbacks": "callbacks",
}
"""What Trainer must be given under each of these names."""
_LIVE = {
    *("args", "state", "control", "optimizer", "lr_scheduler", "param_groups", "callback_handler"),
    *("train_dataset", "data_collator"),
}
_OF_THE_OPTIMIZER = ("lr", "initial_lr", "weight_decay", "betas", "momentum", "nesterov", "eps")
_STEPPING = re.compile(r"(.*\.)?(optimizer|scheduler|lr_scheduler)\.step|.*\.backward|backward")
_EVALUATING = re.compile(r".*\.(evaluate|evaluation_loop|predict|prediction_loop|prediction_step)")
_OF_THE_TRAINER = re.compile(
    r"get_(learning_rates|num_trainable_parameters|optimizer_group|optimizer_cls_and_kwargs|decay_parameter_names"
    r"|(train|eval|test)_dataloader|batch_samples|total_train_batch_size|[sct]p_size)"
    r"|_?(log|log_metrics|metrics_format|train|evaluate|evaluation_loop|predict|prediction_step|end|save|save_\w+)"
    r"|create_(optimizer|scheduler|optimizer_and_scheduler|accelerator_and_postprocess|model_card)"
    r"|num_examples|training_step|set_initial_training_values|(add|pop|remove)_callback|store_flos|init_hf_repo"
    r"|(compute_loss|autocast_smart)_context_manager|floating_point_ops|push_to_hub|hyperparameter_search"
    r"|call_model_init|is_(local|world)_process_zero|compute_metrics"
    r"|_(validate_args|build_accelerator_args|get_(dataloader|train_sampler|eval_sampler|learning_rate|grad_norm"
    r"|num_items_in_batch|output_dir|collator_with_removed_columns)|set_signature_columns_if_needed"
    r"|remove_unused_columns|inner_training_loop|init_training_state|prepare_(for_training|inputs?"
    r"|context_parallel_inputs)|run_epoch|finalize_training|maybe_log_save_evaluate|defer_fsdp_gradient_reduction"
    r"|sync_replicated_trainable_parameters|wrap_model|update_auto_batch_size|track_num_input_tokens"
    r"|mixed_mesh_grad_norm|has_mixed_mesh_grads|clip_grad_norm|determine_best_metric|load_(from_checkpoint|best_model"
    r"|rng_state|optimizer_and_scheduler|scaler|callback_state)|issue_warnings_after_load|push_from_checkpoint"
    r"|finish_current_push|hp_search_setup|report_to_hp_search|tune_save_checkpoint|move_model_to_device)"
)
"""Every method of Trainer but `compute_loss`, in which an idea lives."""


def _changes(source: Source) -> Iterator[Violation]:
    instead = "it is fixed: keep values in variables of your own"
    for node in source.nodes:
        match node:
            case ast.Attribute(value=holder, ctx=ast.Store() | ast.Del()):
                changed = source.is_fixed(holder)
            case ast.Subscript(value=holder, ctx=ast.Store() | ast.Del()):
                changed = source.is_fixed(holder) or _is_teacher_in_batch(node)
            case ast.Name(id="experiment", ctx=ast.Store() | ast.Del()):
                changed = True
            case ast.Call():
                changed = _changes_argument(source, node)
            case _:
                continue
        if changed:
            yield finding(node, "experiment", f"`{_text(node)}` changes `experiment`", instead)


def _is_teacher_in_batch(node: ast.Subscript) -> bool:
    return isinstance(node.slice, ast.Constant) and node.slice.value in ("teacher_logits", "ids")


def _changes_argument(source: Source, call: ast.Call) -> bool:
    """`experiment.callbacks.clear()`, `np.copyto(experiment.teacher.logits, …)`, `torch.add(…, out=…)`, setattr."""
    out = [keyword.value for keyword in call.keywords if keyword.arg == "out"]
    match call.func:
        case ast.Attribute(value=holder, attr=name) if _CHANGING.fullmatch(name):
            out += [holder, *call.args[:1]] if source.is_imported(holder) or name == "copyto" else [holder]
        case ast.Name(id="setattr" | "delattr"):
            out += call.args[:1]
        case ast.Name() as name if _CHANGING.fullmatch(source.full_name(name).rpartition(".")[2]):
            out += call.args[:1]
    return any(source.is_fixed(part) for part in out)


def _parts(source: Source) -> Iterator[Violation]:
    """Parts of `experiment` that it does not offer: its own records, its folders, its insides."""
    for node in source.nodes:
        if not isinstance(node, ast.Attribute):
            continue
        _, *parts = source.place(node).split(".")
        if not parts or parts[0] == "student":
            continue
        instead = f"it offers {', '.join(_OFFERED)}"
        if parts[0] not in _OFFERED:
            yield finding(node, "experiment", f"`experiment` does not offer `{parts[0]}`", instead)
        elif parts[0] == "teacher" and parts[1:] and parts[1] not in _TEACHER_OFFERS:
            what = f"`experiment.teacher` does not offer `{parts[1]}`"
            yield finding(node, "experiment", what, f"it offers {', '.join(_TEACHER_OFFERS)}")
        elif parts[-1].startswith("_"):
            yield finding(node, "experiment", f"reaches for `{parts[-1]}` inside `experiment.{parts[0]}`", instead)


def _copies(source: Source) -> Iterator[Violation]:
    """The teacher's weights as the student's, by another way than the plan's `init_layers`."""
    instead = "use `init_from_teacher` with the plan's `init_layers`"
    for call in source.calls:
        copies = isinstance(call.func, ast.Attribute) and call.func.attr in ("load_state_dict", "copy_")
        if copies and any(source.mentions(argument, "experiment.teacher.model") for argument in call.args):
            yield finding(call, "experiment", f"`{_text(call)}` copies the teacher", instead)
    for node in source.nodes:
        if isinstance(node, ast.Return) and node.value and source.place(node.value) == "experiment.teacher.model":
            yield finding(node, "experiment", "returns the teacher", "return the trained student")


def _rows(source: Source) -> Iterator[Violation]:
    instead = "train on `experiment.train_dataset`, whole: the plan fixes the number of rows"
    for line, name in source.references:
        if _CHOOSER.fullmatch(name):
            yield finding(line, "rows", f"`{name}` chooses rows", instead)
    for node in source.nodes:
        match node:
            case ast.Subscript(value=holder, slice=ast.Slice(lower=lower, upper=upper)) if lower or upper:
                chooses = _is_rows(source, holder)
            case ast.Call(func=ast.Attribute(value=holder, attr=name)) if _CHOOSING.fullmatch(name):
                chooses = _is_rows(source, holder)
            case ast.Call(func=function, args=[rows, *_]) if _LOADER.fullmatch(source.full_name(function)):
                chooses = _is_rows(source, rows) or "get_train_dataloader" in ast.unparse(rows)
            case ast.ListComp() | ast.SetComp() | ast.GeneratorExp() | ast.DictComp():
                chooses = any(_counts_to_a_number(loop.iter) for loop in node.generators) and _indexes(source, node)
            case ast.For(iter=loop):
                chooses = _counts_to_a_number(loop) and _indexes(source, node)
            case ast.FunctionDef(name="__len__", body=body):
                chooses = any(isinstance(s, ast.Return) and s.value and _has_number(s.value) for s in body)
            case _:
                continue
        if chooses:
            yield finding(node, "rows", f"`{_text(node)}` takes part of the rows", instead)


def _is_rows(source: Source, node: ast.expr) -> bool:
    return bool(_ROWS.fullmatch(source.place(node)))


def _counts_to_a_number(loop: ast.expr) -> bool:
    """True for `range(500)`, `range(0, len(rows), 2)` and `order[:500]`."""
    counted = isinstance(loop, ast.Call) and isinstance(loop.func, ast.Name) and loop.func.id == "range"
    return (counted and _has_number(loop)) or (isinstance(loop, ast.Subscript) and isinstance(loop.slice, ast.Slice))


def _has_number(node: ast.expr) -> bool:
    """A number that is not just a first index or a step of one."""
    numbers = (part.value for part in ast.walk(node) if isinstance(part, ast.Constant))
    return any(type(value) in (int, float) and value not in (0, 1) for value in numbers)


def _indexes(source: Source, node: ast.AST) -> bool:
    return any(isinstance(part, ast.Subscript) and _is_rows(source, part.value) for part in ast.walk(node))


def _trainers(source: Source) -> Iterator[Violation]:
    """There is a Trainer, it is given the objects of the plan, and it trains."""
    classes = _trainer_classes(source)
    made = [call for call in source.calls if source.full_name(call.func) in {*classes, "transformers.Trainer"}]
    if not made:
        instead = "train with a `transformers.Trainer`, or a subclass of it with its own `compute_loss`"
        yield finding(1, "trainer", "there is no Trainer, so its settings cannot be read back", instead)
        return
    givers = (node for node in source.nodes if isinstance(node, ast.Call | ast.Dict))
    given = [(name, value) for node in givers for name, value in named_values(source, node)]
    for name, part in _HANDED.items():
        instead = f"hand it `{name}=experiment.{part}{'()' if name == 'args' else ''}`"
        values = [value for key, value in given if key == name and not _is_parameter(source, value)]
        if not values:
            yield finding(made[0], "trainer", f"the Trainer gets no `{name}`", instead)
        for value in values:
            if not source.mentions(value, f"experiment.{part}"):
                yield finding(value, "trainer", f"the Trainer gets `{name}={_text(value)}`", instead)
    yield from _starts(source, made, given)
    if not any(name.endswith(".train") for _, name in source.called):
        yield finding(made[0], "trainer", "the Trainer never trains", "call its `train()`")


def _starts(source: Source, made: list[ast.Call], given: list[tuple[str, ast.expr]]) -> Iterator[Violation]:
    """Training starts from the beginning, or from the checked checkpoint with a Trainer without other state."""
    began = [value for name, value in given if name == "resume_from_checkpoint"]
    for call in source.calls:
        if isinstance(call.func, ast.Attribute) and call.func.attr == "train":
            ours = any(value in made for value in (call.func.value, *source.values(call.func.value)))
            began += call.args if ours else []
    goes_on = [value for value in began if source.place(value) == "experiment.checkpoint"]
    for value in (value for value in began if value not in goes_on and _text(value) != "None"):
        instead = "use `resume_from_checkpoint=experiment.checkpoint`"
        yield finding(value, "trainer", f"training continues from `{_text(value)}`", instead)
    for node in _running(source) if goes_on else ():
        what = f"`{_text(node)}` is kept from step to step, and checkpoints do not contain it"
        yield finding(node, "trainer", what, "call `train()` without `resume_from_checkpoint`")


def _running(source: Source) -> Iterator[ast.AugAssign | ast.Assign]:
    """Assignments in a Trainer that make a new value of `self` from its old one."""
    for made in _trainer_classes(source).values():
        for node in ast.walk(made):
            match node:
                case ast.AugAssign(target=ast.Attribute(value=ast.Name(id="self"))):
                    yield node
                case ast.Assign(targets=[ast.Attribute(value=ast.Name(id="self")) as target], value=value):
                    if ast.unparse(target) in {ast.unparse(part) for part in ast.walk(value)}:
                        yield node


def _is_parameter(source: Source, value: ast.expr) -> bool:
    """A name that only passes on what a function was given."""
    return isinstance(value, ast.Name) and not source.values(value)


def _trainer_classes(source: Source) -> dict[str, ast.ClassDef]:
    """The classes of this file that are Trainers, by their own bases or by those of their bases."""
    known = {"transformers.Trainer"}
    for _ in source.classes:
        known |= {n for n, made in source.classes.items() if any(source.full_name(b) in known for b in made.bases)}
    return {name: made for name, made in source.classes.items() if name in known}


def _overrides(source: Source) -> Iterator[Violation]:
    """Parts of Trainer replaced in a subclass, on an object or on the class."""
    found: list[tuple[ast.stmt | ast.expr, str]] = []
    for made in _trainer_classes(source).values():
        found += [(item, item.name) for item in made.body if isinstance(item, ast.FunctionDef | ast.AsyncFunctionDef)]
        names = [(item, node) for item in made.body for node in ast.walk(item) if isinstance(item, ast.Assign)]
        found += [(item, node.id) for item, node in names if isinstance(node, ast.Name)]
    found += [(n, n.attr) for n in source.nodes if isinstance(n, ast.Attribute) and isinstance(n.ctx, ast.Store)]
    for node, name in found:
        if _OF_THE_TRAINER.fullmatch(name):
            what = f"replaces `Trainer.{name}`"
            yield finding(node, "trainer", what, "put the idea into `compute_loss`; the rest is the plan's")


def _live(source: Source) -> Iterator[Violation]:
    """Settings of a Trainer at work, changed where they live."""
    ours = {id(node) for made in _trainer_classes(source).values() for node in ast.walk(made)}
    for node in source.nodes:
        if not isinstance(node, ast.Attribute | ast.Subscript) or isinstance(node.ctx, ast.Load):
            continue
        if source.is_fixed(node.value) or (_text(node).startswith("self.") and id(node) not in ours):
            continue
        parts = {part.attr for part in ast.walk(node) if isinstance(part, ast.Attribute)}
        key = node.slice.value if isinstance(node, ast.Subscript) and isinstance(node.slice, ast.Constant) else ""
        if parts & _LIVE or key in _OF_THE_OPTIMIZER or any(part.startswith("should_") for part in parts):
            what = f"`{_text(node)}` changes a setting while it trains"
            yield finding(node, "trainer", what, "leave it: the plan fixes rates, steps and lengths")


def _steps(source: Source) -> Iterator[Violation]:
    for call in source.calls:
        name = source.full_name(call.func)
        if _STEPPING.fullmatch(name):
            yield finding(call, "trainer", f"calls `{name}`", "return the loss: the Trainer takes the planned steps")
        elif _EVALUATING.fullmatch(name):
            yield finding(call, "trainer", f"calls `{name}`", "delete it: the harness evaluates")
        elif name.endswith(("pop_callback", "remove_callback")):
            yield finding(call, "trainer", f"calls `{name}`", "keep `experiment.callbacks`: they record the training")


def _text(node: ast.AST) -> str:
    return ast.unparse(node).partition("\n")[0][:60]


CHECKS: tuple[Check, ...] = (_changes, _parts, _copies, _rows, _trainers, _overrides, _live, _steps)
