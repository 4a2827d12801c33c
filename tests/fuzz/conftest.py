"""Lets the tests of this folder import the generators beside them; one Hypothesis profile."""

import sys
from pathlib import Path

from hypothesis import HealthCheck, Phase, settings

sys.path.insert(0, str(Path(__file__).parent))

# The same cases on every run (see seeds.py); what fails is shrunk and printed, to be pasted.
settings.register_profile(
    "stepwell",
    derandomize=True,
    database=None,
    deadline=None,
    print_blob=True,
    report_multiple_bugs=False,
    phases=(Phase.explicit, Phase.generate, Phase.shrink),
    suppress_health_check=list(HealthCheck),
)
settings.load_profile("stepwell")
