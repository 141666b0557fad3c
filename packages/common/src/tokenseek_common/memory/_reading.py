"""The handle that a profiler gives out while its block runs."""

from tokenseek_common.memory._report import MemoryReport


class Reading:
    """Holds the report of one block as soon as the block has ended.

    The report is there also after a block that raised: it then covers what was run.

    Example:
        >>> with measure() as reading:
        ...     total = sum(range(10))
        >>> reading.report.device
        'cpu'
    """

    def __init__(self) -> None:
        self._report: MemoryReport | None = None

    @property
    def report(self) -> MemoryReport:
        """The report of the block.

        Raises:
            RuntimeError: If the block still runs.
        """
        if self._report is None:
            raise RuntimeError(
                "report (unfinished) must be read after the block; leave the `with` block first"
            )
        return self._report

    def finish(self, report: MemoryReport) -> None:
        """Takes the report; the profiler calls this at the end of the block.

        Args:
            report: what was measured.
        """
        self._report = report
