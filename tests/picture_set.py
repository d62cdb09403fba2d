"""A folder of random little pictures with ``images.csv``, and masks where they are asked for."""

import csv

import numpy as np
from PIL import Image

CLASSES = ("Covid-19", "Non-Covid")


def write_pictures(root, *, patients=10, slices=2, masks=False, size=(48, 40), split=None):
    """Two classes of patients in turn; a bright spot where there is disease.

    `split` gives the side of a patient by its number.
    """
    rng = np.random.default_rng(0)
    (root / "masks").mkdir(parents=True)
    rows = []
    for patient in range(patients):
        label = CLASSES[patient % 2]
        for number in range(slices):
            grey = rng.integers(0, 120, size, np.uint8)
            mask = np.zeros(size, np.uint8)
            if label == "Covid-19":
                top, left = rng.integers(4, 20, 2)
                mask[top : top + 12, left : left + 12] = 255
                grey[mask > 0] += 100
            name = f"p{patient}_{number}.png"
            Image.fromarray(grey).save(root / name)
            row = {"file": name, "patient": f"p{patient}", "label": label}
            if masks:
                Image.fromarray(mask).save(root / "masks" / name)
                row["mask"] = f"masks/{name}"
            if split:
                row["split"] = split(patient)
            rows.append(row)
    with (root / "images.csv").open("w", newline="") as file:
        writer = csv.DictWriter(file, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)
    return root
