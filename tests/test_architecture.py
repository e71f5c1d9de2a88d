"""Who may import whom, and what every file keeps to."""

from __future__ import annotations

import ast
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
PACKAGES = ("streamtag", "trainer")
LONGEST = 300  # lines
LAYERS = (  # a package imports itself and those before it
    "errors",
    "spec",
    "text",
    "database",
    "protocol",
    "model",
    "audio",
    "inference",
    "history",
    "scheduler",
    "server",
    "client",
    "sinks",
    "terminal",
    "catalog",
)
TOP = len(LAYERS)  # api, cli and the package itself import everything
# Beside what lies before them: results are written and shown without a server, a client or a scheduler.
FORBIDDEN = dict.fromkeys(("sinks", "terminal"), ("server", "client", "scheduler"))
# Of `inference` only the events, whose thresholds are fitted to what they are compared with.
# Of `cli` what all programs share.
TRAINER_MAY = (
    "errors",
    "spec",
    "text",
    "model",
    "audio.block_decoder",
    "audio.decoder",
    "audio.resample",
    "inference.events",
    "api",
    "cli.program",
)
MAY_IMPORT_TORCH = (
    *("streamtag.model", "streamtag.inference.session", "streamtag.inference.overlapped"),
    *("streamtag.inference.worker_pool", "trainer"),
)
CLOCKS_AND_THREADS = {"time", "threading", "socket", "asyncio", "queue", "multiprocessing", "concurrent"}
PICKLES = {"pickle", "cPickle", "dill", "cloudpickle", "joblib", "shelve", "marshal"}


@dataclass(frozen=True)
class Import:
    """target: the module, fully dotted. early: it happens when the importing module itself is imported."""

    target: str
    line: int
    early: bool


@dataclass(frozen=True)
class Module:
    name: str
    path: Path
    text: str
    tree: ast.Module
    imports: tuple[Import, ...]

    def inside(self, *packages: str) -> bool:
        return _inside(self.name, *packages)

    def problem(self, line: int, text: str) -> str:
        return f"{self.path}:{line}: {text}"


Modules = Mapping[str, Module]


def _inside(name: str, *packages: str) -> bool:
    return any(name == package or name.startswith(f"{package}.") for package in packages)


def modules_of(root: Path) -> Modules:
    """The modules of both packages below `root`, by name."""
    paths = {
        ".".join(path.relative_to(root).with_suffix("").parts).removesuffix(".__init__"): path
        for package in PACKAGES
        for path in sorted((root / package).rglob("*.py"))
    }
    found = {}
    for name, path in paths.items():
        text = path.read_text(encoding="utf-8")
        tree = ast.parse(text)
        package = name if path.stem == "__init__" else name.rpartition(".")[0]
        imports = tuple(_imports(tree, package, paths.keys(), early=True))
        found[name] = Module(name, path.relative_to(root), text, tree, imports)
    return found


def _imports(node: ast.AST, package: str, known: Iterable[str], early: bool) -> Iterator[Import]:
    for child in ast.iter_child_nodes(node):
        if isinstance(child, ast.Import):
            for alias in child.names:
                yield Import(alias.name, child.lineno, early)
        elif isinstance(child, ast.ImportFrom):
            above = package.split(".")[: 1 - child.level or None] if child.level else []
            base = ".".join([*above, *([child.module] if child.module else [])])
            for alias in child.names:
                full = f"{base}.{alias.name}"
                yield Import(full if full in known else base, child.lineno, early)
        else:
            late = isinstance(child, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda)
            late |= isinstance(child, ast.If) and "TYPE_CHECKING" in ast.unparse(child.test)
            yield from _imports(child, package, known, early and not late)


# --- the rules: what breaks them, one line each ---------------------------------------------------------------------


def _package(name: str) -> str:
    return name.split(".")[1] if "." in name else ""


def _layer(name: str) -> int:
    return LAYERS.index(package) if (package := _package(name)) in LAYERS else TOP


