"""The planner's section of the configuration."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Annotated, Any

from robot_wm.core.config import Within, build
from robot_wm.core.errors import ConfigError

if TYPE_CHECKING:
    from planning.optimizers import Optimizer


@dataclass(frozen=True)
class PlannerSettings:
    """The planner around the optimiser.

    Attributes:
        optimizer: registered name.
        options: of that optimiser, checked by its own dataclass.
        horizon: blocks planned.
        execute: blocks executed before the next plan.
        proposals: plans asked of the model per search: of its learned actor, or, by the oracle, of
            the scripted expert.
        memory_mb: working memory for candidates [MiB].
        warm_start: whether a search starts at the previous plan.
        discount: 0 costs the last block alone; above 0 sums all blocks with that factor per block.
        levels: steps from the lowest to the highest action to which plans are rounded, so that two
            runtimes of one model act alike; 0 does not round.
        cost: the world model's step cost, one that its family has; empty takes the model's own.
        mirror: whether a learned model judges every candidate in the scene's mirror image, too,
            where it has one (:mod:`planning.agent.symmetrized_model`).
        straighten: whether the goal's picture is compared with what stood still in training, and
            all pictures of the episode are turned and shifted back if the camera was knocked
            (:mod:`planning.agent.restoring.camera`).
        repaint: whether, likewise, what stood still is given back its recorded colours, and the
            light is taken back if all colours changed by it
            (:mod:`planning.agent.restoring.background`).
    """

    optimizer: str
    options: dict[str, Any] = field(default_factory=dict)
    horizon: Annotated[int, Within(1, 100)] = 5
    execute: Annotated[int, Within(1, 100)] = 1
    proposals: Annotated[int, Within(0, 100_000)] = 0
    memory_mb: Annotated[int, Within(0, 2**20)] = 512
    warm_start: bool = True
    discount: Annotated[float, Within(0, 100)] = 0.0
    levels: Annotated[int, Within(0, 2**20)] = 256
    cost: str = ""
    mirror: bool = False
    straighten: bool = False
    repaint: bool = False

    def search(self, where: str = "planner.options") -> Optimizer:
        """The optimiser with its options, which stand at ``where``, checked.

        Raises:
            ConfigError: an unknown optimiser, or options or a number of proposals that it cannot
                have.
        """
        from planning.optimizers import OPTIMIZERS, make

        if self.optimizer in OPTIMIZERS:
            found = build(OPTIMIZERS[self.optimizer], self.options, where)
        else:
            found = make(self.optimizer, **self.options)
        least, most = found.proposals_accepted
        if not least <= self.proposals <= most:
            key = where.replace("options", "proposals")
            raise ConfigError(
                f"{key} = {self.proposals} of {self.optimizer} with {self.options}",
                f"{least} to {most}", f"change {key}, or the search",
            )  # fmt: skip
        return found
