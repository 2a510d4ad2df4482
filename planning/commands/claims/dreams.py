"""Claim 7: what a controller reaches in the dream it evolved in, and in the scene.

One VAE and one memory; the controller alone evolves anew at every temperature. Dream and scene
begin at the same held-out starts and last as long.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property, partial
from typing import TYPE_CHECKING, Any

import numpy as np

from planning.commands.claims.latent_actions import trained
from planning.commands.claims.measuring import (
    Measurement,
    Row,
    going_on,
    modelled,
    planned,
    solved,
)
from planning.commands.compare import held_out
from planning.commands.evaluate import row_config
from planning.commands.self_improve import MODE1
from planning.evaluation.goal_pairs import solved_standing
from robot_wm.cli.compose import Session
from robot_wm.commands.parts.artifacts import dataset, model, scene
from robot_wm.core.errors import DataError
from robot_wm.core.instantiate import locate

if TYPE_CHECKING:
    from robot_wm.data.formats.base import EpisodeReader

CLAIM, FAMILY = 7, "world_models"  # in the ledger
RECORDED = 2000  # pairs of frames that tell how near is near enough
CHANCE = 7  # beside the seed, of these pairs and of dreams


def temperatures(session: Session) -> list[Measurement]:
    """One model is trained whole; the others take over its VAE and its memory."""
    base, found = modelled(session, FAMILY), list[Measurement]()
    if base.settings.train_config().generations:
        # Missing, it is to be known now and not after the training.
        locate("robot_wm.world_models.world_models_2018.controller.library")()
    judge = Judge(base)
    for temperature in session.settings.claims.temperatures:
        own = going_on(
            session, FAMILY, f"{base.settings.name}-tau{temperature:g}",
            base.settings.model_path(),
            ("train.vae_steps=0", "train.rnn_steps=0", f"train.temperature={temperature!r}"),
        )  # fmt: skip
        alone = planned(own, **MODE1, mirror=False)
        jobs = partial(_trained, alone, base), partial(_scores, alone, judge, temperature)
        found.append(Measurement(CLAIM, FAMILY, temperature, *jobs))
    return found


def _trained(session: Session, base: Session) -> Row:
    return {**trained(session, base), "dreams": session.settings.claims.dreams}


def _scores(session: Session, judge: Judge, temperature: float) -> Row:
    from robot_wm.world_models.base import load_world_model
    from robot_wm.world_models.world_models_2018.dream_score import seen, share_reached

    settings, folders = session.settings, model(session)
    loaded: Any = load_world_model(*folders)
    starts, goals = (seen(loaded, frames) for frames in judge.ends)
    blocks = held_out(settings).budget // loaded.spec.block
    dream = share_reached(
        loaded.network, starts, goals, judge.bound, blocks, temperature, settings.claims.dreams,
        np.random.default_rng([settings.seed, CHANCE]),
    )  # fmt: skip
    n, real = solved(session, FAMILY, folders)
    values = {"dream": round(100 * dream, 4), "real": real, "told_apart_pct": judge.told_apart}
    return {"n": n, "bound": round(judge.bound, 6), "values": values}


class Judge:
    """Tells when a dreamt goal is reached; the same for all controllers of one VAE.

    Args:
        base: the run with the model whose VAE it is, trained by the time it is asked.
    """

    def __init__(self, base: Session) -> None:
        self.base = base

    @cached_property
    def ends(self) -> tuple[list[np.ndarray], list[np.ndarray]]:
        """Pictures of the starts and of the goals of the held-out pairs."""
        from planning.evaluation.evaluator import restore

        settings = self.base.settings
        pairs = held_out(settings)
        config = row_config(settings, "mpc", pairs, None)
        env = scene(settings.task.name, settings.image_size)
        starts, goals = (
            [restore(env, config, pair, end)[0]["image"] for pair in pairs.pairs]
            for end in ("start", "goal")
        )
        env.close()
        return starts, goals

    @cached_property
    def recorded(self) -> tuple[np.ndarray, np.ndarray]:
        """‖z - z_goal‖² of recorded frames, and whether they truly reach the goal: ``[N]`` each."""
        from robot_wm.data.formats.base import open_episodes
        from robot_wm.world_models.base import load_world_model
        from robot_wm.world_models.world_models_2018.dream_score import gaps_of, seen

        settings = self.base.settings
        pairs = held_out(settings)
        loaded: Any = load_world_model(*model(self.base))
        env = scene(settings.task.name, settings.image_size, draw_images=False)
        store = open_episodes(dataset(settings, "nominal"))
        far = max(1, (pairs.offset or pairs.budget) // store.schema.frame_every)
        frames, goals, poses = stretches(store, far, RECORDED, settings.seed)
        reached = [solved_standing(env.success, pairs.predicate, *both) for both in poses]
        env.close()
        return gaps_of(seen(loaded, frames), seen(loaded, goals)), np.array(reached)

    @cached_property
    def bound(self) -> float:
        """How near is near enough."""
        from robot_wm.world_models.world_models_2018.dream_score import bound_of

        return bound_of(*self.recorded)

    @property
    def told_apart(self) -> float:
        """How well that bound tells recorded frames that reach the goal from others [%]."""
        from robot_wm.world_models.world_models_2018.dream_score import told_apart

        return round(100 * told_apart(*self.recorded, self.bound), 2)


Poses = tuple[np.ndarray, np.ndarray]


def stretches(
    store: EpisodeReader, far: int, count: int, seed: int
) -> tuple[Sequence[np.ndarray], Sequence[np.ndarray], list[Poses]]:
    """Frames of validation episodes, frames up to ``far`` blocks ahead, and the poses of both.

    Raises:
        DataError: no validation episode has two frames.
    """
    rng, every = np.random.default_rng([seed, CHANCE]), store.schema.frame_every
    indices = store.indices("validation", steps=every)
    if not indices:
        raise DataError(f"{store.root} has no validation episodes", "some", "collect more")
    frames, goals, poses = list[np.ndarray](), list[np.ndarray](), list[Poses]()
    drawn = np.unique(rng.integers(len(indices), size=count), return_counts=True)
    for which, times in zip(*drawn, strict=True):
        episode = store[indices[which]]
        for _ in range(times):
            goal = int(rng.integers(1, len(episode.frames)))
            frame = goal - int(rng.integers(1, min(far, goal) + 1))
            frames.append(np.array(episode.frames[frame]))
            goals.append(np.array(episode.frames[goal]))
            poses.append((episode.poses[frame * every], episode.poses[goal * every]))
    return frames, goals, poses
