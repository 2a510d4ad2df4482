"""What each world model must show on its own, whatever it is worth to a planner.

The bounds are those that a faithful small copy of the published system was asked to meet before it
was trained. A figure is the training's own, of the finished model on held-out episodes.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from planning.reporting.tables import MISSING
from robot_wm.core.storage.markdown import table

Meters = Mapping[str, float]


@dataclass(frozen=True)
class Bound:
    """One thing to be shown.

    Attributes:
        what: in words, with the bound.
        meters: that it is read from.
        met: whether their values, in that order, meet it.
    """

    what: str
    meters: tuple[str, ...]
    met: Callable[..., bool]


def above(what: str, meter: str, least: float) -> Bound:
    """A meter that is to be at least so much."""
    return Bound(f"{what} at least {least:g}", (meter,), lambda value: value >= least)


def _ahead(first: str, last: str) -> tuple[Bound, ...]:
    return tuple(
        Bound(f"{when} foretold better than by no change", (name,), lambda value: value > 0)
        for when, name in (("first block", first), ("last block of the horizon", last))
    )


FILM = _ahead("explained_1", "explained_5")
WRONG = above("error with other actions over that with the right ones", "shuffled", 1.5)
FILM_ACTIONS = above("dB lost in the first block with other actions", "action_db_1", 1)
TOKENS = above("share of the codebook in use", "tokens_used", 0.3)
VISIBLE = above("share of what moves that is redrawn", "visible", 0.8)


def picture(decibels: float) -> Bound:
    """How well a frame is redrawn."""
    return above("PSNR of a redrawn frame [dB]", "psnr", decibels)


NEXT = (_ahead("explained", "explained")[0],)
BOUNDS: dict[str, tuple[Bound, ...]] = {
    "jepa": _ahead("EF_1", "EF_5"),
    "lewm": NEXT,
    "dino_wm": NEXT,
    "dreamer": (
        *FILM, WRONG, VISIBLE,
        Bound("KL of posterior from prior between 1 and 20 nats", ("kl",), lambda v: 1 < v < 20),
        Bound("entropy of the posterior above 0 nats", ("entropy",), lambda value: value > 0),
    ),
    "world_models": (
        picture(28), VISIBLE, *FILM,
        Bound(
            "next latent more probable under the mixture than under one Gaussian, or around the "
            "last latent [nats]", ("nll", "nll_gaussian", "nll_copy"),
            lambda mixture, one, copied: mixture < min(one, copied),
        ),
        Bound(
            "middle 90 % of the mixture hold 85 to 95 % of what comes", ("covered_90",),
            lambda value: 0.85 <= value <= 0.95,
        ),
        Bound(
            "controller's dreamt cost falls as it evolves", ("dream_before", "dream_after"),
            lambda before, after: after < before,
        ),
    ),
    "genie": (
        picture(26), VISIBLE, TOKENS, *FILM, FILM_ACTIONS,
        above("perplexity of the latent actions", "actions_used", 5),
        above("mutual information of latent and true actions, adjusted for chance", "adj_mi", 0.3),
        above("R² of the true control given the latent action", "action_r2", 0.5),
        Bound(
            "latent action of another transition with the same true one serves nearly as well: "
            "error at most 1.1 times", ("transfer",), lambda value: value <= 1.1,
        ),
    ),
    "genie_true": (picture(26), VISIBLE, TOKENS, *FILM, FILM_ACTIONS),
    "sora": (picture(30), VISIBLE, *FILM, FILM_ACTIONS),
}  # fmt: skip


def meters_of(facts: Mapping[str, Any]) -> dict[str, float]:
    """What a training measured of the finished model on held-out episodes, and of its dreams."""
    found = {**facts.get("last", {}).get("validation", {})}
    found |= {f"dream_{key}": value for key, value in facts.get("dream", {}).items()}
    return found


def judged(model: str, meters: Meters) -> list[tuple[str, str, str]]:
    """Each bound of a model with its figure, and whether it is met: ``yes``, ``no`` or ``--``."""
    rows = []
    for bound in BOUNDS.get(model, ()):
        values = [meters[name] for name in bound.meters if name in meters]
        known = len(values) == len(bound.meters)
        figure = ", ".join(f"{value:.3g}" for value in values) if known else MISSING
        met = ("yes" if bound.met(*values) else "no") if known else MISSING
        rows.append((bound.what, figure, met))
    return rows


def render(rows: Sequence[Mapping[str, Any]]) -> str:
    """What each model was asked to show, one line a bound; empty where nothing was measured."""
    lines = [
        [row["model"], str(row["train_seed"]), *told]
        for row in rows
        if row.get("meters") and not row.get("encoder")
        for told in judged(row["model"], row["meters"])
    ]
    return table(["world model", "seed", "to be shown", "figure", "met"], lines) if lines else ""
