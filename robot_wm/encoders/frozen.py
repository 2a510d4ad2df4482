"""The encoder once it is frozen: an artefact that turns frames into tokens."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

from robot_wm.core.config import build
from robot_wm.core.errors import ConfigError, WeightsError
from robot_wm.encoders.vit import EncoderConfig, VideoEncoder
from robot_wm.training.checkpoint import load_artifact, load_module, save_artifact

KIND = "encoder"


def save_encoder(
    folder: Path,
    encoder: VideoEncoder,
    parents: Mapping[str, str],
    facts: Mapping[str, Any],
    card: str,
) -> dict[str, Any]:
    """Write an encoder artefact and return its manifest.

    Raises:
        StorageError: the disk is full; nothing half-written is left.
    """
    config = {"encoder": asdict(encoder.config)}
    return save_artifact(folder, KIND, encoder.state_dict(), config, parents, facts, card)


class FrozenEncoder(VideoEncoder):
    """An encoder that no longer learns: always in evaluation mode, no gradients for its weights.

    Attributes:
        sha256: identity of the artefact, for the manifests of everything built on it.
    """

    sha256: str = ""

    @staticmethod
    def load(folder: Path) -> FrozenEncoder:
        """Load an artefact written by :func:`save_encoder`.

        Raises:
            WeightsError: missing, truncated, altered, misshapen, or not an encoder.
        """
        tensors, config, manifest = load_artifact(folder, KIND)
        try:
            encoder = FrozenEncoder(build(EncoderConfig, config["encoder"], "encoder"))
        except (KeyError, TypeError, ConfigError) as error:
            raise WeightsError(
                f"{folder} has an unusable configuration: {error}",
                "the keys of EncoderConfig",
                "train the encoder again",
            ) from error
        load_module(encoder, tensors, str(folder))
        encoder.sha256 = manifest["sha256"]
        encoder.requires_grad_(False)
        return encoder.eval()

    def train(self, mode: bool = True) -> FrozenEncoder:
        """Stay in evaluation mode whatever a parent module asks."""
        super().train(False)
        return self
