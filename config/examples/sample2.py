"""An unsteady job: every fourth run fails, as a flaky network would make it."""

import os
import sys

number = int(os.environ.get("AGENTD_RUN_ID", "0.0").rpartition(".")[2])
if number % 4 == 0:
    print("the other side did not answer", file=sys.stderr)
    sys.exit(75)  # EX_TEMPFAIL
print("the other side answered")
