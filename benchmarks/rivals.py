"""The arms of other frameworks, each used as its own documentation does; installed by requirements.txt beside this."""

import contextlib
import importlib.metadata
import logging
import random
import sys
import tempfile

import torch
from torch import library
from torch.utils.data import DataLoader

from baselines.data.collator import Collator
from benchmarks.arms import DEVICE, FIRST, Arm, Pass, cast, inputs_of, optimizer, step, student_of, teacher_of
from benchmarks.setting import METHOD, ROOT, Setting

SITE = ROOT / ".bench"
SHUFFLE = random.shuffle


def loader(setting: Setting, collate) -> DataLoader:
    """Random batches where it matters which rows share one, else the order of the other arms."""
    rows = setting.rows if setting.mixed else setting.ordered()
    return DataLoader(rows, setting.batch_size, shuffle=setting.mixed, drop_last=True, collate_fn=collate)


def textbrewer_general(setting: Setting) -> Pass:
    """TB-G: TextBrewer's GeneralDistiller, the one it recommends; the teacher asked at every step."""
    from textbrewer import GeneralDistiller

    return _textbrewer(setting, GeneralDistiller, cached=False)


def textbrewer_cached(setting: Setting) -> Pass:
    """TB-C: TextBrewer's BasicDistiller, which keeps batches and the teacher's logits; filling them is not timed."""
    from textbrewer import BasicDistiller

    return _textbrewer(setting, BasicDistiller, cached=True)


def _textbrewer(setting: Setting, distiller: type, cached: bool) -> Pass:
    from textbrewer import DistillationConfig, TrainingConfig

    logging.getLogger("Distillation").setLevel(logging.WARNING)
    done, model = Pass(setting.block), cast(student_of(setting), setting)
    teacher = teacher_of(setting)
    collate, offsets = Collator(setting.task), []

    def batch_of(items: list[dict]) -> dict:
        batch = collate(items)
        return inputs_of(batch) | {"labels": batch["labels"].to(DEVICE)}

    def adapted(batch: dict, outputs) -> dict:
        return {"logits": outputs.logits, "losses": outputs.loss}

    def answered(batch: dict, outputs) -> dict:
        return {"logits": outputs.logits}

    temperature, alpha = METHOD["temperature"], METHOD["alpha"]
    with tempfile.TemporaryDirectory() as out, _unshuffled(setting):
        made = distiller(
            TrainingConfig(output_dir=out, device=DEVICE, ckpt_frequency=1),
            DistillationConfig(
                temperature=temperature,
                kd_loss_weight=alpha * temperature**2,  # its own term has no T²
                hard_label_weight=1 - alpha,
                is_caching_logits=cached,
            ),
            teacher,
            model,
            answered,
            adapted,
        )
        train = made.train_on_batch

        def noted(batch, args):
            loss, terms = train(batch, args)
            done.note(loss - offsets[-1])
            return loss, terms

        made.train_on_batch = noted
        compute = made.compute_loss

        def offset(results_student: dict, results_teacher: dict):
            """Its soft term is a cross-entropy: the divergence of the others and the entropy of the answers."""
            if len(done.losses) < FIRST:
                soft = torch.softmax(results_teacher["logits"][0] / temperature, dim=-1)
                offsets.append(-alpha * temperature**2 * float((soft * soft.log()).sum(dim=-1).mean()))
            return compute(results_student, results_teacher)

        made.compute_loss = offset
        with made:
            made.train(optimizer(setting, model, done), loader(setting, batch_of), num_epochs=1, max_grad_norm=1.0)
    return done


@contextlib.contextmanager
def _unshuffled(setting: Setting):
    """TextBrewer shuffles its cached batches; where losses are compared the order must be the same."""
    if not setting.mixed:
        random.shuffle = lambda _: None
    try:
        yield
    finally:
        random.shuffle = SHUFFLE  # the one there was, also where two such arms take turns


