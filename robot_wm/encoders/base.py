"""What a frozen encoder is, and how a stored one is loaded: by what its own manifest says.

Ours are in :data:`ENCODERS`; an installed package adds one by an entry point of
``robot_wm.encoders``: an object with ``load(folder)``. An artefact is a folder of kind ``encoder``
whose manifest has ``facts["family"]``; without it, it is of :data:`OLDEST`.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol, runtime_checkable

from robot_wm.core.errors import DataError, WeightsError
from robot_wm.core.registry import Registry
from robot_wm.core.storage.provenance import read_manifest

if TYPE_CHECKING:
    import numpy as np
    from torch import Tensor

    from robot_wm.encoders.vit import EncoderConfig

KIND = "encoder"
OLDEST = "vit"  # the only one there was when manifests did not name it
ENCODERS = Registry(
    "robot_wm.encoders",
    {
        "vit": "robot_wm.encoders.frozen:FrozenEncoder",
        "random": "robot_wm.encoders.untrained:RandomEncoder",
        "patches": "robot_wm.encoders.untrained:PatchEncoder",
    },
)


class Encoder(Protocol):
    """A frozen encoder, a ``torch.nn.Module`` that no longer learns.

    Called with uint8 ``[N, 1, H, W, 3]`` it gives tokens ``[N, P, D]``, float32.

    Attributes:
        sha256: identity of the artefact, for the manifests of everything built on it.
        config: whatever shapes it. ``config.image_size`` is that of its images [px], a number or
            (height, width); ``config.grid``, rows and columns of its ``P`` tokens, is asked for by
            world models that look at places, as ours does.
        layer_norm: optional; False where the scale of a token says something, as that of pixels
            does, and is to be kept by what reads it. Without it, tokens may be normalised.
    """

    sha256: str
    config: Any

    def encode_frames(self, frames: np.ndarray | Tensor, batch: int = 0) -> Tensor:
        """Each frame alone: uint8 ``[N, H, W, 3]`` to float32 ``[N, P, D]``, without gradients.

        Args:
            frames: see above.
            batch: frames at a time; 0 lets the encoder choose.
        """
        ...

    def __call__(self, pixels: Tensor) -> Tensor:
        """See the class."""
        ...


@runtime_checkable
class Untrained(Protocol):
    """Optional ability of a family: its encoders are made without any data.

    The manifest's ``facts["pretrain"]`` is what ``made_of`` says.
    """

    def made_of(self, config: EncoderConfig, seed: int) -> dict[str, Any]:
        """What decides an encoder, as plain JSON types; ``objective`` is the family's name."""
        ...

    def create(self, config: EncoderConfig, seed: int, folder: Path) -> Path:
        """Write an artefact into ``folder``."""
        ...


def untrained_family(folder: Path | str) -> str:
    """The family of a stored encoder that learnt nothing; empty of one that was pretrained."""
    name = read_manifest(Path(folder), KIND, verify=False)["facts"].get("family", OLDEST)
    return str(name) if isinstance(ENCODERS.get(name), Untrained) else ""


def load_encoder(folder: Path | str) -> Any:
    """A stored :class:`Encoder`, of whatever family.

    Raises:
        WeightsError: missing, altered or misshapen, or of a family that is not installed.
    """
    folder = Path(folder)
    try:
        name = read_manifest(folder, KIND, verify=False)["facts"].get("family", OLDEST)
    except DataError as error:
        raise WeightsError(error.received, error.accepted, error.next_step) from error
    if name not in ENCODERS:
        raise WeightsError(
            f"{folder} is an encoder of the family {name!r}", ", ".join(ENCODERS),
            "install the package it was made with",
        )  # fmt: skip
    return ENCODERS[name].load(folder)
