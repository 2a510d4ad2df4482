"""Sentences as vectors: the mean of static word vectors that come in a wheel, offline.

WordLlama (Miller 2024): token embeddings of a large language model, reduced to 256 numbers.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np

from robot_wm.core.errors import ConfigError

SIZE = 256


@cache
def _vectors() -> Any:
    try:
        import wordllama
    except ImportError as error:
        raise ConfigError(
            "wordllama is not installed", "an environment with the extra language",
            "pip install -e '.[language]'",
        ) from error  # fmt: skip
    # The wheel's own folder is named as its cache: it looks for the tokenizer nowhere else.
    wheel = Path(wordllama.__file__).parent
    return wordllama.WordLlama.load(dim=SIZE, cache_dir=wheel, disable_download=True)


def sentence_vectors(sentences: Sequence[str]) -> np.ndarray:
    """Unit vectors float32 ``[N, 256]``.

    Raises:
        ConfigError: the extra ``language`` is not installed.
    """
    lowered = [sentence.lower() for sentence in sentences]
    return np.asarray(_vectors().embed(lowered, norm=True), np.float32)
