"""Pictures that a sentence is true of, found by the aligned heads among stored ones.

A goal in words becomes goal pictures of which any will do; planner and step costs stay as they are.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from types import MappingProxyType
from typing import Any

import numpy as np
import torch
from torch import Tensor

from robot_wm.core.config import build
from robot_wm.language.alignment import AlignConfig, EmbedsFrames, Heads, train_heads
from robot_wm.language.text import sentence_vectors
from robot_wm.training.checkpoint import load_artifact, load_module, save_artifact

KIND = "language"
BATCH = 200  # frames embedded at a time


class TextGoals:
    """Stored pictures, and which of them a sentence means.

    Args:
        heads: trained.
        latents: of the pictures ``[M, Z]``.
        frames: the pictures, uint8 ``[M, height, width, 3]``.
    """

    def __init__(self, heads: Heads, latents: Tensor, frames: np.ndarray) -> None:
        self.heads, self.latents, self.frames = heads, latents, frames

    @torch.inference_mode()
    def ranked(self, sentence: str) -> np.ndarray:
        """All pictures, the one that the sentence fits best first: int ``[M]``.

        Raises:
            ConfigError: the extra ``language`` is not installed.
        """
        vectors = torch.from_numpy(sentence_vectors([sentence]))
        cosines = self.heads.similarity(vectors, self.latents)[0]
        return cosines.argsort(descending=True).numpy()

    def recall(self, sentences: list[str], said: np.ndarray, true: np.ndarray) -> float:
        """Share of sentences whose best picture is one that they are true of.

        Args:
            said, true: of every sentence ``[N, D]`` and picture ``[M, D]``, as
                :func:`robot_wm.language.alignment.train_heads` has them.
        """
        best = true[[self.ranked(sentence)[0] for sentence in sentences]]
        return float(((said == -1) | (said == best)).all(-1).mean())

    def pictures(self, sentence: str, count: int) -> np.ndarray:
        """The best ``count``, uint8 ``[count, height, width, 3]``."""
        return self.frames[self.ranked(sentence)[:count]]

    @staticmethod
    def load(folder: Path) -> TextGoals:
        """What :func:`align` wrote.

        Raises:
            WeightsError: missing, altered or misshapen.
        """
        tensors, config, _ = load_artifact(folder, KIND)
        latents, frames = tensors.pop("latents"), tensors.pop("frames")
        sizes = build(AlignConfig, config["align"], "align")
        heads = Heads(latents.shape[1], sizes.width, sizes.shared)
        load_module(heads, tensors, str(folder))
        return TextGoals(heads.eval().requires_grad_(False), latents, frames.numpy())


def align(
    config: AlignConfig,
    model: EmbedsFrames,
    frames: np.ndarray,
    true: np.ndarray,
    sentences: list[list[str]],
    said: np.ndarray,
    parents: Mapping[str, str],
    facts: Mapping[str, Any],
    folder: Path,
    asked: Mapping[str, tuple[list[str], np.ndarray]] = MappingProxyType({}),
) -> TextGoals:
    """Train the heads on pictures and sentences true of them; write ``folder`` with the pictures.

    Args:
        frames, true, sentences, said: see :func:`robot_wm.language.alignment.train_heads`; of every
            picture ``C`` sentences.
        asked: sentences by their kind and what they say, whose recall (:meth:`TextGoals.recall`)
            the manifest and the card tell.
    """
    parts = [model.embed_frames(frames[i : i + BATCH]) for i in range(0, len(frames), BATCH)]
    latents = torch.cat(parts).cpu().clone()
    vectors = sentence_vectors([s for row in sentences for s in row])
    vectors = vectors.reshape(len(frames), -1, vectors.shape[1])
    heads = train_heads(config, latents, true, vectors, said)
    tensors = {
        **heads.state_dict(), "latents": latents, "frames": torch.from_numpy(np.array(frames)),
    }  # fmt: skip
    goals = TextGoals(heads, latents, frames)
    recall = {kind: goals.recall(*told, true) for kind, told in asked.items()}
    card = (
        "# Sentences and pictures in one space\n\nFor goals in words; of one scene and model. "
        f"The best of {len(frames)} pictures is one that the sentence is true of:\n\n"
        + "".join(f"* {kind}: {100 * share:.0f} %\n" for kind, share in recall.items())
    )
    told = {**facts, "recall": recall}
    save_artifact(folder, KIND, tensors, {"align": asdict(config)}, parents, told, card)
    return goals
