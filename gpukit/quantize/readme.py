"""The README of the output folder: what it is, and how to load it."""

from __future__ import annotations

import json

from .results import Report

__all__ = ["text"]


def text(report: Report) -> str:
    """Return the README in Markdown."""
    test = report.test
    size = report.original.file_bytes / max(report.result.file_bytes, 1)
    verdict = {
        "met": "within it", "missed": "over it",
        "inconclusive": "more than the test split can tell",
    }[test.verdict]  # fmt: skip
    a, b = report.original, report.result
    first, second = report.original_latency, report.result_latency
    how = f"batch {report.batch}, {report.threads} thread(s)"
    rows = (
        ("", "original", "this"),
        ("---", "---", "---"),
        (f"{report.metric} on {test.drop.examples} held-out examples",
         f"{test.baseline:.4f}", f"{test.score:.4f}"),
        ("file", f"{a.file_bytes:,} bytes", f"{b.file_bytes:,} bytes ({size:.2f}x smaller)"),
        (f"median latency, {how}", f"{first.p50_ms:.3g} ms",
         f"{second.p50_ms:.3g} ms ({second.ratio:.2f} of "
         f"{'the original' if report.baseline == 'original' else report.baseline})"),
    )  # fmt: skip
    table = "\n".join(f"| {' | '.join(row)} |" for row in rows)
    return f"""# {report.model.name}, {report.chosen}

{report.reason}.

{table}

Drop {test.drop.value:+.4f} (95 %: {test.drop.low:+.4f} to {test.drop.high:+.4f}); the budget is
{report.max_drop:g}, and this is {verdict}.

```python
import numpy as np
import onnxruntime as ort

options = ort.SessionOptions()
options.intra_op_num_threads = {report.threads}
session = ort.InferenceSession("model.onnx", options, providers={_providers(report.target)})
inputs = {{  # yours in place of the zeros
{_inputs(report)}
}}
outputs = session.run(None, inputs)
print([(o.name, np.shape(value)) for o, value in zip(session.get_outputs(), outputs)])
```

Everything that was tried, and why it lost: `report.html`. The same for programs: `report.json`.
"""


def _inputs(report: Report) -> str:
    return "\n".join(
        f"    {json.dumps(name)}: np.zeros({list(one.shape)}, dtype={json.dumps(one.dtype)}),"
        for name, one in report.model.inputs.items()
    )


def _providers(target: str) -> str:
    both = '["CUDAExecutionProvider", "CPUExecutionProvider"]'
    return both if target == "cuda" else '["CPUExecutionProvider"]'
