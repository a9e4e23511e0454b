"""Settings of all tests: the same examples in every run, so that a red test is red again tomorrow."""

import os

os.environ.setdefault("OMP_WAIT_POLICY", "passive")  # before torch: workers share the cores, and must not spin

os.environ.setdefault("TORCHINDUCTOR_COMPILE_THREADS", "1")  # compiled here: a pool of processes may be left waiting
os.environ["TORCHCONV_WISDOM"] = os.devnull  # what this machine has learned must not decide about a test

from hypothesis import HealthCheck, settings

settings.register_profile(
    "torchconv",
    deadline=None,
    derandomize=True,
    max_examples=60,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.filter_too_much, HealthCheck.data_too_large],
)
settings.load_profile("torchconv")
