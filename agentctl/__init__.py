"""agentctl: the command line of agentd. It speaks to the daemon over D-Bus and imports none of its modules."""

# Written out: reading it from the package's metadata would cost a third of the start time.
__version__ = "0.1.0"
