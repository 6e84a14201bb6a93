"""agentd: decides when jobs run and leaves the running to systemd, or to its own supervisor when standalone."""

__version__ = "0.1.0"
