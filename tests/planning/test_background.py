"""Other colours of what stands still: found from one picture, and painted over."""

from __future__ import annotations

import numpy as np
import pytest

from planning.agent.restoring.background import Background
from planning.agent.restoring.camera import CameraReference
from robot_wm.cli.paths import PACKAGE

WALL = np.zeros((40, 40, 3), np.uint8)
WALL[:] = (240, 240, 230)
WALL[:, 18:22] = (20, 20, 20)
WALL[30:34, 5:14] = (90, 200, 90)
THING = (slice(8, 14), slice(26, 33))
BLUE = (40, 60, 220)


def scene(table: tuple[int, int, int] = (240, 240, 230), light: float = 1.0) -> np.ndarray:
    """The wall's scene with a thing before it, its table in a colour, under a light."""
    image = WALL.copy()
    image[(WALL == (240, 240, 230)).all(-1)] = table
    image[THING] = BLUE
    return np.rint(image * light).astype(np.uint8)


def test_a_picture_as_recorded_is_left_alone() -> None:
    assert Background(WALL).paint([scene()]) is None


@pytest.mark.parametrize("table", [(255, 0, 255), (30, 30, 30), (150, 90, 40)])
def test_another_table_is_painted_over_and_the_thing_is_not(table: tuple[int, int, int]) -> None:
    paint = Background(WALL).paint([scene(table)])
    assert paint is not None
    assert paint.gain is None
    np.testing.assert_array_equal(paint.restore(scene(table)), scene())
    # The thing moves on; the table stays.
    moved = np.roll(scene(table), 3, axis=0)[8:20, 24:36]
    later = scene(table)
    later[8:20, 24:36] = moved
    wanted = scene()
    wanted[8:20, 24:36] = np.roll(scene(), 3, axis=0)[8:20, 24:36]
    np.testing.assert_array_equal(paint.restore(later), wanted)


def test_another_light_is_taken_back_of_things_too() -> None:
    paint = Background(WALL).paint([scene(light=0.5)])
    assert paint is not None
    assert paint.gain == pytest.approx(0.5, abs=0.02)
    restored = paint.restore(scene(light=0.5)).astype(int)
    assert np.abs(restored - scene()).max() <= 5


def test_edges_that_mix_with_another_table_are_mixed_with_the_recorded_one() -> None:
    half = [(np.array(colour) + BLUE) // 2 for colour in ((255, 0, 255), (240, 240, 230))]
    now, wanted = scene((255, 0, 255)), scene()
    now[7, 26:33], wanted[7, 26:33] = half
    paint = Background(WALL).paint([now])
    assert paint is not None
    np.testing.assert_allclose(paint.restore(now).astype(int), wanted, atol=2)


def test_what_is_covered_in_part_is_followed_all_the_same() -> None:
    covered = scene((255, 0, 255))
    covered[30:34, 5:8] = BLUE  # a third of the green
    paint = Background(WALL).paint([covered])
    assert paint is not None
    restored = paint.restore(covered)
    np.testing.assert_array_equal(restored[30:34, 8:14], WALL[30:34, 8:14])
    np.testing.assert_array_equal(restored[30:34, 5:8], covered[30:34, 5:8])


@pytest.mark.parametrize("task", ["push_t", "two_room", "cube", "jaco_push"])
def test_no_held_out_frame_of_a_shipped_scene_is_painted(task: str) -> None:
    reference = CameraReference.read(PACKAGE / "weights" / "bundles" / task / "camera.npz")
    with np.load(PACKAGE / "weights" / "frames" / task / "frames.npz") as stored:
        for frame in stored["frames"][::40]:
            view = reference.view(frame[None], straighten=False)
            assert view.restore(frame) is frame


def test_a_scene_with_another_floor_has_the_latent_of_the_scene() -> None:
    from export.runtime.world_model import OnnxWorldModel
    from sim.env import GoalEnv

    env, folder = GoalEnv("two_room", 64), PACKAGE / "weights" / "bundles" / "two_room"
    obs, info = env.reset(seed=3)
    factors = {"canvas_color": (1.0, 1.0, 0.3), "camera_yaw": 3.0}
    changed, _ = env.reset(options={"state": info["state"], "factors": factors})
    env.close()
    view = CameraReference.read(folder / "camera.npz").view(changed["image"][None])
    model = OnnxWorldModel(folder, threads=1)
    images = obs["image"], changed["image"], view.restore(changed["image"])
    plain, other, restored = (model.latent(image) for image in images)
    assert np.linalg.norm(restored - plain) < np.linalg.norm(other - plain) / 20
