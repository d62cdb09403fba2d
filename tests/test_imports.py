"""Who imports whom: the contracts of `.importlinter`, and what is loaded when."""

import ast
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
PACKAGE = ROOT / "covidctnet"
# Where torch may be loaded at import; elsewhere only inside a function.
LIGHTNING_HOMES = ("training/*", "systems/*/training/*")
TORCH_HOMES = (
    *LIGHTNING_HOMES,
    "devices.py",
    "networks/*",
    "run/onnx_export.py",
    "slice_systems/predictor.py",
    "systems/*/networks/*",
    "systems/*/predictor.py",
    "systems/*/weights.py",
    "systems/covidctnet/denoise.py",
    "systems/*/gradcam.py",
    "systems/covidctnet/keras_import.py",
    "systems/covidctnet/segment.py",
    "trust/out_of_distribution.py",
    "weights/bundle.py",
    "weights/state.py",
)
MODULES = sorted(PACKAGE.rglob("*.py"))


def lint(folder):
    """What import-linter says of the package in a folder."""
    program = Path(sys.executable).with_name("lint-imports")
    return subprocess.run(
        [program, "--no-cache", "--no-logo"],
        cwd=folder,
        env={**os.environ, "PYTHONPATH": str(folder), "COLUMNS": "200"},
        capture_output=True,
        text=True,
        check=False,
    )


@pytest.fixture
def copy(tmp_path):
    pycache = shutil.ignore_patterns("__pycache__")
    shutil.copytree(PACKAGE, tmp_path / "covidctnet", ignore=pycache)
    shutil.copy(ROOT / ".importlinter", tmp_path)
    return tmp_path


def test_the_package_keeps_every_contract(copy):
    done = lint(copy)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "0 broken" in done.stdout


@pytest.mark.parametrize(
    ("module", "line", "said"),
    [
        ("volume", "from covidctnet import cli", "volume is not allowed to import covidctnet.cli"),
        (
            "systems/covidctnet/networks/convlstm",
            "from covidctnet.volume import Volume",
            "covidctnet.systems.covidctnet.networks is not allowed to import covidctnet.volume",
        ),
        (
            "evaluation/localise",
            "from covidctnet.phantom.lesions import NO_LESION",
            "covidctnet.evaluation is not allowed to import covidctnet.phantom",
        ),
        (
            "run/classify",
            "import pytorch_lightning",
            "covidctnet.run.classify -> pytorch_lightning",
        ),
    ],
)
def test_a_forbidden_import_is_found(copy, module, line, said):
    file = copy / "covidctnet" / f"{module}.py"
    file.write_text(f"{file.read_text()}\n{line}\n")
    done = lint(copy)
    assert done.returncode == 1
    assert said in " ".join(done.stdout.split())


def test_a_circle_of_folders_is_found(copy):
    file = copy / "covidctnet" / "evaluation" / "tables.py"
    file.write_text(f"{file.read_text()}\nfrom covidctnet.report import Results\n")
    done = lint(copy)
    assert done.returncode == 1
    assert ".evaluation -> .report" in done.stdout or ".report -> .evaluation" in done.stdout


def test_a_system_that_knows_another_is_found(copy):
    other = copy / "covidctnet" / "systems" / "other"
    other.mkdir()
    (other / "__init__.py").write_text("from covidctnet.systems.covidctnet import denoise\n")
    done = lint(copy)
    assert done.returncode == 1
    told = "covidctnet.systems.other is not allowed to import covidctnet.systems.covidctnet"
    assert told in " ".join(done.stdout.split())


def test_a_module_without_a_layer_is_found(copy):
    (copy / "covidctnet" / "stray.py").write_text('"""No layer holds it."""\n')
    done = lint(copy)
    assert done.returncode == 1
    assert "stray" in done.stdout


@pytest.mark.parametrize("module", MODULES, ids=lambda m: m.relative_to(PACKAGE).as_posix())
def test_torch_is_loaded_only_where_networks_live(module):
    nodes = ast.parse(module.read_text()).body
    names = [a.name for n in nodes if isinstance(n, ast.Import) for a in n.names]
    names += [n.module or "" for n in nodes if isinstance(n, ast.ImportFrom)]
    heavy = {"torch", "pytorch_lightning", "safetensors"}
    found = {name.split(".")[0] for name in names} & heavy
    path = module.relative_to(PACKAGE)
    assert not found or any(path.match(home) for home in TORCH_HOMES)
    assert "pytorch_lightning" not in found or any(path.match(home) for home in LIGHTNING_HOMES)


def test_importing_the_package_loads_no_torch():
    code = "import sys, covidctnet; covidctnet.Label; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_loading_weights_loads_no_compiler():
    # A second and a hundred megabytes of every start; a single operation without memory does it.
    code = (
        "import sys; from covidctnet import CovidCTNet; CovidCTNet.load(); "
        "sys.exit('torch._dynamo' in sys.modules or 'sympy' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
