"""A client of the landmark service, over REST or gRPC, for code that waits and for code that awaits.

::

    with Client("http://127.0.0.1:8080") as client:          async with AsyncClient("grpc://127.0.0.1:8081") as client:
        answer = client.landmarks(Path("photo.jpg"))             answer = await client.landmarks(Path("photo.jpg"))
        answer.faces[0].points                                   answer.faces[0].points

It needs httpx, grpcio and NumPy, and nothing of the service's own code.
"""

from landmarks_client.client import AsyncClient, Client
from landmarks_client.errors import LandmarksError, NoAnswer, ServiceProblem
from landmarks_client.results import Answer, AnswerWarning, Face, Model, ModelDescription
from landmarks_client.wire import ClientUsageError, Image, Options, Tls

__all__ = [
    "Answer",
    "AnswerWarning",
    "AsyncClient",
    "Client",
    "ClientUsageError",
    "Face",
    "Image",
    "LandmarksError",
    "Model",
    "ModelDescription",
    "NoAnswer",
    "Options",
    "ServiceProblem",
    "Tls",
]
