"""The modules of the agent by the names of LeCun's proposal, and what the rows say of each."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from planning.ledger.evidence import ENCODERS, OURS, Evidence, said
from planning.surprise.results import ALL

TASK = "push_t"  # the hardest of the tasks that ship, and the one whose planner was taken apart
Worth = Callable[[Evidence], str]


@dataclass(frozen=True)
class Module:
    """One module.

    Attributes:
        name: LeCun's.
        what: it is here, in two sentences.
        files: that are it, from the root of the repository.
        worth: lines that rows, or the log, say of it.
    """

    name: str
    what: str
    files: tuple[str, ...]
    worth: tuple[Worth, ...]


def ablated(variant: str, label: str) -> Worth:
    """A variant of ``robot-wm ablate-planner``."""
    return lambda evidence: said(evidence, label, evidence.cell(f"modules/{TASK}@{variant}", OURS))


def official(label: str, modifier: str = "", method: str = "onnx") -> Worth:
    """A row of the official list."""
    return lambda evidence: said(
        evidence, label, evidence.cell(f"official/{TASK}{modifier}", method)
    )


def goals(label: str, row: str, method: str = "onnx") -> Worth:
    """A row on another list, of the exported planner unless another is named."""
    return lambda evidence: said(evidence, label, evidence.cell(row, method))


def tried(label: str, begins: str) -> Worth:
    """What the log says of an attempt: the first clause of its outcome."""

    def line(evidence: Evidence) -> str:
        entry = evidence.noted(begins)
        outcome = entry.outcome.partition("; ")[0].replace("**", "")
        return f"{label}: {outcome} ([log](log.md), {entry.date})"

    return line


def stated(text: str) -> Worth:
    """A line without a number."""
    return lambda evidence: text


def probed(evidence: Evidence) -> str:
    """R² of the block's angle from frozen features: the better probe, the worse of cos and sin."""
    rows = [r for r in evidence.probes if (r["task"], r["group"]) == (TASK, "angle")
            and r.get("look", "none") == "none"]  # fmt: skip
    best: dict[str, dict[str, float]] = {}
    for row in rows:
        of_kind = best.setdefault(row["kind"], {})
        of_kind[row["factor"]] = max(of_kind.get(row["factor"], -np.inf), row["r2"])
    if not {"encoder", "random", "pixels"} <= set(best):
        return "probes: not measured"
    r2 = {kind: min(found.values()) for kind, found in best.items()}
    frames = next(r["frames"] for r in rows if r["kind"] == "encoder")
    return (
        f"R² of the block's angle: **{r2['encoder']:.3f}**, random weights {r2['random']:.3f}, "
        f"raw pixels {r2['pixels']:.3f}, {frames:,} frames, "
        f"{evidence.weights(ENCODERS, rows[0]['encoder_sha256'])}"
    )


def surprised(evidence: Evidence) -> str:
    """Pairs of clips that the predictor tells apart, beside copying the last latent."""
    found = {r["method"]: r for r in evidence.surprise if (r["task"], r["category"]) == (TASK, ALL)}
    if not {OURS, "copy_last"} <= set(found):
        return "surprise: not measured"
    ours = found[OURS]
    weights = evidence.weights(TASK, ours["model_sha256"], ours.get("weights"))
    return (
        f"surprised by the impossible clip: **{ours['pairwise_pct']:.0f} %** of {ours['pairs']} "
        f"pairs, copying the last latent {found['copy_last']['pairwise_pct']:.0f} %, {weights}"
    )


def budget(milliseconds: int) -> Worth:
    """What the configurator chose for a budget, and how long its plans took."""

    def line(evidence: Evidence) -> str:
        row = evidence.latencies.get(f"{TASK}-budget{milliseconds}ms")
        if row is None:
            return f"{milliseconds} ms: not measured"
        weights = evidence.weights(TASK, row["world_model"])
        return (
            f"told {milliseconds} ms: {row['candidates']} candidates × {row['iterations']}, median "
            f"{row['total_ms_p50']:.1f} ms, 99th percentile **{row['total_ms_p99']:.1f}** of "
            f"{row['plans']} plans, {weights}"
        )

    return line


