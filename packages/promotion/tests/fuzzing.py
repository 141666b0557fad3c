"""Mutated files for every reader, each told by its number: refused in one sentence, or valid.

    python packages/promotion/tests/fuzzing.py --count 1000000 --minutes 60 --folder .fuzz

goes on where the run before in the folder stopped. Batches are processes of their own, so that what
kills one is found too; files that fail are kept in the folder.
"""

from __future__ import annotations

import argparse
import importlib
import io
import json
import random
import resource
import struct
import subprocess
import sys
import tempfile
import time
import warnings
import zipfile
import zlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from PIL import Image

from promotion import ProMotion, ProMotionConfig
from promotion.io import (
    DepthMap,
    FileFormatError,
    FlowMap,
    VideoFile,
    VideoWriter,
    read_depth,
    read_flow,
    read_image,
    write_depth,
    write_flow,
    write_image,
)
from promotion.training import read_training_config
from tokenseek_common import InputError

PIXELS = 2**16
"""The limit that is set while files are read."""

MOST_BYTES = 64 * 2**20
"""That one file may make a process grow by: what libraries load once, and 1 kB for each pixel."""

MOST_SECONDS = 10.0
"""Of processor time that one file may take."""

BATCH = 10_000
"""Files of one process."""

Read = Callable[[Path], object]


@dataclass(frozen=True)
class Reader:
    """What reads a kind of file.

    Args:
        read: Reads, and looks whether what it read is valid.
        make: Writes a small file of the kind.
        error: What it may raise.
        share: How often its files come; those that take long come seldom.
    """

    read: Read
    make: Callable[[Path], object]
    error: type[InputError] = FileFormatError
    share: int = 20


def valid_map(found: FlowMap | DepthMap) -> None:
    """Refuse values that are not finite, or known where they are unknown."""
    values = found.flow if isinstance(found, FlowMap) else found.depth
    assert values.shape[-2:] == found.valid.shape
    assert values.isfinite().all()
    assert not values[..., ~found.valid].any()
    assert isinstance(found, FlowMap) or (values[found.valid] > 0).all()


def valid_image(found: torch.Tensor) -> None:
    """Refuse what is no picture in [0, 1]."""
    assert found.ndim == 3
    assert found.shape[0] == 3
    assert found.numel() > 0
    assert ((found >= 0) & (found <= 1)).all()


def look_at_video(path: Path) -> None:
    """Go through a video."""
    video = VideoFile(path)
    assert len(video) >= 0
    assert video.fps > 0
    for frame in video:
        valid_image(frame)


FLOW = torch.arange(70.0).reshape(2, 5, 7) - 20
DEPTH = torch.arange(1.0, 36).reshape(5, 7)
KNOWN = torch.arange(35).reshape(5, 7) % 4 != 0
PICTURE = torch.rand(3, 24, 40, generator=torch.Generator().manual_seed(0))


def make_video(path: Path) -> None:
    """Three frames, as .avi in an older coding."""
    if path.suffix == ".mp4":
        with VideoWriter(path, fps=5) as writer:
            for shift in range(3):
                writer.add((PICTURE.roll(shift, 2) * 255).to(torch.uint8))
        return
    av = importlib.import_module("av")
    with av.open(str(path), "w") as container:
        stream = container.add_stream("mpeg4" if path.suffix == ".avi" else "libx264", rate=5)
        stream.height, stream.width = PICTURE.shape[1:]
        stream.pix_fmt = "yuv420p"
        for shift in range(3):
            pixels = (PICTURE.roll(shift, 2) * 255).to(torch.uint8).permute(1, 2, 0).contiguous()
            frame = av.VideoFrame.from_ndarray(pixels.numpy(), format="rgb24")
            container.mux(stream.encode(frame))
        container.mux(stream.encode())


def by_pillow(path: Path, mode: str = "RGB", **options: Any) -> None:
    """A picture in a way that `write_image` does not write."""
    pixels = (PICTURE * 255).to(torch.uint8).permute(1, 2, 0).contiguous().numpy()
    Image.fromarray(pixels).convert(mode).save(path, **options)


def make_weights(path: Path) -> None:
    """The weights of a model as small as can be."""
    ProMotion(TINIEST).save_pretrained(path.parent / "model")
    path.write_bytes((path.parent / "model" / path.name).read_bytes())


TINIEST = ProMotionConfig.size("nano")
TRAINING = (
    "size: nano\nstages:\n  - {name: a, steps: 2, batch: 2, sizes: [[64, 96]]}\nheld_out: 2\n"
)


def load_weights(path: Path) -> None:
    """Load a model from a folder of which this file is a part."""
    folder = path.parent / "loaded"
    folder.mkdir(exist_ok=True)
    for name in ("config.json", "model.safetensors"):
        given = path if name == path.name else path.parent / "model" / name
        (folder / name).write_bytes(given.read_bytes())
    ProMotion.from_pretrained(folder)


def flow_reader() -> Reader:
    """Of flow."""
    return Reader(lambda path: valid_map(read_flow(path)), lambda p: write_flow(p, FLOW, KNOWN))


