"""The report of one synthetic run, and of runs that went otherwise."""

import re
import subprocess
import sys
from itertools import pairwise
from pathlib import Path

import jinja2
import numpy as np
import pydantic
import pytest

from agent.frozen import Known
from agent.plan.method import Method
from agent.plan.plan import ModelSpec, Plan, Task, Track, Training
from agent.plan.prose import fill
from agent.render import render
from agent.results.compare import compare, gap, judge
from agent.results.conclude import conclude, headline
from agent.results.published import published
from agent.results.report import escape, render_report, spread, write_report
from agent.results.schema import (
    ArmResult,
    Assistant,
    Attempt,
    Authorship,
    Code,
    Data,
    FieldRow,
    Finding,
    Guard,
    Isolation,
    Latency,
    Measured,
    Model,
    Results,
    Split,
    TrackResult,
    Trial,
    summaries,
    summary,
)
from agent.results.score import score

SECTIONS = [
    "# Experiment Report: Selective distillation",
    "## Idea",
    "## Experiment Plan",
    "### 1. Objective",
    "### 2. Methodology",
    "### 3. Datasets",
    "### 4. Model Architecture",
    "### 5. Hyperparameters",
    "### 6. Evaluation Metrics",
    "## Deviations",
    "## Results",
    "## Benchmark Results",
    "## Code Changes",
    "## Reproducibility",
    "## Review",
    "## Limitations",
    "## Conclusion",
]
IDEA = 'efficient KD <script>alert("x")</script> for *small* models | [click](http://x)'
LABELS = np.arange(400) % 4
PASSED = Guard(name="weights_changed", where="outside", outcome="pass", detail="every trial")
INSIDE = Guard(name="teacher_used", where="in-process", outcome="pass", detail="96 reads")
NOT_RUN = Guard(name="step_count", where="outside", outcome="not_run", detail="no checkpoint")


STEMS = {"teacher": "cifar", "student": "imagenet"}


def plan(seeds=6, tracks=("digits",)):
    task = Task(
        name="digits", kind="image", source="embedded: scikit-learn digits", labels=tuple("0123"), train_rows=100,
        transfer_rows=900, dev_rows=200, test_rows=400, input_size=32, hash="d" * 64, encoded="e" * 64,
    )  # fmt: skip
    model = ModelSpec(architecture="resnet", layers=3, width=8)
    training = Training(learning_rate=0.005, batch_size=32, epochs=12)
    track = Track(
        name="digits", task=task, teacher=model, teacher_training=training.model_dump(), student=model,
        training=training, method=Method(name="kd_selective", temperature=4.0),
    )  # fmt: skip
    return Plan(
        idea=IDEA, title="Selective distillation", objective="Match the teacher at {temperature}.",
        hypothesis="The last {layers} layers help.", methodology="Compare arms.", scale="demo",
        tracks=tuple(track.model_copy(update={"name": name}) for name in tracks), seeds=tuple(range(seeds)),
        reference_arms=("student_only", "vanilla_kd"), provenance={},
    )  # fmt: skip


def trials(share, seeds, start):
    """Trials that answer about `share` of the examples rightly."""
    for seed in range(seeds):
        wrong = np.random.default_rng(start + seed).random(400) >= share
        yield score(np.eye(4)[np.where(wrong, (LABELS + 1) % 4, LABELS)], LABELS)


def arm(name, scores, **more):
    return ArmResult(
        name=name, method="kd", commit=name[0] * 40, summaries=summaries(scores), seconds=61.4,
        trials=tuple(Trial(seed=seed, scores=s.metrics) for seed, s in enumerate(scores)),
        latency=Latency(p50_ms=1.2, p95_ms=1.9, protocol="cpu, one thread, batch of one"), **more,
    )  # fmt: skip


