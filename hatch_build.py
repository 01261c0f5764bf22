"""Compiles the modules that every request runs through.

The wheel has all modules as Python, and beside those named in `pyproject.toml` the
same compiled by mypyc, which Python prefers. That needs a C compiler and the headers of
Python. Where they are missing the wheel is pure: the same program, with four times
the CPU time in the core. `LBPROTO_COMPILE=0` asks for that, `LBPROTO_COMPILE=1` makes
it an error that nothing could be compiled.

What was compiled is kept in `build/compiled`, by a digest of all that it depends on,
so that the next installation from this tree takes seconds.
"""

from __future__ import annotations

import ast
import hashlib
import os
import re
import shutil
import sys
import sysconfig
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface

# What mypyc makes depends on its version, so another one is a change of ours.
COMPILER = "mypy==2.4.1"
# setuptools calls the C compiler; h11 is imported by what is compiled.
NEEDED = [COMPILER, "setuptools>=77", "h11>=0.16,<0.17"]

# The modules of a package are in one library, so that they call each other without a
# detour. Each package has its own: they must go on working with another's sources.
LIBRARIES = {"lbproto": "lbproto", "lbproto_runtimes": "runtimes/lbproto_runtimes"}
"""Packages of which something is compiled, and where they are."""

LEAF = "@mypyc_attr(acyclic=True, free_list_len=1)\n"
"""No work for the garbage collector; the memory of one is kept for the next."""

FLEETING = "@mypyc_attr(free_list_len=1)\n"
"""Objects with cycles whose memory is kept for the next."""

FOREIGN = re.compile(r"\b(object|Any|Awaitable|BaseException)\b")
"""What others make, and what may know whoever holds it."""

HEADING = """from dataclasses import dataclass
from typing import TYPE_CHECKING as FOR_MYPYC
if FOR_MYPYC:
    from mypy_extensions import mypyc_attr
"""

FLAGS = ["--config-file=", "--python-version=3.11", "--ignore-missing-imports"]


class CompileHook(BuildHookInterface[Any]):
    """Adds compiled modules to the wheel."""

    @property
    def wanted(self) -> bool:
        """Tell whether to compile at all."""
        return self.target_name == "wheel" and os.environ.get("LBPROTO_COMPILE") != "0"

    def dependencies(self) -> list[str]:
        """Name what the build needs for that."""
        return NEEDED if self.wanted else []

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        """Compile, unless it was done before; an editable installation stays pure.

        Raises:
            RuntimeError: it failed, and `LBPROTO_COMPILE=1` says that it must not.
        """
        if not self.wanted or version != "standard":
            return
        root = Path(self.root)
        modules = self._modules(root)
        folder = root / "build" / "compiled" / _digest(root, modules)
        if not folder.exists():
            try:
                _compile(root, modules, folder)
            except (Exception, SystemExit) as error:  # mypyc exits for errors
                if os.environ.get("LBPROTO_COMPILE") == "1":
                    raise RuntimeError(f"cannot compile: {error!r}") from error
                self.app.display_warning(f"not compiled, so slower: {error!r}")
                return
        for file in folder.rglob("*.so"):
            build_data["force_include"][str(file)] = str(file.relative_to(folder))
        build_data["pure_python"] = False
        build_data["infer_tag"] = True

    def _modules(self, root: Path) -> list[str]:
        named = [path for one in self.config["compiled"] for path in root.glob(one)]
        kept = {path for one in self.config["interpreted"] for path in root.glob(one)}
        return sorted(path.relative_to(root).as_posix() for path in {*named} - kept)


def _digest(root: Path, modules: list[str]) -> str:
    """Digest the modules, what they may import, and what compiles them."""
    digest = hashlib.sha256()
    digest.update("\0".join([*NEEDED, sys.version, *FLAGS, *modules]).encode())
    digest.update(Path(__file__).read_bytes())
    places = LIBRARIES.values()
    for path in sorted(it for place in places for it in root.glob(f"{place}/**/*.py")):
        digest.update(path.relative_to(root).as_posix().encode() + b"\0")
        digest.update(path.read_bytes())
    return digest.hexdigest()[:16]


