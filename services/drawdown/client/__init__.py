"""What a caller imports: ask before the work runs, capture what it used, never twice.

    from drawdown.client import Client, Denied

    with Client("http://127.0.0.1:8791", key) as client:
        with client.authorize(
            "acme", "llm", id="run-4711", dimensions={"model": "gpt-5"}, estimate={"output": 4000}
        ) as run:
            answer = model(prompt)
            run.capture({"input": answer.input_tokens, "output": answer.output_tokens})

`AsyncClient` is the same with `async with` and `await`. Every error is a `DrawdownError`.
"""

from drawdown.client.aio import AsyncClient, AsyncRun
from drawdown.client.errors import (
    AccessError,
    ConflictError,
    Denied,
    DrawdownError,
    HoldGoneError,
    RefusedError,
    UnavailableError,
)
from drawdown.client.questions import Amount
from drawdown.client.reports import Outcome, Rejected, Report
from drawdown.client.sync import Client, Run

__all__ = [
    "AccessError",
    "Amount",
    "AsyncClient",
    "AsyncRun",
    "Client",
    "ConflictError",
    "Denied",
    "DrawdownError",
    "HoldGoneError",
    "Outcome",
    "RefusedError",
    "Rejected",
    "Report",
    "Run",
    "UnavailableError",
]
