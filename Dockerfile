# The images of the service and of the training. deploy/build.sh builds them; docs/deploy/install.md explains them.
#
#   gateway      REST and gRPC, in front of a Triton
#   triton       NVIDIA's Triton for GPUs, with model_repo/ and its packages
#   triton-cpu   the same server from the nvidia-pytriton wheel, for machines without a GPU
#   train        landmarks-train
#   wheels       not an image: the package files that the others install, for building without the internet
#
# It needs BuildKit. There is no syntax line, because BuildKit would download that parser from a registry.

ARG BASE_IMAGE=python:3.11-slim-bookworm
# a release with the fixes of NVIDIA's security bulletins up to May 2026
ARG TRITON_IMAGE=nvcr.io/nvidia/tritonserver:26.07-py3
# the image for whose Python the target wheels downloads files
ARG WHEELS_IMAGE=${BASE_IMAGE}
# values of the images' labels, set by deploy/build.sh
ARG VERSION=unknown REVISION=unknown CREATED=unknown

# ---------------------------------------------------------------- packages

FROM ${BASE_IMAGE} AS packages
# a package index without credentials; with PIP_NO_INDEX=1 only files from deploy/wheels/ are used
ARG PIP_INDEX_URL
ARG PIP_NO_INDEX
# no pip in the environment: it stays in the base image
RUN python3 -m venv --without-pip /opt/venv
ENV PIP_PYTHON=/opt/venv/bin/python

FROM packages AS project
RUN --mount=type=bind,source=deploy/image/install.sh,target=/install.sh \
    --mount=type=bind,source=deploy/locks/build.txt,target=/locks/build.txt \
    --mount=type=bind,source=deploy/wheels,target=/wheels \
    --mount=type=cache,target=/root/.cache/pip \
    --mount=type=secret,id=pip.conf --mount=type=secret,id=ca-bundle \
    sh /install.sh /locks/build.txt install
# for landmarks/heatmaps.c. Without it the decoder is slower, so that an image can be built where there is no network
# hadolint ignore=DL3008
RUN test -n "$PIP_NO_INDEX" || { apt-get update && apt-get install -y --no-install-recommends gcc libc6-dev; } || \
    echo "no compiler: the decoder will use NumPy"
WORKDIR /project
COPY pyproject.toml setup.py README.md ./
COPY landmarks landmarks
COPY landmarks_client landmarks_client
COPY service service
COPY shots shots
COPY train train
RUN python3 -m pip wheel --no-index --no-deps --no-build-isolation --wheel-dir /dist .

FROM packages AS gateway-packages
RUN --mount=type=bind,source=deploy/image/install.sh,target=/install.sh \
    --mount=type=bind,source=deploy/locks/gateway.txt,target=/locks/gateway.txt \
    --mount=type=bind,source=deploy/wheels,target=/wheels \
    --mount=type=cache,target=/root/.cache/pip \
    --mount=type=secret,id=pip.conf --mount=type=secret,id=ca-bundle \
    sh /install.sh /locks/gateway.txt install
