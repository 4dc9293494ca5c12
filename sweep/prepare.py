"""What the trials of a sweep share, made once before the first: tokens, teacher embeddings, baselines.

Runs in a Ray worker, before any trial and on all processors of its machine: so the driver needs no torch, and no trial
waits for another's cache.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from evaluation.protocol import EncodeFunction, Encoder
    from evaluation.score import Score
    from model.config import TrainConfig
    from sweep.trial import Job


def prepare(config: TrainConfig, job: Job) -> dict[str, float | None]:
    """Fill the caches, and score on the objective's split what no trial trains.

    Args:
        config: the sweep's first configuration (`sweep.spec.space.first_config`).
        job: task, split, metric, whether code of encoders is trusted.

    Returns:
        Scores ×100 by name: `untrained` (the encoder before training), `teacher` (if there is one), `lexical` (the
        floor that every report shows). None where there is no score, for example of an encoder with random weights.

    Raises:
        model.InputError, model.UnreachableError, evaluation.InputError: as the parts say.
    """
    from functools import partial

    import torch

    from evaluation.lexical import LexicalEncoder
    from evaluation.score import score
    from evaluation.tasks import load_pairs
    from model.config import EncoderConfig
    from model.corpus import read_corpus
    from model.device import choose_device
    from model.encoder import load_encoder
    from model.teacher import teacher_embeddings
    from model.tokens import tokenised_corpus

    threads = os.cpu_count() or 1  # no trial runs yet
    torch.set_num_threads(threads)
    pairs = load_pairs(job.task, job.split, job.data_dir)

    def dev_score(encoder: Encoder | EncodeFunction) -> float | None:
        result: Score = score(encoder, [pairs])[0]
        value: float | None = getattr(result, job.metric)
        return value

    untrained = load_encoder(config.encoder, trust_remote_code=job.trust_remote_code).to(choose_device(None))
    tokenised_corpus(config.data.corpus, untrained.tokenizer, config.encoder.max_length)
    scores = {"untrained": dev_score(partial(untrained.encode, cache_tokens=True))}
    if config.teacher.name is not None:
        if config.loss.distillation_weight > 0:
            teacher_embeddings(config, threads=threads, trust_remote_code=job.trust_remote_code)
        settings = EncoderConfig(name=config.teacher.name, pooling=config.teacher.pooling)
        teacher = load_encoder(settings, trust_remote_code=job.trust_remote_code)
        scores["teacher"] = dev_score(partial(teacher.to(choose_device(None)).encode, cache_tokens=True))
    scores["lexical"] = dev_score(LexicalEncoder.fit(read_corpus(config.data.corpus)))
    return scores
