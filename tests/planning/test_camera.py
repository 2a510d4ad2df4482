"""A camera that was knocked: found from one picture, and its pictures made straight."""

from __future__ import annotations

import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from scripted_agent import LIMITS
from toy_models import SIZE, SPEED, ToyModel, agent_of, observe

from export.robot.controller import Controller, Frame
from export.runtime.agent import SHIPPED, load_agent
from export.runtime.agent import agent_of as agent_of_bundle
from export.runtime.world_model import OnnxWorldModel
from planning.agent.build import mpc
from planning.agent.checks import check_known
from planning.agent.restoring.camera import CAMERA, PICTURES, CameraReference, View
from robot_wm.cli.compose import compose
from robot_wm.cli.paths import PACKAGE
from robot_wm.core.errors import ConfigError, InputError, WeightsError

FRAMES = PACKAGE / "weights" / "frames"
TURNED = np.array([[0.0, -1.0, 0.0], [1.0, 0.0, 0.0], [0.0, 0.0, 1.0]])  # by a quarter


def frames_of(task: str) -> np.ndarray:
    """Held-out frames as recorded; the camera's reference is of the training frames."""
    with np.load(FRAMES / task / "frames.npz", allow_pickle=False) as stored:
        return np.array(stored["frames"])


def knocked(degrees: float, right: float, down: float) -> View:
    """A camera turned about its axis and shifted [halves of the picture's width]."""
    cos, sin = np.cos(np.deg2rad(degrees)), np.sin(np.deg2rad(degrees))
    return View(np.array([[cos, -sin, right], [sin, cos, down], [0.0, 0.0, 1.0]]))


def off(task: str, frame: np.ndarray, found: View, moved: View) -> float:
    """Mean distance [px] of four places from where they were before camera and view."""
    assert moved.homography is not None
    back = np.eye(3) if found.homography is None else found.homography
    corners = np.array([[x, y, 1.0] for x in (-0.7, 0.7) for y in (-0.7, 0.7)])
    there = corners @ (moved.homography @ back).T
    return float(np.hypot(*(there[:, :2] / there[:, 2:] - corners[:, :2]).T).mean() * 32)


@pytest.mark.parametrize("task", ["push_t", "two_room", "reacher"])
@pytest.mark.parametrize("knock", [(7.0, 0.0, 0.0), (-4.0, 0.09, -0.05), (0.0, -0.06, 0.05)])
def test_a_turned_and_shifted_camera_is_found(task: str, knock: tuple[float, ...]) -> None:
    reference, moved = CameraReference.read(SHIPPED / task / CAMERA), knocked(*knock)
    for frame in frames_of(task)[[3, 150, 301]]:
        seen = moved.restore(frame)
        found = reference.locate(seen[None])
        assert off(task, frame, View(), moved) > 2
        assert off(task, frame, found, moved) < 1.3
        assert found.unexplained < 0.7


@pytest.mark.parametrize("task", [path.name for path in sorted(SHIPPED.iterdir())])
def test_a_camera_where_it_was_changes_no_pixel(task: str) -> None:
    reference = CameraReference.read(SHIPPED / task / CAMERA)
    for frame in frames_of(task)[[0, 90, 180, 270]]:
        view = reference.locate(frame[None])
        assert view.homography is None
        assert view.restore(frame) is frame


