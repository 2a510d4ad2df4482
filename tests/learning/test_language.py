"""Sentences and latents in one space: closed forms, and learning on a toy."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from robot_wm.core.errors import DataError, WeightsError
from robot_wm.core.storage.provenance import read_manifest
from robot_wm.language.alignment import AlignConfig, info_nce, train_heads
from robot_wm.language.goals import TextGoals, align

WORDS = ("lower left", "upper right", "center", "upside down")


def test_info_nce_by_hand() -> None:
    logits = torch.zeros(4, 4)
    # Nothing known: -log(1/4); what says the same is no negative and costs nothing.
    assert float(info_nce(logits, torch.eye(4).bool())) == pytest.approx(np.log(4))
    assert float(info_nce(logits, torch.ones(4, 4).bool())) == pytest.approx(np.log(4))
    right = 50 * torch.eye(4)
    assert float(info_nce(right, torch.eye(4).bool())) == pytest.approx(0, abs=1e-6)
    assert float(info_nce(-right, torch.eye(4).bool())) > 40


def test_offline_word_vectors_know_what_is_alike() -> None:
    pytest.importorskip("wordllama")
    from robot_wm.language.text import sentence_vectors

    a, b, c = sentence_vectors(["Push the block left", "push the block left", "a jar of honey"])
    np.testing.assert_allclose(a, b, atol=1e-6)
    assert np.linalg.norm(a) == pytest.approx(1, abs=1e-5)
    assert a @ c < 0.6


class Rows:
    """Frames whose first pixels are the latent."""

    def embed_frames(self, frames: np.ndarray) -> torch.Tensor:
        return torch.from_numpy(frames[:, 0, :4, 0].astype(np.float32) / 100)


def toy(seed: int, count: int = 120):
    rng = np.random.default_rng(seed)
    true = rng.integers(len(WORDS), size=(count, 1))
    frames = rng.integers(0, 30, (count, 8, 8, 3), dtype=np.uint8)
    frames[np.arange(count), 0, true[:, 0], 0] = 200
    return frames, true


def test_pictures_that_a_sentence_is_true_of_are_found(tmp_path) -> None:
    pytest.importorskip("wordllama")
    frames, true = toy(0)
    sentences = [[f"move it to the {WORDS[i]}"] for i in true[:, 0]]
    config = AlignConfig(shared=8, width=32, steps=150, batch=32, lr=3e-3)
    asked = {
        "right": ([f"move it to the {word}" for word in WORDS], np.arange(4)[:, None]),
        "wrong": ([f"move it to the {word}" for word in WORDS], np.roll(np.arange(4), 1)[:, None]),
        "anything": (["move it to the center"], np.array([[-1]])),
    }
    goals = align(
        config, Rows(), frames, true, sentences, true[:, None], {}, {}, tmp_path / "a", asked
    )
    again = TextGoals.load(tmp_path / "a")
    found = read_manifest(tmp_path / "a", "language")["facts"]["recall"]
    assert found == {"right": 1.0, "wrong": 0.0, "anything": 1.0}
    assert "* right: 100 %" in (tmp_path / "a" / "card.md").read_text(encoding="utf-8")
    for i, word in enumerate(WORDS):
        best = goals.ranked(f"move it to the {word}")[:8]
        assert (true[best, 0] == i).all()
        np.testing.assert_array_equal(again.pictures(f"move it to the {word}", 8), frames[best])
    with pytest.raises(WeightsError):
        TextGoals.load(tmp_path / "b")


def test_latents_that_are_no_numbers_are_refused() -> None:
    frames, true = toy(0)
    latents = torch.full_like(Rows().embed_frames(frames), float("nan"))
    vectors = np.zeros((len(true), 1, 256), np.float32)
    config = AlignConfig(shared=8, width=32, steps=3, batch=8)
    with pytest.raises(DataError, match="alignment"):
        train_heads(config, latents, true, vectors, true[:, None])


def test_shuffled_sentences_teach_nothing() -> None:
    """The control: without the right pairs, pictures are found by chance alone."""
    pytest.importorskip("wordllama")
    from robot_wm.language.text import sentence_vectors

    frames, true = toy(0)
    vectors = sentence_vectors([f"move it to the {WORDS[i]}" for i in true[:, 0]])[:, None]
    config = AlignConfig(shared=8, width=32, steps=150, batch=32, lr=3e-3)
    wrong = np.random.default_rng(1).permutation(len(true))
    heads = train_heads(config, Rows().embed_frames(frames), true, vectors[wrong], true[:, None])
    new, truth = toy(5)
    found = heads.similarity(torch.from_numpy(vectors[:40, 0]), Rows().embed_frames(new))
    right = (truth[found.argmax(1).numpy(), 0] == true[:40, 0]).mean()
    assert right < 0.6  # four words: chance is a quarter, and they come in whole groups
