"""Look at what TokenSeek does: steps measured side by side."""

from tokenseek_core.inspect._compare import Method, StepCost, compare_steps, methods, using
from tokenseek_core.inspect._costs import cost_table
from tokenseek_core.inspect._profile import StepProfile, profile
from tokenseek_core.inspect._profile_settings import ProfileSettings

__all__ = [
    "Method",
    "ProfileSettings",
    "StepCost",
    "StepProfile",
    "compare_steps",
    "cost_table",
    "methods",
    "profile",
    "using",
]
