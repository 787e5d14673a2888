"""The GPU configuration in a real Triton, as far as it can be tested without a GPU."""

import asyncio
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tritonclient.grpc import InferInput
from tritonclient.grpc.aio import InferenceServerClient
from tritonclient.utils import InferenceServerException

from landmarks.decoders import DECODERS
from landmarks.golden import golden_crop
from landmarks.repository import model_path
from service.engines.local import LocalEngine
from service.engines.triton.engine import TritonEngine
from service.triton_server.process import EmbeddedTriton, EmbeddedTritonError
from tests.conftest import counted

pytestmark = [pytest.mark.usefixtures("needs_triton"), pytest.mark.anyio]


async def test_triton_reads_it_and_lacks_only_the_hardware(model_repository: Path) -> None:
    """The wheel has no ONNX Runtime backend, this machine no GPU; detector and ensemble are as in config.pbtxt."""
    with pytest.raises(EmbeddedTritonError) as caught:
        await EmbeddedTriton(model_repository, config_name="gpu").start()
    outcomes = [line for line in str(caught.value).splitlines() if line.startswith("|")]
    assert sum("unable to find backend library for backend 'onnxruntime'" in line for line in outcomes) == 1
    assert sum("decode has kind KIND_GPU but no GPUs are available" in line for line in outcomes) == 1
    assert [line.split()[1] for line in outcomes if " READY " in line] == ["detector"]


@pytest.fixture
def torch_on_the_cpu(repository_copy: Path) -> Path:
    """The decoder is configured as for a GPU but for the device, the network as for a CPU."""
    pytest.importorskip("torch", reason="the decoder for GPUs is in PyTorch")
    shutil.rmtree(repository_copy / "heatmap/configs")
    config = repository_copy / "decode/configs/gpu.pbtxt"
    text = config.read_text(encoding="utf-8")
    assert text.count("KIND_GPU") == 1
    config.write_text(text.replace("KIND_GPU", "KIND_MODEL"), encoding="utf-8")
    return repository_copy


async def test_heatmaps_taken_by_dlpack_decode_as_elsewhere(torch_on_the_cpu: Path) -> None:
    crops = np.stack([np.roll(golden_crop(), 7 * i, axis=(0, 1)) for i in range(3)])
    choices: list[dict[str, Any]] = [{"topk": 25}, *({"decoder": name} for name in DECODERS)]
    triton = EmbeddedTriton(torch_on_the_cpu, config_name="gpu", port=0)
    local = LocalEngine(model_path(torch_on_the_cpu))
    url = await triton.start()
    engine, client = TritonEngine(url), InferenceServerClient(url)
    try:
        await engine.start()
        faces, batches = await asyncio.to_thread(counted, triton.metrics_url, "decode")
        assert faces - batches >= 7  # the engine's verification includes a batch of eight
        await local.start()
        for choice in choices:
            decoded = zip(await engine.infer(crops, **choice), await local.infer(crops, **choice), strict=True)
            for one, other in decoded:
                assert one.dtype == np.float32
                np.testing.assert_allclose(one, other, rtol=1e-5, atol=1e-4)
        assert "topk must lie between 1 and the 4096 cells" in await refusal(client)
    finally:
        await client.close()
        await engine.close()
        await local.close()
        await triton.stop()


async def refusal(client: Any) -> str:
    crop = InferInput("crops", [1, 256, 256, 3], "UINT8")
    crop.set_data_from_numpy(golden_crop()[None])
    with pytest.raises(InferenceServerException) as caught:
        await client.infer("landmarks", [crop], parameters={"topk": 4097})
    return str(caught.value)
