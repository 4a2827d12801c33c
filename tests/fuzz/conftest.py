"""Lets the tests of this folder import the generators beside them; one Hypothesis profile."""

import os
import sys
from pathlib import Path

from hypothesis import HealthCheck, Phase, settings

sys.path.insert(0, str(Path(__file__).parent))

# The same cases on every run; what fails is shrunk, printed, and can be pasted into a test. Another
# seed, for a longer search: STEPWELL_FUZZ_SEED=7 pytest tests/fuzz --hypothesis-seed=7
settings.register_profile(
    "stepwell",
    derandomize="STEPWELL_FUZZ_SEED" not in os.environ,
    database=None,
    deadline=None,
    print_blob=True,
    report_multiple_bugs=False,
    phases=(Phase.explicit, Phase.generate, Phase.shrink),
    suppress_health_check=list(HealthCheck),
)
settings.load_profile("stepwell")
