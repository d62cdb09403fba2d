"""The house rule: a module imports only from its own layer or a lower one."""

import ast
from pathlib import Path

import pytest

PACKAGE = Path(__file__).resolve().parents[1] / "covidctnet"
LAYERS = {
    **dict.fromkeys(["errors", "files", "isolate", "volume", "results", "perlin"], 0),
    **dict.fromkeys(["progress", "shipped", "_version"], 0),
    **dict.fromkeys(["io", "preprocess", "phantom", "lungs", "chest", "residual", "burden"], 1),
    **dict.fromkeys(["appearance", "calibration", "card"], 1),
    "models": 2,
    **dict.fromkeys(["weights", "keras_import", "denoise", "classify", "gradcam"], 3),
    **dict.fromkeys(["batch", "evaluation", "report", "training", "prepare"], 4),
    **dict.fromkeys(["cli", "verbs", "__main__", "__init__"], 5),
}
TORCH_HOMES = {"models", "weights", "keras_import", "denoise", "classify", "gradcam", "training"}
MODULES = sorted(PACKAGE.rglob("*.py"))


def room(module):
    return module.relative_to(PACKAGE).parts[0].removesuffix(".py")


def imports(module, *, top_level_only=False):
    tree = ast.parse(module.read_text())
    nodes = tree.body if top_level_only else ast.walk(tree)
    for node in nodes:
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            assert not node.level, f"{module.name} imports relatively"
            yield node.module


@pytest.mark.parametrize("module", MODULES, ids=lambda m: m.relative_to(PACKAGE).as_posix())
def test_no_module_imports_from_above(module):
    own = LAYERS[room(module)]
    for name in imports(module):
        if name.startswith("covidctnet."):
            above = name.split(".")[1]
            assert LAYERS[above] <= own, f"{room(module)} (layer {own}) imports {name}"


@pytest.mark.parametrize("module", MODULES, ids=lambda m: m.relative_to(PACKAGE).as_posix())
def test_torch_is_loaded_only_where_networks_live(module):
    heavy = {"torch", "pytorch_lightning", "safetensors"}
    found = {name.split(".")[0] for name in imports(module, top_level_only=True)} & heavy
    assert not found or room(module) in TORCH_HOMES
    assert "pytorch_lightning" not in found or room(module) == "training"


def test_importing_the_package_loads_no_torch():
    import subprocess
    import sys

    code = "import sys, covidctnet; covidctnet.Label; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_loading_weights_loads_no_compiler():
    # A second and a hundred megabytes of every start; a single operation without memory does it.
    import subprocess
    import sys

    code = (
        "import sys; from covidctnet.classify import CovidCTNet; CovidCTNet.load(); "
        "sys.exit('torch._dynamo' in sys.modules or 'sympy' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
