from __future__ import annotations

from pathlib import Path

import pytest
from torch.multiprocessing.spawn import spawn

from training_worker import CONFIG, KINDS, PROCESSES, work


@pytest.fixture(scope="session")
def worked(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where two processes did all that tests ask of them."""
    folder = tmp_path_factory.mktemp("worked")
    (folder / "config.yaml").write_text(CONFIG)
    for kind in KINDS:
        (folder / kind).mkdir()
    spawn(work, (folder,), nprocs=PROCESSES)
    return folder
