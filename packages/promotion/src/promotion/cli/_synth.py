"""`promotion synth`: a folder of procedural scenes with their truth."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, field
from pathlib import Path

from promotion.io import write_depth, write_flow, write_image
from promotion.io._files import replace_file
from promotion.scenes import Scene, SceneConfig, render_scene
from tokenseek_common.cli import CommonOptions, Console, check_counts, fresh_folder


@dataclass(frozen=True, kw_only=True)
class Synth(CommonOptions):
    """Write procedural scenes with exact flow, depth and occlusion.

    The folder is laid out as FlyingChairs: 00000_img1.png, 00000_img2.png and 00000_flow.flo, here
    with 00000_depth1.pfm and 00000_depth2.pfm in metres, and 00000_occlusion.png, white where a
    pixel of the first frame is hidden in the second. scenes.json, written last, has what the
    scenes were made with, and the camera of each. Scene i is that of --seed plus i.
    """

    count: int = 100
    """How many scenes."""

    scenes: SceneConfig = field(default_factory=SceneConfig)
    """What they look like."""

    def __post_init__(self) -> None:
        super().__post_init__()
        check_counts({"count": self.count})

    def run(self, console: Console) -> None:
        """Render and write, scene by scene."""
        folder = fresh_folder(self.output, default="promotion-synth")
        intrinsics: dict[str, list[list[float]]] = {}
        flow_length = occluded = 0.0
        with console.progress("rendering", total=self.count) as progress:
            for number in range(self.count):
                scene = render_scene(self.scenes, self.seed + number)
                name = f"{number:05d}"
                _write(scene, folder, name)
                intrinsics[name] = scene.intrinsics.tolist()
                flow_length += float(scene.flow.norm(dim=0).mean()) / self.count
                occluded += float(scene.occlusion.float().mean()) / self.count
                progress.advance()
        made_with = {"config": asdict(self.scenes), "seed": self.seed, "count": self.count}
        text = json.dumps({**made_with, "intrinsics": intrinsics})
        replace_file(folder / "scenes.json", f"{text}\n".encode())
        result = {"output": folder, "mean_flow": flow_length, "occluded": occluded}
        console.print(
            f"{self.count} scenes of {self.scenes.width} x {self.scenes.height} in {folder}: "
            f"mean flow {flow_length:.3g} pixels, {occluded:.0%} occluded"
        )
        console.result({**result, **made_with})


def _write(scene: Scene, folder: Path, name: str) -> None:
    write_image(folder / f"{name}_img1.png", scene.image1)
    write_image(folder / f"{name}_img2.png", scene.image2)
    write_flow(folder / f"{name}_flow.flo", scene.flow)
    write_depth(folder / f"{name}_depth1.pfm", scene.depth1)
    write_depth(folder / f"{name}_depth2.pfm", scene.depth2)
    occlusion = scene.occlusion.float().expand(3, -1, -1)
    write_image(folder / f"{name}_occlusion.png", occlusion)
