"""Fine-tuning from a data set to a folder that reopens, resumable."""

__all__: list[str] = []
