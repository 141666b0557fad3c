"""Training: configs, stages, the loop."""

from promotion.training._config import StageConfig, TrainingConfig, read_training_config
from promotion.training._trainer import Trainer

__all__ = ["StageConfig", "Trainer", "TrainingConfig", "read_training_config"]