MODULES = (
    Module(
        "perception",
        "A video encoder, pretrained without labels and then frozen, turns a picture into a grid "
        "of tokens. A small learned projector makes a compact latent of them, the state that "
        "everything else works on.",
        ("robot_wm/pretraining/objectives/vjepa.py", "robot_wm/encoders/vit.py",
         "robot_wm/encoders/frozen.py", "robot_wm/world_models/jepa/projector.py"),
        (probed,),
    ),
    Module(
        "world model",
        "A network predicts the next latent from the last two and a block of five actions. All "
        "that the planner believes of the future comes from rolling it out; no picture is drawn.",
        ("robot_wm/world_models/jepa/dynamics.py", "robot_wm/world_models/jepa/model.py",
         "robot_wm/core/protocols.py"),
        (
            official("planned with it", method=OURS),
            official("with a prediction that nothing ever changes", "@copy_last", "copy_last"),
            surprised,
        ),
    ),
    Module(
        "intrinsic cost",
        "Hard-wired costs that no learning changes are terms over the planned actions, added to "
        "the cost of the goal. The planner that ships weighs none of them: bounds of actions are "
        "kept by clipping, and a robot's limits by its controller.",
        ("planning/agent/costs.py", "export/robot/safety_limits.py"),
        (stated("not measured: the terms weigh nothing in any row"),),
    ),
    Module(
        "critic",
        "A network says how many blocks it still is to the goal, learnt in hindsight and from "
        "ways that a scripted expert found. Its logarithm is added to the distance in the latent, "
        "so that a detour is worth what it costs.",
        ("robot_wm/world_models/jepa/actor/critic.py", "robot_wm/world_models/jepa/dynamics.py"),
        (ablated("everything", "everything"), ablated("no_critic", "without it"),
         ablated("critic_alone", "judged by it alone")),
    ),
    Module(
        "short-term memory",
        "The agent keeps the last two frames, the actions between them and its last plan, at "
        "which the next search starts. It forgets them when an episode ends; nothing is looked up "
        "in what it once lived through.",
        ("planning/agent/mpc.py",),
        (
            ablated("everything", "everything"),
            ablated("no_warm_start", "without the last plan"),
            tried("recorded plans looked up, tried and not built", "Retrieval of memory"),
        ),
    ),
    Module(
        "actor, Mode-1",
        "A network proposes the next block, as a mixture of Gaussians, taught by a scripted expert "
        "led to the goal. In Mode-1 its likeliest plan is carried out at once, and nothing is "
        "imagined.",
        ("robot_wm/world_models/jepa/actor/model.py", "planning/optimizers/policy_only.py"),
        (
            official("alone", "@policy_only"),
            ablated("actor_alone", "alone, in torch"),
            ablated("no_actor", "the search without it"),
        ),
    ),
    Module(
        "actor, Mode-2",
        "The actor's proposals are rolled out in the world model, judged, and refined over a few "
        "rounds of search. The first block of the best plan is carried out, then all is planned "
        "again.",
        ("planning/agent/mpc.py", "planning/optimizers/icem.py", "planning/optimizers/search.py"),
        (
            official("the whole search"),
            official("proposals judged once, the cheapest taken", "@choice12"),
            ablated("one_round", "a single round"),
            ablated("search_alone", "bare search: no actor, critic, mirror or last plan"),
        ),
    ),
    Module(
        "switching",
        "LeCun's agent acts in Mode-1 where that is enough and thinks where it is not. Here "
        "nothing switches within an episode: the configurator takes Mode-1 only where no search "
        "fits into the deadline.",
        ("planning/agent/timing/configurator.py",),
        (
            stated("not built, not measured; the most it could save, and the least it must keep:"),
            official("always Mode-1", "@policy_only"),
            official("always Mode-2"),
        ),
    ),
    Module(
        "configurator",
        "It times the model's parts on the machine they run on and picks the largest search that "
        "fits into a deadline. It sets candidates, rounds and proposals; the weights of the costs "
        "and the goals on the way come from the user.",
        ("planning/agent/timing/configurator.py", "planning/agent/timing/profiling.py"),
        (budget(20), budget(50)),
    ),
    Module(
        "hierarchy",
        "Pictures to pass on the way can be given, and the agent pursues them one after the other. "
        "`world_model=hjepa` imagines goals itself, five blocks ahead, over a model that exists.",
        ("planning/agent/goal_sequence.py", "robot_wm/world_models/hierarchy/model.py"),
        (
            goals("goals twice as far, no picture on the way", f"long/{TASK}_50"),
            goals("the same with goals of an upper level", f"long/{TASK}_50", "hjepa"),
            goals("the same with one recorded picture on the way", f"goals/{TASK}_50@via1"),
            tried("sub-goals from a graph of recorded frames, tried and not built (success / "
                  "strict predicate)", "Sub-goals from a graph of memory"),
        ),
    ),
    Module(
        "latent variables",
        "A latent variable lets a world model say several futures of one action. The house "
        "predictor is deterministic and says their mean; `world_model=latent_variable` draws them.",
        (
            "robot_wm/world_models/jepa/dynamics.py",
            "robot_wm/world_models/latent_variable/variables.py",
        ),
        (stated("not measured yet"),),
    ),
)  # fmt: skip
