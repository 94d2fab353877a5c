"""The hashed-feature encoder: what is near, what isn't, and what it costs to import."""

from __future__ import annotations

import subprocess
import sys

import numpy as np

from models.tables.knowledge import EMBEDDING_DIMENSIONS
from tasks.remember.embedding import default_encoder


def test_vectors_have_the_database_shape_and_length_one() -> None:
    encoder = default_encoder()
    vectors = encoder.encode(["Backup every night", "Копия каждую ночь", ""])
    assert encoder.dimensions == EMBEDDING_DIMENSIONS
    assert vectors.shape == (3, EMBEDDING_DIMENSIONS)
    assert vectors.dtype == np.float16
    lengths = np.linalg.norm(vectors.astype(np.float32), axis=1)
    assert np.allclose(lengths, [1, 1, 0], atol=0.01)
    assert encoder.encode([]).shape == (0, EMBEDDING_DIMENSIONS)


def test_other_endings_and_typos_are_near_and_other_matters_are_not() -> None:
    texts = [
        "Настроить резервное копирование базы",
        "Настройка резервного копирования базы",
        "Configure the backup of the database",
        "Confgure the backups of the databse",
        "Нарисовать логотип проекта",
    ]
    near = default_encoder().encode(texts).astype(np.float32)
    similarity = near @ near.T
    assert similarity[0, 1] > 0.6
    assert similarity[2, 3] > 0.6
    assert similarity[0, 4] < 0.2
    assert similarity[0, 2] < 0.2  # lexical: a translation is not near


def test_vectors_of_the_same_name_never_change() -> None:
    (vector,) = default_encoder().encode(["Penstock"])
    assert default_encoder().name == "hash-char35-768-v1"
    features = [
        23,
        66,
        81,
        94,
        96,
        186,
        302,
        307,
        342,
        345,
        370,
        420,
        457,
        460,
        502,
        516,
        518,
        634,
        674,
        731,
        755,
    ]
    assert np.flatnonzero(vector).tolist() == features  # else stored vectors are no longer comparable


def test_importing_the_stage_does_not_import_scikit_learn() -> None:
    code = "import sys, tasks.remember; sys.exit('sklearn' in sys.modules or 'pandas' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
