"""The names of the standard library that Linux has and Windows lacks, from the stubs of mypy."""

import ast
from functools import cache
from importlib.util import find_spec
from pathlib import Path

VERSION = (3, 11)


@cache
def _stubs() -> Path:
    spec = find_spec("mypy")
    assert spec is not None
    assert spec.origin is not None
    return Path(spec.origin).parent / "typeshed" / "stdlib"


@cache
def posix_only(module: str) -> frozenset[str]:
    """Return the public names of a module that are missing on Windows; all, if the module is."""
    linux, windows = _names(module)
    return linux - windows


@cache
def is_posix_only(module: str) -> bool:
    """Return whether Windows lacks a whole module of the standard library."""
    linux, windows = _names(module)
    return bool(linux) and not windows


@cache
def _names(module: str) -> tuple[frozenset[str], frozenset[str]]:
    """Return the names of a module on Linux and on Windows; none if it is the same on both."""
    path = _stubs().joinpath(*module.split("."))
    files = [each for each in (path.with_suffix(".pyi"), path / "__init__.pyi") if each.is_file()]
    text = files[0].read_text(encoding="utf-8") if files else ""
    if "sys.platform" not in text:
        return frozenset(), frozenset()
    body = ast.parse(text).body
    linux, windows = set[str](), set[str]()
    _collect(body, "linux", linux)
    _collect(body, "win32", windows)
    return frozenset(linux), frozenset(windows)


def _collect(body: list[ast.stmt], platform: str, names: set[str]) -> None:
    """Add the public names that the statements of a stub define on a platform."""
    for each in body:
        match each:
            case ast.If():
                _collect(each.body if _holds(each.test, platform) else each.orelse, platform, names)
            case ast.FunctionDef(name=name) | ast.ClassDef(name=name):
                names.add(name)
            case ast.AnnAssign(target=ast.Name(id=name)):
                names.add(name)
            case ast.Assign(targets=targets):
                names.update(target.id for target in targets if isinstance(target, ast.Name))
            case ast.ImportFrom(names=imported):
                names.update(alias.asname for alias in imported if alias.asname)
    names.difference_update([name for name in names if name.startswith("_")])


def _holds(test: ast.expr, platform: str) -> bool:
    """Return whether a condition of a stub on platform or version is true."""
    condition = ast.unparse(test).replace("sys.platform", repr(platform))
    return bool(eval(condition.replace("sys.version_info", repr(VERSION))))  # noqa: S307 - a condition of mypy's stubs
