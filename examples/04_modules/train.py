"""Lesson 4: a job that is more than one file.

    gpukit archive examples/04_modules/train.py     # what is shipped, and how large it is
    gpukit submit --local examples/04_modules/train.py --penalty L1 --schedule.rate 0.3

gpukit follows the imports of the job file: `report`, which lies beside it, and the package `cells`
with its relative imports travel with it; installed packages do not. The function's parameters,
an enum and a dataclass among them, become flags.
"""

from dataclasses import dataclass
from enum import Enum

import report  # a module beside this one
from cells import fit, load  # a package beside it

from gpukit import gpu_job, output_dir


class Penalty(Enum):
    L1 = "sum of the absolute weights"
    L2 = "sum of the squared weights"


@dataclass
class Schedule:
    """How the weights are found."""

    rate: float = 0.5
    steps: int = 400


@gpu_job(profile="cpu", cpu=1, memory="1Gi", packages=["scikit-learn"])
def train(
    penalty: Penalty = Penalty.L2, strength: float = 1e-3, schedule: Schedule | None = None
) -> dict:
    """Fit a logistic regression to the breast cancer data that scikit-learn carries.

    Args:
        penalty: what keeps the weights small.
        strength: how much it counts.
        schedule: rate and number of the steps.
    """
    schedule = schedule or Schedule()
    training, test = load()
    weights = fit(training, schedule.rate, schedule.steps, penalty.name == "L1", strength)
    text = report.text(weights, test, penalty=penalty.value)
    (output_dir() / "report.txt").write_text(text, encoding="utf-8")
    return {"accuracy": report.accuracy(weights, test), "used": int((abs(weights) > 1e-3).sum())}
