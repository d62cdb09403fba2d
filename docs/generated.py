"""What the program itself can tell, put into the pages when they are built.

A page says where with a comment of its own line, ``<!-- generated: NAME -->``. Nothing that is
generated lies in the tree, so none of it can go stale.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import yaml

if TYPE_CHECKING:
    from sphinx.application import Sphinx
    from sphinx.environment import BuildEnvironment

HERE = Path(__file__).resolve().parent
TREE = HERE.parent
MARK = re.compile(r"^<!-- generated: ([a-z-]+) -->$", re.MULTILINE)
PRESETS = ("paper", "upstream", "wide", "compact", "demo")
PRESET_COMMANDS = ("preprocess", "train-lungs", "train-denoiser", "train-classifier")
# Said once for all commands.
COMMON = ("-h,", "--config ", "-c ", "--print_config", "--verbose")
# Lightning's own, several hundred lines of them.
FOREIGN = ("--trainer", "--optimizer", "--lr_scheduler", "--seed_everything")


class Option(NamedTuple):
    """One line of a command's help."""

    group: str
    name: str
    meaning: str
    default: str


def ask(*arguments: str) -> str:
    """What the command line prints, unwrapped."""
    done = subprocess.run(
        [sys.executable, "-m", "covidctnet", *arguments],
        capture_output=True,
        text=True,
        check=True,
        cwd=TREE,
        env={**os.environ, "COLUMNS": "2000", "NO_COLOR": "1"},
    )
    return done.stdout


def commands() -> dict[str, str]:
    """Every command with its summary."""
    found = re.findall(r"^  ([a-z-]+(?: [a-z]+)?) {2,}(\S.*)$", ask("--help"), re.MULTILINE)
    return dict(found)


def options(command: str) -> Iterator[Option]:
    """The arguments and options of a command that are its own."""
    lines = ask(*command.split(), "--help").splitlines()
    # The usage is one long line; what matters comes behind the first blank one.
    lines = lines[lines.index("") + 1 :]
    group, name, meaning = "", "", ""
    for line in [*lines, "end:"]:
        if line.startswith("   "):
            meaning += " " + line.strip()
            continue
        is_foreign = group == "Linked arguments" or " CONFIG" in name
        if name and meaning and not is_foreign and not name.startswith((*COMMON, *FOREIGN)):
            yield _option(group, name, " ".join(meaning.split()))
        name = meaning = ""
        if line.startswith("  "):
            name, _, meaning = line.strip().partition("  ")
        elif line.endswith(":"):
            group = "" if line in ("positional arguments:", "options:") else line[:-1]


def _option(group: str, name: str, text: str) -> Option:
    meaning, _, facts = text.rpartition(" (")
    if not facts.startswith(("required", "type: ", "default: ")):
        meaning, facts = text, ""
    default = re.search(r"default: (.*)\)$", facts)
    if default and default[1] != "null":
        told = "off" if default[1] == "False" and "type: " not in facts else _code(default[1])
    else:
        # A list that may be empty is called required too.
        told = "required" if "required" in facts and "by default" not in meaning else "none"
    return Option(group, name, meaning.rstrip("."), told)


def command_line() -> str:
    """A section a command, with a table of its options."""
    parts = []
    for command, summary in commands().items():
        parts += [f"## {command}", "", summary[0].upper() + summary[1:] + "."]
        group = None
        for option in options(command):
            if option.group != group:
                group = option.group
                parts += ["", f"{group}:" if group else "", ""]
                parts += ["| option | meaning | default |", "|---|---|---|"]
            cells = (_code(option.name), _cell(option.meaning), option.default)
            parts.append(f"| {' | '.join(cells)} |")
        if command.startswith("train-"):
            parts += [
                "",
                "Besides: `--seed_everything SEED` and every flag of Lightning's Trainer, such as "
                "`--trainer.devices`, `--trainer.num_nodes`, `--trainer.precision`, "
                "`--trainer.strategy`, `--trainer.max_epochs`, `--trainer.max_time`. "
                f"`covidctnet {command} --help` lists them all.",
            ]
        parts.append("")
    return "\n".join(parts)


def presets() -> str:
    """The presets side by side: a table a command, a row a setting."""
    lines: list[str] = []
    for command in PRESET_COMMANDS:
        rows: dict[str, dict[str, str]] = {}
        for preset in PRESETS:
            for name, value in preset_settings(preset, command).items():
                rows.setdefault(name, {})[preset] = value
        defaults = {o.name.split()[0][2:]: _plain(o.default.strip("`")) for o in options(command)}
        lines += ["", f"`{command}`:", "", "| setting | " + " | ".join(PRESETS) + " |"]
        lines.append("|---|" + "---|" * len(PRESETS))
        for name, row in rows.items():
            cells = (row.get(preset, defaults.get(name, "-")) for preset in PRESETS)
            lines.append(f"| `{name}` | " + " | ".join(cells) + " |")
    return "\n".join(lines)


def preset_settings(preset: str, command: str) -> dict[str, str]:
    """What a preset's file says, by dotted name."""
    file = TREE / "pipelines" / preset / f"{command}.yaml"
    return {k: _plain(v) for k, v in _flat(yaml.safe_load(file.read_text(encoding="utf-8")))}


