"""A steady job: a little work, always the same, always well."""

import os

total = sum(number * number for number in range(50_000))
print(f"{os.environ.get('AGENTD_RUN_ID', 'by hand')}: the sum is {total}")
