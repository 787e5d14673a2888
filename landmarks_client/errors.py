"""The ways a request can fail, as the client reports them.

::

    LandmarksError
      ServiceProblem    the service answered with a problem
      NoAnswer          no usable answer arrived: no connection, the deadline passed, another server at the address
    ClientUsageError    an argument cannot be sent to any service, or the client is closed
"""

from __future__ import annotations

from typing import Any, Final

DEADLINE_EXCEEDED: Final = "deadline_exceeded"
NO_ANSWER: Final = "no_answer"
NOT_UNDERSTOOD: Final = "not_understood"


class ClientUsageError(ValueError):
    """An argument of the client is invalid, or the client is closed; nothing was sent."""


class LandmarksError(Exception):
    """One request failed. docs/api.md lists the codes of the service."""

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
        """Stable, for programs to decide by."""
        self.title = title
        """The kind of failure in words, always the same for a code."""
        self.detail = detail
        """What is wrong with this request."""
        self.action = action
        """What to do, always the same for a code."""
        self.request_id = request_id
        """The id under which the service logs the request."""
        self.retry_after = retry_after
        """Seconds after which another attempt may succeed; None if it would fail again."""

    def __reduce__(self) -> tuple[Any, ...]:
        """For pickle and copy. An exception's own makes it anew from its message, which these constructors refuse: a
        process pool that got such an error from a child would wait forever.
        """
        return BaseException.__new__, (type(self), *self.args), vars(self)


class ServiceProblem(LandmarksError):
    """The service answered with a problem: a document (RFC 9457) over REST, google.rpc details over gRPC."""


_TITLES_AND_ACTIONS: Final = {
    DEADLINE_EXCEEDED: ("No answer came in time", "Allow more time, or send a smaller image."),
    NO_ANSWER: ("No answer came", "Check the address and its certificate, and that the service runs."),
    NOT_UNDERSTOOD: (
        "Another kind of server answered",
        "Check the address: http:// is for the REST port, grpc:// for the gRPC port.",
    ),
}
"""By code."""


class NoAnswer(LandmarksError):
    """No usable answer arrived. `code` is "no_answer", "deadline_exceeded" or "not_understood"."""

    def __init__(self, code: str, detail: str, *, request_id: str = "", retry_after: float | None = None) -> None:
        title, action = _TITLES_AND_ACTIONS[code]
        super().__init__(code, detail, title=title, action=action, request_id=request_id, retry_after=retry_after)