def depth_reader() -> Reader:
    """Of depth."""
    return Reader(
        lambda path: valid_map(read_depth(path, scale=None if path.suffix == ".dpt" else 500)),
        lambda path: write_depth(path, DEPTH, KNOWN, scale=500 if path.suffix == ".png" else None),
    )


def image_reader(make: Callable[[Path], object] | None = None) -> Reader:
    """Of pictures."""
    return Reader(
        lambda path: valid_image(read_image(path)), make or (lambda p: write_image(p, PICTURE))
    )


READERS: dict[str, Reader] = {
    **{f"flow.{suffix}": flow_reader() for suffix in ("flo", "flo5", "npz", "pfm", "png")},
    **{f"depth.{suffix}": depth_reader() for suffix in ("dpt", "npz", "pfm", "png")},
    **{f"image.{suffix}": image_reader() for suffix in ("bmp", "jpg", "png", "ppm", "webp")},
    "deflated.tif": image_reader(),
    "plain.tif": image_reader(by_pillow),
    "grey.tiff": image_reader(lambda path: by_pillow(path, "L", compression="tiff_lzw")),
    "progressive.jpg": image_reader(lambda path: by_pillow(path, progressive=True)),
    "inks.jpeg": image_reader(lambda path: by_pillow(path, "CMYK")),
    "grey.pgm": image_reader(lambda path: by_pillow(path, "L")),
    "palette.png": image_reader(lambda path: by_pillow(path, "P")),
    "palette.bmp": image_reader(lambda path: by_pillow(path, "P")),
    "palette.gif": image_reader(by_pillow),
    "lossy.webp": image_reader(lambda path: by_pillow(path, quality=60)),
    "image.avif": image_reader(by_pillow),
    **{
        f"video.{suffix}": Reader(look_at_video, make_video, share=1)
        for suffix in ("avi", "mkv", "mp4")
    },
    "config.json": Reader(load_weights, make_weights, InputError, share=1),
    "model.safetensors": Reader(load_weights, make_weights, InputError, share=1),
    "training.yaml": Reader(read_training_config, lambda p: p.write_text(TRAINING), InputError, 2),
}
ROUND = [name for name, reader in READERS.items() for _ in range(reader.share)]
"""The kinds, as often as they come."""


def corpus(folder: Path) -> dict[str, bytes]:
    """A small file of each kind."""
    contents = {}
    for name, reader in READERS.items():
        reader.make(folder / name)
        contents[name] = (folder / name).read_bytes()
    return contents


# ---------------------------------------------------------------------------------------------
# How files are changed
# ---------------------------------------------------------------------------------------------

TELLING = (0, 1, 2, 7, 8, 64, 127, 128, 255, 256, 32767, 32768, 65535, 2**24, 2**31 - 1, 2**32 - 1)
"""Numbers that sizes and offsets go wrong at."""


def mutated(number: int, contents: dict[str, bytes]) -> tuple[str, bytes]:
    """The kind and the bytes of a file, told by its number alone."""
    chance = random.Random(number)
    name = chance.choice(ROUND)
    content = contents[name]
    if name.endswith(".png") and chance.random() < 0.5:
        return name, with_checksums(changed(content, chance))
    if name.endswith(".png") and chance.random() < 0.3:
        return name, with_data(content, chance)
    if name.endswith(".npz") and chance.random() < 0.5:
        return name, with_members(content, chance)
    if chance.random() < 0.05:
        content = contents[chance.choice(list(READERS))]  # of another kind
    return name, changed(content, chance)


def changed(content: bytes, chance: random.Random) -> bytes:
    """Change a few places."""
    found = bytearray(content)
    for _ in range(chance.choice((1, 1, 1, 2, 3, 6))):
        place = int(chance.random() ** chance.choice((1, 3)) * len(found))  # headers stand in front
        length = chance.choice((1, 1, 2, 4, 16, 64))
        way = chance.randrange(8)
        if way == 0:
            found[place : place + 1] = bytes([chance.randrange(256)])
        elif way == 1 and place < len(found):
            found[place] ^= 1 << chance.randrange(8)
        elif way == 2:
            del found[place : place + length]
        elif way == 3:
            found[place:place] = chance.randbytes(length)
        elif way == 4:
            found[place:place] = found[place : place + length]
        elif way == 5:
            del found[place:]
        else:
            size, order = chance.choice((2, 4, 8)), chance.choice(("little", "big"))
            value = chance.choice(TELLING) % 2 ** (8 * size)
            found[place : place + size] = value.to_bytes(size, order)
    return bytes(found)


def with_checksums(content: bytes) -> bytes:
    """A PNG whose checksums are right."""
    found, place = bytearray(content), 8
    while place + 12 <= len(found):
        end = place + 8 + int.from_bytes(found[place : place + 4], "big")
        if end + 4 > len(found):
            break
        found[end : end + 4] = struct.pack(">I", zlib.crc32(found[place + 4 : end]))
        place = end + 4
    return bytes(found)