def test_other_colours_and_another_light_do_not_matter() -> None:
    reference, moved = CameraReference.read(SHIPPED / "two_room" / CAMERA), knocked(5.0, 0.05, 0.0)
    frame = frames_of("two_room")[42]
    for changed in (255 - frame, frame // 2, frame[..., [2, 0, 1]]):
        found = reference.locate(moved.restore(changed)[None])
        assert off("two_room", frame, found, moved) < 1


@pytest.mark.parametrize("task", ["push_t", "two_room", "cube", "jaco_push"])
def test_a_covered_lens_is_no_scene_of_one_colour(task: str) -> None:
    reference = CameraReference.read(SHIPPED / task / CAMERA)
    size, rng = reference.background.picture.shape, np.random.default_rng(0)
    for low, high in ((0, 6), (124, 132), (248, 256)):
        covered = rng.integers(low, high, size).astype(np.uint8)
        assert reference.background.paint([covered]) is not None  # by colours alone, one would be
        view = reference.view(covered[None])
        assert view.homography is None
        assert view.paint is None


@pytest.mark.parametrize("task", ["cube", "jaco_push"])
def test_exchanged_channels_are_not_painted_over(task: str) -> None:
    agent = load_agent(task, repaint=True)
    assert agent.camera is not None
    for frame in frames_of(task)[[3, 150]]:
        assert agent.camera(frame[None, ..., ::-1]).paint is None
        with pytest.raises(InputError):
            check_known(agent, np.ascontiguousarray(frame[None, ..., ::-1]))


def test_of_many_pictures_some_are_looked_at() -> None:
    reference = CameraReference.read(SHIPPED / "two_room" / CAMERA)
    frames = knocked(5.0, 0.05, 0.0).restore(frames_of("two_room")[42])[None].repeat(40, 0)
    some = reference.locate(frames[:PICTURES])
    np.testing.assert_array_equal(reference.locate(frames).homography, some.homography)


def test_without_any_edge_nothing_is_found() -> None:
    grey = np.full((5, 32, 32, 3), 127, np.uint8)
    assert CameraReference.of(grey).view(grey[:1]) == View()


def test_pictures_that_are_not_square_are_turned_without_being_stretched() -> None:
    wide = np.zeros((32, 64, 3), np.uint8)
    wide[14:18, 40:44] = 255  # 20 px right of the middle
    quarter = View(TURNED).restore(wide)
    assert quarter.shape == wide.shape
    near = np.roll(wide, -4, 1)  # 6 px right of the middle
    rows, columns = np.nonzero(View(TURNED).restore(near)[..., 0] > 127)
    assert abs(rows.mean() - 15.5) == pytest.approx(6, abs=1)
    assert columns.mean() == pytest.approx(31.5, abs=1)


def test_the_reference_is_stored_small_and_a_damaged_one_refused(tmp_path: Path) -> None:
    reference = CameraReference.of(frames_of("two_room")[:40])
    path = tmp_path / CAMERA
    reference.write(path)
    again = CameraReference.read(path)
    for ours, theirs in zip(reference.scales, again.scales, strict=True):
        # Equal to the last digit: torch and the exported agent see the same.
        np.testing.assert_array_equal(theirs.mean, ours.mean)
        np.testing.assert_array_equal(theirs.weight, ours.weight)
    assert path.stat().st_size < 100_000
    whole = path.read_bytes()
    path.write_bytes(whole[:1000])
    with pytest.raises(WeightsError, match="export the bundle again"):
        CameraReference.read(path)
    picture = np.zeros((8, 8, 3), np.uint8)
    for scales, seen in (
        (np.ones((3, 2, 8, 9)), picture),
        (np.zeros((3, 2, 8, 8)), picture),  # weights of 0
        (np.full((3, 2, 8, 8), np.nan), picture),
        (np.ones((3, 2, 8, 8)), picture.astype(float)),
        (np.ones((3, 2, 8, 8)), picture[..., :1]),
        (np.ones((3, 2, 8)), picture[..., 0]),
    ):
        np.savez(path, scales=scales, picture=seen)
        with pytest.raises(WeightsError, match="finite"):
            CameraReference.read(path)
    with pytest.raises(InputError, match="40"):
        reference.view(np.zeros((1, 40, 40, 3), np.uint8))


class Fixed:
    """Says of every camera that it stands on its head."""

    def __init__(self) -> None:
        self.asked: list[np.ndarray] = []

    def __call__(self, images: np.ndarray) -> View:
        self.asked.append(images)
        return View(np.diag([-1.0, -1.0, 1.0]), 0.1)


def half(position: tuple[float, float]) -> dict[str, np.ndarray]:
    """The toy's picture, whose upper half alone is lit."""
    seen = observe(position)
    seen["image"][SIZE // 2 :] = 0
    return seen


def test_the_agent_sees_goal_and_frames_straight() -> None:
    model, camera = ToyModel(), Fixed()
    agent = agent_of(model, camera=camera)
    goal = half((0.3, -0.2))
    agent.reset(goal, 0)
    seen = half((0.1, 0.1))
    agent.act(seen)
    assert len(camera.asked) == 1  # once an episode, of the goal
    for history, given in zip(model.histories, (goal, seen), strict=True):
        np.testing.assert_array_equal(history.frames[-1], given["image"][::-1, ::-1])
    agent.restart(1)
    assert agent.view.homography is not None  # the camera stays where it is
    agent.reset(goal, 2)
    assert len(camera.asked) == 1  # the same goal is not looked at again
    held = agent.view
    with pytest.raises(InputError):
        agent.reset({"image": np.zeros((3, 3, 3), np.uint8)}, 0)
    assert agent.view is held


def test_restoring_a_frame_is_part_of_a_plans_time(monkeypatch: pytest.MonkeyPatch) -> None:
    agent = agent_of(ToyModel(), camera=Fixed())
    agent.reset(half((0.3, -0.2)), 0)
    restored = View.restore

    def slowly(view: View, image: np.ndarray) -> np.ndarray:
        time.sleep(0.2)
        return restored(view, image)

    monkeypatch.setattr(View, "restore", slowly)
    agent.act(half((0.1, 0.1)))
    assert agent.encode_s[-1] > 0.2


def test_the_controller_judges_what_the_planner_will_see() -> None:
    model: ToyModel = ToyModel()
    judged: list[np.ndarray] = []
    model.check_goal = judged.append  # type: ignore[attr-defined]
    model.is_novel = lambda frame: bool(judged.append(frame))  # type: ignore[attr-defined]
    limits = replace(LIMITS, max_change=SPEED, max_plan_time_s=30.0)
    controller = Controller(agent_of(model, camera=Fixed()), limits)
    goal = half((0.3, -0.2))["image"]
    controller.start(goal)
    controller.tick(0.0, Frame(half((0.1, 0.1))["image"], 0.0))
    assert len(judged) == 2
    for image in judged:
        assert not image[: SIZE // 2].any()
        assert image[SIZE // 2 :].any()


def test_a_bundle_that_does_not_say_what_its_camera_saw() -> None:
    agent = load_agent("two_room", straighten=True)
    assert agent.camera is not None
    assert load_agent("two_room").camera is None
    older = OnnxWorldModel(SHIPPED / "two_room", threads=1)
    older.manifest["files"].pop(CAMERA)
    with pytest.raises(ConfigError, match="export it again"):
        agent_of_bundle(older, straighten=True)
    with pytest.raises(ConfigError, match=r"planner\.repaint false"):
        mpc(ToyModel(), {"optimizer": "cem", "straighten": True})


def test_rows_of_it_are_named_after_it() -> None:
    straight = compose(["planner.straighten=true"])
    assert straight.row_modifiers(straight.planner) == ("straightened",)
    # A planner of another section restores nothing, whatever the agent's own does.
    assert straight.row_modifiers(straight.diagnosis) == ()
    asked = compose(
        ["planner.straighten=true", "evaluate.modifiers=[rest]", "weights=shipped-contrast"]
    )
    assert asked.row_modifiers(asked.planner) == ("rest", "straightened", "contrast")


def test_a_scene_seen_from_a_turned_camera_has_the_latent_of_the_scene() -> None:
    from sim.env import GoalEnv

    env, agent = GoalEnv("two_room", 64), load_agent("two_room", straighten=True, mirror=False)
    obs, info = env.reset(seed=3)
    turned, _ = env.reset(options={"state": info["state"], "factors": {"camera_yaw": 4.0}})
    env.close()
    view = agent.view_of(turned["image"][None])
    model: Any = agent.model
    plain, bent, straight = (
        model.latent(image)
        for image in (obs["image"], turned["image"], view.restore(turned["image"]))
    )
    gaps = [np.linalg.norm(z - plain) for z in (bent, straight)]
    assert gaps[1] < gaps[0] / 10
