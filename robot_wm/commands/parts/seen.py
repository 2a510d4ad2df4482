"""What a stored world model sees: pictures of one size, through the encoder it was trained on."""

from __future__ import annotations

from pathlib import Path

from robot_wm.cli.paths import SHIPPED
from robot_wm.cli.settings import Settings
from robot_wm.core.errors import ConfigError, DataError, WeightsError
from robot_wm.core.images import sides, spelled
from robot_wm.core.storage.provenance import MANIFEST, read_json, read_manifest, storage_root


def encoder_of(settings: Settings, folder: Path) -> Path:
    """The encoder whose hash the model in ``folder`` names, shipped or stored.

    Raises:
        DataError: it is not here.
    """
    wanted = read_manifest(folder, "world_model", verify=False)["parents"].get("encoder", "")
    stored = (storage_root() / "encoders").glob(f"*/encoder/{MANIFEST}")
    for candidate in [*shipped_encoders(settings), *sorted(path.parent for path in stored)]:
        if read_manifest(candidate, "encoder", verify=False)["sha256"] == wanted:
            return candidate
    raise DataError(
        f"no encoder {wanted[:12]}… for {folder}", "the encoder it was trained on",
        "copy that encoder below $ROBOT_WM_HOME/encoders, or train again",
    )  # fmt: skip


def shipped_encoders(settings: Settings) -> list[Path]:
    """Every encoder that came with the installation.

    One for each image size, called after it, and variants of it, ``<size>-<variant>``.
    """
    folder = settings.encoder_path(SHIPPED).parent
    return sorted(path.parent for path in folder.glob(f"*/{MANIFEST}"))


def no_shipped_encoder(settings: Settings) -> WeightsError:
    """What to tell where none of the name came for pictures of the configured size."""
    parts = [path.name.partition("-") for path in shipped_encoders(settings)]
    known = [
        f"image_size=[{size.replace('x', ',')}] encoder_name={SHIPPED}{dash}{rest}"
        for size, dash, rest in parts
    ]
    return WeightsError(
        f"no encoder {settings.encoder_name!r} for pictures of {spelled(settings.image_size)} "
        "pixels",
        "; ".join(known) or "an installation with weights, or an encoder of your own",
        "give one of these, or encoder_name=<name>, e.g. encoder_name=default; missing stages are "
        "made",
    )


def check_size(settings: Settings, folder: Path) -> None:
    """Refuse a stored world model that sees pictures of another size than the configured one.

    Raises:
        ConfigError: it does.
    """
    seen = read_json(folder / "config.json").get("spec", {}).get("image_size")
    if seen is None or sides(seen) == sides(settings.image_size):
        return
    height, width = sides(seen)
    value = str(height) if height == width else f"[{height},{width}]"
    raise ConfigError(
        f"image_size of {spelled(settings.image_size)} pixels for {folder}",
        f"{spelled(seen)} pixels, on which it was trained",
        "leave image_size out" if sides(seen) == sides(settings.task.image_size)
        else f"give image_size={value}",
    )  # fmt: skip