def torchdistill(setting: Setting) -> Pass:
    """TD: torchdistill's box without Accelerate, in the loop of its examples, which reads the loss at every step."""
    get_box = _torchdistill()
    done, model = Pass(setting.block), cast(student_of(setting), setting)
    teacher = teacher_of(setting)
    collate = Collator(setting.task)

    def batch_of(items: list[dict]) -> tuple:
        batch = collate(items)
        return inputs_of(batch), batch["labels"].to(DEVICE), {}

    terms = {"temperature": METHOD["temperature"], "alpha": 1 - METHOD["alpha"], "reduction": "batchmean"}
    ends = {"module_path": ".", "io": "output"}
    paths = {f"{who}_module_{part}": value for who in ("student", "teacher") for part, value in _named(ends)}
    config = {
        "num_epochs": 1,
        "train_data_loader": {},
        "teacher": {"forward_proc": "forward_logits", "requires_grad": False},
        "student": {"forward_proc": "forward_logits"},
        "criterion": {
            "key": "WeightedSumLoss",
            "kwargs": {"sub_terms": {"kd": {"criterion": {"key": "KDLoss", "kwargs": paths | terms}, "weight": 1.0}}},
        },
    }
    box = get_box(teacher, model, {}, config, torch.device(DEVICE), None, False, 1, None)
    box.optimizer, box.max_grad_norm, box.grad_accum_step = optimizer(setting, model, done), 1.0, 1
    box.lr_scheduler = None
    model.train()
    teacher.eval()
    for batch, labels, more in loader(setting, batch_of):
        loss = box.forward_process(batch, labels, more)
        box.post_forward_process(loss=loss)
        done.note(loss)
        if not torch.isfinite(loss):
            raise FloatingPointError("torchdistill: the loss is not finite")
    return done


def timm(setting: Setting) -> Pass:
    """TM: timm's task for distillation from logits, in the loop of its train.py. Of images alone."""
    from timm.task import LogitDistillationTask

    done, model = Pass(setting.block), cast(student_of(setting), setting)
    collate = Collator(setting.task)

    def batch_of(items: list[dict]) -> tuple:
        batch = collate(items)
        return batch["pixel_values"].to(DEVICE), batch["labels"].to(DEVICE)

    task = LogitDistillationTask(
        _Pictured(model, setting.task),
        _Pictured(teacher_of(setting), setting.task),
        criterion=torch.nn.CrossEntropyLoss(),
        task_loss_weight=1 - METHOD["alpha"],
        temperature=METHOD["temperature"],
        device=torch.device(DEVICE),
        verbose=False,
    ).train()
    rule = optimizer(setting, model, done)
    for pixels, labels in loader(setting, batch_of):
        step(task(pixels, labels)["loss"], model, rule, done)
    return done


class _Pictured(torch.nn.Module):
    """A model as timm knows them."""

    def __init__(self, model: torch.nn.Module, task: dict) -> None:
        super().__init__()
        self.model, self.num_classes, self.in_chans = model, len(task["labels"]), task["channels"]
        self.pretrained_cfg = {"mean": task["mean"], "std": task["std"]}

    def forward(self, pixels: torch.Tensor) -> torch.Tensor:
        return self.model(pixel_values=pixels).logits


def _named(ends: dict):
    return (("path" if name == "module_path" else name, value) for name, value in ends.items())


def _torchdistill():
    """Its box."""
    _named_operators()
    from torchdistill.core.distillation import DistillationBox
    from torchdistill.core.interfaces.registry import register_forward_proc_func

    def forward_logits(model, batch, targets=None, supp_dict=None, **kwargs):
        return model(**batch).logits

    register_forward_proc_func(forward_logits, key="forward_logits")
    return DistillationBox


def _named_operators() -> None:
    """torchvision's compiled operators are for one build of torch; they find boxes in images and are not used here, so
    where they are missing their names are enough to import it."""
    for name in ("nms", "qnms", "roi_align", "roi_pool", "ps_roi_align", "ps_roi_pool", "deform_conv2d"):
        for suffix in ("", "_backward"):
            with contextlib.suppress(RuntimeError):  # named before, or there
                library.define(f"torchvision::{name}{suffix}", "(Tensor input) -> Tensor")


RIVALS: dict[str, Arm] = {"TB-G": textbrewer_general, "TB-C": textbrewer_cached, "TD": torchdistill, "TM": timm}
PACKAGES = {"TB-G": "textbrewer", "TB-C": "textbrewer", "TD": "torchdistill", "TM": "timm"}
FOR_IMAGES = ("TM",)


def missing(name: str) -> str:
    """Why that rival cannot run here, or ""."""
    if str(SITE) not in sys.path:
        sys.path.append(str(SITE))  # behind ours, and after transformers has looked for torchvision
    try:
        importlib.metadata.version(PACKAGES[name])
        if name == "TD":
            _torchdistill()
        elif name == "TM":
            _named_operators()
            import timm.task  # noqa: F401
        else:
            import textbrewer  # noqa: F401
    except Exception as error:  # whatever a rival's import may raise
        return f"{type(error).__name__}: {error}"
    return ""
