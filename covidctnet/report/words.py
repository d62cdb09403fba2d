"""What the short names in a result mean, in words for a reader."""

from __future__ import annotations

__all__ = ["FLAG_WORDS", "STATUS_WORDS", "flag_words"]

STATUS_WORDS = {
    "classified": "an answer without reservation",
    "flagged": "an answer with a reservation: read the reason next to it",
    "abstained": "several labels are left, and no choice between them is sure enough",
    "refused": "no answer: the images are not what is expected",
    "failed": "no answer: the program failed, and tries again on the next run",
}

FLAG_WORDS = {
    "lungs_cut": "The scan cuts off a part of the lungs.",
    "thick_slices": "Slices are more than 5 mm apart: small lesions may be missed.",
    "few_slices": "The scan has few slices.",
    "lossy": "The images were compressed with loss before they came here.",
    "contrast": "The scan seems to be taken with contrast medium.",
    "odd_orientation": "The patient lies or the slices run in an unusual direction.",
    "stray_files": "Files next to the slices could not be read; the slices are whole without them.",
    "stored_bits": "The header says fewer bits than the pixels hold.",
    "default_geometry": "The file gives no position: its directions may be a program's default.",
    "gaps_resampled": "Slices were missing or uneven and have been bridged by interpolation.",
    "out_of_distribution": "The scan is unlike those the weights know: do not rely on the answer.",
    "untilted": "The gantry was tilted; the shear has been undone.",
}


def flag_words(flag: str) -> str:
    """A sentence for a flag; an unknown one is spelled out as it is."""
    return FLAG_WORDS.get(flag, flag.replace("_", " ").capitalize() + ".")
