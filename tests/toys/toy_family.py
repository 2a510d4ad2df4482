"""Somebody else's world model: two numbers off the picture, moved by a learned linear map.

As an installed package would bring it: nothing outside ``tests/`` knows of it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import torch
from torch import Tensor, nn

from robot_wm.core.config import Count, Positive, Seed, Within
from robot_wm.core.protocols import (
    History,
    ModelSpec,
    check_actions,
    check_history,
    proposal_chance,
    spec_to_json,
)
from robot_wm.core.storage.provenance import read_manifest
from robot_wm.data.formats.base import EpisodeReader, open_episodes
from robot_wm.data.sequences import block_actions
from robot_wm.training.checkpoint import save_artifact
from robot_wm.world_models.base import KIND, ExportParts, TrainingData
from robot_wm.world_models.stored import load_network

NAME, FIXED = "linear", 2


@dataclass(frozen=True)
class LinearConfig:
    """How it is trained."""

    task: str
    steps: Count = 60
    batch: Count = 64
    lr: Positive = 0.05
    horizon: Annotated[int, Within(1, 20)] = 4
    seed: Seed = 0
    threads: int = 1


class Place(nn.Module):
    """Where the picture differs most from its mean: images ``[N, S, S, 3]`` to ``[N, 2]``."""

    def forward(self, images: Tensor) -> tuple[Tensor, Tensor]:
        gray = images.float().mean(dim=-1) / 255
        odd = (gray - gray.mean(dim=(1, 2), keepdim=True)).abs().pow(4) + 1e-9
        odd = odd / odd.sum(dim=(1, 2), keepdim=True)
        axis = torch.linspace(-1, 1, images.shape[1])
        place = torch.stack([(odd.sum(1) * axis).sum(1), (odd.sum(2) * axis).sum(1)], dim=1)
        return place, 1 + 0 * place[:, 0]


class Costs(nn.Module):
    """Distance to the goal after every block."""

    def __init__(self, move: nn.Linear) -> None:
        super().__init__()
        self.move = move

    def forward(self, z_prev: Tensor, z: Tensor, a_prev: Tensor, goal: Tensor, actions: Tensor):
        there = z[None] + self.move(actions).cumsum(dim=1)
        # What it does not use must still be an input of an exported graph.
        unused = 0 * (z_prev.sum() + a_prev.sum())
        return ((there - goal[None]).square().sum(-1) + 0.01).sqrt() + unused


class Straight(nn.Module):
    """Plans that go straight to the goal, some with noise."""

    def __init__(self, move: nn.Linear, spec: ModelSpec) -> None:
        super().__init__()
        self.register_buffer("inverse", torch.linalg.pinv(move.weight))
        self.register_buffer("low", torch.tensor(spec.action_low))
        self.register_buffer("high", torch.tensor(spec.action_high))
        self.horizon = spec.horizon

    def forward(
        self, z_prev: Tensor, z: Tensor, a_prev: Tensor, goal: Tensor, choice: Tensor, noise: Tensor
    ) -> Tensor:
        unused = 0 * (z_prev.sum() + a_prev.sum() + choice.sum())
        way = (goal - z) @ self.get_buffer("inverse").T / self.horizon + unused
        fixed = way[None].expand(FIXED, self.horizon, -1)
        plans = torch.cat([fixed, way[None] + 0.3 * noise])
        plans = torch.maximum(plans, self.get_buffer("low"))
        return torch.minimum(plans, self.get_buffer("high"))


@dataclass(frozen=True)
class LinearState:
    z: np.ndarray
    action: np.ndarray


class LinearModel:
    """The contract, ``Proposer`` and ``Exportable``."""

    def __init__(self, move: nn.Linear, spec: ModelSpec) -> None:
        self.spec, self.place = spec, Place()
        self.costs, self.plans = Costs(move), Straight(move, spec)

    @torch.inference_mode()
    def encode(self, history: History) -> LinearState:
        check_history(history, self.spec)
        frames = history.frames[[-min(2, len(history.frames)), -1]]
        z = torch.cat([self.place(torch.from_numpy(frame[None].copy()))[0] for frame in frames])
        known = len(history.actions)
        action = history.actions[-1] if known else np.zeros(self.spec.action_dim, np.float32)
        return LinearState(z.numpy(), np.asarray(action, np.float32))

    def _told(self, state: LinearState, goal: LinearState) -> list[Tensor]:
        rows = (state.z[:1], state.z[1:], state.action[None], goal.z[1:])
        return [torch.from_numpy(row) for row in rows]

    @torch.inference_mode()
    def step_costs(self, state: LinearState, goal: LinearState, actions: np.ndarray) -> np.ndarray:
        check_actions(actions, self.spec)
        rows = torch.from_numpy(np.array(actions, np.float32))
        return self.costs(*self._told(state, goal), rows).numpy()

    @torch.inference_mode()
    def propose(
        self, state: LinearState, goal: LinearState, n: int, rng: np.random.Generator
    ) -> np.ndarray:
        drawn = proposal_chance(rng, max(0, n - FIXED), self.spec)
        chance = (torch.from_numpy(part) for part in drawn)
        return self.plans(*self._told(state, goal), *chance)[:n].numpy()

    def export_parts(self) -> ExportParts:
        return ExportParts(self.place, self.costs, self.plans, 2, FIXED, self.spec.horizon)


class LinearFamily:
    """See ``WorldModelFamily``; it looks at frames and never asks for latents."""

    name, config, free = NAME, LinearConfig, ("threads",)
    proposes = True

    def train(self, config: LinearConfig, data: TrainingData, out: Path, evaluate=None) -> Path:
        stores = [open_episodes(path) for path in data.datasets]
        schema = stores[0].schema
        before, actions, after = self._transitions(stores)
        torch.manual_seed(config.seed)
        move = nn.Linear(actions.shape[1], 2, bias=False)
        optimizer = torch.optim.Adam(move.parameters(), config.lr)
        rng = np.random.default_rng(config.seed)
        for _ in range(config.steps):
            rows = rng.integers(len(before), size=config.batch)
            loss = (before[rows] + move(actions[rows]) - after[rows]).square().mean()
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
        spec = ModelSpec(
            config.task, schema.control_low * schema.frame_every,
            schema.control_high * schema.frame_every, len(schema.control_low), schema.control_dt,
            context=2, horizon=config.horizon, image_size=schema.image_size,
        )  # fmt: skip
        parents = {
            "encoder": read_manifest(data.encoder, "encoder")["sha256"],
            "dataset": stores[0].sha256,
        }
        kept = {k: v for k, v in asdict(config).items() if k not in self.free}
        facts = {"family": NAME, "config": kept, "datasets": [store.sha256 for store in stores]}
        stored = {"spec": spec_to_json(spec)}
        tensors = move.requires_grad_(False).state_dict()
        folder = Path(out) / KIND
        save_artifact(folder, KIND, tensors, stored, parents, facts, "# A linear model\n")
        return folder

    def _transitions(self, stores: list[EpisodeReader]) -> tuple[Tensor, Tensor, Tensor]:
        before, actions, after = [], [], []
        for store in stores:
            for i in store.indices("train"):
                z = Place()(torch.from_numpy(np.array(store[i].frames)))[0]
                blocks = torch.from_numpy(block_actions(store, i))[: len(z) - 1]
                before.append(z[: len(blocks)])
                after.append(z[1 : len(blocks) + 1])
                actions.append(blocks)
        return torch.cat(before), torch.cat(actions), torch.cat(after)

    def load(
        self, folder: Path, encoder_folder: Path, cost: str = "", illustrate: bool = False
    ) -> LinearModel:
        digest = read_manifest(encoder_folder, "encoder", verify=False)["sha256"]

        def make(stored: Mapping[str, Any], spec: ModelSpec) -> tuple[nn.Linear, None]:
            return nn.Linear(spec.action_dim, 2, bias=False), None

        move, _, spec = load_network(folder, digest, make, LinearConfig)
        return LinearModel(move, spec)


FAMILY = LinearFamily()
