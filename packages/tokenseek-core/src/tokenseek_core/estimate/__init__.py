"""What a training step of a model will need, from its config alone."""

from tokenseek_core.estimate._estimate import estimate
from tokenseek_core.estimate._plans import Plan, plans
from tokenseek_core.estimate._rows import Estimate, Room, Row, memory_table, room_table
from tokenseek_core.estimate._settings import EstimateSettings
from tokenseek_core.models._adapters import Adapters

__all__ = [
    "Adapters",
    "Estimate",
    "EstimateSettings",
    "Plan",
    "Room",
    "Row",
    "estimate",
    "memory_table",
    "plans",
    "room_table",
]
