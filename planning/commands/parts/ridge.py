"""A part of ``robot-wm physics``: a ball on a ridge, of which one can say that it will land."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from planning.ledger.ridge import SEEN, Facts, Probes, between, clock, nearest, pictured
from planning.reporting.episode_recorder import Imagination
from robot_wm.cli.paths import CHECKOUT
from robot_wm.commands.parts.artifacts import dataset
from robot_wm.core.config import Count, Natural, Seed
from robot_wm.core.errors import ConfigError
from robot_wm.core.instantiate import locate
from robot_wm.core.protocols import Editable, History
from robot_wm.core.storage.atomic_io import atomic_write
from robot_wm.core.storage.provenance import provenance, read_manifest
from robot_wm.core.system.progress import say
from robot_wm.probing.control_config import PixelControlConfig

if TYPE_CHECKING:
    from robot_wm.cli.settings import Settings

CLAIM, TASK, CONTROL = 11, "ridge", "pixel_mse"  # in the ledger; the only scene; the control's name
SHOWN = 3  # clips on the sheet
Row = dict[str, Any]


@dataclass(frozen=True)
class RidgeSettings:
    """Clips in which chance decides, for what a model says of what it cannot know.

    Attributes:
        clips: held-out ones; above 0 ``robot-wm physics task=ridge`` asks this and nothing else.
        episodes: recorded ones that the model was trained on and probes are fitted on.
        seed: of the clips.
        control: training of a control that foretells pixels.
    """

    clips: Natural = 0
    episodes: Count = 400
    seed: Seed = 0
    control: PixelControlConfig = field(default_factory=PixelControlConfig)


@dataclass(frozen=True)
class Recorded:
    """Training episodes as they are.

    Attributes:
        episodes: of the split ``train``.
        every, blocks: control steps from frame to frame; blocks of a clip.
        sha256: of the data set.
    """

    episodes: Sequence[Any]
    every: int
    blocks: int
    sha256: str


def absorbing(settings: Settings, folders: tuple[Path, Path]) -> int:
    """Ask a stored world model and the control, print what came of it, write rows and a sheet.

    Raises:
        ConfigError: another scene, or a model that shows neither latents nor pictures.
    """
    from planning.ledger import measurements
    from robot_wm.world_models.base import family_of, load_world_model

    if settings.task.name != TASK:
        raise ConfigError(f"ridge.clips above 0 with task={settings.task.name}", f"task={TASK}",
                          "name that scene, or leave ridge.clips out")  # fmt: skip
    section, family = settings.ridge, family_of(folders[0]).name
    model = load_world_model(*folders)
    if not isinstance(model, Editable | Imagination):
        raise ConfigError(
            f"a world model of the family {family}, which shows nothing of what it foretells",
            "a model with `latents` and `continued` (robot_wm.core.protocols.Editable) or with "
            "`nearest_frames`", "give it these methods, or ask another model",
        )  # fmt: skip
    known = _recorded(settings)
    clips = locate("sim.physics.ridge.clips")(
        settings.image_size, known.every, section.clips, section.seed
    )
    control = _control(settings, known)
    dreams = [control.draw(clip.frames[:SEEN], clip.actions) for clip in clips]
    say(f"asking {family}")
    if isinstance(model, Editable):
        values, shown = _probed(model, known, clips, section.episodes)
    else:
        drawn = [_drawn(model, clip) for clip in clips]
        values, shown = _pictured(drawn, clips), drawn[:SHOWN]
    manifest = read_manifest(folders[0], "world_model", verify=False)
    told = {"claim": CLAIM, "task": TASK, "setting": None, "seed": section.seed, "n": len(clips)}
    rows: list[Row] = [
        {**told, "model": family, "values": values, "weights": settings.weights,
         "model_sha256": manifest["sha256"], "encoder_sha256": manifest["parents"].get("encoder"),
         **provenance()},
        {**told, "model": CONTROL, "values": _pictured(dreams, clips), **provenance()},
    ]  # fmt: skip
    results = CHECKOUT / "results" if settings.publish else settings.run_path("physics")
    path = results / measurements.FOLDER / f"{TASK}.jsonl"
    measurements.add_rows(path, rows)
    for row in rows:
        print(f"{row['model']}, {row['n']} clips")
        for name, value in row["values"].items():
            print(f"  {name:<18} {value:.3f}")
    out = settings.run_path("physics") / f"{TASK}-{family}.png"
    atomic_write(out, sheet(clips[:SHOWN], shown, dreams[:SHOWN]))
    print(f"pictures: {out} (the truth, its other way, {family}, {CONTROL})")
    print(f"rows: {path}")
    return 0


def _recorded(settings: Settings) -> Recorded:
    """Those of the first collection that the model is trained on."""
    from robot_wm.data.formats.base import open_episodes

    store = open_episodes(dataset(settings, settings.train_on[0]))
    every, blocks = store.schema.frame_every, int(locate("sim.physics.ridge.BLOCKS"))
    episodes = [store[i] for i in store.indices("train", every * blocks)]
    return Recorded(episodes, every, blocks, store.sha256)


def _control(settings: Settings, known: Recorded) -> Any:
    from robot_wm.probing.pixel_control import trained

    return trained(
        settings.ridge.control, known.episodes, known.every, known.blocks, known.sha256,
        settings.run_path("physics"),
    )  # fmt: skip


def _probed(
    model: Editable, known: Recorded, clips: Sequence[Any], episodes: int
) -> tuple[dict[str, float], list[np.ndarray]]:
    """What probes of true latents read from predicted ones; nearest pictures of the first clips."""
    some = known.episodes[:episodes]
    length = known.blocks + 1
    bank = np.stack([model.latents(episode.frames[:length]) for episode in some])
    facts = locate("sim.tasks.ridge.facts")
    probes = Probes.fit(bank, facts(np.stack([e.poses[:: known.every][:length] for e in some])))
    truth, other = (
        np.stack([model.latents(getattr(clip, way)) for clip in clips])
        for way in ("frames", "other")
    )
    ahead = np.stack([
        model.continued(seen[:SEEN], clip.actions[SEEN - 2], clip.actions[SEEN - 1 :])
        for seen, clip in zip(truth, clips, strict=True)
    ])  # fmt: skip
    real, possible = _facts(clips), locate("sim.physics.ridge.possible")
    found = probes.read(ahead, real, possible)
    seen = probes.read(truth[:, SEEN:], real, possible)
    values = {
        **found, **{f"{name}_seen": value for name, value in seen.items()},
        "clock_auc": clock(real),
        "between": between(ahead, truth[:, SEEN:], other[:, SEEN:], real.landed),
    }  # fmt: skip
    pictures = np.concatenate([episode.frames[:length] for episode in some])
    rows = bank.reshape(-1, bank.shape[-1])
    return values, [nearest(latents, rows, pictures) for latents in ahead[:SHOWN]]


def _facts(clips: Sequence[Any]) -> Facts:
    """Of all frames that are foretold, ``[N, H]``."""
    found: Facts = locate("sim.tasks.ridge.joined")([clip.facts for clip in clips], SEEN)
    return found


def _drawn(model: Any, clip: Any) -> np.ndarray:
    """What a model draws after the frames that are seen."""
    proprio = np.zeros((SEEN, 0), np.float32)
    state = model.encode(History(clip.frames[:SEEN], proprio, clip.actions[: SEEN - 1]))
    frames: np.ndarray = model.nearest_frames(state, clip.actions[SEEN - 1 :])
    return frames


def _pictured(dreams: Sequence[np.ndarray], clips: Sequence[Any]) -> dict[str, float]:
    return pictured(
        (frame, clip.frames[t], clip.other[t], bool(clip.facts.right[-1]))
        for dream, clip in zip(dreams, clips, strict=True)
        for t, frame in enumerate(dream, start=SEEN)
        if clip.facts.landed[t]
    )


def sheet(clips: Sequence[Any], *dreams: Sequence[np.ndarray]) -> bytes:
    """PNG of clips, a line each: the truth, its other way, and what each model foretells."""
    from planning.reporting.pictures import png

    lines = []
    for number, clip in enumerate(clips):
        strips = [np.concatenate([clip.frames[:SEEN], strip[number]]) for strip in dreams]
        lines += [np.hstack(list(frames)) for frames in (clip.frames, clip.other, *strips)]
        lines.append(np.zeros((4, lines[-1].shape[1], 3), np.uint8))
    return png(np.vstack(lines).repeat(2, axis=0).repeat(2, axis=1))
