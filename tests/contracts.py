"""The D-Bus interfaces that agentd has, in the order in which its introspection shows them."""

from pathlib import Path

CONTRACTS = [
    Path(__file__).parents[1] / "agentd" / name
    for name in (
        "daemon/org.agentd1.Manager.xml",
        "jobs/org.agentd1.Jobs.xml",
        "reboots/org.agentd1.Reboot.xml",
        "schedulers/org.agentd1.Scheduler.xml",
        "rules/org.agentd1.Rules.xml",
        "learning/org.agentd1.Learning.xml",
        "notices/org.agentd1.Notices.xml",
    )
]
