"""The upper level of a hierarchy: it foresees a stride, and sets goals on the way."""

from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from torch import Tensor

from robot_wm.core.errors import WeightsError
from robot_wm.world_models.hierarchy.config import HierarchyConfig
from robot_wm.world_models.hierarchy.family import lower_level
from robot_wm.world_models.hierarchy.model import HierarchicalModel
from robot_wm.world_models.hierarchy.network import UpperLevel
from robot_wm.world_models.jepa.model import JepaState

STRIDE, ACTION = 3, 2
CONFIG = HierarchyConfig(
    "plane", stride=STRIDE, macro=4, ahead=3, plans=32, heads=2, width=32, blocks=2, noise=0.05
)


def walks(count: int, generator: torch.Generator, blocks: int = 9) -> tuple[Tensor, Tensor]:
    """A point that goes straight where it wants, at most 0.2 a block along an axis."""
    z = [torch.rand(count, 2, generator=generator) * 4 - 2]
    goal = torch.rand(count, 2, generator=generator) * 4 - 2
    actions = []
    for _ in range(blocks):
        step = goal - z[-1]
        step = 0.2 * step / step.abs().amax(dim=1, keepdim=True).clamp(min=0.2)
        actions.append(step / 0.2)
        z.append(z[-1] + step)
    return torch.stack(z, 1), torch.stack(actions, 1)


@pytest.fixture(scope="module")
def upper() -> UpperLevel:
    generator = torch.Generator().manual_seed(0)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        level = UpperLevel(CONFIG, 2, ACTION)
        optimizer = torch.optim.AdamW(level.parameters(), lr=3e-3)
        for _ in range(400):
            z, actions = walks(128, generator)
            noise = CONFIG.noise * torch.randn(128, CONFIG.macro, generator=generator)
            loss = level.loss(z[:, 0], actions[:, :STRIDE], z[:, STRIDE], z[:, -1], noise)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
    return level.eval()


@torch.no_grad()
def test_a_code_tells_what_the_blocks_of_a_stride_lead_to(upper: UpperLevel) -> None:
    z, actions = walks(500, torch.Generator().manual_seed(1))
    code = upper.code(actions[:, :STRIDE])
    change = (z[:, STRIDE] - z[:, 0]).square().mean()
    own = (upper.predict(z[:, 0], code) - z[:, STRIDE]).square().mean()
    lent = (upper.predict(z[:, 0], code.roll(1, 0)) - z[:, STRIDE]).square().mean()
    assert own < 0.1 * change
    assert lent > change


@dataclass
class Seen:
    """A lower level that only judges: blocks to go on the plane, and their logarithm."""

    cost: str = "distance"

    @property
    def network(self) -> SimpleNamespace:
        return SimpleNamespace(distance=self.distance, costs=self.costs)

    @staticmethod
    def distance(z: Tensor, goal: Tensor) -> Tensor:
        return torch.log1p((z - goal).abs().amax(dim=-1) / 0.2)

    def costs(self, latents: Tensor, goal: Tensor, kind: str) -> Tensor:
        assert kind == self.cost
        return self.distance(latents, goal)


def state(*place: float) -> JepaState:
    return JepaState(torch.tensor([place, place]), torch.zeros(ACTION), False)


def test_a_far_goal_is_reached_by_goals_on_the_way_and_a_near_one_itself(
    upper: UpperLevel,
) -> None:
    model = HierarchicalModel(Seen(), upper, SimpleNamespace())  # type: ignore[arg-type]
    here, far, near = state(-1.0, -1.0), state(1.0, 1.0), state(-0.5, -0.8)
    sub = model.sub_goal(here, far)
    moved = sub.z[1] - here.z[1]
    assert not sub.known
    assert (moved > 0.3).all()  # towards it, about a stride: 0.6
    assert (moved < 0.9).all()
    assert model.sub_goal(here, near) is near
    # Asked again, by another and after something else, it wants the same.
    again = HierarchicalModel(Seen(), upper, SimpleNamespace())  # type: ignore[arg-type]
    assert torch.equal(again.sub_goal(here, far).z, sub.z)
    assert torch.equal(model.sub_goal(here, far).z, sub.z)


def test_a_lower_level_is_a_name_or_a_folder(tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setenv("ROBOT_WM_HOME", str(tmp_path))
    assert lower_level(HierarchyConfig("push_t")).name == "push_t"
    variant = HierarchyConfig("push_t", low="shipped-contrast")
    assert lower_level(variant).name == "push_t-contrast"
    assert lower_level(HierarchyConfig("push_t", low=str(lower_level(HierarchyConfig("push_t")))))
    with pytest.raises(WeightsError, match="plane-none") as caught:
        lower_level(HierarchyConfig("plane", low="none"))
    assert "robot-wm train task=plane" in caught.value.next_step