def layers(modules: Modules) -> Iterator[str]:
    """Data flows one way: a package imports those before it, the trainer the model and the public API."""
    for module in modules.values():
        for found in module.imports:
            own = _inside(found.target, "streamtag")
            if module.inside("trainer"):
                allowed = not own or _inside(found.target, *(f"streamtag.{name}" for name in TRAINER_MAY))
            elif own:
                allowed = _layer(found.target) <= _layer(module.name)
                allowed &= _package(found.target) not in FORBIDDEN.get(_package(module.name), ())
            else:
                allowed = not _inside(found.target, "trainer")
            if not allowed:
                yield module.problem(found.line, f"imports {found.target}")


def no_cycles(modules: Modules) -> Iterator[str]:
    """No module imports itself by way of others, counting imports at module level."""
    finished: set[str] = set()

    def cycles(name: str, path: tuple[str, ...]) -> Iterator[str]:
        if name in path:
            cycle = path[path.index(name) :]
            yield modules[name].problem(1, f"imports itself by way of {', '.join(cycle[1:])}")
        elif name not in finished:
            for found in modules[name].imports:
                if found.early and found.target in modules:
                    yield from cycles(found.target, (*path, name))
            finished.add(name)

    for name in modules:
        yield from cycles(name, ())


def pure_model(modules: Modules) -> Iterator[str]:
    """The model uses no clock, thread or socket."""
    for module in modules.values():
        for found in module.imports:
            if module.inside("streamtag.model") and found.target.split(".")[0] in CLOCKS_AND_THREADS:
                yield module.problem(found.line, f"imports {found.target}")


def light_edges(modules: Modules) -> Iterator[str]:
    """Only model, sessions, worker pools and the top layer import torch; importing anything else does not load it."""
    for module in modules.values():
        if module.inside(*MAY_IMPORT_TORCH) or _layer(module.name) == TOP:
            continue
        for found in module.imports:
            if "torch" in found.target.split("."):
                yield module.problem(found.line, f"imports {found.target}")
            elif found.early and (chain := _way_to_torch(found.target, modules, set())):
                yield module.problem(found.line, f"imports torch by way of {' and '.join(chain)}")


def _way_to_torch(name: str, modules: Modules, seen: set[str]) -> list[str] | None:
    if "torch" in name.split("."):
        return []
    parts = name.split(".")
    for module in (modules.get(".".join(parts[: end + 1])) for end in range(len(parts))):  # its packages come first
        if module is None or module.name in seen:
            continue
        seen.add(module.name)
        for found in module.imports:
            if found.early and (chain := _way_to_torch(found.target, modules, seen)) is not None:
                return [module.name, *chain]
    return None


def no_pickle(modules: Modules) -> Iterator[str]:
    for module in modules.values():
        for found in module.imports:
            if found.target.split(".")[0] in PICKLES:
                yield module.problem(found.line, f"imports {found.target}")
        for node in ast.walk(module.tree):
            if isinstance(node, ast.Attribute) and ast.unparse(node) in ("torch.load", "torch.save"):
                yield module.problem(node.lineno, f"{ast.unparse(node)} pickles")
            if isinstance(node, ast.keyword) and node.arg == "allow_pickle" and ast.unparse(node.value) != "False":
                yield module.problem(node.lineno, "allows pickle")


def no_print(modules: Modules) -> Iterator[str]:
    """Only cli, terminal and sinks print."""
    for module in modules.values():
        if module.inside("streamtag.model", "streamtag.audio", "streamtag.inference", "streamtag.scheduler"):
            for node in ast.walk(module.tree):
                if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "print":
                    yield module.problem(node.lineno, "prints")


def docstrings(modules: Modules) -> Iterator[str]:
    for module in modules.values():
        if not ast.get_docstring(module.tree):
            yield module.problem(1, "says nothing about itself")


