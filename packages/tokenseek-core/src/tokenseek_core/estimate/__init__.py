"""What a training step of a model will need, from its config alone."""

from tokenseek_core.estimate._plans import Adapters, Plan, plans
from tokenseek_core.estimate._rows import Room, Row

__all__ = ["Adapters", "Plan", "Room", "Row", "plans"]
