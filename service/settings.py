"""Every setting of the gateway, read once from `LANDMARKS_*` in the environment and passed down."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from pydantic import Field
from pydantic_settings import BaseSettings, SettingsConfigDict


class Settings(BaseSettings):
    """The default of every setting suits a laptop; `LANDMARKS_PORT=9000` in the environment sets `port`."""

    model_config = SettingsConfigDict(env_prefix="LANDMARKS_", frozen=True, env_ignore_empty=True)

    host: str = Field("127.0.0.1", description="Address that both doors listen on.")
    port: int = Field(8080, ge=0, le=65535, description="Port of the REST door; 0 takes a free one.")
    grpc_port: int = Field(8081, ge=0, le=65535, description="Port of the gRPC door; 0 takes a free one.")

    engine: Literal["embedded", "local"] = Field(
        "embedded",
        description="What runs the network when triton_url is unset: 'embedded' starts a Triton of this process's own, "
        "'local' runs the same network and decode in this process (where the Triton wheel does not run).",
    )
    triton_url: str | None = Field(None, description="host:port of the gRPC endpoint of a Triton that runs already.")
    model_repository: Path | None = Field(
        None,
        description="Folder that Triton loads; by default the model_repo of the checkout or of the current folder.",
    )
    startup_timeout: float = Field(120.0, gt=0, description="Seconds the network may take to become ready.")

    max_bytes: int = Field(32 * 2**20, ge=1, description="Largest image file in bytes.")
    max_pixels: int = Field(100_000_000, ge=1, description="Largest image in pixels, checked before it is decoded.")
    max_side: int = Field(30_000, ge=1, le=32_766, description="Longest image side in pixels, checked as well.")
    max_faces: int = Field(32, ge=1, description="Most faces answered, and most boxes accepted, per image.")
    max_images: int = Field(16, ge=1, description="Most images in one call.")
    max_batch_bytes: int = Field(64 * 2**20, ge=1, description="Largest call of several images in bytes.")
    max_in_flight: int = Field(64, ge=1, description="Requests worked on at a time; one more is told to come back.")
    request_timeout: float = Field(30.0, gt=0, description="Seconds a request may take unless its client says less.")
    grace: float = Field(5.0, ge=0, description="Seconds that requests in flight get to finish when the service stops.")
    threads: int = Field(0, ge=0, description="Threads that decode, detect and crop; 0 takes one per core, at most 8.")

    yunet_path: Path | None = Field(
        None, description="ONNX file of the YuNet face detector; without it OpenCV's bundled cascade is used."
    )
    log_level: Literal["debug", "info", "warning", "error"] = Field(
        "info", description="Least severity that is logged."
    )
