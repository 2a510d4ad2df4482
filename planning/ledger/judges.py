"""From rows to the numbers of each claim, and to its verdict."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from planning.ledger import rules
from planning.ledger.evidence import GENERATIVE, OURS, Evidence
from planning.ledger.rules import Verdict
from planning.surprise.results import ALL

Row = dict[str, Any]
PLANNERS = (OURS, "onnx")  # ours in torch and exported


@dataclass(frozen=True)
class Judged:
    """A verdict with what it rests on.

    Attributes:
        numbers: a line each.
        missing: what has yet to be run; empty where nothing has.
    """

    verdict: Verdict
    numbers: tuple[str, ...] = ()
    missing: str = ""


Judge = Callable[[Evidence], Judged]


def judged(verdict: Verdict, numbers: Iterable[str], missing: str) -> Judged:
    """What is missing is told only where the verdict is open."""
    return Judged(verdict, tuple(numbers), missing if verdict is Verdict.OPEN else "")


def efficiency(evidence: Evidence) -> Judged:
    """Learning curves of objectives on push_t; the file with most seeds counts.

    Only runs count in which the other has learnt the angle. Positions are told beside.
    """
    ratios: dict[str, list[float | None]] = {}
    numbers = list[str]()
    for file, ledger in evidence.sooner.items():
        ours = [r for r in ledger if r["objective"] == "vjepa" and r["dataset"][:6] == "push_t"]
        for row in ours:
            idle = "" if row["gained"] >= rules.GAINED else ", too little to count"
            numbers += [
                f"{file}, {row['dataset']}, seed {row['seed']}, {what} ({row['reference']} knows "
                f"{row[f'{key}wanted']:.3f} in the end, {row[f'{key}gained']:+.3f} by its training"
                f"{idle * (not key)}): processor time {_times(row[f'{key}cpu_ratio'])}, pictures "
                f"{_times(row[f'{key}samples_ratio'])}"
                for what, key in (("angle", ""), ("positions", "places_"))
            ]
        told = [row for row in ours if row["gained"] >= rules.GAINED]
        if told and len(told) >= len(ratios.get("cpu", ())):
            ratios = {key: [row[f"{key}_ratio"] for row in told] for key in ("cpu", "samples")}
    return judged(
        rules.sooner(ratios), numbers,
        "`robot-wm compare-objectives 'objectives.names=[vjepa,mae]' publish=true` for three "
        f"seeds, long enough for mae to gain {rules.GAINED} in the angle's R²",
    )  # fmt: skip


def _times(ratio: float | None) -> str:
    return "never" if ratio is None else f"{ratio:.2f} times sooner"


def noise(evidence: Evidence) -> Judged:
    """Success under noise over everything seen, as a share of success without."""
    lost: dict[str, dict[str, list[float]]] = {"new": {}, "fixed": {}}
    numbers = list[str]()
    for row in evidence.compared:
        for kind, shares in lost.items():
            levels = [v for name, v in row["overlays"].items() if name.startswith(f"{kind}:")]
            if levels and row["success_pct"]:
                share = 1 - float(np.mean(levels)) / row["success_pct"]
                shares.setdefault(row["model"], []).append(share)
                numbers.append(
                    f"{row['task']}, {row['model']}, {kind} noise: {row['success_pct']:.1f} → "
                    f"{np.mean(levels):.1f} % of {row['episodes']} pairs"
                )
    means = {name: float(np.mean(found)) for name, found in lost["new"].items()}
    theirs = [means[name] for name in GENERATIVE if name in means]
    return judged(
        rules.noise_wasted(means.get(OURS), theirs), numbers,
        "`robot-wm compare 'compare.models=[jepa,…]' publish=true` with generative models",
    )  # fmt: skip


def cheaper(evidence: Evidence) -> Judged:
    """Success and time of a plan beside every generative model, task by task."""
    won, numbers = dict[str, bool](), list[str]()
    for task in dict.fromkeys(row["task"] for row in evidence.compared):
        rows = {r["model"]: r for r in evidence.compared if r["task"] == task and r["plan_ms"]}
        theirs = [rows[name] for name in GENERATIVE if name in rows]
        for row in [rows[OURS], *theirs] if OURS in rows else theirs:
            numbers.append(
                f"{task}, {row['model']}: {row['success_pct']:.1f} % of {row['episodes']} pairs, "
                f"{row['plan_ms']:.1f} ms a plan"
            )
        if OURS in rows and theirs:
            won[task] = all(dominates(rows[OURS], row) for row in theirs)
    return judged(
        rules.dominated(won), numbers,
        "`robot-wm compare` with generative models on four tasks, `publish=true`",
    )  # fmt: skip


def dominates(ours: Row, other: Row) -> bool:
    """Whether no less is reached in no more time, and one of the two is better."""
    success = ours["success_pct"] - other["success_pct"]
    saved = other["plan_ms"] - ours["plan_ms"]
    return bool(success >= 0 and saved >= 0 and (success > 0 or saved > 0))


def moving_average(evidence: Evidence) -> Judged:
    """S/S0 by momentum of the plain recipe, and of the repaired one beside it."""
    plain: dict[float, list[float]] = {}
    numbers = list[str]()
    for row in _rows(evidence, 4):
        alive = row["values"]["S/S0"]
        numbers.append(f"{row['model']}, m = {row['setting']:g}, seed {row['seed']}: {alive:.3f}")
        if row["model"] == "vjepa_plain":
            plain.setdefault(row["setting"], []).append(alive)
    told = {
        f"{r['objective']}, m as configured, seed {r['seed']}: {r['S/S0']:.3f}": None
        for r in evidence.objectives
        if r["objective"] in ("vjepa", "vjepa_plain") and "S/S0" in r
    }  # one a factor that was probed
    return judged(
        rules.alive(plain), [*numbers, *told],
        "`robot-wm claims 'claims.which=[4]' publish=true`",
    )  # fmt: skip


def codes(evidence: Evidence) -> Judged:
    """Success of latent-action models by their number of codes."""
    found: dict[int, list[float]] = {}
    for row in _rows(evidence, 5):
        found.setdefault(int(row["setting"]), []).append(row["values"]["success_pct"])
    means = {k: float(np.mean(v)) for k, v in sorted(found.items())}
    return judged(
        rules.interior(means),
        [f"K = {k}: {value:.1f} %, {len(found[k])} runs" for k, value in means.items()],
        "`robot-wm claims 'claims.which=[5]' publish=true`",
    )


def physics(evidence: Evidence) -> Judged:
    """Pairs of clips told apart; the mean over tasks where surprise was asked on several."""
    own: dict[str, list[float]] = {}
    numbers = list[str]()
    for row in evidence.surprise:
        if row["category"] == ALL:
            own.setdefault(row["method"], []).append(row["pairwise_pct"])
            of = evidence.weights(row["task"], row["model_sha256"], row.get("weights"))
            numbers.append(
                f"{row['task']}, {row['method']}: {row['pairwise_pct']:.1f} % "
                f"({row['pairwise_low']:.0f}–{row['pairwise_high']:.0f}) of {row['pairs']} pairs"
                + f", {of}"
                * (row["method"] == OURS)
            )
    asked = [r for r in evidence.compared if r["surprise_pct"] is not None]
    numbers += [
        f"{r['task']}, {r['model']}, trained alike: {r['surprise_pct']:.1f} %" for r in asked
    ]
    theirs = {
        f"{r['task']}, {r['model']}": r["surprise_pct"] for r in asked if r["model"] in GENERATIVE
    }
    # Beside rivals counts what was trained like them, not what is shipped.
    if alike := [r["surprise_pct"] for r in asked if r["model"] == OURS]:
        own[OURS] = alike
    ours, copying = (float(np.mean(own[n])) if n in own else None for n in (OURS, "copy_last"))
    return judged(
        rules.ahead(ours, copying, list(theirs.values())), numbers,
        "surprise of a generative model: `robot-wm compare`, or `robot-wm physics weights=…`",
    )  # fmt: skip


def dreams(evidence: Evidence) -> Judged:
    """Dreamt and real score of a controller evolved in the dream, by temperature."""
    rows = _rows(evidence, 7)
    names = {f"official/{row['task']}@random" for row in rows}
    drawn = [r["success_pct"] for r in evidence.evaluations if r["row"] in names]
    chance = float(np.mean(drawn)) if drawn else 0.0
    scores = {r["setting"]: (r["values"]["dream"], r["values"]["real"]) for r in rows}
    return judged(
        rules.dreamt(scores, chance),
        [f"random actions: {chance:.1f}"] * bool(drawn)
        + [f"τ = {tau:g}: dreamt {a:.1f}, real {b:.1f}" for tau, (a, b) in sorted(scores.items())],
        "`robot-wm claims 'claims.which=[7]' publish=true`",
    )


def capacity(evidence: Evidence) -> Judged:
    """What features still tell of the light by depth of the predictor that is told of it."""
    curves: dict[int, dict[int, float]] = {}
    for row in _rows(evidence, 8):
        curves.setdefault(row["seed"], {})[int(row["setting"])] = row["values"]["nuisance_r2"]
    return judged(
        rules.monotone(list(curves.values())),
        [f"seed {seed}: " + ", ".join(f"{d} layers {v:.3f}" for d, v in sorted(curve.items()))
         for seed, curve in curves.items()],
        "`robot-wm claims 'claims.which=[8]' seed=… publish=true` for three seeds",
    )  # fmt: skip


def transfer(evidence: Evidence) -> Judged:
    """Points lost at held-out colours and lights; camera told beside them."""
    counted, numbers = dict[str, float](), list[str]()
    tasks = dict.fromkeys(r["task"] for r in evidence.evaluations if r["row"].startswith("zs/"))
    for task in tasks:
        drops = [each for method in PLANNERS for each in evidence.drops(task, method).items()]
        for label, levels in drops:
            for level, drop in levels.items():
                factor = level.partition(":")[0]
                looks = factor == "light" or factor.endswith("color")
                if looks or factor.startswith("camera"):
                    numbers.append(f"{task}, {label}, {level}: {drop:+.1f} points lost")
                if looks:
                    counted[f"{task} {label} {level}"] = drop
    return judged(
        rules.transferred(counted), numbers,
        "`robot-wm evaluate pairs.family=zs method=onnx publish=true` on each task",
    )  # fmt: skip


def chance(evidence: Evidence) -> Judged:
    """Goals reached with and without a latent variable, in scenes with chance and without.

    Of each model the setting that was measured last counts; training seeds are averaged, since they
    pursue the same goals.
    """
    runs: dict[str, dict[str, list[Row]]] = {}
    for row in _rows(evidence, 10):
        runs.setdefault(row["task"], {}).setdefault(row["model"], []).append(row)
    found: dict[str, dict[str, tuple[int, int]]] = {}
    for task, models in runs.items():
        for name, rows in models.items():
            last = [r for r in rows if r["setting"] == rows[-1]["setting"]]
            n = min(r["n"] for r in last)
            share = float(np.mean([r["values"]["success_pct"] for r in last])) / 100
            found.setdefault(task, {})[name] = (round(share * n), n)
    both = {t: (f["latent"], f["deterministic"]) for t, f in found.items()
            if {"latent", "deterministic"} <= set(f)}  # fmt: skip
    kicked = [pair for task, pair in both.items() if task.endswith("_kicked")]
    return judged(
        rules.uncertain(kicked[0] if kicked else None,
                        [pair for task, pair in both.items() if not task.endswith("_kicked")]),
        [f"{t}: with {a[0]} of {a[1]}, without {b[0]} of {b[1]}" for t, (a, b) in both.items()],
        "`robot-wm claims task=two_room_kicked 'claims.which=[10]' publish=true`",
    )  # fmt: skip


def ridge(evidence: Evidence) -> Judged:
    """Probes of the predicted state of an object that falls left or right of a ridge."""
    rows = _rows(evidence, 11)
    ours: dict[str, float] = next((r["values"] for r in rows if r["model"] == OURS), {})
    numbers = [
        f"{r['model']}: " + ", ".join(f"{k} {v:.3f}" for k, v in r["values"].items()) for r in rows
    ]
    return judged(
        rules.absorbed(*(ours.get(k) for k in ("landed_auc", "side_auc", "valid"))), numbers,
        "`robot-wm physics task=ridge experiment=ridge publish=true`",
    )  # fmt: skip


def edits(evidence: Evidence) -> Judged:
    """Pairs in which a state moved along a probe's direction is rolled out nearer to the truth.

    Of a model that was asked on several tasks the worst counts.
    """
    rows, nearer = _rows(evidence, 12), dict[str, float]()
    numbers = list[str]()
    for row in rows:
        values = ", ".join(f"{k.replace('_', ' ')} {v:.1f}" for k, v in row["values"].items())
        of = evidence.weights(row["task"], row.get("model_sha256"), row.get("weights"))
        numbers.append(f"{row['task']}, {row['model']}, {row['n']} pairs: {values}, {of}")
        found = row["values"]["nearer_pct"]
        nearer[row["model"]] = min(found, nearer.get(row["model"], found))
    return judged(
        rules.used(nearer, OURS), numbers,
        "`robot-wm physics task=push_t edits.pairs=60 publish=true`, of ours and of rivals",
    )  # fmt: skip


def _rows(evidence: Evidence, claim: int) -> Sequence[Row]:
    return [row for row in evidence.measured if row["claim"] == claim]
