"""Claims 4 and 8: what becomes of the features when one option of the pretraining is varied."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from typing import TYPE_CHECKING, Any

from planning.commands.claims.measuring import NAMED, Measurement, Row, seeded
from robot_wm.cli.compose import Session, compose
from robot_wm.commands.compare_objectives import METERS
from robot_wm.commands.parts.artifacts import dataset, encoder
from robot_wm.core.errors import ConfigError
from robot_wm.core.storage.provenance import read_manifest

if TYPE_CHECKING:
    from robot_wm.cli.settings import Settings

AVERAGE, CAPACITY = 4, 8  # in the ledger
PLAIN, REPAIRED, TOLD = "vjepa_plain", "vjepa", "iwm"


def momenta(session: Session) -> list[Measurement]:
    """Claim 4: what is left of the features' spread at several momenta of the moving average.

    Raises:
        ConfigError: the encoder is not to see the task's nominal episodes.
    """
    settings, found = session.settings, list[Measurement]()
    _needs(settings, "nominal")
    for objective in (PLAIN, REPAIRED):
        for momentum in settings.claims.momenta:
            ends = {"ema_start": momentum, "ema_end": momentum}
            own = pretrained(session, f"m{momentum:g}", objective, ends, metered=True)
            jobs = partial(_made, own), partial(_meters, own)
            found.append(Measurement(AVERAGE, objective, momentum, *jobs))
    return found


def depths(session: Session) -> list[Measurement]:
    """Claim 8: what a linear probe reads of the light at several depths of the told predictor.

    Raises:
        ConfigError: the encoder is not to see the task's varied episodes.
    """
    settings, found = session.settings, list[Measurement]()
    _needs(settings, "varied")
    for depth in settings.claims.depths:
        own = pretrained(session, f"depth{depth}", TOLD, {"predictor_depth": depth}, metered=False)
        jobs = partial(_made, own, factor=settings.claims.nuisance), partial(_nuisance, own)
        found.append(Measurement(CAPACITY, TOLD, depth, *jobs))
    return found


def pretrained(
    session: Session, called: str, objective: str, options: Mapping[str, float], metered: bool
) -> Session:
    """The run with another encoder: its own name and objective, the data of this one.

    Args:
        metered: whether the collapse meters are to be read, after the last step.

    Raises:
        ConfigError: it cannot be trained.
    """
    settings = session.settings
    settings.check_pretrains()
    kept = [o for o in session.overrides if not o.lstrip("+~").startswith(("objective", *NAMED))]
    name = seeded(f"{settings.name}-{objective}-{called}", settings.seed)
    every = settings.pretrain_config().steps if metered else 0
    overrides = (
        *kept, f"objective={objective}", f"name={name}", f"encoder_name={name}",
        f"data_name={settings.data_name}", f"pretrain.monitor_every={every}",
        *(f"objective.options.{key}={value!r}" for key, value in options.items()),
    )  # fmt: skip
    made = compose(overrides)
    made.check()
    return Session(made, overrides)


def _needs(settings: Settings, collection: str) -> None:
    task = settings.task.name
    if task not in settings.encoder_tasks or collection not in settings.pretrain_on:
        raise ConfigError(
            f"encoder_tasks={list(settings.encoder_tasks)}, "
            f"pretrain_on={list(settings.pretrain_on)}", f"{task} and {collection} among them",
            "add them: what is measured is what the encoder makes of what it has seen",
        )  # fmt: skip


def _made(session: Session, **facts: Any) -> Row:
    """Pretrain where it is missing; what the row is of."""
    folder = encoder(session)
    manifest = read_manifest(folder, "encoder", verify=False)
    return {"model_sha256": manifest["sha256"], "steps": manifest["facts"]["pretrain"]["steps"],
            **facts}  # fmt: skip


def _meters(session: Session) -> Row:
    from robot_wm.data.formats.base import open_episodes

    settings = session.settings
    folder = settings.encoder_path()
    root = settings.dataset_path(settings.task.name, "nominal")
    facts = read_manifest(folder, "encoder", verify=False)["facts"]
    store = open_episodes(root, verify=False)
    frames = sum(store.frames_of(index) for index in store.indices("validation"))
    found = facts["monitors"][root.name]
    return {
        "n": min(frames, int(facts["pretrain"]["monitor_test"])),
        "values": {key: round(float(found[key]), 5) for key in METERS},
    }


def _nuisance(session: Session) -> Row:
    from robot_wm.data.formats.base import open_episodes
    from robot_wm.encoders.base import load_encoder
    from robot_wm.probing.episode_factor import read_factor

    settings = session.settings
    data = dataset(settings, "varied")
    frozen = load_encoder(settings.encoder_path())
    read = read_factor(
        open_episodes(data), lambda frames: frozen.encode_frames(frames).cpu().numpy(),
        settings.claims.nuisance,
    )  # fmt: skip
    return {
        "n": read.episodes, "fitted": read.fitted, "values": {"nuisance_r2": round(read.r2, 5)},
    }  # fmt: skip
