"""How a request can fail, as seen from the client.

::

    LandmarksError
      ServiceProblem    the service answered that it will not, and why
      NoAnswer          nothing that can be read came back: no connection, a deadline, a stranger at that address
"""

from __future__ import annotations

from typing import Final

DEADLINE_EXCEEDED: Final = "deadline_exceeded"
NO_ANSWER: Final = "no_answer"
NOT_UNDERSTOOD: Final = "not_understood"


class LandmarksError(Exception):
    """One request failed. The service's codes are listed in docs/api.md."""

    def __init__(
        self,
        code: str,
        detail: str,
        *,
        title: str = "",
        action: str = "",
        request_id: str = "",
        retry_after: float | None = None,
    ) -> None:
        super().__init__(f"{detail} ({code})")
        self.code = code
        """Stable: what a program decides by."""
        self.title = title
        """The kind of failure in words, always the same for a code."""
        self.detail = detail
        """What is wrong with this very request."""
        self.action = action
        """What to do, always the same for a code."""
        self.request_id = request_id
        """Under which the service's log has the request."""
        self.retry_after = retry_after
        """Seconds after which another try may succeed; None where it would fail again."""


class ServiceProblem(LandmarksError):
    """The service's own problem document, or the same told by gRPC."""


_TOLD: Final = {
    DEADLINE_EXCEEDED: ("No answer came in time", "Allow more time, or send a smaller image."),
    NO_ANSWER: ("No answer came", "Check the address and its certificate, and that the service runs."),
    NOT_UNDERSTOOD: (
        "Something else answered",
        "Check the address: http:// is for the REST port, grpc:// for the other.",
    ),
}
"""Title and action of what the service cannot tell itself, by code."""


class NoAnswer(LandmarksError):
    """`code` is "no_answer", "deadline_exceeded" or "not_understood"."""

    def __init__(self, code: str, detail: str, *, request_id: str = "", retry_after: float | None = None) -> None:
        title, action = _TOLD[code]
        super().__init__(code, detail, title=title, action=action, request_id=request_id, retry_after=retry_after)
