"""The keeper of slots that a configuration names."""

import time
from pathlib import Path

from agentd.core.reboots.policy import FleetPolicy, check_fleet
from agentd.reboots.fleet.etcd import Etcd, Pause
from agentd.reboots.fleet.fleetlock import FleetLock
from agentd.reboots.fleet.lock import Fleet, application_id


def connect(
    settings: FleetPolicy,
    host_name: str,
    machine_id: str,
    credentials: Path | None,
    downtime: int,
    pause: Pause = time.sleep,
) -> Fleet:
    """Returns the keeper of the slots, who is not asked anything yet. `credentials` is the folder of TLS files and the
    password, `downtime` how many seconds a reboot is expected to take. Raises ValueError with a sentence."""
    check_fleet(settings)
    own_id = application_id(machine_id)
    if settings.fleetlock:
        return FleetLock(settings, own_id, credentials)
    return Etcd(settings, own_id, host_name, credentials, downtime, pause)