def track_result(name="digits", share=0.9, seeds=6, guards=(PASSED, INSIDE), fields=()):
    ours, theirs, alone = (list(trials(s, seeds, start)) for s, start in ((share, 0), (0.8, 50), (0.7, 90)))
    (teacher,) = trials(0.95, 1, 20)
    judged = tuple(
        comparison
        for other, scores in (("vanilla_kd", theirs), ("student_only", alone))
        for comparison in judge(compare("proposed", other, ours, scores, 300), guards, "accuracy", 0.005, 0.05)
    )
    return TrackResult(
        name=name,
        data=Data(
            source="embedded: scikit-learn digits", revision="", hash="d" * 64, notes=("1,297 of 1,797 rows used",),
            overlap="none", splits={"train": Split(rows=100, label_counts={"0": 25, "1": 75}),
                                    "transfer": Split(rows=900, label_counts={})},
        ),
        teacher=Model(architecture="resnet", checkpoint="", parameters=78_042, size_mb=0.31),
        student=Model(architecture="resnet", checkpoint="", parameters=20_010, size_mb=0.08),
        fields=(FieldRow(field="temperature", planned="4.0", executed="4.0", origin="model", status="MATCH"), *fields),
        arms=(arm("proposed", ours), arm("vanilla_kd", theirs), arm("student_only", alone)),
        teacher_scores=teacher.metrics, majority_accuracy=0.25, comparisons=judged, guards=guards,
        gap=gap(teacher, alone), published=published("cifar10")[:1],
    )  # fmt: skip


def failing_track():
    """The proposed arm never finished, and another arm claimed what was not measured."""
    track = track_result()
    lost = {"trials": (), "summaries": {}, "latency": None, "failures": ("seed 0: timed out after 600 s",)}
    claim = {"disagreements": ("reported 0.99, measured 0.80",)}
    proposed, other, alone = track.arms
    arms = (proposed.model_copy(update=lost), other.model_copy(update=claim), alone)
    return track.model_copy(update={"arms": arms, "comparisons": (), "gap": None, "teacher_scores": {}})


def measured(**changes):
    facts = dict(
        run="demo-1", status="complete", status_reason="", created="2026-01-02T03:04:05Z", version="0.1.0", idea=IDEA,
        title="Selective distillation", source=Authorship(name="recipes", model="", took_part=False), plan=plan(),
        plan_hash=plan().hash,
        isolation=Isolation(backend="process", level=0, protects=("the environment",), not_protected=("any file.",)),
        environment={"torch": Known(value="2.13.0"), "driver": Known(reason="no accelerator")},
        tracks=(track_result(),),
        attempts=(
            Attempt(number=1, commit="a" * 40, summary="feature term", outcome="kept", dev_score=0.91, reason=""),
            Attempt(number=2, commit="", summary="sets a seed", outcome="rejected", dev_score=None, reason="rule"),
        ),
        code=Code(original="a = 1\n", updated="a = 2  # ```\n", diff="-a = 1\n+a = 2  # ```\n"),
        exposures={"proposed": 1, "vanilla_kd": 1}, seconds={"teacher": 61.0, "trials": 131.0}, tokens=0,
    )  # fmt: skip
    return Measured(**{**facts, **changes})


@pytest.fixture(scope="module")
def results():
    return conclude(measured())


@pytest.fixture(scope="module")
def report(results):
    return render_report(results)


def section(report, title):
    return re.search(rf"^## {title}\n(.*?)(?=^## |\Z)", report, re.S | re.M).group(1)


def outside_code(report):
    return re.sub(r"^(`{3,})\w*\n.*?^\1$", "", report, flags=re.S | re.M)


def test_sections_stand_in_the_agreed_order(report):
    assert re.findall(r"^#{1,3} .*", outside_code(report), re.M) == SECTIONS


def test_the_top_says_verdict_difference_size_status_time_and_who_took_part(report):
    top = report.split("## Idea")[0]
    assert "**Verdict: better.** The proposed arm is better than vanilla_kd on digits." in top
    assert re.search(r"accuracy \+\d+\.\d\d points \[\d+\.\d\d, \d+\.\d\d\], n=6 seeds × 400 examples", top)
    assert "Run demo-1: complete" in top
    assert "6 seeds planned (0, 1, 2, 3, 4, 5)" in top
    assert "wall time 3 min 12 s" in top
    assert "No language model took part" in top


def test_a_model_that_took_part_is_named():
    model = Authorship(name="openai", model="some_model", took_part=True)
    top = render_report(conclude(measured(source=model, tokens=12_345)))
    assert "The language model some_model took part (source: openai; 12,345 tokens)" in top
    assert "No language model" not in top


