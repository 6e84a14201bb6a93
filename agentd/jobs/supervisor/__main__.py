"""Runs the supervisor. Python is given this file by its path, without the folders of installed packages."""

import os
import sys

sys.path.append(os.path.abspath(os.path.join(__file__, "../../../..")))

from agentd.jobs.supervisor.loop import main

if __name__ == "__main__":
    main()
