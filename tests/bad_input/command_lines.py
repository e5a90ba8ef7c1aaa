"""Mistakes on the command line."""

from __future__ import annotations

from .case import Case, command_line, job_source

__all__ = ["COMMAND_LINES"]

_TYPED = """
import dataclasses, datetime, enum, pathlib
from typing import Literal

@dataclasses.dataclass
class Config:
    lr: float = 0.1
    name: str = "a"
    depth: int = dataclasses.field(kw_only=True)
    def __post_init__(self):
        if self.lr < 0:
            raise ValueError("lr is negative")

class Colour(enum.Enum):
    RED = 1
    GREEN = 2

""" + job_source(
    tail="""def train(
    n: int = 1,
    rate: float = 0.1,
    colour: Colour = Colour.RED,
    mode: Literal["fast", "slow"] = "fast",
    config: Config = Config(depth=1),
    many: list[int] = [],
    table: dict[str, int] = {},
    pause: datetime.timedelta = datetime.timedelta(0),
    day: datetime.date | None = None,
    dry: bool = False,
) -> None: ...
"""
)
_ENDED = "[]"


def _typed(id: str, arguments: str) -> Case:
    return command_line(id, f"render typed.py {arguments}", files={"typed.py": _TYPED})


def _required(id: str, arguments: str) -> Case:
    source = job_source(tail="def train(epochs: int, data: str) -> None: ...\n")
    return command_line(id, f"render required.py {arguments}", files={"required.py": source})


COMMAND_LINES: list[Case] = [
    command_line("command-unknown", "sumbit job.py"),
    command_line("command-unknown", "job.py"),
    command_line("command-unknown", "run"),
    command_line("command-unknown", "recipes shwo mnist"),
    command_line("flag-unknown", "--lcoal submit job.py"),
    command_line("flag-unknown", "submit --lcoal job.py"),
    command_line("flag-unknown", "render --epochs 3 job.py"),
    command_line("flag-unknown", "gpus --output yaml"),
    command_line("flag-without-value", "render --profile"),
    command_line("flag-without-value", "gpus -o"),
    command_line("flag-choice", "render -o xml job.py"),
    command_line("flag-choice", "gpus -o tabel"),
    command_line("flag-choice", "completion bsh"),
    command_line("flag-choice", "explain --spot=perfer job.py"),
    command_line("flag-value", "render --retries many job.py"),
    command_line("flag-value", "submit --local --max-interruptions -1 job.py"),
    command_line("flag-value", "submit --local --seed dice job.py"),
    command_line("flag-path", "render --workdir nowhere job.py"),
    command_line("flag-path", "render --workdir job.py job.py"),
    command_line("flag-path", "render --output . job.py"),
    command_line("target-missing", "render"),
    command_line("target-missing", "submit --local"),
    command_line("word-missing", "recipes show"),
    command_line("word-missing", "completion"),
    command_line("word-missing", "why"),
    command_line("subject-form", "doctor --rbac -n ml --subject ada"),
    command_line("subject-form", "doctor --rbac -n ml --subject user:"),
    command_line("subject-alone", "doctor --subject user:ada"),
    command_line("word-extra", "version please"),
    command_line("word-extra", "gpus a b"),
    command_line("file-missing", "render trian.py"),
    command_line("target-form", "render job.py::"),
    # options of the job as flags
    command_line("flag-pair", "render --labels environment job.py"),
    command_line("flag-pair", "render --volumes =pvc:data job.py"),
    command_line("flag-pair", "render --secrets TOKEN job.py"),
    command_line("env-not-set", "render --env NO_SUCH_VARIABLE job.py"),
    command_line("flag-json", "render --pod '{dnsPolicy: Default}' job.py"),
    command_line("pod-form", "render --pod '[1]' job.py"),
    command_line("flag-toleration", "render --tolerations gpu:Never job.py"),
    command_line("flag-toleration", "render --tolerations =x job.py"),
    command_line("gpu-unknown", "render --profile h101 job.py"),
    command_line("quantity-memory-unit", "render --memory 16GB job.py"),
    command_line("name-invalid", "render --name Train_It job.py"),
    command_line("output-file", "render --output missing/folder/out.yaml job.py"),
    # arguments of the function as flags
    command_line("argument-unknown", "render job.py --epohcs 3"),
    command_line("argument-unknown", "render job.py --local"),
    command_line("argument-without-flag", "render job.py 3"),
    command_line("argument-without-flag", "render job.py --epochs 3 fast"),
    command_line("flag-value", "render job.py --epochs"),
    _required("argument-missing", ""),
    _required("argument-missing", "--epochs 3"),
    _typed("flag-type", "--n three"),
    _typed("flag-type", "--n 1.5"),
    _typed("flag-type", "--rate fast"),
    _typed("flag-type", "--pause soon"),
    _typed("flag-type", "--many 1,two"),
    _typed("flag-choice", "--colour blue"),
    _typed("flag-choice", "--mode slwo"),
    _typed("argument-type", "--day tomorrow"),
    _typed("argument-type", "--table '[1]'"),
    _typed("argument-type", """--table '{"a": "b"}'"""),
    _typed("flag-json", "--table a=1"),
    _typed("flag-json", "--config lr=1"),
    _typed("field-unknown", """--config '{"lrr": 1, "depth": 1}'"""),
    _typed("field-missing", """--config '{"lr": 1}'"""),
    _typed("field-value", """--config '{"lr": -1, "depth": 1}'"""),
    _typed("field-value", "--config.lr -1"),
    _typed("argument-unknown", "--config.lrr 1"),
    _typed("flag-value", "--dry=yes"),
    # looking things up
    command_line("gpu-search", "gpus h101"),
    command_line("gpu-search", "gpus mig-9g.90gb"),
    command_line("recipe-unknown", "recipes show no-such-recipe"),
    command_line("recipe-unknown", "recipes copy ../etc/passwd"),
    # local runs
    command_line("simulate-cluster", "submit --simulate-preemption 30s job.py"),
    command_line("simulation-both",
                 "submit --local --simulate-preemption 3s --simulate-node-loss 3s job.py"),
    command_line("simulation-missing", "submit --local --max-interruptions 3 job.py"),
    command_line("simulation-form", "submit --local --simulate-preemption 30s,10s job.py"),
    command_line("simulation-form", "submit --local --simulate-node-loss '' job.py"),
    command_line("quantity-duration", "submit --local --simulate-preemption soon job.py"),
    command_line("quantity-duration", "submit --local --simulate-preemption 30s,±much job.py"),
    command_line("simulation-unit", "submit --local --simulate-preemption 9steps,±1s job.py"),
    command_line("secret-local", "submit --local --secrets TOKEN_NOT_SET=a/b job.py"),
    command_line("run-unknown", "submit --local --resume-from train-00000000 job.py"),
    command_line("run-unknown", "submit --local --resume-from ../../etc job.py"),
    command_line("home-unusable", "submit --local job.py",
                 environ={"GPUKIT_HOME": "job.py"}),
    command_line("home-unusable", "submit --local --name other job.py",
                 environ={"GPUKIT_HOME": "/proc/gpukit"}),
]  # fmt: skip
