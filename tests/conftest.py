"""Hypothesis profiles: `make check` looks briefly, `make test` longer; CI has the same examples each run."""

import os

from hypothesis import HealthCheck, settings

# A busy machine makes an example slow, not wrong. What lands is judged by its change, not by what chance
# finds in old code that day: chance searches where it can be followed up, in every run by hand.
settings.register_profile(
    "default",
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow],
    derandomize=bool(os.environ.get("CI")),
)
settings.register_profile("quick", settings.get_profile("default"), max_examples=15)
settings.load_profile("default")