def with_data(content: bytes, chance: random.Random) -> bytes:
    """A PNG whose rows are changed before they are folded."""
    start = content.index(b"IDAT") - 4
    length = int.from_bytes(content[start : start + 4], "big")
    rows = changed(zlib.decompress(content[start + 8 : start + 8 + length]), chance)
    folded = b"IDAT" + zlib.compress(rows)
    part = struct.pack(">I", len(folded) - 4) + folded + struct.pack(">I", zlib.crc32(folded))
    return content[:start] + part + content[start + 12 + length :]


def with_members(content: bytes, chance: random.Random) -> bytes:
    """An archive with right checksums of changed members."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(content)) as given, zipfile.ZipFile(buffer, "w") as made:
        names = given.namelist()
        victim = chance.choice(names)
        for name in names:
            member = given.read(name)
            made.writestr(name, changed(member, chance) if name == victim else member)
    return buffer.getvalue()


# ---------------------------------------------------------------------------------------------
# How they are read
# ---------------------------------------------------------------------------------------------


def fault(path: Path, reader: Reader) -> str | None:
    """What is wrong with how a file is read, if anything."""
    peak, begin = peak_bytes(), time.process_time()
    try:
        reader.read(path)
    except InputError as error:
        text = str(error)
        if not isinstance(error, reader.error):
            return f"{type(error).__name__}: {text}"
        told = reader.error is InputError or (" must " in text and "; " in text)
        if not told or "\n" in text or len(text) > 1000:
            return f"no sentence: {text}"
    except Exception as error:
        return f"{type(error).__name__}: {error}"
    if peak_bytes() - peak > MOST_BYTES:
        return f"grown by {(peak_bytes() - peak) / 2**20:.0f} MiB"
    if time.process_time() - begin > MOST_SECONDS:
        return f"took {time.process_time() - begin:.0f} s"
    return None


def peak_bytes() -> int:
    """Of the memory of this process so far."""
    return 1024 * resource.getrusage(resource.RUSAGE_SELF).ru_maxrss


def faults(numbers: range, folder: Path) -> dict[int, str]:
    """Read files, and say what is wrong by their numbers."""
    contents = corpus(folder)
    for name, reader in READERS.items():
        assert fault(folder / name, reader) is None, f"{name} is not read"  # all is loaded then
    before, Image.MAX_IMAGE_PIXELS = Image.MAX_IMAGE_PIXELS, PIXELS
    found = {}
    try:
        with warnings.catch_warnings(action="ignore"):  # pillow tells of notes that it skips
            for number in numbers:
                name, content = mutated(number, contents)
                (folder / name).write_bytes(content)
                wrong = fault(folder / name, READERS[name])
                if wrong is not None:
                    found[number] = f"{name}: {wrong}"
    finally:
        Image.MAX_IMAGE_PIXELS = before
    return found


def run_batch(numbers: range) -> dict[int, str]:
    """The same in a process of its own; if it dies, the file it died of."""
    with tempfile.TemporaryDirectory() as place:
        arguments = ["--batch", str(numbers.start), str(numbers.stop), place]
        done = subprocess.run(
            [sys.executable, __file__, *arguments], capture_output=True, text=True, check=False
        )
        if done.returncode == 0:
            told = json.loads(done.stdout.splitlines()[-1])
            return {int(number): wrong for number, wrong in told.items()}
    if len(numbers) == 1:
        return {numbers.start: f"the process ended with {done.returncode}: {done.stderr[-300:]}"}
    middle = (numbers.start + numbers.stop) // 2
    return run_batch(range(numbers.start, middle)) | run_batch(range(middle, numbers.stop))


def main() -> None:
    """Go on with a folder's run."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--count", type=int, default=1_000_000, help="files in all")
    parser.add_argument("--minutes", type=float, default=float("inf"), help="at most, of this call")
    parser.add_argument("--folder", type=Path, default=Path(".fuzz"), help="where the run stands")
    parser.add_argument("--batch", nargs=3, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.batch:
        start, stop, place = options.batch
        found = faults(range(int(start), int(stop)), Path(place))
        sys.stdout.write(json.dumps(found) + "\n")
        return
    state = options.folder / "state.json"
    run: dict[str, Any] = json.loads(state.read_text()) if state.exists() else {}
    done, wrong = run.get("done", 0), run.get("wrong", {})
    options.folder.mkdir(parents=True, exist_ok=True)
    begin = time.monotonic()
    while done < options.count and time.monotonic() - begin < 60 * options.minutes:
        numbers = range(done, min(done + BATCH, options.count))
        for number, told in run_batch(numbers).items():
            wrong[str(number)] = told
            keep(number, options.folder)
            sys.stdout.write(f"{number}: {told}\n")
        done = numbers.stop
        part = state.with_suffix(".part")
        part.write_text(json.dumps({"done": done, "wrong": wrong}, indent=2) + "\n")
        part.replace(state)
        sys.stdout.write(f"{done} files, {len(wrong)} of them wrong\n")
        sys.stdout.flush()
    sys.exit(1 if wrong else 0)


def keep(number: int, folder: Path) -> None:
    """Keep a file by its number."""
    with tempfile.TemporaryDirectory() as place:
        name, content = mutated(number, corpus(Path(place)))
    (folder / f"{number}-{name}").write_bytes(content)


if __name__ == "__main__":
    main()
