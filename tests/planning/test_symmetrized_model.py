"""Planning in the mirror as well: the mean of both views, which no reflection changes."""

from __future__ import annotations

import numpy as np
import pytest
from toy_models import SIZE, SPEC, ProposingModel, ToyModel, agent_of, drive, observe

from planning.agent.symmetrized_model import symmetrized
from robot_wm.core.errors import ConfigError
from robot_wm.core.protocols import History, Proposer
from robot_wm.core.symmetry import IMAGES, Mirror

# The toy's picture shows red for x and green for y, everywhere alike: only actions have a mirror
# that leaves its meaning alone if the colours are left alone.
MIRROR = Mirror("transpose", (0, 1), (1.0, 1.0))
SWAP = Mirror("antitranspose", (1, 0), (1.0, 1.0))


class Leaning(ToyModel):
    """Right, but for a cost of moving along x that it should not see."""

    def step_costs(self, state, goal, actions):
        lean = actions.reshape(*actions.shape[:2], -1, 2)[..., 0].mean(-1)
        return (super().step_costs(state, goal, actions) + lean).astype(np.float32)


@pytest.mark.parametrize("image", IMAGES)
def test_two_reflections_are_none(image):
    frames = np.random.default_rng(0).integers(0, 256, (3, 8, 8, 3), np.uint8)
    mirror = Mirror(image, (1, 0), (-1.0, -1.0))
    once = mirror.images(frames)
    assert not np.array_equal(once, frames)
    np.testing.assert_array_equal(mirror.images(once), frames)
    block = np.arange(20, dtype=np.float32).reshape(2, 10)
    reflected = mirror.actions(block)
    np.testing.assert_array_equal(reflected[0, :4], [-1, 0, -3, -2])
    np.testing.assert_array_equal(mirror.actions(reflected), block)
    assert mirror.actions(np.zeros((0, 10), np.float32)).shape == (0, 10)


@pytest.mark.parametrize(
    ("image", "order", "signs"),
    [
        ("upside-down", (0, 1), (1.0, 1.0)),
        ("transpose", (0, 2), (1.0, 1.0)),
        ("transpose", (1, 0), (1.0, -1.0)),
        ("transpose", (0, 1), (2.0, 1.0)),
        ("transpose", (1, 2, 0), (1.0, 1.0, 1.0)),
    ],
)
def test_what_is_no_mirror_is_refused(image, order, signs):
    with pytest.raises(ConfigError, match="two reflections"):
        Mirror(image, order, signs)


def test_costs_are_the_mean_of_both_views():
    model = Leaning()
    seen = symmetrized(model, SWAP)
    history = History(observe((0.2, 0.2))["image"][None], np.zeros((1, 2)), np.zeros((0, 10)))
    state, goal = seen.encode(history), seen.encode(history)
    actions = np.random.default_rng(0).uniform(-1, 1, (6, 4, 10)).astype(np.float32)
    costs = seen.step_costs(state, goal, actions)
    both = [model.step_costs(state.plain, goal.plain, a) for a in (actions, SWAP.actions(actions))]
    np.testing.assert_allclose(costs, np.mean(both, axis=0), rtol=1e-6)
    # Whoever looks from the other side sees the same.
    np.testing.assert_allclose(costs, seen.step_costs(state, goal, SWAP.actions(actions)), 1e-5)
    assert symmetrized(model, None) is model


def test_proposals_come_from_both_sides_and_the_agent_arrives():
    seen = symmetrized(ProposingModel(), MIRROR)
    assert isinstance(seen, Proposer)
    assert not isinstance(symmetrized(ToyModel(), MIRROR), Proposer)
    image = observe((0.0, 0.0))["image"][None]
    state = seen.encode(History(image, np.zeros((1, 2)), np.zeros((0, 10))))
    for n in (1, 2, 5):
        assert seen.propose(state, state, n, np.random.default_rng(0)).shape == (n, 4, 10)
    positions, _ = drive(agent_of(seen, proposals=8), 60)
    assert np.abs(positions[-1] - (0.3, -0.2)).max() < 0.05


def test_other_abilities_stay():
    class Able(ToyModel):
        def is_novel(self, frame):
            return bool(frame.max() > 3)

        def nearest_frames(self, state, actions):
            return np.full((len(actions), SIZE, SIZE, 3), round(float(state[0])), np.uint8)

    seen = symmetrized(Able(), MIRROR)
    assert seen.is_novel(np.full((2, 2), 4))
    state = seen.encode(
        History(observe((1, 1))["image"][None], np.zeros((1, 2)), np.zeros((0, 10)))
    )
    assert seen.nearest_frames(state, np.zeros((3, 10))).max() == 1
    assert not hasattr(symmetrized(ToyModel(), MIRROR), "is_novel")
    assert seen.spec is SPEC
