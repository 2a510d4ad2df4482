"""A robot's log is a data set like any other: same alignment, no holes, trainable."""

from dataclasses import replace

import numpy as np
import pytest
from moving_square import SIZE, TINY, make_dataset

from export.robot import episode_logger as record
from export.robot.controller import Controller, Frame, Limits
from export.robot.episode_logger import RobotLog
from robot_wm.core.errors import DataError, StorageError
from robot_wm.core.protocols import ModelSpec
from robot_wm.data.formats.native import EpisodeStore

BLOCK = 5
SPEC = ModelSpec("square", (-1.0,) * 10, (1.0,) * 10, 2, 0.02, 2, 3, SIZE, {"world_model": "abc"})


def image(k):
    return np.full((SIZE, SIZE, 3), k % 256, np.uint8)


def action(k):
    return np.array([k, -k], np.float32) / 1000


def test_frames_and_actions_are_aligned_as_in_simulation(tmp_path):
    log = RobotLog(tmp_path, SPEC)
    for k in range(23):
        log.tick(image(k), action(k))
    log.end()
    (episode,) = EpisodeStore(tmp_path, verify=True)
    assert len(episode) == 20  # what came after the last frame led nowhere
    assert episode.frames[:, 0, 0, 0].tolist() == [0, 5, 10, 15, 20]
    np.testing.assert_array_equal(episode.actions, np.stack([action(k) for k in range(20)]))
    assert [x.shape for x in (episode.states, episode.poses, episode.proprio)] == [(21, 0)] * 3


def test_a_missing_frame_ends_the_episode_and_the_next_begins_another(tmp_path):
    log = RobotLog(tmp_path, SPEC)
    for k in range(40):
        lost = k == 15 or k == 3  # only the one at a block's beginning matters
        log.tick(None if lost else image(k), action(k))
    log.end()
    log.end()
    first, second = EpisodeStore(tmp_path)
    assert first.frames[:, 0, 0, 0].tolist() == [0, 5, 10]
    assert second.frames[:, 0, 0, 0].tolist() == [16, 21, 26, 31, 36]
    np.testing.assert_array_equal(second.actions[0], action(16))


def test_a_full_disk_stops_no_control_step_and_loses_nothing(tmp_path, monkeypatch):
    def full(*_):
        raise StorageError("a full disk", "space", "make room")

    log = RobotLog(tmp_path, SPEC)
    with monkeypatch.context() as patch:
        patch.setattr(record, "write_shard", full)
        for k in range(40):
            log.tick("no image" if k == 15 else image(k), action(k))
        with pytest.raises(StorageError):
            log.end()
    log.end()
    assert [len(episode) for episode in EpisodeStore(tmp_path)] == [10, 20]


def test_it_is_appended_to_and_never_mixed_with_another_model(tmp_path):
    for _ in range(2):
        log = RobotLog(tmp_path, SPEC)
        for k in range(6):
            log.tick(image(k), action(k))
        log.end()
    assert [episode.id for episode in EpisodeStore(tmp_path)] == [0, 1]
    with pytest.raises(DataError, match="config"):
        RobotLog(tmp_path, replace(SPEC, hashes={"world_model": "other"}))


def test_the_controller_logs_what_it_sent_and_a_model_can_learn_from_it(tmp_path):
    import torch

    from robot_wm.data.latent_cache import build_latents
    from robot_wm.encoders.frozen import FrozenEncoder, save_encoder
    from robot_wm.encoders.vit import VideoEncoder
    from robot_wm.world_models.jepa.training.config import TrainConfig
    from robot_wm.world_models.jepa.training.trainer import train

    class Agent:
        class model:
            spec = SPEC

        def reset(self, goal, seed):
            pass

        def restart(self, seed):
            pass

        def act(self, obs):
            return np.array([1.0, -1.0], np.float32)

    limits = Limits(
        max_change=0.1, noop_action=(0.0, 0.0), max_frame_age_s=1.0, max_plan_time_s=1.0, frozen=99
    )
    controller = Controller(Agent(), limits, log=RobotLog(tmp_path / "robot", SPEC))
    rng, sent, period = np.random.default_rng(0), [], SPEC.control_dt
    for _ in range(2):
        controller.start(rng.integers(0, 256, (SIZE, SIZE, 3), np.uint8))
        for k in range(71):
            seen = rng.integers(0, 256, (SIZE, SIZE, 3), np.uint8)
            sent.append(controller.tick(k * period, Frame(seen, k * period)).action)
    controller.log.end()
    store = EpisodeStore(tmp_path / "robot")
    assert [len(episode) for episode in store] == [70, 70]
    np.testing.assert_array_equal(store[1].actions, np.stack(sent[71:141]))

    data = make_dataset(tmp_path / "data", episodes=8, blocks=14)
    torch.manual_seed(0)
    save_encoder(tmp_path / "encoder", VideoEncoder(TINY), {}, {}, "random weights")
    encoder = FrozenEncoder.load(tmp_path / "encoder")
    roots = [data.root, store.root]
    caches = [build_latents(root, encoder, tmp_path) for root in roots]
    few = {"steps": 2, "dynamics_steps": 2, "batch": 4, "dynamics_batch": 4, "keypoints": 2,
        "reduced": 4,
           "reconstructed": 4, "channels": 4, "width": 8, "blocks": 1, "threads": 1}  # fmt: skip
    shared = {"dataset_weights": (0.5, 0.5), "embedding": 0}
    made = train(TrainConfig("square", **few, **shared), roots, caches, encoder, tmp_path / "run")
    assert (made / "manifest.json").is_file()


def test_an_episode_that_cannot_be_stored_does_not_hold_up_the_next(tmp_path):
    log, image = RobotLog(tmp_path / "robot", SPEC), np.zeros((SIZE, SIZE, 3), np.uint8)
    for value in (np.nan, 0.5):
        for _ in range(2 * SPEC.block + 1):
            log.tick(image, np.full(2, value, np.float32))
        log.close()
    with pytest.raises(DataError, match="not finite"):
        log.end()
    log.end()
    (kept,) = EpisodeStore(tmp_path / "robot")
    assert (kept.actions == 0.5).all()
