"""A job of varying length: some runs take longer than they are allowed to."""

import os
import time

number = int(os.environ.get("AGENTD_RUN_ID", "0.0").rpartition(".")[2])
seconds = (0.1, 0.5, 1.0, 5.0)[number % 4]
print(f"working for {seconds} s", flush=True)
time.sleep(seconds)
print("done")