def test_the_headline_number_is_the_measured_one(results, report):
    (main,) = (c for c in results.tracks[0].comparisons if (c.benchmark, c.metric) == ("vanilla_kd", "accuracy"))
    ours, theirs = (np.mean([t.scores["accuracy"] for t in a.trials]) for a in results.tracks[0].arms[:2])
    written = f"{100 * (ours - theirs):+.2f} points [{100 * main.low:.2f}, {100 * main.high:.2f}]"
    for title in ("Benchmark Results", "Conclusion"):
        assert written in section(report, title)


def test_every_share_is_percent_and_no_float_is_left_raw(report):
    body = outside_code(report)
    assert not re.search(r"\d\.\d{4,}", body)
    assert "None" not in body.replace("\nNone.\n", "") and "nan" not in body.split()
    assert re.search(r"\| proposed \| kd \| 6 \| \d\d\.\d\d % ± \d\.\d\d \[\d\d\.\d\d, \d\d\.\d\d\] \|", body)
    assert "| 78,042 | 0.31 MB |" in body


def test_user_text_cannot_become_markup(report):
    idea = section(report, "Idea")
    assert "<script>" not in outside_code(report)
    assert r"&lt;script&gt;alert(\"x\")" in idea.replace('"', r"\"")
    assert r"\*small\* models \| [click\](http://x)" in idea


@pytest.mark.parametrize(
    ("text", "safe"),
    [
        ("student_only", "student_only"),
        ("_x_ __y__", r"\_x\_ \_\_y\_\_"),
        ("# title", r"\# title"),
        ("1. item", r"1\. item"),
        ("-0.3 [1, 2]", "-0.3 [1, 2]"),
        ("---", r"\---"),
        ("two\n\n# lines", "two # lines"),
        ("a\x1b[31mb\u202e", "a [31mb"),
        ("`x` ~~y~~ \\ &amp;", r"\`x\` \~\~y\~\~ \\ &amp;amp;"),
    ],
)
def test_escaping_keeps_text_readable_and_inert(text, safe):
    assert escape(text) == safe


def test_tables_have_as_many_cells_as_columns(report):
    for table in re.findall(r"(?:^\|.*\n)+", outside_code(report), re.M):
        columns = {len(re.findall(r"(?<!\\)\|", line)) for line in table.splitlines()}
        assert len(columns) == 1, table
        assert re.fullmatch(r"\|(---\|)+", table.splitlines()[1]), table


def test_lists_and_details_end_with_a_blank_line(report):
    for text in (report, render_report(conclude(measured(tracks=(failing_track(),), status="partial")))):
        lines = outside_code(text).splitlines()
        for line, following in pairwise(lines):
            if line.startswith(("- ", "|")) or line == "</details>":
                assert following == "" or following[:1] == line[:1], following


def test_code_stands_in_fences_that_its_backticks_cannot_close(report):
    code = section(report, "Code Changes")
    assert "````diff\n-a = 1\n+a = 2  # ```\n````" in code
    assert code.index("````diff") < code.index("<summary>Original Code</summary>") < code.index("Updated Code")
    assert "not trained" in code and "91.00 %" in code


def test_placeholders_in_prose_become_the_values_of_the_plan(report):
    assert "Match the teacher at 4.0." in report
    assert "The last 3 layers help." in report
    two = plan(tracks=("a", "b"))
    warm = two.tracks[1].method.model_copy(update={"temperature": 2.0})
    two = two.model_copy(update={"tracks": (two.tracks[0], two.tracks[1].model_copy(update={"method": warm}))})
    assert fill("{temperature}, {alpha}, {nothing.real}", two) == "4.0 / 2.0, 0.5, {nothing.real}"


def test_a_stranger_reads_what_is_not_protected_and_which_checks_are_in_process(report):
    text = section(report, "Reproducibility")
    assert "It does **not** protect: any file." in text
    assert "| digits | teacher_used | in-process | pass |" in text
    assert "| driver | unknown: no accelerator |" in text
    assert "kdagent report demo-1\nkdagent show demo-1" in text
    assert plan().hash in text and "d" * 64 in text