def measured() -> str:
    """The table of the shipped weights on phantoms held back, once it has been made."""
    return _measured("compact.md", "The table has not been made yet: `make compact` makes it.")


def ablation() -> str:
    """The tables of the ablation, once they have been made."""
    return _measured("ablation.md", "Not made yet: `make ablation` makes it.")


def real_scans() -> str:
    """The denoiser on real scans, once that has been measured."""
    return _measured("real.md", "Not measured yet: `make real-scans` does.")


def strangers() -> str:
    """The weights on real patients that they have not seen, once that has been measured."""
    return _measured("strangers.md", "Not measured yet: `make strangers` does.")


def coverage() -> str:
    """How often prediction sets hold the truth, once it has been counted."""
    return _measured("coverage.md", "Not counted yet: `make coverage` does.")


def before() -> str:
    """What other weights than those shipped did, step by step."""
    return _measured("before.md", "Not measured.")


def out_of_distribution() -> str:
    """Out-of-distribution scores of groups of scans, once they have been scored."""
    return _measured("out-of-distribution.md", "Not scored yet: `make out-of-distribution` does.")


def slices() -> str:
    """How near copies of slices are, and what the shortcut baseline reaches, once measured."""
    return _measured("slices.md", "Not measured yet: `make slices` does.")


def radiographs() -> str:
    """What the look for a frontal chest does, once it has been measured."""
    return _measured("radiographs.md", "Not measured yet: `make radiographs` does.")


def out_of_distribution_residual() -> str:
    """The same by features of the classifier, as it was before."""
    return _measured("out-of-distribution-residual.md", "Not kept.")


def trials() -> str:
    """Other ways to run the denoiser, once they have been tried."""
    return _measured("trials.md", "Not tried yet: `make trials` does.")


def exactness() -> str:
    """Fast paths against the plain one, once they have been compared."""
    return _measured("exactness.md", "Not compared yet: `make exactness` does.")


def resilience() -> str:
    """What faults cost, once they have been tried."""
    return _measured("resilience.md", "Not tried yet: `make resilience` does.")


def one_scan() -> str:
    """One real scan's times, once they have been measured."""
    return _measured("one-scan.md", "Not measured yet: `make one-scan` does.")


def dicom_results() -> str:
    """What other programs say of results in DICOM, once they have been asked."""
    return _measured("dicom.md", "Not checked yet: `make dicom-results` does.")


def report_picture() -> str:
    """The picture of a report, where it is there."""
    if not (HERE / "pictures" / "report.png").is_file():
        return ""
    return "![A report: a row a study, with slices and probabilities](pictures/report.png)"


MAKERS: Mapping[str, Callable[[], str]] = {
    "command-line": command_line,
    "presets": presets,
    "measured": measured,
    "ablation": ablation,
    "coverage": coverage,
    "trials": trials,
    "before": before,
    "strangers": strangers,
    "exactness": exactness,
    "resilience": resilience,
    "one-scan": one_scan,
    "slices": slices,
    "radiographs": radiographs,
    "out-of-distribution": out_of_distribution,
    "out-of-distribution-residual": out_of_distribution_residual,
    "dicom-results": dicom_results,
    "real-scans": real_scans,
    "report-picture": report_picture,
}


def fill(text: str) -> str:
    """The page with every mark replaced.

    Raises:
        KeyError: If a mark names nothing that can be made.
    """
    return MARK.sub(lambda mark: MAKERS[mark[1]](), text)


def setup(app: Sphinx) -> None:
    """Fill pages as they are read, and read those with marks every time."""
    app.connect("source-read", _read)
    app.connect("env-get-outdated", _outdated)


def _read(app: Sphinx, docname: str, source: list[str]) -> None:
    source[0] = fill(source[0])


def _outdated(
    app: Sphinx, env: BuildEnvironment, added: set[str], changed: set[str], removed: set[str]
) -> list[str]:
    pages = (name for name in env.found_docs if Path(env.doc2path(name)).suffix == ".md")
    return [n for n in pages if MARK.search(Path(env.doc2path(n)).read_text(encoding="utf-8"))]


def _measured(file: str, otherwise: str) -> str:
    path = HERE / "measured" / file
    if not path.is_file():
        return otherwise
    # The page that includes it has a heading of its own; what is left goes below that.
    text = re.sub(r"\A# .*\n+", "", path.read_text(encoding="utf-8"))
    return re.sub(r"^#", "##", text, flags=re.MULTILINE)


def _flat(value: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    for key, item in value.items():
        if isinstance(item, Mapping):
            yield from _flat(item, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}", item


def _plain(value: object) -> str:
    text = str(value)
    try:
        return f"{float(text):g}" if not isinstance(value, bool) else text.lower()
    except ValueError:
        return text.lower() if text in ("True", "False") else text


def _code(text: str) -> str:
    return f"`{text}`".replace("|", "\\|")


def _cell(text: str) -> str:
    return text.replace("``", "`").replace("|", "\\|").replace("<", "&lt;")
