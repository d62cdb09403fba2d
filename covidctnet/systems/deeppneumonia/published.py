"""What the paper of DeepPneumonia reports.

Source: Song et al. 2021, IEEE/ACM TCBB 18(6):2775. The paper prints rates; the counts are the only
ones that give them.
"""

from __future__ import annotations

from covidctnet.published import PublishedFigures

__all__ = ["PUBLISHED"]

_SOURCE = "Song et al. 2021, IEEE/ACM TCBB 18(6):2775"
_BACTERIAL, _HEALTHY = "Covid-19 or bacterial pneumonia", "Covid-19 or healthy"


def _row(
    network: str, task: str, sensitivity: tuple[int, int], specificity: tuple[int, int], note: str
) -> PublishedFigures:
    return PublishedFigures.of_matrix(
        f"{network}, {task}",
        _SOURCE,
        "patient",
        sensitivity=sensitivity,
        specificity=specificity,
        reconstructed=True,
        note=note,
    )


PUBLISHED: tuple[PublishedFigures, ...] = (
    _row("DRE-Net", _BACTERIAL, (26, 27), (23, 30), "AUC .95 as printed."),
    _row("ResNet-50", _BACTERIAL, (25, 27), (24, 30), "As many right answers as DRE-Net."),
    _row("VGG-16", _BACTERIAL, (24, 27), (24, 30), ""),
    _row("DenseNet-121", _BACTERIAL, (25, 27), (22, 30), ""),
    _row("DRE-Net", _HEALTHY, (25, 27), (25, 26), "AUC .99 as printed."),
    _row("ResNet-50", _HEALTHY, (24, 27), (25, 26), ""),
    _row("VGG-16", _HEALTHY, (24, 27), (24, 26), ""),
)
