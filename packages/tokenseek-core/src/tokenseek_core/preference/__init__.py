"""Learning from pairs of answers, a better and a worse one behind one prompt."""

from tokenseek_core.preference._dpo import dpo_loss
from tokenseek_core.preference._pairs import Pair, PairBatch, PairScores, pair_batch, pair_of
from tokenseek_core.preference._train import PreferenceResult, PreferenceSettings, train_preferences

__all__ = [
    "Pair",
    "PairBatch",
    "PairScores",
    "PreferenceResult",
    "PreferenceSettings",
    "dpo_loss",
    "pair_batch",
    "pair_of",
    "train_preferences",
]
