"""Learned and clustered pooling as ONNX programs, run by onnxruntime on batches of another number."""

import io

import pytest
import torch

import torchconv as tc

X = torch.randn(4, 3, 5, 6, generator=torch.Generator().manual_seed(0))
LAYERS = {
    "clusters, mean": lambda: tc.nn.ClusterPool2d(4, 2).fit(X),
    "clusters, max": lambda: tc.nn.ClusterPool2d(4, 2, "max").fit(X),
    "regions": lambda: tc.nn.RegionPool2d(3),
    "selected regions": lambda: tc.nn.RegionPool2d(3, "mean").select([(0, 1), (2, 5)]),
    "classifier": lambda: tc.nn.RegionClassifier(3, 2, 2).fit(X, torch.tensor([0, 1, 1, 0])),
    "weights": lambda: tc.nn.LearnedPool2d(2, padding=1),
}


@pytest.mark.parametrize("name", LAYERS)
def test_onnx(name, capsys):
    onnxruntime = pytest.importorskip("onnxruntime")
    pytest.importorskip("onnxscript")
    layer, stored = LAYERS[name](), io.BytesIO()
    open_batch = ({0: torch.export.Dim("batch")},)
    torch.onnx.export(layer, (X,), dynamo=True, verbose=False, dynamic_shapes=open_batch).save(stored)
    session = onnxruntime.InferenceSession(stored.getvalue(), providers=["CPUExecutionProvider"])
    batch = torch.cat([X.flip(0), X[:3] + 0.1])
    (found,) = session.run(None, {session.get_inputs()[0].name: batch.numpy()})
    torch.testing.assert_close(torch.from_numpy(found), layer(batch).detach(), rtol=1e-4, atol=1e-5)
