"""Charts of an episode as inline SVG, by matplotlib. The same numbers give the same text."""

from __future__ import annotations

import io
import re
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import numpy as np

from planning.reporting.records import EpisodeRecord, PlanView
from planning.reporting.units import scaled, shown, text

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

# Text and axes are drawn in this colour, which becomes the page's own, light or dark.
INK = "#010203"
MODEL, REACHED = "#cc79a7", "#009e73"
# Okabe and Ito's, told apart by everyone
LINES = ("#0072b2", "#d55e00", "#e69f00", "#56b4e9", "#b8a800", "#8c8c8c")
WIDTH, PANEL, TOP, BOTTOM = 5.0, 1.5, 0.28, 0.42  # [inch]
LEFT, RIGHT = 0.14, 0.96  # ends of the time axis, as fractions of the width


@contextmanager
def _style(salt: str = "") -> Iterator[None]:
    import matplotlib

    inked = ("text.color", "axes.edgecolor", "axes.labelcolor", "xtick.color", "ytick.color")
    style: dict[Any, Any] = {
        **dict.fromkeys(inked, INK), "font.size": 9, "lines.linewidth": 1.5,
        "axes.spines.top": False, "axes.spines.right": False, "legend.frameon": False,
        "legend.fontsize": 8, "text.parse_math": False, "svg.fonttype": "none",
        "svg.hashsalt": salt,
    }  # fmt: skip
    with matplotlib.rc_context(style):
        yield


def svg(figure: Figure, salt: str) -> str:
    """A figure as an SVG element that fits into a page.

    Args:
        salt: what tells this chart from the others of its page: names inside it depend on it.
    """
    stream = io.StringIO()
    with _style(salt):
        figure.savefig(stream, format="svg", transparent=True, metadata={"Date": None})
    markup = stream.getvalue()
    markup = markup[markup.index("<svg") :].strip()
    # A page has its own styles and names; metadata and name spaces would point outside.
    markup = re.sub(r"<metadata>.*?</metadata>|<style.*?</style>", "", markup, flags=re.DOTALL)
    markup = re.sub(r' (xmlns(:\w+)?|version)="[^"]*"| id="\w+_\d+"', "", markup)
    markup = re.sub(r'(<svg[^>]*?) width="[^"]*"', r"\1", markup, count=1)
    markup = re.sub(r'(<svg[^>]*?) height="[^"]*"', r"\1", markup, count=1)
    return markup.replace(INK, "currentColor")


def span(episode: EpisodeRecord) -> float:
    """End of the time axis [s]; an episode shorter than a block shows a whole block."""
    return max(len(episode.frames) - 1, episode.block) * episode.dt


def timeline(episode: EpisodeRecord) -> Figure:
    """Energy and true errors over one time axis, from the start to the last frame."""
    from matplotlib.figure import Figure

    units = list(dict.fromkeys(m.unit for m in episode.measured))
    count = len(units) + (episode.energy is not None)
    height = TOP + BOTTOM + count * PANEL
    with _style():
        figure = Figure(figsize=(WIDTH, height))
        panels: list[Axes] = list(figure.subplots(count, 1, sharex=True, squeeze=False)[:, 0])
        figure.subplots_adjust(LEFT, BOTTOM / height, RIGHT, 1 - TOP / height, hspace=0.22)
        rest = iter(panels)
        if episode.energy is not None:
            _energy(next(rest), episode)
        for unit, axes in zip(units, rest, strict=True):
            _errors(axes, episode, unit)
        for axes in panels:
            axes.grid(axis="both", color=INK, alpha=0.12, linewidth=0.6)
            if episode.hit is not None:
                at = episode.hit * episode.dt
                axes.axvline(at, color=REACHED, label=f"reached at {at:.2f} s")
            _legend(axes, last=axes is panels[0])
        panels[-1].set_xlim(0, span(episode))
        panels[-1].set_xlabel(f"time [s], one control step is {episode.dt:g} s")
        figure.align_ylabels(panels)
    return figure


