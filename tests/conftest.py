"""Settings of all tests: the same examples in every run, so that a red test is red again tomorrow."""

import os
import sys

os.environ.setdefault("OMP_WAIT_POLICY", "passive")  # before torch: workers share the cores, and must not spin

os.environ.setdefault("TORCHINDUCTOR_COMPILE_THREADS", "1")  # compiled here: a pool of processes may be left waiting
os.environ["TORCHCONV_WISDOM"] = os.devnull  # what this machine has learned must not decide about a test

import pytest
from hypothesis import HealthCheck, settings

settings.register_profile(
    "torchconv",
    deadline=None,
    derandomize=True,
    max_examples=60,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.filter_too_much, HealthCheck.data_too_large],
)
settings.load_profile("torchconv")


@pytest.fixture(autouse=True)
def _nothing_compiled_is_left():
    """Layers of many tests share a forward, which torch.compile takes in a limited number of forms only."""
    yield
    if dynamo := sys.modules.get("torch._dynamo"):
        dynamo.reset()