def test_published_figures_stand_apart_with_their_source(report):
    text = section(report, "Benchmark Results")
    assert text.index("kept out of the tables above") > text.index("| vanilla_kd | accuracy |")
    assert "| ResNet-50 | accuracy | 93.62 % | not stated |" in text


def test_no_deviation_is_said_and_every_deviation_is_listed(report):
    assert section(report, "Deviations").strip() == "None."
    rows = (
        FieldRow(field="epochs", planned="20", executed="1", origin="user", status="DEVIATED"),
        FieldRow(field="optimizer", planned="adam", executed="", origin="default", status="NOT_SEEN"),
    )
    text = render_report(conclude(measured(tracks=(track_result(fields=rows),), deviations=("One trial ran twice.",))))
    assert section(text, "Deviations").strip().splitlines() == [
        "- digits: epochs was planned as 20, executed as 1.",
        "- digits: optimizer was planned as adam, and could not be read back.",
        "- One trial ran twice.",
    ]
    assert "| epochs | 20 | 1 | user | in-process | **DEVIATED** |" in text


def test_the_same_results_give_the_same_bytes_also_through_json(results, tmp_path):
    again = Results.model_validate_json(results.model_dump_json(by_alias=True))
    assert again == results
    first, second = tmp_path / "a", tmp_path / "b"
    first.mkdir(), second.mkdir()
    assert write_report(first, results).read_bytes() == write_report(second, again).read_bytes()


def test_what_follows_can_be_derived_again_from_what_was_measured(results):
    facts = {name: getattr(results, name) for name in Measured.model_fields}
    assert conclude(Measured(**facts)) == results


def test_an_unknown_schema_or_a_number_that_is_none_is_refused(results):
    stored = results.model_dump(by_alias=True)
    with pytest.raises(pydantic.ValidationError, match="schema"):
        Results.model_validate({**stored, "schema": 4})
    with pytest.raises(pydantic.ValidationError, match="finite"):
        Latency(p50_ms=float("nan"), p95_ms=1, protocol="")


def test_a_value_the_template_misses_is_an_error(results):
    with pytest.raises(jinja2.UndefinedError):
        render("report/report.md.j2", results=results)
    (track,) = results.tracks
    broken = track.arms[0].model_copy(update={"summaries": {}})
    tracks = (track.model_copy(update={"arms": (broken,)}),)
    with pytest.raises(jinja2.UndefinedError, match="accuracy"):
        render_report(results.model_copy(update={"tracks": tracks}))


def test_three_seeds_read_as_inconclusive_with_the_reason():
    few = conclude(measured(plan=plan(seeds=3), tracks=(track_result(seeds=3),)))
    text = render_report(few)
    assert few.verdict == "inconclusive"
    assert "neither supported nor contradicted" in section(text, "Conclusion")
    assert "With 3 seeds the exact level cannot go below 0.250" in text
    assert any("6 are the fewest" in line for line in few.limitations)


def test_a_worse_arm_reads_as_worse():
    worse = conclude(measured(tracks=(track_result(share=0.5),)))
    assert worse.verdict == "worse"
    assert "The hypothesis is contradicted" in worse.conclusion
    assert "accuracy -" in worse.findings[0].difference


def test_a_failed_check_reads_as_invalid():
    failed = Guard(name="teacher_used", where="in-process", outcome="fail", detail="0 reads")
    invalid = conclude(measured(tracks=(track_result(guards=(PASSED, failed)),)))
    text = render_report(invalid)
    assert "**Verdict: invalid.** No comparison stands: a check failed on digits." in text
    assert "Failed: teacher_used (0 reads)." in text
    assert "| digits | teacher_used | in-process | **fail** | 0 reads |" in text
    assert "Nothing can be concluded" in section(text, "Conclusion")


def test_a_check_that_could_not_run_blocks_the_claim():
    blocked = conclude(measured(tracks=(track_result(guards=(PASSED, NOT_RUN)),)))
    assert blocked.verdict == "inconclusive"
    assert "digits: the check step_count could not run." in blocked.limitations