def _legend(axes: Axes, last: bool) -> None:
    """Names above the panel, where they hide nothing; ``last`` tells when the goal was reached."""
    handles, labels = axes.get_legend_handles_labels()
    shown = [i for i, label in enumerate(labels) if last or not label.startswith("reached")]
    many = len(shown) > 4  # no room above; a scene that names no criteria shows its whole pose
    axes.legend(
        [handles[i] for i in shown], [labels[i] for i in shown], ncols=2 if many else 4,
        loc="upper right" if many else "lower left", bbox_to_anchor=(1, 1) if many else (0, 1),
        borderaxespad=0.1, columnspacing=1, handlelength=1.4,
    )  # fmt: skip


def _energy(axes: Axes, episode: EpisodeRecord) -> None:
    """What the model believes at every frame, and what each of its plans promised."""
    energy = np.asarray(episode.energy)
    times = np.arange(len(energy)) * episode.dt
    for number, plan in enumerate(episode.plans):
        ahead = plan.step + episode.block * np.arange(len(plan.step_costs) + 1)
        axes.plot(
            ahead * episode.dt, [energy[plan.step], *plan.step_costs], "--", color=MODEL,
            linewidth=1, alpha=0.7, label="_" if number else "predicted by plans",
        )  # fmt: skip
    axes.plot(times, energy, color=MODEL, label="energy of the frame", linewidth=1.9)
    seen = [energy, *(plan.step_costs for plan in episode.plans if plan.step < len(energy))]
    low, high = (float(end(np.concatenate(seen))) for end in (np.min, np.max))
    axes.set_ylim(min(0.0, 1.15 * low), 1.15 * high or 1.0)
    axes.set_ylabel("model's cost")


def _errors(axes: Axes, episode: EpisodeRecord, unit: str) -> None:
    """True errors of one unit, each with its limit."""
    measurements = [m for m in episode.measured if m.unit == unit]
    top = 0.0
    for number, (measured, color) in enumerate(
        zip(measurements, LINES * len(measurements), strict=False)
    ):
        errors = measured.errors * scaled(1.0, unit)
        axes.plot(np.arange(len(errors)) * episode.dt, errors, color=color, label=measured.name)
        top = max(top, float(errors.max()))
        limit = measured.limit
        if limit is not None:
            same = limit in [other.limit for other in measurements[:number]]
            label = "_" if same else f"limit {text(limit, unit)}"
            axes.axhline(scaled(limit, unit), color=color, linestyle=":", label=label)
            top = max(top, scaled(limit, unit))
    axes.set_ylim(0, 1.15 * top or 1.0)
    axes.set_ylabel(f"error [{shown(unit)}]" if unit else "error")


def landscape(plan: PlanView) -> Figure:
    """Cost of the plan over the mean control of its first block; the ring is what was chosen."""
    from matplotlib.figure import Figure

    assert plan.landscape is not None
    (low_x, low_y), (high_x, high_y) = plan.low[:2], plan.high[:2]
    x, y = (np.linspace(low, high, len(plan.landscape)) for low, high in zip(
        (low_x, low_y), (high_x, high_y), strict=True))  # fmt: skip
    half = (x[1] - x[0]) / 2, (y[1] - y[0]) / 2
    edges = (low_x - half[0], high_x + half[0], low_y - half[1], high_y + half[1])
    with _style():
        figure = Figure(figsize=(3.2, 3.2))
        axes = figure.subplots()
        figure.subplots_adjust(0.21, 0.14, 0.98, 0.98)
        axes.imshow(
            plan.landscape.T, origin="lower", extent=edges, cmap="viridis", interpolation="none",
            aspect="auto",
        )  # fmt: skip
        if np.ptp(plan.landscape) > 0:
            lines = axes.contour(x, y, plan.landscape.T, levels=5, colors="white", linewidths=0.8)
            axes.clabel(lines, fontsize=8, fmt="%.3g")
        axes.plot(*plan.first_mean[:2], "o", ms=11, mfc="none", mec="black", mew=4)
        axes.plot(*plan.first_mean[:2], "o", ms=11, mfc="none", mec="white", mew=2)
        axes.set_xlabel("control 1, mean of the first block")
        axes.set_ylabel("control 2")
    return figure


def colors(costs: np.ndarray) -> list[str]:
    """CSS colours of costs ``[M]``: the cheapest dark violet, the costliest yellow."""
    from matplotlib import colormaps
    from matplotlib.colors import to_hex

    costs = np.asarray(costs, float)
    width = float(np.ptp(costs)) or 1.0
    return [to_hex(colormaps["viridis"](float(cost - costs.min()) / width)) for cost in costs]
