"""Where real weights and real data lie, for the tests that are skipped where they are absent."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

BESIDE = Path(__file__).parents[2] / "shared" / "data"  # beside the checkout
DATA = Path(os.environ.get("TOKENSEEK_DATA_DIR", BESIDE))


def needs(*folders: str) -> pytest.MarkDecorator:
    """Skip tests that read these folders of the real data where one is absent."""
    absent = [folder for folder in folders if not (DATA / folder).is_dir()]
    reason = f"{' and '.join(absent or folders)} must lie in TOKENSEEK_DATA_DIR, here {DATA}"
    return pytest.mark.skipif(bool(absent), reason=reason)
