"""Whether a package is ready to be released: `nox -s "release_check(mept)"` runs this."""

from __future__ import annotations

import argparse
import shutil
import subprocess
import sys
import tarfile
import tempfile
import tomllib
import zipfile
from pathlib import Path
from typing import Any

from packaging.requirements import Requirement

from changelog import UNRELEASED, read_changelog

ROOT = Path(__file__).resolve().parents[1]
IN_SDIST = ("CHANGELOG.md", "LICENSE", "PKG-INFO", "README.md", "pyproject.toml", "src", "tests")


class NotReadyError(Exception):
    """Why a package cannot be released."""


def projects() -> dict[str, tuple[Path, dict[str, Any]]]:
    """By the names of the distributions: their folders, and what they declare."""
    found = {}
    for pyproject in sorted(ROOT.glob("packages/*/pyproject.toml")):
        declared = tomllib.loads(pyproject.read_text(encoding="utf-8"))["project"]
        found[declared["name"]] = (pyproject.parent, declared)
    return found


def check_tag(distribution: str, version: str, tag: str | None) -> None:
    """The tag names the package and its version."""
    if tag not in (None, f"{distribution}-v{version}"):
        raise NotReadyError(f"tag ({tag}) must be {distribution}-v{version}; tag anew")


def check_changelog(folder: Path, version: str, *, released: bool) -> None:
    """The changelog's newest heading is the version with its date, or unreleased without a tag."""
    newest = read_changelog((folder / "CHANGELOG.md").read_text(encoding="utf-8"))[0]
    if newest.version not in ((version,) if released else (version, UNRELEASED)):
        wanted = f"## [{version}] - YYYY-MM-DD" + ("" if released else f" or ## [{UNRELEASED}]")
        raise NotReadyError(
            f"{folder.name}/CHANGELOG.md ({newest.version}) must begin with {wanted}; "
            "say what is new"
        )


def check_bounds(declared: dict[str, Any], versions: dict[str, str]) -> None:
    """What it asks of the other packages holds for the versions that they have."""
    optional = declared.get("optional-dependencies", {}).values()
    for line in [*declared["dependencies"], *(each for extra in optional for each in extra)]:
        needed = Requirement(line)
        version = versions.get(needed.name)
        if version is not None and not needed.specifier.contains(version):
            raise NotReadyError(f"{line} must allow {needed.name} {version}; move the bound")


def built(distribution: str, folder: Path) -> list[Path]:
    """Its wheel and its sdist, made in a folder."""
    command = ["uv", "build", "--quiet", "--no-sources", "--package", distribution]
    subprocess.run([*command, "--out-dir", str(folder)], cwd=ROOT, check=True)
    return sorted(path for path in folder.iterdir() if path.suffix in (".whl", ".gz"))


def check_reproducible(first: list[Path], second: list[Path]) -> None:
    """Two builds are the same, byte by byte."""
    for one, other in zip(first, second, strict=True):
        if one.read_bytes() != other.read_bytes():
            raise NotReadyError(f"{one.name} must be the same in every build; two of them differ")


def check_contents(files: list[Path], module: str) -> None:
    """The wheel holds its module alone; the sdist what it takes to build, to test and to read."""
    for path in files:
        if path.suffix == ".whl":
            with zipfile.ZipFile(path) as wheel:
                rooms = {name.split("/")[0] for name in wheel.namelist()}
            strange = {room for room in rooms if room != module and not room.endswith(".dist-info")}
            if strange or module not in rooms:
                raise NotReadyError(f"{path.name} must hold {module} alone ({sorted(rooms)} found)")
        else:
            with tarfile.open(path) as sdist:
                inside = {name.split("/")[1] for name in sdist.getnames() if "/" in name}
            if missing := sorted(set(IN_SDIST) - inside):
                raise NotReadyError(f"{path.name} must hold {', '.join(missing)}; include it")


def check_installs(distribution: str, version: str, index: Path) -> None:
    """Pip and uv take it from a folder, as they would from an index."""
    says = f"import importlib.metadata as m; assert m.version({distribution!r}) == {version!r}"
    with tempfile.TemporaryDirectory() as scratch:
        for installer in ("pip", "uv"):
            venv = Path(scratch, installer)
            seeded = ["--seed"] if installer == "pip" else []
            subprocess.run(["uv", "venv", "--quiet", *seeded, str(venv)], check=True)
            python = str(venv / "bin" / "python")
            command = [python, "-m", "pip"] if installer == "pip" else ["uv", "pip"]
            where = [] if installer == "pip" else ["--python", python]
            options = ["--quiet", "--no-deps", "--no-index", f"--find-links={index}"]
            named = f"{distribution}=={version}"
            subprocess.run([*command, "install", *where, *options, named], check=True)
            subprocess.run([python, "-c", says], check=True)


def main() -> int:
    """Check one package; its files lie in release/<distribution> at the end."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("distribution", choices=projects())
    parser.add_argument("--tag", help="what releases it; without one, it may be unreleased still")
    options = parser.parse_args()
    folder, declared = projects()[options.distribution]
    version = declared["version"]
    index = ROOT / "release" / options.distribution
    shutil.rmtree(index, ignore_errors=True)
    try:
        check_tag(options.distribution, version, options.tag)
        check_changelog(folder, version, released=options.tag is not None)
        check_bounds(declared, {name: each["version"] for name, (_, each) in projects().items()})
        files = built(options.distribution, index)
        with tempfile.TemporaryDirectory() as again:
            check_reproducible(files, built(options.distribution, Path(again)))
        (source,) = (folder / "src").iterdir()
        check_contents(files, source.name)
        subprocess.run(["twine", "check", "--strict", *map(str, files)], check=True)
        check_installs(options.distribution, version, index)
    except NotReadyError as reason:
        sys.stderr.write(f"{options.distribution} is not ready: {reason}\n")
        return 1
    sys.stdout.write(f"{options.distribution} {version} is ready, in {index}\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