def _native(source: str) -> str:
    """Write a module's records so that mypyc makes structures of them.

    It knows `dataclass` and not our `value`, and it leaves `__init__` to Python unless
    it stands there. Nor does it know a `leaf`, as records are, or what is `fleeting`.
    """
    lines = source.splitlines(keepends=True)
    classes = [one for one in ast.parse(source).body if isinstance(one, ast.ClassDef)]
    for record in reversed(classes):
        fields = [one for one in record.body if isinstance(one, ast.AnnAssign)]
        marks = {ast.unparse(one): one.lineno - 1 for one in record.decorator_list}
        if "leaf" in marks:
            lines[marks["leaf"]] = LEAF
        if "fleeting" in marks:
            lines[marks["fleeting"]] = FLEETING
        if "value" not in marks:
            continue
        body = [
            f"        self.{(name := ast.unparse(it.target))} = {name}" for it in fields
        ]
        heads = ", ".join(["self", *map(_parameter, fields)])
        init = ["", f"    def __init__({heads}) -> None:", *body, ""]
        assert record.end_lineno is not None
        if fields:
            lines.insert(record.end_lineno, "\n".join(init))
        lines[marks["value"]] = f"@dataclass(slots=True, init={not fields})\n"
        if not any(FOREIGN.search(ast.unparse(one.annotation)) for one in fields):
            lines[marks["value"]] += LEAF
    future = next(at for at, line in enumerate(lines) if "__future__" in line)
    lines.insert(future + 1, HEADING)
    return "".join(lines)


def _parameter(field: ast.AnnAssign) -> str:
    """Write a field of a record as a parameter."""
    default = field.value
    if isinstance(default, ast.Call) and ast.unparse(default.func) == "field":
        (default,) = (it.value for it in default.keywords if it.arg == "default")
    tail = "" if default is None else f" = {ast.unparse(default)}"
    return ast.unparse(field.target) + ": " + ast.unparse(field.annotation) + tail


def _compile(root: Path, modules: list[str], folder: Path) -> None:
    from mypyc.build import mypycify
    from setuptools import Distribution

    headers = Path(sysconfig.get_path("include"), "Python.h")
    if not headers.exists():
        raise RuntimeError(f"{headers} is missing (Debian: python3-dev)")
    before = Path.cwd()
    try:
        with TemporaryDirectory() as temporary:
            for package, place in LIBRARIES.items():
                shutil.copytree(root / place, Path(temporary, package))
            os.chdir(temporary)
            extensions: list[Any] = []
            for package, place in LIBRARIES.items():
                files = [
                    f"{package}/{Path(module).relative_to(place).as_posix()}"
                    for module in modules
                    if module.startswith(f"{place}/")
                ]
                for file in map(Path, files):
                    file.write_text(_native(file.read_text("utf-8")), "utf-8")
                extensions += mypycify(
                    [*FLAGS, f"--cache-dir={temporary}/types-{package}", *files],
                    opt_level="2",
                    debug_level="0",
                    target_dir=f"{temporary}/c",
                    group_name=f"{package}.compiled",
                )
            for one in extensions:
                # What another compiler warns of is no reason to go without.
                flags = one.extra_compile_args
                one.extra_compile_args = [it for it in flags if it != "-Werror"]
                # What is called from outside is reached by tables; the rest can be
                # called without a detour, and inlined.
                one.extra_compile_args.append("-fvisibility=hidden")
                # To look for that takes gcc as long as all else, in a file so large.
                one.extra_compile_args.append("-Wno-misleading-indentation")
            build = Distribution({"ext_modules": extensions}).get_command_obj(
                "build_ext"
            )
            made = Path(temporary, "made")
            build.build_lib = str(made)
            build.build_temp = f"{temporary}/c"
            build.parallel = True
            build.ensure_finalized()
            build.run()
            shutil.rmtree(folder.parent, ignore_errors=True)  # what is out of date
            # By a rename, so that what is there is whole.
            shutil.copytree(made, folder.with_suffix(".part"))
            folder.with_suffix(".part").rename(folder)
    finally:
        os.chdir(before)