def short_files(modules: Modules) -> Iterator[str]:
    for module in modules.values():
        if (lines := len(module.text.splitlines())) > LONGEST:
            yield module.problem(lines, f"is longer than {LONGEST} lines")


RULES: dict[str, Callable[[Modules], Iterator[str]]] = {
    rule.__name__: rule
    for rule in (layers, no_cycles, pure_model, light_edges, no_pickle, no_print, docstrings, short_files)
}


@pytest.fixture(scope="module")
def ours() -> Modules:
    return modules_of(ROOT)


@pytest.mark.parametrize("rule", RULES)
def test_the_packages_keep_the_rule(rule: str, ours: Modules) -> None:
    assert len(ours) > 50
    assert list(RULES[rule](ours)) == []


DOC = '"""Doc."""\n'


@pytest.mark.parametrize(
    ("rule", "path", "source"),
    [
        ("layers", "streamtag/model/a.py", "from streamtag.audio import b"),
        ("layers", "streamtag/model/a.py", "def f():\n    import streamtag.sinks.table"),
        ("layers", "streamtag/model/a.py", "from ..audio.b import c"),
        ("layers", "streamtag/audio/a.py", "from streamtag import __version__"),
        ("layers", "streamtag/audio/a.py", "from .. import api"),
        ("layers", "streamtag/sinks/a.py", "from streamtag.api import load"),
        ("layers", "streamtag/sinks/a.py", "from streamtag.server.hub import Hub"),
        ("layers", "streamtag/scheduler/a.py", "from streamtag.server.hub import Hub"),
        ("layers", "streamtag/errors.py", "from streamtag.model import b"),
        ("layers", "streamtag/api.py", "import trainer.train"),
        ("layers", "trainer/a.py", "from streamtag.audio.b import open_source"),
        ("no_cycles", "trainer/spiral.py", "from trainer.spiral import x"),
        ("pure_model", "streamtag/model/a.py", "def f():\n    from time import monotonic"),
        ("light_edges", "streamtag/audio/a.py", "def f():\n    import torch"),
        ("light_edges", "streamtag/inference/a.py", "from streamtag.model import heavy"),
        ("light_edges", "streamtag/sinks/a.py", "from streamtag.inference.session import Session"),
        ("light_edges", "streamtag/spec.py", "from safetensors.torch import load_file"),
        ("no_pickle", "trainer/a.py", "import pickle"),
        ("no_pickle", "trainer/a.py", "import torch\nx = torch.load('a')"),
        ("no_pickle", "trainer/a.py", "import numpy as np\nx = np.load('a', allow_pickle=True)"),
        ("no_print", "streamtag/audio/a.py", "print('frame')"),
        ("docstrings", "streamtag/audio/a.py", None),
        ("short_files", "trainer/a.py", "\n" * LONGEST),
    ],
)
def test_a_rule_that_is_broken_is_noticed(rule: str, path: str, source: str | None, tmp_path: Path) -> None:
    tree = {
        "streamtag/model/heavy.py": "import torch",
        "streamtag/audio/b.py": "",
        "streamtag/inference/session.py": "import torch\nfrom streamtag.model import heavy",
        "streamtag/sinks/b.py": "import rich  # print(torch)\nif TYPE_CHECKING:\n    from streamtag.model import heavy",
        "streamtag/api.py": "from streamtag.sinks import b\nprint('import pickle')",
        "trainer/b.py": "import time\nfrom streamtag import spec\nfrom streamtag.model import heavy",
        "trainer/c.py": "import torch\nx = load(allow_pickle=False)",
        "streamtag/spec.py": "",
    }
    for name, text in tree.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(DOC + text)
    assert list(RULES[rule](modules_of(tmp_path))) == []
    (tmp_path / path).parent.mkdir(exist_ok=True)
    (tmp_path / path).write_text("x = 1" if source is None else DOC + source)
    (problem,) = RULES[rule](modules_of(tmp_path))
    assert problem.startswith(f"{Path(path)}:")
