"""Runs the supervisor. Python is given this file by its path, without the folders of installed packages."""

import os
import sys

sys.path.append(os.path.abspath(os.path.join(__file__, "../../../..")))

if __name__ == "__main__":
    try:
        from agentd.jobs.supervisor.loop import prepared

        supervisor = prepared()
    except (OSError, ImportError) as error:  # for want of files, which even an import opens
        reason = getattr(error, "strerror", None) or error
        sys.exit(f"agentd: the supervisor of the jobs cannot start: {reason}")
    supervisor.run()
