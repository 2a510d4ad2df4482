"""What is exported, as torch modules of pure tensor functions.

Letters: ``N`` candidates, ``H`` horizon, ``A`` action size of a block, ``Z`` latent size, ``I``
iterations, ``K`` drawn proposals. Actions are in the task's own unit.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn

from planning.agent.costs import Objective
from planning.optimizers.array_api import array_namespace
from planning.optimizers.base import Optimizer, Search, clip
from robot_wm.core.errors import ConfigError
from robot_wm.core.images import sides
from robot_wm.core.protocols import ModelSpec
from robot_wm.world_models.base import ExportParts

Dims = tuple[str | int, ...]


@dataclass(frozen=True)
class Graph:
    """One file of a bundle.

    Attributes:
        name: stem of the file.
        module: what it computes.
        inputs, outputs: shapes by name; a letter is a size free at run time.
        dtypes: of the inputs that are not float32.
        least: smallest value of a letter, 2 where unnamed.
    """

    name: str
    module: nn.Module
    inputs: dict[str, Dims]
    outputs: dict[str, Dims]
    dtypes: dict[str, torch.dtype]
    least: dict[str, int] = field(default_factory=dict)

    def example(self, sizes: dict[str, int]) -> tuple[Tensor, ...]:
        """Zeros of the right shapes, for tracing."""
        return tuple(
            torch.zeros(
                [sizes[d] if isinstance(d, str) else d for d in dims],
                dtype=self.dtypes.get(name, torch.float32),
            )
            for name, dims in self.inputs.items()
        )


class Planner(nn.Module):
    """Images in, block of actions out: encoder, proposals, rollouts and the whole search.

    The search is the optimiser's own code. Its first round is drawn apart, because the proposals
    take part in it; all others run in one ONNX loop, so that the number of iterations is the first
    size of ``noise`` at run time.
    """

    def __init__(
        self, parts: ExportParts, spec: ModelSpec, optimizer: Optimizer, objective: Objective
    ) -> None:
        super().__init__()
        if any(
            optimizer.num_samples(i) != optimizer.candidates for i in range(optimizer.iterations)
        ):
            raise ConfigError(
                f"{type(optimizer).__name__} with fewer candidates every round",
                "the same number of candidates in every round (icem: decay=1)",
                "set planner.options.decay=1 for export",
            )
        self.encode, self.step_costs, self.propose = parts.encode, parts.step_costs, parts.propose
        self.optimizer, self.objective = optimizer, objective
        self.register_buffer("low", torch.tensor(spec.action_low))
        self.register_buffer("high", torch.tensor(spec.action_high))

    def forward(
        self,
        previous: Tensor,
        image: Tensor,
        goal: Tensor,
        action: Tensor,
        mean: Tensor,
        noise: Tensor,
        choice: Tensor,
        proposal_noise: Tensor,
    ) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Plan ``[H, A]``, its cost ``[]``, its step costs ``[H]``, the image's latent ``[Z]``."""
        latents, _ = self.encode(torch.stack([previous, image, goal]))
        # Copies: what an exported loop reads from outside must not share memory.
        z_prev, z, wanted = (latents[i : i + 1].clone() for i in range(3))
        before = action[None].clone()
        proposals = self.propose(z_prev, z, before, wanted, choice, proposal_noise)

        def cost(actions: Tensor) -> Tensor:
            steps = self.step_costs(z_prev, z, before, wanted, actions)
            total: Tensor = self.objective(steps, actions)
            return total

        search = self._search(cost, mean, noise, proposals)
        plan = self.optimizer.finish(array_namespace(noise), cost, search).actions
        steps = self.step_costs(z_prev, z, before, wanted, plan[None])
        return plan, self.objective(steps, plan[None])[0], steps[0], z[0]

    def _search(self, cost: Any, mean: Tensor, noise: Tensor, proposals: Tensor) -> Search:
        xp, opt = array_namespace(noise), self.optimizer
        low, high = self.get_buffer("low"), self.get_buffer("high")
        mean = clip(xp, mean, low, high)
        first = opt.init(xp, cost, mean, None, low, high, noise[0], proposals)
        carried = [
            first.mean, first.std, first.best_actions, first.best_cost,
            *(() if first.carried is None else (first.carried,)),
        ]  # fmt: skip

        def more(i: Tensor, *state: Tensor) -> Tensor:
            return i < noise.shape[0]

        def body(i: Tensor, *state: Tensor) -> tuple[Tensor, ...]:
            carried = state[4] if len(state) > 4 else None
            search = Search(state[0], state[1], state[2], state[3], carried, None, None)
            round_noise = noise.index_select(0, i.reshape(1))[0]
            new = opt.step(xp, cost, search, low, high, round_noise)
            rest = () if new.carried is None else (new.carried,)
            out = (new.mean, new.std, new.best_actions, new.best_cost, *rest)
            # A loop's state must keep its strides.
            return (i + 1, *(x.contiguous() for x in out))

        start = (torch.ones((), dtype=torch.int64), *(x.contiguous().clone() for x in carried))
        _, *state = torch.while_loop(more, body, start)
        return Search(state[0], state[1], state[2], state[3], None, None, None)


def graphs(
    parts: ExportParts, spec: ModelSpec, optimizer: Optimizer, objective: Objective, horizon: int
) -> list[Graph]:
    """All graphs of a bundle.

    Raises:
        ConfigError: another horizon than the proposals', or a search whose rounds differ in size.
    """
    z, a, h, m = parts.latent, spec.action_dim, horizon, parts.proposals
    if horizon != parts.horizon:
        raise ConfigError(
            f"horizon {horizon}", f"{parts.horizon}, the proposals' horizon", "plan that far"
        )
    state: dict[str, Dims] = {"z_prev": (1, z), "z": (1, z), "a_prev": (1, a), "goal": (1, z)}
    image, chance = (*sides(spec.image_size), 3), {"choice": ("K",), "proposal_noise": ("K", h, a)}
    proposal_inputs: dict[str, Dims] = {"choice": ("K",), "noise": ("K", h, a)}
    u8 = torch.uint8
    return [
        Graph("encode", parts.encode, {"images": ("N", *image)},
              {"latents": ("N", z), "novelty": ("N",)}, {"images": u8}),
        Graph("step_costs", parts.step_costs, {**state, "actions": ("N", h, a)},
              {"costs": ("N", h)}, {}),
        Graph("propose", parts.propose, {**state, **proposal_inputs}, {"plans": (f"{m} + K", h, a)},
            {}),
        Graph(
            "planner", Planner(parts, spec, optimizer, objective),
            {"previous": image, "image": image, "goal": image, "action": (a,), "mean": (h, a),
             "noise": ("I", "N", h, a), **chance},
            {"plan": (h, a), "cost": (), "step_costs": (h,), "latent": (z,)},
            {"previous": u8, "image": u8, "goal": u8},
            # Two samples beside the mean and the fewest proposals.
            {"N": max(m + 5, getattr(optimizer, "elites", 1) + 1)},
        ),
    ]  # fmt: skip
