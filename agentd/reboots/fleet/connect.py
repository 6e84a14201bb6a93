"""The keeper of slots that a configuration names."""

import re
import time
from pathlib import Path

from agentd.core.reboots.policy import FleetPolicy, check_url
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
    check(settings)
    own_id = application_id(machine_id)
    if settings.fleetlock:
        return FleetLock(settings, own_id, credentials)
    return Etcd(settings, own_id, host_name, credentials, downtime, pause)


def check(settings: FleetPolicy) -> None:
    """Raises ValueError with a sentence for a fleet that cannot be."""
    if bool(settings.fleetlock) == bool(settings.etcd):
        raise ValueError("a fleet needs the URL of a FleetLock server or those of etcd, and not both")
    for url in settings.etcd or (settings.fleetlock,):
        check_url(url)
    check_group(settings.group)


def check_group(text: str) -> None:
    """Raises ValueError with a sentence for a group that no fleet can have."""
    if not re.fullmatch(r"[a-zA-Z0-9.-]+", text):
        raise ValueError("the group must be of letters, digits, dots and hyphens")
