"""Texts into vectors. The default needs no model: hashed character n-grams, good for near-equal wording.

It is lexical, not semantic: a typo or another ending of a word stays near, a paraphrase or a translation doesn't.
"""

from __future__ import annotations

import threading
from collections.abc import Sequence
from functools import cache
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

__all__ = ["Encoder", "HashedEncoder", "default_encoder"]


class Encoder(Protocol):
    """What makes embeddings. Vectors of different names are never compared."""

    @property
    def name(self) -> str:
        """Stored with every vector: another method, model or version is another name."""
        ...

    @property
    def dimensions(self) -> int: ...

    def encode(self, texts: Sequence[str]) -> NDArray[np.float16]:
        """One row per text, shape (len(texts), dimensions), of length 1 (or 0 for a text without features).

        Blocks; may be called from any thread.
        """
        ...


class HashedEncoder:
    """Character 3- to 5-grams within words, hashed into 768 signed features, L2-normalised (scikit-learn's
    HashingVectorizer, MurmurHash3). About 0.1 ms for a question and 0.7 ms for 1200 characters; the first call
    imports scikit-learn, about a second.
    """

    name = "hash-char35-768-v1"
    dimensions = 768

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._vectorizer: Any = None

    def encode(self, texts: Sequence[str]) -> NDArray[np.float16]:
        if not texts:
            return np.zeros((0, self.dimensions), dtype=np.float16)
        return np.asarray(self._ready().transform(texts).toarray(), dtype=np.float16)

    def _ready(self) -> Any:
        with self._lock:
            if self._vectorizer is None:
                from sklearn.feature_extraction.text import HashingVectorizer

                self._vectorizer = HashingVectorizer(
                    analyzer="char_wb",
                    ngram_range=(3, 5),
                    n_features=self.dimensions,
                    norm="l2",
                    dtype=np.float32,
                )
        return self._vectorizer


@cache
def default_encoder() -> Encoder:
    """The process's encoder."""
    return HashedEncoder()
