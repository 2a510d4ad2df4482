"""A page over compared world models: the table, and what each imagines beside what came."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from planning.comparison.results import cells, head, variants_of
from planning.reporting.episode_recorder import Imagination
from planning.reporting.pages import environment
from planning.reporting.pictures import picture
from planning.reporting.tables import MISSING
from robot_wm.core.protocols import History


def imagined(model: Any, frames: np.ndarray, actions: np.ndarray) -> list[np.ndarray | None]:
    """What a model imagines of a clip after its context, one picture a frame.

    Args:
        frames, actions: ``[T, height, width, 3]`` and ``[T-1, A]``.

    Returns:
        ``T`` pictures; None for what it was shown, and where it shows nothing.
    """
    dream: list[np.ndarray | None] = [None] * len(frames)
    able = isinstance(model, Imagination)
    if able:
        spec = model.spec
        known, end = spec.context, min(len(frames), spec.context + spec.horizon)
        seen = History(frames[:known], np.zeros((known, 0), np.float32), actions[: known - 1])
        dream[known:end] = model.nearest_frames(model.encode(seen), actions[known - 1 : end - 1])
    return dream


def render_page(
    task: str,
    rows: Sequence[Mapping[str, Any]],
    clips: Sequence[np.ndarray],
    dreams: Mapping[str, Sequence[Sequence[np.ndarray | None]]],
) -> str:
    """The page as text.

    Args:
        clips: what came, ``[T, height, width, 3]`` each.
        dreams: of each model and clip, see :func:`imagined`.
    """
    others = variants_of([dict(row) for row in rows])
    strips = [{"what came": clip} | {n: found[i] for n, found in dreams.items()}
              for i, clip in enumerate(clips)]  # fmt: skip
    shown = [
        [(name, [None if f is None else picture(f) for f in strip]) for name, strip in each.items()]
        for each in strips
    ]
    return environment().get_template("compare.html.j2").render(
        title=f"{task}: world models side by side",
        head=head(others),
        rows=[cells(dict(row), others) for row in rows],
        clips=shown,
        missing=MISSING,
    )  # fmt: skip
