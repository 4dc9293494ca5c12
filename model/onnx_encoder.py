"""`OnnxEncoder`: sentences to vectors by ONNX Runtime, on the processor, from what `model.onnx_export` wrote."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from model.batches import pad
from model.encoding import BATCH_TOKENS, ListedTokens, batches
from model.errors import InputError
from model.onnx_export import INPUTS, MAX_TOKENS_KEY, OUTPUT, PAD_ID_KEY


class OnnxEncoder:
    """An `evaluation.protocol.Encoder` that runs an ONNX file.

    Attributes:
        width: W, numbers a sentence vector.
    """

    def __init__(self, path: Path, threads: int | None = None) -> None:
        """Load the file and the `tokenizer.json` beside it.

        Args:
            path: an ONNX file of `model.onnx_export`, fp32 or int8.
            threads: of ONNX Runtime; None: one a core.

        Raises:
            InputError: there is no such file, no tokenizer beside it, or it is no file of `model.onnx_export`.
        """
        import onnxruntime
        from tokenizers import Tokenizer

        vocabulary = path.with_name("tokenizer.json")
        if missing := [str(file) for file in (path, vocabulary) if not file.is_file()]:
            raise InputError(f"no such file: {', '.join(missing)}; an encoder in ONNX needs both")
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = threads or 0
        self._session = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
        about = self._session.get_modelmeta().custom_metadata_map
        if MAX_TOKENS_KEY not in about:
            raise InputError(f"{path} was not written by stsweep: it lacks {MAX_TOKENS_KEY}, the most tokens it takes")
        self.width = int(self._session.get_outputs()[0].shape[1])
        self._pad_id = int(about[PAD_ID_KEY])
        self._tokenizer = Tokenizer.from_file(str(vocabulary))
        self._tokenizer.no_padding()
        self._tokenizer.enable_truncation(int(about[MAX_TOKENS_KEY]))

    def encode(self, sentences: Sequence[str]) -> NDArray[np.float32]:
        """Embeddings [n, W] of sentences, in their order; nothing is cut below the encoder's own position limit."""
        embeddings = np.zeros((len(sentences), self.width), dtype=np.float32)
        found = self._tokenizer.encode_batch_fast(list(sentences))
        tokens = ListedTokens([np.asarray(encoding.ids, dtype=np.int32) for encoding in found])
        for rows in batches(tokens.lengths, BATCH_TOKENS["cpu"]):
            padded = pad([tokens.ids(row) for row in rows.tolist()], self._pad_id)
            inputs = {name: tensor.numpy() for name, tensor in zip(INPUTS, padded, strict=True)}
            embeddings[rows] = self._session.run([OUTPUT], inputs)[0]
        return embeddings
