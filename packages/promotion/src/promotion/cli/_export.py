"""`promotion export`: a model as a graph that runs without this package."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from typing import Literal

from promotion import ProMotion
from promotion._export import SUFFIXES, export_model
from promotion.io._files import replace_file
from tokenseek_common.cli import CommonOptions, Console, check_counts, check_folder, fresh_folder


@dataclass(frozen=True, kw_only=True)
class Export(CommonOptions):
    """Export a model as one file that runs without this package, and try it.

    The file takes two batches of pictures [b, 3, h, w] in [0, 1], named image1 and image2, of any
    number and size whose sides are multiples of 8, and gives flow [b, 2, h, w] and depth [b, h, w].
    It is loaded again and compared with the model before it gets its name; export.json has what it
    takes, and how far it was from the model.
    """

    format: Literal["onnx", "torch"] = "onnx"
    """onnx is for onnxruntime and others, and takes the extra [onnx]; torch is for
    torch.export.load."""

    weights: str | None = None
    """A folder with config.json and model.safetensors, or a hub id; by default the weights that
    come with the package."""

    iterations: int | None = None
    """Corrections of the flow, fixed in the file; by default as many as the model is made for."""

    def __post_init__(self) -> None:
        super().__post_init__()
        check_counts({"iterations": self.iterations})

    def run(self, console: Console) -> None:
        """Export, try, and tell."""
        check_folder(self.output)
        model = ProMotion.from_pretrained(self.weights)
        folder = fresh_folder(self.output, default="promotion-export")
        path = folder / f"promotion{SUFFIXES[self.format]}"
        done = export_model(model, path, format=self.format, iterations=self.iterations)
        result = {"format": self.format, "weights": self.weights, **asdict(done), "path": path.name}
        replace_file(folder / "export.json", f"{json.dumps(result, indent=2)}\n".encode())
        console.print(
            f"{path} takes pictures from {done.smallest_side} x {done.smallest_side} pixels on; on "
            f"scenes its flow was within {done.flow_difference:.2g} pixels of the model's, and its "
            f"depth within {done.depth_difference:.2g} of it"
        )
        console.result({**result, "output": folder})
