"""What a search found, as it is written to report.json; its schema comes from these models."""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel, ConfigDict, Field

__all__ = [
    "CandidateResult", "CostResult", "DropResult", "Footprint", "InputFacts", "LatencyResult",
    "ModelFacts", "Report", "Status", "TestResult",
]  # fmt: skip

Status = Literal["chosen", "lost", "over budget", "too slow", "failed", "not tried"]


class _Model(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class DropResult(_Model):
    """By how much the metric got worse; negative where it got better."""

    value: float
    low: float = Field(description="Lower end of the 95 % interval.")
    high: float = Field(description="Upper end of the 95 % interval.")
    examples: int


class LatencyResult(_Model):
    """Milliseconds of an inference, and the paired median relative to the baseline."""

    p50_ms: float
    p95_ms: float
    p99_ms: float
    ratio: float = Field(
        description="Median over rounds of this by the baseline; below 1 is faster."
    )
    ratio_low: float
    ratio_high: float
    throughput: float = Field(
        description="Examples per second of one stream, at the median latency."
    )


class CandidateResult(_Model):
    """A recipe that was considered, what it came to, and why it lost."""

    name: str
    family: str
    status: Status
    reason: str
    bytes: int | None = None
    size_ratio: float | None = Field(None, description="Original by this, in bytes of files.")
    score: float | None = Field(None, description="On the validation split.")
    drop: DropResult | None = Field(None, description="On the validation split.")
    latency: LatencyResult | None = None
    kept: tuple[str, ...] = Field((), description="Nodes or weights left in higher precision.")
    seconds: float = 0


class InputFacts(_Model):
    """An input of the model: its type, and its shape in one inference as it was measured."""

    dtype: str
    shape: tuple[int, ...]


class ModelFacts(_Model):
    """The model that came in."""

    name: str
    sha256: str
    bytes: int
    opset: int
    parameters: int
    subgraphs: int
    operators: dict[str, int]
    weights: dict[str, int]
    inputs: dict[str, InputFacts]


class TestResult(_Model):
    """The one look at the held-out split."""

    __test__ = False

    baseline: float
    score: float
    drop: DropResult
    verdict: Literal["met", "missed", "inconclusive"]
    examples_needed: int | None = Field(description="To settle it, where that is open.")


class Footprint(_Model):
    """Sizes of a model in bytes: on disk, compressed, in memory; and its cold start in seconds."""

    file_bytes: int
    compressed_bytes: int | None
    compression: str
    memory_bytes: int | None
    cold_start_seconds: float | None


class CostResult(_Model):
    """What inference costs with a model, from measured throughput and a price."""

    price_per_hour: str
    throughput: float
    per_inference: str
    per_100k_tokens: str | None
    replicas: int | None
    per_month: str | None


class Report(_Model):
    """Everything that a search found."""

    schema_version: Literal[1] = 1
    gpukit: str
    outcome: Literal["quantized", "original"]
    chosen: str
    reason: str
    metric: str
    max_drop: float
    objective: str
    max_latency_ratio: float
    seed: int
    time_limit: float
    seconds: float
    model: ModelFacts
    output_sha256: str
    environment: dict[str, str]
    batch: int
    threads: int
    target: str
    baseline: str = Field(description="What latencies and costs are relative to.")
    rows: dict[str, int] = Field(description="Examples: calibration, validation, test.")
    original_score: float = Field(description="On the validation split.")
    test: TestResult
    original: Footprint
    result: Footprint
    original_latency: LatencyResult
    result_latency: LatencyResult
    baseline_cost: CostResult | None = None
    result_cost: CostResult | None = None
    saving: str | None = None
    notes: tuple[str, ...] = ()
    candidates: tuple[CandidateResult, ...]
