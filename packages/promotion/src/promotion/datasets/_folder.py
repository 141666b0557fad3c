"""A data set of files."""

from __future__ import annotations

from collections.abc import Sequence

from torch.utils.data import Dataset

from promotion.datasets._files import SampleFiles
from promotion.datasets._sample import Sample


class FolderDataset(Dataset[Sample]):
    """Samples that are read from files when they are asked for.

    Args:
        files: Those of each sample.

    Example:
        >>> dataset = FolderDataset([SampleFiles(image1=Path("a.png"), image2=Path("b.png"))])
        >>> dataset[0].flow_valid.any()
        tensor(False)
    """

    def __init__(self, files: Sequence[SampleFiles]) -> None:
        self.files = tuple(files)

    def __len__(self) -> int:
        return len(self.files)

    def __getitem__(self, index: int) -> Sample:
        return self.files[index].read()
