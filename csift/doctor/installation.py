"""Python, the libraries that csift pins, and a GPU where one is wanted."""

import sys
from collections.abc import Callable, Iterable, Iterator
from importlib import metadata

from packaging.requirements import Requirement
from packaging.specifiers import SpecifierSet

from csift.config import TrainingConfig
from csift.doctor.finding import Finding, failed, ok, warning

INSTALL = "install requirements/base.lock (`make setup`)"
TRAPS = {"sqlalchemy": "with 2.1 Prefect's cron schedules never fire, and nothing says so"}


def python(version: tuple[int, ...] = sys.version_info[:3]) -> Iterator[Finding]:
    """Whether csift runs on this Python."""
    found, wanted = ".".join(map(str, version)), metadata.metadata("csift")["Requires-Python"]
    if SpecifierSet(wanted).contains(found):
        yield ok("python", found)
    else:
        yield failed("python", f"{found}, and csift needs {wanted}", "make the environment anew (make setup PYTHON=python3.11)")


def version_of(name: str) -> str | None:
    """The version of an installed package, or None."""
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return None


def libraries(required: Iterable[str] | None = None, installed: Callable[[str], str | None] = version_of) -> Iterator[Finding]:
    """Whether each library has a version that the package asks for; `required` are requirements as in pyproject.toml, by default
    csift's own."""
    pins = [Requirement(one) for one in (metadata.requires("csift") or [] if required is None else required)]
    wanted = [pin for pin in pins if pin.marker is None or pin.marker.evaluate({"extra": ""})]
    wrong = 0
    for pin in wanted:
        found = installed(pin.name)
        if found is None or not pin.specifier.contains(found, prereleases=True):
            wrong += 1
            trap = TRAPS.get(pin.name.lower())
            needs = f"csift needs {pin.specifier}" + (f": {trap}" if trap else "")
            yield failed("libraries", f"{pin.name} {found or 'is not installed'}, and {needs}", INSTALL)
    if not wrong:
        yield ok("libraries", f"{len(wanted)}, all in the versions that csift asks for")


def gpu(training: TrainingConfig) -> Iterator[Finding]:
    """Whether there is a GPU, where the training wants one."""
    wanted = {
        "adapter qlora": training.adapter == "qlora",
        "run_on gpu": training.run_on == "gpu",
        "launcher accelerate": training.launcher == "accelerate",
    }
    asked = " and ".join(name for name, wants in wanted.items() if wants)
    if not asked:
        return
    import torch

    if torch.cuda.is_available():
        names = ", ".join(torch.cuda.get_device_name(number) for number in range(torch.cuda.device_count()))
        yield ok("gpu", f"{names}, CUDA {torch.version.cuda}")
        return
    build = f"torch {torch.__version__} is built for CUDA {torch.version.cuda}" if torch.version.cuda else "torch is a CPU build"
    found = f"none here ({build}), and training has {asked}"
    if training.run_on == "gpu":
        yield warning("gpu", found, "nothing, if this is no worker of the pool gpu; run `csift doctor` on those")
    elif training.adapter == "qlora":
        yield failed("gpu", found, "train on the gpu pool (training.run_on), or choose another training.adapter")
    else:
        yield warning("gpu", found, "nothing, if several processes on one processor are meant; else train on the gpu pool")