@pytest.mark.parametrize("status", ["partial", "failed", "cancelled"])
def test_a_run_that_is_not_complete_makes_no_claim_and_says_so_at_the_top(status):
    stopped = conclude(measured(status=status, status_reason="the disk budget ran out"))
    top = render_report(stopped).split("## Idea")[0]
    assert stopped.verdict == "inconclusive"
    assert f"**This run is {status}.** the disk budget ran out" in top
    assert f"The run is {status} (the disk budget ran out), so it makes no claim." in top


def test_a_run_that_trained_nothing_still_has_every_section():
    empty = conclude(
        measured(status="failed", status_reason="the teacher failed", tracks=(), attempts=(), exposures={}, seconds={})
    )
    text = render_report(empty)
    assert re.findall(r"^#{1,3} .*", outside_code(text), re.M) == SECTIONS
    assert empty.verdict == "inconclusive"
    assert "The comparison with vanilla_kd was not made." in text


def test_an_arm_without_a_finished_trial_is_shown_with_its_failure():
    partial = conclude(measured(status="partial", status_reason="one arm failed", tracks=(failing_track(),)))
    text = render_report(partial)
    assert "no trial finished" in text and "timed out after 600 s" in text
    assert "claimed ≠ measured: reported 0.99, measured 0.80" in text
    assert "No comparison was made." in text
    assert "digits: 1 trial of proposed did not finish." in partial.limitations


@pytest.mark.parametrize(
    ("verdicts", "overall", "says"),
    [
        (["better", "better"], "better", "better than vanilla_kd on a and b"),
        (["better", "inconclusive"], "inconclusive", "do not agree: better on a; inconclusive on b"),
        (["better", "worse"], "inconclusive", "do not agree: better on a; worse on b"),
        (["inconclusive", "worse"], "worse", "worse than vanilla_kd on b"),
        (["inconclusive", "inconclusive"], "inconclusive", "is open"),
        (["better", "invalid"], "invalid", "failed on b"),
        (["worse", "invalid"], "invalid", "failed on b"),
    ],
)
def test_the_headline_is_the_most_cautious_verdict_that_fits(verdicts, overall, says):
    findings = [
        Finding(track=name, verdict=verdict, difference="", reason="", without_teacher="", gap="")
        for name, verdict in zip("ab", verdicts, strict=True)
    ]
    verdict, sentence = headline(findings, "vanilla_kd")
    assert verdict == overall and says in sentence


def test_a_planned_track_without_results_keeps_the_run_from_being_better():
    half = conclude(measured(plan=plan(tracks=("digits", "docstrings"))))
    assert [f.verdict for f in half.findings] == ["better", "inconclusive"]
    assert half.verdict == "inconclusive"


def test_limitations_follow_from_the_facts(results):
    text = "\n".join(results.limitations)
    for said in (
        "rests on 6 seeds",
        "400 examples; each is worth 0.25 points",
        "ship with installed packages",
        "one labelled subset",
        "vanilla_kd was not tuned",
        "One task was tried",
        "Isolation (process, level 0) does not protect: any file.",
        "training process's own report: teacher_used.",
        "Unknown about the environment: driver.",
    ):
        assert said in text
    assert "could not run" not in text and "one evaluation was planned" not in text
    assert "were evaluated on the test inputs 2 times" in "\n".join(
        conclude(measured(exposures={"proposed": 2})).limitations
    )


def test_the_command_that_asks_for_the_same_run_is_given_as_typed():
    command = "kdagent run 'softer labels' --scale demo --set 'seeds=[0, 1]' --yes"
    assert f"```sh\n{command}\n```" in render_report(conclude(measured(command=command)))


def test_warnings_of_the_plan_are_shown_beside_its_hyperparameters():
    warned = "training.learning_rate: 0.001 is outside 1e-05..5e-05"
    text = render_report(conclude(measured(warnings=(warned,))))
    assert f"- {warned}" in text.split("### 6.")[0] and warned not in render_report(conclude(measured()))


