"""A client of the landmark service, over REST or gRPC, synchronous and asynchronous.

::

    with Client("http://127.0.0.1:8080") as client:          async with AsyncClient("grpc://127.0.0.1:8081") as client:
        answer = client.landmarks(Path("photo.jpg"))             answer = await client.landmarks(Path("photo.jpg"))
        answer.faces[0].points                                   answer.faces[0].points

It needs httpx, grpcio and NumPy, and imports nothing of the service.
"""

from landmarks_client.client import AsyncClient, Client
from landmarks_client.errors import ClientUsageError, LandmarksError, NoAnswer, ServiceProblem
from landmarks_client.options import Options
from landmarks_client.results import Answer, AnswerWarning, Face, Model, ModelDescription
from landmarks_client.tracking import Frame, TrackedFace, TrackedFrame
from landmarks_client.wire import Image, Tls

__all__ = [
    "Answer",
    "AnswerWarning",
    "AsyncClient",
    "Client",
    "ClientUsageError",
    "Face",
    "Frame",
    "Image",
    "LandmarksError",
    "Model",
    "ModelDescription",
    "NoAnswer",
    "Options",
    "ServiceProblem",
    "Tls",
    "TrackedFace",
    "TrackedFrame",
]
