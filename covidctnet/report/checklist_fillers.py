"""What a run knows of the things that checklists ask for."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from covidctnet.report.checklist_known import Known

__all__ = ["FILLERS"]

Filler = Callable[[Known], tuple[str, str] | None]
_EVALUATION = "evaluation/index.html"
_CARD = "model-card.md"


def _classes(known: Known) -> tuple[str, str]:
    return f"Classes: {', '.join(known.plain['classes'])}.", f"{_EVALUATION}#classes"


def _kind(known: Known) -> tuple[str, str] | None:
    if not known.is_ours:
        return None
    answered = ", ".join(known.plain["classes"])
    return f"Deep learning that tells {answered} apart, evaluated.", _EVALUATION


def _intended(known: Known) -> tuple[str, str] | None:
    use = known.card.get("intended_use")
    return (" ".join(use), _CARD) if use else None


def _data(known: Known) -> tuple[str, str] | None:
    told = known.stages("studies_by_kind")
    return (f"Training studies by kind: {'; '.join(told)}.", _CARD) if told else None


def _sites(known: Known) -> tuple[str, str] | None:
    told = [f"Evaluated: {', '.join(known.sites)}."] if known.sites else []
    if known.external_sites:
        told.append(f"External test: {', '.join(known.external_sites)}.")
    told += [f"Training, {one}." for one in known.stages("sites")]
    return (" ".join(told), f"{_EVALUATION}#robustness") if told else None


def _preprocessing(known: Known) -> tuple[str, str] | None:
    settings = known.card.get("preprocessing")
    if not settings:
        return None
    told = ", ".join(f"{name} {value}" for name, value in sorted(settings.items()))
    return f"Settings: {told}.", _CARD


def _input(known: Known) -> tuple[str, str] | None:
    if not known.card:
        return None
    image = {"ct": "chest CT", "radiograph": "chest radiograph"}.get(
        str(known.plain.get("modality"))
    )
    if not image:
        return None
    return f"Pixels of one {image} and nothing else; no reader's judgement.", _CARD


def _counts(known: Known) -> tuple[str, str]:
    patients = known.plain.get("patients")
    return f"{known.counts}; {patients} patients.", "tables/figures.csv"


def _sample_size(known: Known) -> tuple[str, str] | None:
    where = known.first_of("tables/precision.csv")
    words = "Widths of the main intervals, and how many patients narrower ones would take."
    return (f"{_counts(known)[0]} {words}", where) if where else None


def _missing(known: Known) -> tuple[str, str]:
    count = len(known.plain["failures"])
    words = f"No value is imputed. {count} studies without an answer are listed with the reason."
    return words, "tables/failures.csv"


def _partition(known: Known) -> tuple[str, str] | None:
    told = known.stages("patients")
    if not told:
        return None
    return f"Divided by patient, never by scan. Patients of {'. Of '.join(told)}.", _CARD


def _model(known: Known) -> tuple[str, str] | None:
    networks = known.card.get("architecture")
    if not networks:
        return None
    told = "; ".join(
        f"{name} ({', '.join(f'{key} {value}' for key, value in entry.items())})"
        for name, entry in sorted(networks.items())
    )
    return f"Networks: {told}.", _CARD


def _by_site(known: Known) -> tuple[str, str] | None:
    if not known.sites:
        return None
    apart = " The external test stands apart." if known.plain.get("external") else ""
    return f"Figures of each of {len(known.sites)} sites.{apart}", "tables/strata.csv"


def _metrics(known: Known) -> tuple[str, str]:
    return (
        "Discrimination (AUC, sensitivity, specificity, PPV, NPV), calibration (slope, intercept, "
        "Brier score, curves) and use (decision curves), with plots.",
        "tables/figures.csv",
    )


def _recalibration(known: Known) -> tuple[str, str] | None:
    if not known.card:
        return None
    return "The model was not updated or recalibrated on these patients.", _CARD


def _code(known: Known) -> tuple[str, str] | None:
    # Of a model made elsewhere only its author knows.
    return (_program(known), "README.md") if known.is_ours else None


def _program(known: Known) -> str:
    version = known.plain.get("run", {}).get("version", "")
    return f"Open source: covidctnet {version}, Apache-2.0.".replace("  ", " ")


def _balance(known: Known) -> tuple[str, str]:
    return f"Nothing was resampled for the evaluation: {known.counts}.", "tables/figures.csv"


def _strata(known: Known) -> tuple[str, str] | None:
    traits = list(dict.fromkeys(s["trait"] for s in known.plain.get("strata", ())))
    return (f"Figures by {', '.join(traits)}.", "tables/strata.csv") if traits else None


def _thresholds(known: Known) -> tuple[str, str]:
    points = known.plain.get("operating_points", {}).get("points", ())
    named = ", ".join(f"{p['name']} {p['threshold']:.3g}" for p in points)
    words = (
        f"Probabilities; thresholds chosen on the validation data of the training: {named}."
        if named
        else "Probabilities and the most probable class; no threshold was chosen."
    )
    return words, f"{_EVALUATION}#operating-points"


def _differences(known: Known) -> tuple[str, str] | None:
    if known.plain.get("generalisation_gap"):
        return "Known sites against unseen ones.", f"{_EVALUATION}#robustness"
    if known.plain.get("out_of_distribution"):
        return (
            "Share of scans unlike the training data, by class.",
            f"{_EVALUATION}#out-of-distribution",
        )
    return _by_split(known)


def _by_split(known: Known) -> tuple[str, str] | None:
    where = known.first_of("tables/patients-by-split.csv")
    if not where:
        return None
    parts = (known.plain.get("patients_described") or {}).get("split", {})
    named = ", ".join(
        f"{name} ({n})"
        for name, n in zip(parts.get("groups", ()), parts.get("patients", ()), strict=True)
    )
    words = "with standardised differences"
    return f"Patients of {named or 'every split'} side by side, {words}.", where


def _flow(known: Known) -> tuple[str, str]:
    count, failed = sum(known.plain["answered"].values()), len(known.plain["failures"])
    steps: list[Mapping[str, Any]] = known.plain.get("flow") or []
    of = f"{steps[0]['studies']} studies in the cohort; " if len(steps) > 2 else ""
    words = f"{of}{count + failed} studies to be answered, {count} answered, {failed} not."
    where = known.first_of("figures/flow.svg", "tables/flow.csv") or "tables/failures.csv"
    return words, where


def _table_one(known: Known) -> tuple[str, str] | None:
    begins = ("tables/table-1", "tables/patients-by-")
    name = next((n for n in sorted(known.files) if n.startswith(begins)), "")
    return ("Characteristics of the patients evaluated.", name) if name else None


def _parts(known: Known) -> tuple[str, str] | None:
    return _by_split(known) or _table_one(known)


def _weights(known: Known) -> tuple[str, str] | None:
    if not known.card:
        return None
    digest = known.plain["weights_digest"]
    beside = " They lie in weights/." if any(n.startswith("weights/") for n in known.files) else ""
    return f"The weights with the digest {digest}, and their card.{beside}", _CARD


def _performance(known: Known) -> tuple[str, str]:
    one = known.plain["overall"]["macro_auc"]
    value = "not estimable" if one["value"] is None else f"{one['value']:.3f}"
    return f"All figures with 95 % intervals; mean AUC {value}.", "tables/figures.csv"


def _limits(known: Known) -> tuple[str, str]:
    return "Limits that hold for every evaluation of this kind.", f"{_EVALUATION}#limits"


def _quality(known: Known) -> tuple[str, str] | None:
    if not known.is_ours:
        return None
    codes = sorted({f["code"] for f in known.plain["failures"]})
    seen = f" Here: {', '.join(codes)}." if codes else " Here: none."
    words = f"Unfit scans are refused with a code instead of being answered.{seen}"
    return words, "tables/failures.csv"


def _identity(known: Known) -> tuple[str, str]:
    words = "Patients and studies stand under pseudonyms; names, dates, UIDs are not written."
    return words, "README.md"


def _acquisition(known: Known) -> tuple[str, str] | None:
    traits = {s["trait"] for s in known.plain.get("strata", ())}
    named = sorted(traits & {"slice_mm", "kernel", "kvp", "exposure_mas", "scanner", "noise_hu"})
    return (f"Told by the scans: {', '.join(named)}.", "tables/strata.csv") if named else None


def _software(known: Known) -> tuple[str, str] | None:
    if not known.is_ours:
        return None
    return f"{_program(known)} Versions of all libraries stand on the page.", _EVALUATION


def _training(known: Known) -> tuple[str, str] | None:
    told = [stage["command"] for stage in known.card.get("training", ()) if stage.get("command")]
    return (f"Commands: {'; '.join(told)}.", _CARD) if told else None


def _start(known: Known) -> tuple[str, str] | None:
    started = [s["stage"] for s in known.card.get("training", ()) if "start" in s["stage"]]
    return (f"Started from other weights: {', '.join(started)}.", _CARD) if started else None


def _selection(known: Known) -> tuple[str, str] | None:
    commands = [s["command"] for s in known.card.get("training", ()) if s.get("command")]
    if not commands:
        return None
    last = any("--checkpoint last" in c or "--checkpoint=last" in c for c in commands)
    words = "the last epoch, fixed beforehand" if last else "the best epoch on validation patients"
    return f"Each stage took {words}.", _CARD


def _ensemble(known: Known) -> tuple[str, str] | None:
    networks = known.card.get("architecture")
    return (
        (f"One set of weights, networks: {', '.join(sorted(networks))}.", _CARD)
        if networks
        else None
    )


def _uncertainty(known: Known) -> tuple[str, str]:
    words = "95 % intervals: Wilson, Newcombe, else a bootstrap over patients."
    return words, "tables/figures.csv"


def _explanation(known: Known) -> tuple[str, str] | None:
    if not known.plain.get("affected_lung_percent"):
        return None
    return "Affected lung by class; each answer outlines it.", "tables/affected-lung.csv"


def _internal(known: Known) -> tuple[str, str]:
    return f"{known.counts}.", _EVALUATION


def _external(known: Known) -> tuple[str, str] | None:
    if test := known.plain.get("external"):
        words = f"Accuracy of the external test {_short(test['overall']['accuracy'])}."
        return words, f"{_EVALUATION}#external"
    if gap := known.plain.get("generalisation_gap"):
        words = f"Accuracy at unseen sites {_short(gap['unseen']['accuracy'])}."
        return words, f"{_EVALUATION}#robustness"
    return None


def _short(one: Mapping[str, Any]) -> str:
    return "not estimable" if one["value"] is None else f"{one['value']:.3f} (n = {one['n']})"


def _errors(known: Known) -> tuple[str, str]:
    rows = known.plain["confusion"]["rows"]
    wrong = sum(sum(row) for row in rows) - sum(row[k] for k, row in enumerate(rows))
    return f"{wrong} wrong answers by true class and answer.", "tables/confusion.csv"


def _baseline(known: Known) -> tuple[str, str] | None:
    if not known.plain.get("published"):
        return None
    return "Figures of the published system, on its own cases.", f"{_EVALUATION}#published"


def _leakage(known: Known) -> tuple[str, str] | None:
    count = (known.plain.get("leakage") or {}).get("scans_known_from_training", 0)
    if not count:
        return None
    return f"None of {count} scans of the training is among them.", "evaluation/reviewers.html"


def _utility(known: Known) -> tuple[str, str] | None:
    if not known.plain.get("decision_curves"):
        return None
    return "Net benefit over thresholds.", "tables/decision-curve.csv"


def _shift(known: Known) -> tuple[str, str] | None:
    return _differences(known) or _strata(known)


FILLERS: Mapping[str, Filler] = {
    "acquisition": _acquisition,
    "balance": _balance,
    "baseline": _baseline,
    "by_site": _by_site,
    "classes": _classes,
    "code": _code,
    "counts": _counts,
    "data": _data,
    "differences": _differences,
    "ensemble": _ensemble,
    "errors": _errors,
    "explanation": _explanation,
    "external": _external,
    "flow": _flow,
    "identity": _identity,
    "input": _input,
    "intended_use": _intended,
    "internal": _internal,
    "kind": _kind,
    "leakage": _leakage,
    "limits": _limits,
    "metrics": _metrics,
    "missing": _missing,
    "model": _model,
    "partition": _partition,
    "parts": _parts,
    "performance": _performance,
    "preprocessing": _preprocessing,
    "quality": _quality,
    "recalibration": _recalibration,
    "sample_size": _sample_size,
    "selection": _selection,
    "shift": _shift,
    "sites": _sites,
    "software": _software,
    "start": _start,
    "strata": _strata,
    "table_one": _table_one,
    "thresholds": _thresholds,
    "training": _training,
    "uncertainty": _uncertainty,
    "utility": _utility,
    "weights": _weights,
}