def test_summary_is_mean_deviation_and_t_interval():
    found = summary("accuracy", [0.90, 0.92, 0.94])
    assert (found.mean, found.sd) == (pytest.approx(0.92), pytest.approx(0.02))
    assert found.high - found.mean == pytest.approx(4.302653 * 0.02 / 3**0.5)
    assert summary("accuracy", [0.99, 1.0]).high == 1.0 and summary("nll", [0.5, 2.5]).high > 1
    assert spread("accuracy", summary("accuracy", [0.9])) == "90.00 % (one seed)"


def test_every_published_figure_has_a_protocol_and_a_source():
    rows = [row for task in ("ag_news", "cifar10", "cifar100") for row in published(task)]
    assert len(rows) > 25 and all(0.5 < row.value < 1 and row.protocol and row.source and row.date for row in rows)
    assert {row.model for row in published("ag_news")} >= {"BERT-base", "DistilBERT"}
    assert {row.model for row in published("cifar10")} >= {"ResNet-50", "MobileNetV2", "ResNet-56", "ResNet-20"}
    assert published("digits") == ()


def test_importing_the_report_imports_nothing_heavy():
    heavy = ["numpy", "scipy", "sklearn", "jinja2", "torch"]
    code = f"import sys, agent.results.report; print([name for name in {heavy} if name in sys.modules])"
    here = Path(__file__).parents[3]
    assert subprocess.run([sys.executable, "-c", code], cwd=here, capture_output=True, text=True).stdout == "[]\n"


def test_every_table_about_a_cnn_says_which_stem_it_has():
    """It decides over accuracy and a fourteenfold cost, and no class name tells it."""
    known = measured()
    [track] = known.plan.tracks
    stems = {who: getattr(track, who).model_copy(update={"stem": stem}) for who, stem in STEMS.items()}
    planned = known.plan.model_copy(update={"tracks": (track.model_copy(update=stems),)})
    text = render_report(conclude(known.model_copy(update={"plan": planned})))
    assert re.search(r"\| digits \| student \| \w+, imagenet stem \|", text)
    for table in ("Results", "Comparisons"):
        below = text.partition(f"#### {table} on digits")[2]
        assert below.strip().startswith("Teacher with cifar stem, student with imagenet stem.")


def test_an_assistant_is_listed_with_what_it_cost_and_only_where_there_is_one():
    track = track_result()
    model = Model(architecture="resnet", checkpoint="", parameters=44_014, size_mb=0.18)
    assistant = Assistant(model=model, scores=track.teacher_scores, steps=1440, seconds=6.5)
    text = render_report(conclude(measured(tracks=(track.model_copy(update={"assistant": assistant}),))))
    assert "| digits | assistant | resnet | random weights | 44,014 |" in text
    assert "for 1,440 steps in addition to those of the arms" in text and "| assistant | taught by the teacher" in text
    assert "assistant" not in render_report(conclude(measured()))


@pytest.mark.parametrize(
    ("known", "told"),
    [
        (Known(value=f"commit {'c' * 40} + changes"), f"kdagent 0.1.0 (commit {'c' * 40} + changes)."),
        (Known(value="installed, version 0.1.0"), "kdagent 0.1.0 (installed, version 0.1.0)."),
        (Known(reason="FileNotFoundError: git"), "kdagent 0.1.0 (commit unknown)."),
        (None, "kdagent 0.1.0.\n"),  # a record from before it was observed
    ],
)
def test_commit_of_kdagent_stands_beside_its_version(known, told):
    environment = {"kdagent": known} if known else {}
    assert f"created 2026-01-02T03:04:05Z by {told}" in render_report(conclude(measured(environment=environment)))


def test_a_claim_names_beside_the_verdict_what_rests_on_the_trainings_own_word(results):
    """Not in a footnote; not for records of before, whose reports are as they were."""
    claims = results.model_copy(update={"verdict": "better"})
    said = re.search(
        r"rests on the word of the process that trained it, for \d+ checks?: (.*)\.", render_report(claims)
    )
    named = {check.name for check in results.tracks[0].guards if (check.where, check.outcome) == ("in-process", "pass")}
    assert said and named and named <= set(said[1].split(", "))
    for silent in (claims.model_copy(update={"schema_": 2}), results.model_copy(update={"verdict": "inconclusive"})):
        assert silent.on_its_word == () and "on the word of the process" not in render_report(silent)
