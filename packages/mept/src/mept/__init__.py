"""Mixture of expert prompt tuning: prompt rows in every layer, routed for every input.

Importing it adds the method to PEFT: ``get_peft_model(model, MeptConfig(...))``.
"""

from importlib.metadata import version

from mept._collator import RoutingCollator
from mept._config import MeptConfig
from mept._fit_routers import fit_routers
from mept._recording import RoutingRecord, record_routing
from mept._routing import Routing, balance_loss, route, z_loss
from mept._tuner import MeptModel

__all__ = [
    "MeptConfig",
    "MeptModel",
    "Routing",
    "RoutingCollator",
    "RoutingRecord",
    "__version__",
    "balance_loss",
    "fit_routers",
    "record_routing",
    "route",
    "z_loss",
]

__version__ = version("mept")
