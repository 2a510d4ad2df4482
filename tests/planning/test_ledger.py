"""Verdicts on invented rows, and pages that say what rows say."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from planning.ledger import judges, rules
from planning.ledger.claims import CLAIMS
from planning.ledger.evidence import ENCODERS, Evidence
from planning.ledger.measurements import add_rows, newest, read_rows
from planning.ledger.modules import MODULES
from planning.ledger.pages import render_claims, render_modules
from planning.ledger.rules import Verdict
from robot_wm.core.errors import DataError

ROOT = Path(__file__).parent.parent.parent
HOLDS, FAILS, OPEN = Verdict.HOLDS, Verdict.FAILS, Verdict.OPEN


@pytest.mark.parametrize(
    ("verdict", "wanted"),
    [
        # 1: mean 2.0 ± 0.1, t = 4.303 of three: well above 1; 1.6 ± 0.5 reaches down to 0.2.
        (rules.sooner({"cpu": [1.9, 2.0, 2.1], "samples": [1.6, 1.7, 1.8]}), HOLDS),
        (rules.sooner({"cpu": [1.1, 1.6, 2.1], "samples": [1.6, 1.7, 1.8]}), FAILS),
        (rules.sooner({"cpu": [1.3, 1.4, 1.5], "samples": [1.6, 1.7, 1.8]}), FAILS),
        (rules.sooner({"cpu": [2.0, None, 2.0], "samples": [2.0, 2.0, 2.0]}), FAILS),
        (rules.sooner({"cpu": [2.0, 2.0], "samples": [2.0, 2.0]}), OPEN),
        (rules.sooner({}), OPEN),
        (rules.noise_wasted(0.1, [0.2, 0.4]), HOLDS),
        (rules.noise_wasted(0.16, [0.2, 0.4]), FAILS),
        (rules.noise_wasted(None, [0.2]), OPEN),
        (rules.noise_wasted(0.1, []), OPEN),
        (rules.dominated({"a": True, "b": True}), HOLDS),
        (rules.dominated({"a": True, "b": False, "c": False}), OPEN),
        (rules.dominated({"a": False, "b": False, "c": False}), FAILS),
        (rules.alive({0.99: [0.31, 0.5], 0.9: [0.01]}), HOLDS),
        (rules.alive({0.99: [0.31, 0.29]}), FAILS),
        (rules.alive({0.9: [0.5]}), OPEN),
        (rules.interior({2: 10.0, 8: 30.0, 64: 20.0}), HOLDS),
        (rules.interior({2: 10.0, 8: 30.0, 64: 30.0}), FAILS),
        (rules.interior({2: 10.0, 8: 30.0}), OPEN),
        (rules.ahead(84.0, 53.0, [60.0, 74.0]), HOLDS),
        (rules.ahead(84.0, 53.0, [60.0, 74.1]), FAILS),
        (rules.ahead(62.0, 53.0, []), FAILS),
        (rules.ahead(84.0, 53.0, []), OPEN),
        (rules.ahead(None, 53.0, [50.0]), OPEN),
        # 7: the best real score decides, not the best ratio.
        (rules.dreamt({0.5: (100.0, 20.0), 1.15: (100.0, 70.0)}, 50.0), HOLDS),
        (rules.dreamt({0.5: (100.0, 20.0), 1.15: (100.0, 70.0)}, 51.0), FAILS),
        (rules.dreamt({0.5: (10.0, 10.0), 1.15: (100.0, 69.0)}, 0.0), FAILS),
        (rules.dreamt({0.5: (0.0, 4.0), 1.0: (0.0, 6.0)}, 4.0), FAILS),
        (rules.dreamt({}, 0.0), OPEN),
        (rules.monotone([{1: 0.1, 2: 0.2, 4: 0.3}] * 3), HOLDS),
        (rules.monotone([{1: 0.3, 2: 0.2, 4: 0.1}] * 3), HOLDS),
        (rules.monotone([{1: 0.1, 2: 0.3, 4: 0.2}] * 3), FAILS),
        (rules.monotone([{1: 0.1, 2: 0.2, 4: 0.3}] * 2), OPEN),
        (rules.monotone([{1: 0.1, 2: 0.2}] * 3), OPEN),
        (rules.transferred({"red": 20.0, "light": -3.0}), HOLDS),
        (rules.transferred({"red": 20.1}), FAILS),
        (rules.transferred({}), OPEN),
        (rules.uncertain(((90, 100), (60, 100)), [((95, 100), (96, 100))]), HOLDS),
        (rules.uncertain(((90, 100), (60, 100)), [((60, 100), (96, 100))]), FAILS),
        (rules.uncertain(((70, 100), (65, 100)), [((95, 100), (96, 100))]), FAILS),
        (rules.uncertain(((90, 100), (60, 100)), []), OPEN),
        (rules.absorbed(0.96, 0.52, 0.99), HOLDS),
        (rules.absorbed(0.94, 0.52, 0.99), FAILS),
        (rules.absorbed(0.96, 0.6, 0.99), FAILS),
        (rules.absorbed(0.96, 0.52, 0.5), FAILS),
        (rules.absorbed(0.96, None, 0.99), OPEN),
        (rules.used({"jepa": 85.0, "dreamer": 80.0}, "jepa"), HOLDS),
        (rules.used({"jepa": 85.0, "dreamer": 79.0}, "jepa"), FAILS),
        (rules.used({"jepa": 85.0}, "jepa"), OPEN),
        (rules.used({}, "jepa"), OPEN),
    ],
)  # fmt: skip
def test_rules(verdict: Verdict, wanted: Verdict) -> None:
    assert verdict is wanted


def write(path: Path, *rows: dict) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))


def compared(model: str, success: float, ms: float, noisy: float, surprise: float | None) -> dict:
    return {
        "task": "push_t", "model": model, "train_seed": 0, "asked_sha256": model, "episodes": 100,
        "success_pct": success, "strict_pct": None, "overlays": {"new:0.1": noisy, "fixed:0.1": 9},
        "surprise_pct": surprise, "plan_ms": ms, "parameters": 1, "samples_per_s": None,
        "cpu_minutes": None, "peak_mb": None,
    }  # fmt: skip


def surprised(method: str, percent: float) -> dict:
    interval = dict.fromkeys(
        ("pairwise_low", "pairwise_high", "auroc_pct", "auroc_low", "auroc_high"), percent
    )
    return {
        "task": "push_t", "method": method, "category": "all", "pairs": 40, "seed": 0,
        "pooling": "max", "pairwise_pct": percent, "own_scene": True, "model_sha256": "ab" * 32,
        **interval,
    }  # fmt: skip


def test_rows_of_comparisons_decide_three_claims(tmp_path: Path) -> None:
    write(tmp_path / "results/physics/push_t.jsonl",
          surprised("jepa", 84), surprised("copy_last", 53))  # fmt: skip
    before = Evidence(tmp_path)
    assert [judge(before).verdict for judge in (judges.noise, judges.cheaper)] == [OPEN, OPEN]
    assert judges.physics(before).verdict is OPEN  # no generative model was asked
    assert "compare" in judges.physics(before).missing
    write(
        tmp_path / "results/compare/push_t.jsonl",
        compared("jepa", 90, 20, 80, 84),  # loses a ninth
        compared("dreamer", 50, 30, 35, 60),  # 30 %
        compared("sora", 20, 900, 18, None),  # 10 %: 20 % in the mean
        compared("lewm", 95, 1, 0, 99),  # predicts features: no generative model
    )
    after = Evidence(tmp_path)
    noise, cheaper, physics = (j(after) for j in (judges.noise, judges.cheaper, judges.physics))
    assert noise.verdict is FAILS  # a ninth is more than half of a fifth
    assert "push_t, dreamer, new noise: 50.0 → 35.0 % of 100 pairs" in noise.numbers
    assert cheaper.verdict is OPEN  # one task of four
    assert physics.verdict is HOLDS
    assert not physics.missing
    assert any("earlier weights `abababab`" in line for line in physics.numbers)
    # Rivals are held against what was trained like them: a worse one than what is shipped.
    worse = {**compared("jepa", 90, 20, 0, 10), "task": "two_room"}
    write(tmp_path / "results/compare/two_room.jsonl", worse)
    assert judges.physics(Evidence(tmp_path)).verdict is FAILS


def test_a_model_as_good_and_as_fast_does_not_dominate() -> None:
    ours, other = compared("jepa", 90, 20, 0, None), compared("sora", 90, 20, 0, None)
    assert not judges.dominates(ours, other)
    assert judges.dominates({**ours, "plan_ms": 19}, other)
    assert not judges.dominates({**ours, "plan_ms": 19, "success_pct": 89}, other)


def test_learning_curves_decide_the_first_claim(tmp_path: Path) -> None:
    def curve(*seeds: int, objective: str = "vjepa", gained: float = 0.2) -> list[dict]:
        angle = {"gained": gained, "wanted": 0.5, "samples_ratio": 3.0}
        places = {"places_gained": 0.1, "places_wanted": 0.9, "places_samples_ratio": None,
                  "places_cpu_ratio": None}  # fmt: skip
        return [{"objective": objective, "reference": "mae", "dataset": "push_t-nominal",
                 "seed": seed, "cpu_ratio": 2.0 + seed / 10, **angle, **places}
                for seed in seeds]  # fmt: skip

    few = {"objectives-100-curve": curve(0, 1), "objectives-9-curve": curve(0, 1, 2)}
    found = judges.efficiency(Evidence(tmp_path, few))
    assert found.verdict is HOLDS
    assert len(found.numbers) == 10
    idle = judges.efficiency(Evidence(tmp_path, {"a": curve(0, 1, 2, gained=0.09)}))
    assert idle.verdict is OPEN  # nothing was learnt, so nothing was learnt sooner
    assert "+0.090 by its training, too little to count" in idle.numbers[0]
    assert judges.efficiency(Evidence(tmp_path, {"a": curve(0, 1)})).verdict is OPEN
    other = {"a": curve(0, 1, 2, objective="ijepa")}
    assert judges.efficiency(Evidence(tmp_path, other)).verdict is OPEN


def measurement(
    claim: int, model: str, setting: float | None, seed: int, values: dict, task: str = "push_t"
) -> dict:
    return {"claim": claim, "task": task, "model": model, "n": 100, "setting": setting,
            "seed": seed, "values": values}  # fmt: skip


@pytest.mark.parametrize(
    ("claim", "rows"),
    [
        (4, [measurement(4, "vjepa_plain", 0.99, 0, {"S/S0": 0.5}),
             measurement(4, "vjepa", 0.0, 0, {"S/S0": 0.0})]),
        (5, [measurement(5, "genie", k, s, {"success_pct": v})
             for k, v in ((2, 10), (8, 30), (64, 20)) for s in (0, 1)]),
        (7, [measurement(7, "world_models", 1.15, 0, {"dream": 50, "real": 40})]),
        (8, [measurement(8, "iwm", d, s, {"nuisance_r2": d / 9})
             for d in (1, 2, 4) for s in (0, 1, 2)]),
        (10, [measurement(10, m, None, 0, {"success_pct": v}, t) for t, m, v in (
            ("room", "latent", 95), ("room", "deterministic", 95), ("room_kicked", "latent", 90),
            ("room_kicked", "deterministic", 40))]),
        (11, [measurement(11, "jepa", None, 0,
                          {"landed_auc": 0.99, "side_auc": 0.5, "valid": 1.0})]),
        (12, [measurement(12, m, None, 0, {"nearer_pct": 90}) for m in ("jepa", "dreamer")]),
    ],
)  # fmt: skip
def test_measurements_decide_their_claim_and_no_other(
    tmp_path: Path, claim: int, rows: list[dict]
) -> None:
    write(tmp_path / "results/claims/rows.jsonl", *rows)
    verdicts = {i: c.judge(Evidence(tmp_path)).verdict for i, c in enumerate(CLAIMS, 1)}
    assert verdicts == {i: HOLDS if i == claim else OPEN for i in range(1, 13)}


def test_training_seeds_that_pursue_the_same_goals_are_no_further_goals(tmp_path: Path) -> None:
    rows = [
        {**measurement(10, model, setting, seed, {"success_pct": value}, task), "n": 100}
        for task in ("room", "room_kicked") for seed in range(5)
        for model, setting, value in (
            ("deterministic", 1, 50), ("latent", 64, 90), ("latent", 8, 60))
    ]  # fmt: skip
    write(tmp_path / "results/claims/rows.jsonl", *rows)
    found = judges.chance(Evidence(tmp_path))
    assert found.numbers == tuple(
        f"{task}: with 60 of 100, without 50 of 100" for task in ("room", "room_kicked")
    )
    assert found.verdict is FAILS


def level(row: str, hits: list[bool], **rest: object) -> dict:
    return {
        "row": row, "method": "onnx", "backend": "onnx", "train_seed": 0, "eval_seed": 0,
        "pair_list_sha256": "p", "episodes": len(hits), "successes": sum(hits), "task": "push_t",
        "success_pct": 100 * sum(hits) / len(hits), "pair_ids": [str(i) for i in range(len(hits))],
        "first_hit": [1 if hit else None for hit in hits], **rest,
    }  # fmt: skip


@pytest.mark.parametrize(("solved", "verdict"), [(8, HOLDS), (7, FAILS)])
def test_the_worst_colour_decides_transfer(tmp_path: Path, solved: int, verdict: Verdict) -> None:
    write(
        tmp_path / "results/zs-push_t.jsonl",
        level("zs/push_t/none", [True] * 10),
        level("zs/push_t/agent_color:red", [True] * solved + [False] * (10 - solved)),
        level("zs/push_t/light:dim", [True] * 10),
        level("zs/push_t/camera_yaw:10", [False] * 10),  # told, not counted
        # Other weights have drops of their own.
        level("zs/push_t/none@contrast", [True] * 6 + [False] * 4),
        level("zs/push_t/agent_color:red@contrast", [True] * 5 + [False] * 5),
    )
    found = judges.transfer(Evidence(tmp_path))
    assert found.verdict is verdict
    assert "push_t, onnx, camera_yaw:10: +100.0 points lost" in found.numbers
    assert "push_t, onnx @contrast, agent_color:red: +10.0 points lost" in found.numbers


def test_measurements_replace_their_like(tmp_path: Path) -> None:
    path = tmp_path / "rows.jsonl"
    first = measurement(12, "jepa", None, 0, {"nearer_pct": 70})
    add_rows(path, [first, measurement(12, "sora", None, 0, {"nearer_pct": 10})])
    add_rows(path, [measurement(12, "jepa", None, 0, {"nearer_pct": 90})])
    assert [row["values"]["nearer_pct"] for row in read_rows(path)] == [10, 90]
    old = {**first, "model_sha256": "a", "date": "2026-01-01"}
    new = {**first, "model_sha256": "b", "date": "2026-01-02"}
    assert newest([new, old]) == [new]
    write(path, {**first, "claim": 13})
    with pytest.raises(DataError, match="claim"):
        read_rows(path)


def test_of_a_model_asked_on_several_tasks_the_worst_counts(tmp_path: Path) -> None:
    asked = {("jepa", "push_t"): 70, ("jepa", "two_room"): 95, ("dreamer", "push_t"): 90}
    rows = [measurement(12, m, None, 0, {"nearer_pct": v}, t) for (m, t), v in asked.items()]
    write(tmp_path / "results/claims/rows.jsonl", *rows)
    found = judges.edits(Evidence(tmp_path))
    assert found.verdict is FAILS
    assert len(found.numbers) == 3


def test_weights_in_the_package_are_told_from_earlier_ones(tmp_path: Path) -> None:
    weights = tmp_path / "robot_wm/weights"
    for place, digest in (("encoders/64x64", "a"), ("encoders/96x96", "b"), ("push_t", "c")):
        write(weights / place / "manifest.json", {"sha256": 64 * digest})
    evidence = Evidence(tmp_path)
    for name, digest in ((ENCODERS, "a"), (ENCODERS, "b"), ("push_t", "c")):
        told = f"the shipped weights `{8 * digest}`"
        assert evidence.weights(name, 64 * digest) == told
    assert evidence.weights(ENCODERS, 64 * "c") == "earlier weights `cccccccc`"
    assert evidence.weights("reacher", 64 * "c", "mine") == "weights mine `cccccccc`"
    # The checkout's own: none of its shipped models is lost from sight.
    assert all(Evidence(ROOT).shipped(n) for n in (ENCODERS, "push_t", "two_room", "reacher"))


def test_a_line_of_the_log_is_quoted_once_or_refused(tmp_path: Path) -> None:
    (tmp_path / "docs").mkdir()
    line = "| 2026-11-22 | **Sub-goals** of a kind | **80, without 76**; used often | no |\n"
    log = tmp_path / "docs/log.md"
    log.write_text("| date | what | outcome | kept? |\n| --- | --- | --- | --- |\n" + line)
    assert Evidence(tmp_path).noted("Sub-goals").outcome == "**80, without 76**; used often"
    with pytest.raises(DataError, match="0 lines"):
        Evidence(tmp_path).noted("Hierarchy")
    log.write_text(2 * line)
    with pytest.raises(DataError, match="2 lines"):
        Evidence(tmp_path).noted("Sub-goals")


def test_the_pages_of_the_checkout_name_everything() -> None:
    evidence = Evidence(ROOT)
    modules, claims = render_modules(evidence), render_claims(evidence)
    names = [module.name for module in MODULES]
    assert names == re.findall(r"^\| \*\*([^*]+)\*\* \|", modules, re.MULTILINE)
    for module in MODULES:
        assert all((ROOT / file).is_file() for file in module.files)
        assert module.what.count(". ") == 1  # two sentences
        assert "|" not in module.what
    assert re.findall(r"^## (\d+)\. ", claims, re.MULTILINE) == [str(i) for i in range(1, 13)]
    rows = evidence.cell("modules/push_t@no_actor", "jepa")
    assert f"the search without it: **{rows[0]['success_pct']:.1f} %**" in modules
    assert not re.search(r" \d\d\.\d %", "".join(module.what for module in MODULES))  # never typed


def test_what_has_no_row_is_not_measured(tmp_path: Path) -> None:
    (tmp_path / "docs").mkdir()
    (tmp_path / "docs/log.md").write_text((ROOT / "docs/log.md").read_text(encoding="utf-8"))
    page = render_modules(Evidence(tmp_path))
    assert page.count("not measured") >= 20
    assert render_claims(Evidence(tmp_path)).count("**not measured yet**") == 12
