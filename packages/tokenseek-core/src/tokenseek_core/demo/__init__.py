"""A short real fine-tuning, dense, checkpointed and through the kept tokens, as a report."""

from tokenseek_core.demo._answers import Answers
from tokenseek_core.demo._demo import demo
from tokenseek_core.demo._passage import Passage, Token
from tokenseek_core.demo._result import DemoResult, Lessons, Setup
from tokenseek_core.demo._settings import DemoSettings
from tokenseek_core.demo._training import Point, Training
from tokenseek_core.demo._written import write_report

__all__ = [
    "Answers",
    "DemoResult",
    "DemoSettings",
    "Lessons",
    "Passage",
    "Point",
    "Setup",
    "Token",
    "Training",
    "demo",
    "write_report",
]
