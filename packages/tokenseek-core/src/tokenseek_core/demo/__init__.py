"""A short real fine-tuning, dense, checkpointed and through the kept tokens, as a report."""

from tokenseek_core.demo._page import demo_page
from tokenseek_core.demo._result import DemoResult

__all__ = ["DemoResult", "demo_page"]
