"""What a scorer asks of an encoder."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

import numpy as np
from numpy.typing import NDArray


class Encoder(Protocol):
    """Anything that turns sentences into vectors: `model`'s encoder, the lexical floor, sentence-transformers."""

    def encode(self, sentences: Sequence[str]) -> NDArray[np.float32]:
        """Sentences → [n, width], one row a sentence, in the order given."""
        ...
