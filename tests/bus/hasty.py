"""An agentd whose heart may beat each second, and that tries again after a second what a check did not take."""

import runpy

from agentd.core.notices import pings, settings
from agentd.core.quantities import SECOND

if __name__ == "__main__":
    pings._AGAIN = SECOND
    settings._LEAST_EVERY = SECOND
    runpy.run_module("agentd", run_name="__main__")