RUN --mount=type=bind,from=project,source=/dist,target=/dist \
    python3 -m pip install --no-cache-dir --no-index --no-deps /dist/*.whl

FROM packages AS triton-cpu-packages
RUN --mount=type=bind,source=deploy/image/install.sh,target=/install.sh \
    --mount=type=bind,source=deploy/locks/triton-cpu.txt,target=/locks/triton-cpu.txt \
    --mount=type=bind,source=deploy/wheels,target=/wheels \
    --mount=type=cache,target=/root/.cache/pip \
    --mount=type=secret,id=pip.conf --mount=type=secret,id=ca-bundle \
    sh /install.sh /locks/triton-cpu.txt install
RUN --mount=type=bind,from=project,source=/dist,target=/dist \
    python3 -m pip install --no-cache-dir --no-index --no-deps /dist/*.whl
COPY deploy/image/triton_layout.py /
RUN /opt/venv/bin/python /triton_layout.py /opt/tritonserver

FROM packages AS train-packages
# the build of PyTorch: cuda or cpu
ARG TORCH=cuda
RUN --mount=type=bind,source=deploy/image/install.sh,target=/install.sh \
    --mount=type=bind,source=deploy/locks,target=/locks \
    --mount=type=bind,source=deploy/wheels,target=/wheels \
    --mount=type=cache,target=/root/.cache/pip \
    --mount=type=secret,id=pip.conf --mount=type=secret,id=ca-bundle \
    sh /install.sh /locks/train-${TORCH}.txt install
RUN --mount=type=bind,from=project,source=/dist,target=/dist \
    python3 -m pip install --no-cache-dir --no-index --no-deps /dist/*.whl

# ---------------------------------------------------------------- package files, for building without the internet

FROM ${WHEELS_IMAGE} AS wheels-download
ARG PIP_INDEX_URL
# lock files, separated by spaces
ARG LOCKS="build.txt gateway.txt triton-cpu.txt"
RUN --mount=type=bind,source=deploy/image/install.sh,target=/install.sh \
    --mount=type=bind,source=deploy/locks,target=/locks \
    --mount=type=bind,source=deploy/wheels,target=/wheels \
    --mount=type=cache,target=/root/.cache/pip \
    --mount=type=secret,id=pip.conf --mount=type=secret,id=ca-bundle \
    for lock in $LOCKS; do sh /install.sh "/locks/$lock" download --dest /fetched || exit 1; done

FROM scratch AS wheels
COPY --from=wheels-download /fetched /

# ---------------------------------------------------------------- images

FROM ${TRITON_IMAGE} AS triton
ARG PIP_INDEX_URL
ARG PIP_NO_INDEX
# triton.txt lacks PyTorch, which is needed on GPUs only
ARG TRITON_LOCK=triton-gpu.txt
# into the system's Python, because the Python backend uses that one
RUN --mount=type=bind,source=deploy/image/install.sh,target=/install.sh \
    --mount=type=bind,source=deploy/locks,target=/locks \
    --mount=type=bind,source=deploy/wheels,target=/wheels \
    --mount=type=cache,target=/root/.cache/pip \
    --mount=type=secret,id=pip.conf --mount=type=secret,id=ca-bundle \
    sh /install.sh /locks/${TRITON_LOCK} install --break-system-packages
RUN --mount=type=bind,from=project,source=/dist,target=/dist \
    python3 -m pip install --no-cache-dir --no-index --no-deps --break-system-packages /dist/*.whl
COPY deploy/image/triton_answers.py deploy/image/start_triton.sh service/triton_server/watchdog.py /opt/
RUN python3 -c "from landmarks.golden import golden_crop; golden_crop().tofile('/opt/golden.rgb')"
COPY model_repo /models
# the mount point of a volume for TensorRT's engines, which inherits the owner
RUN install --directory --owner 10001 --group 10001 /engines
# MALLOC_... are ALLOCATOR of service/triton_server/malloc.py
ENV HOME=/tmp PYTHONDONTWRITEBYTECODE=1 \
    MALLOC_ARENA_MAX=2 MALLOC_MMAP_THRESHOLD_=16777216 MALLOC_TRIM_THRESHOLD_=33554432 \
    # the network needs a higher precision than TF32
    NVIDIA_TF32_OVERRIDE=0 \
    # Triton's ONNX Runtime reports nothing to its makers
    ORT_DISABLE_TELEMETRY=1
USER 10001:10001
EXPOSE 8001 8002
HEALTHCHECK --interval=5s --timeout=15s --start-period=10m --retries=3 \
    CMD ["python3", "-I", "/opt/triton_answers.py"]
ENTRYPOINT ["sh", "/opt/start_triton.sh"]
# HTTP is for the health check only: the gateway uses gRPC. Connections end after five minutes, so that gateways resolve the
# servers' addresses again. The last line is triton_options() of service/triton_server/malloc.py
CMD ["--model-repository=/models", "--model-config-name=gpu", "--disable-auto-complete-config", \
     "--http-address=127.0.0.1", "--metrics-address=0.0.0.0", "--exit-timeout-secs=20", \
     "--grpc-max-connection-age=300000", "--grpc-max-connection-age-grace=60000", \
     "--backend-config=python,shm-default-byte-size=33554432", "--grpc-infer-allocation-pool-size=0"]
ARG VERSION REVISION CREATED
LABEL org.opencontainers.image.title="h3r-landmarks triton" \
      org.opencontainers.image.description="NVIDIA Triton with the landmark network, for GPUs" \
      org.opencontainers.image.version=$VERSION \
      org.opencontainers.image.revision=$REVISION \
      org.opencontainers.image.created=$CREATED

FROM ${BASE_IMAGE} AS triton-cpu
COPY --from=triton-cpu-packages /opt/venv /opt/venv
COPY --from=triton-cpu-packages /opt/tritonserver /opt/tritonserver
COPY deploy/image/triton_answers.py deploy/image/start_triton.sh service/triton_server/watchdog.py /opt/
RUN /opt/venv/bin/python -c "from landmarks.golden import golden_crop; golden_crop().tofile('/opt/golden.rgb')"
COPY model_repo /models
RUN install --directory --owner 10001 --group 10001 /engines
# the Python backend finds its packages through the first python3 on PATH
ENV PATH=/opt/venv/bin:/opt/tritonserver/bin:$PATH LD_LIBRARY_PATH=/opt/tritonserver/lib \
    HOME=/tmp PYTHONDONTWRITEBYTECODE=1 \
    MALLOC_ARENA_MAX=2 MALLOC_MMAP_THRESHOLD_=16777216 MALLOC_TRIM_THRESHOLD_=33554432
USER 10001:10001
EXPOSE 8001 8002
HEALTHCHECK --interval=5s --timeout=15s --start-period=2m --retries=3 \
    CMD ["python3", "-I", "/opt/triton_answers.py"]
ENTRYPOINT ["sh", "/opt/start_triton.sh"]
# as above; metrics of GPUs need a library that the wheel lacks
CMD ["--model-repository=/models", "--allow-gpu-metrics=false", "--disable-auto-complete-config", \
     "--http-address=127.0.0.1", "--metrics-address=0.0.0.0", "--exit-timeout-secs=20", \
     "--grpc-max-connection-age=300000", "--grpc-max-connection-age-grace=60000", \
     "--backend-config=python,shm-default-byte-size=33554432", "--grpc-infer-allocation-pool-size=0"]
ARG VERSION REVISION CREATED
LABEL org.opencontainers.image.title="h3r-landmarks triton-cpu" \
      org.opencontainers.image.description="NVIDIA Triton with the landmark network, for CPUs" \
      org.opencontainers.image.version=$VERSION \
      org.opencontainers.image.revision=$REVISION \
      org.opencontainers.image.created=$CREATED

FROM ${BASE_IMAGE} AS train
COPY --from=train-packages /opt/venv /opt/venv
# Matplotlib needs HOME, and PyTorch needs USER
ENV PATH=/opt/venv/bin:$PATH HOME=/tmp USER=landmarks
USER 10001:10001
WORKDIR /runs
ENTRYPOINT ["landmarks-train"]
CMD ["--help"]
ARG VERSION REVISION CREATED
LABEL org.opencontainers.image.title="h3r-landmarks train" \
      org.opencontainers.image.description="Trains, evaluates and exports the landmark network" \
      org.opencontainers.image.version=$VERSION \
      org.opencontainers.image.revision=$REVISION \
      org.opencontainers.image.created=$CREATED

FROM ${BASE_IMAGE} AS gateway
COPY --from=gateway-packages /opt/venv /opt/venv
COPY deploy/image/healthy.py /opt/
# inside a container the gateway listens on all addresses; the host decides what it publishes
ENV PATH=/opt/venv/bin:$PATH HOME=/tmp PYTHONDONTWRITEBYTECODE=1 PYTHONUNBUFFERED=1 \
    LANDMARKS_HOST=0.0.0.0 LANDMARKS_TRITON_URL=triton:8001 LANDMARKS_METRICS_PORT=9100
USER 10001:10001
EXPOSE 8080 8081 9100
HEALTHCHECK --interval=5s --timeout=5s --start-period=3m --retries=6 \
    CMD ["python3", "-I", "/opt/healthy.py", "http://127.0.0.1:9100/readyz"]
ENTRYPOINT ["landmarks"]
CMD ["serve"]
ARG VERSION REVISION CREATED
LABEL org.opencontainers.image.title="h3r-landmarks gateway" \
      org.opencontainers.image.description="98 facial landmarks with their uncertainty, over REST and gRPC" \
      org.opencontainers.image.version=$VERSION \
      org.opencontainers.image.revision=$REVISION \
      org.opencontainers.image.created=$CREATED
