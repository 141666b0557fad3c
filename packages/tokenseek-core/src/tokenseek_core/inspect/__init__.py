"""Look at what TokenSeek does: steps measured side by side."""

from tokenseek_core.inspect._compare import Method, StepCost, compare_steps, methods, using

__all__ = ["Method", "StepCost", "compare_steps", "methods", "using"]
