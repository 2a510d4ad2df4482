"""The card of a distilled world model."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from robot_wm.core.storage.markdown import card, table
from robot_wm.world_models.distillation import DistillConfig
from robot_wm.world_models.jepa.artifact import ABOUT


def card_of(
    task: str, config: DistillConfig, facts: Mapping[str, Any], parents: Mapping[str, str]
) -> str:
    """Markdown; see :func:`robot_wm.world_models.jepa.distillation.trainer.distill`."""
    return card(
        f"World model for `{task}`, on another encoder",
        ABOUT,
        [
            f"Parents: {', '.join(f'{role} `{sha[:12]}`' for role, sha in parents.items())}",
            f"{facts['parameters']:,} parameters in half precision. "
            f"{'Encoder, projector' if config.encoder else 'Projector'} and embedding learned "
            f"the source's latent ({config.steps:,} steps of {config.batch} frames, "
            f"{config.other_looks:.0%} in other looks); predictor, proposer and goal distance are "
            "the source's",
            f"The fixed reduction keeps {facts['explained_variance']:.1%} of the token variance",
            "Trained for this scene and robot only; it has no notion of safety",
        ],
        table(
            ["held-out episodes", "value"],
            [[name, f"{value:.3f}"] for name, value in facts["last"]["validation"].items()],
        ),
    )
