"""agentctl: the command line of agentd. agentctl speaks to the daemon over D-Bus.

agentctl imports one module of agentd, the grammar of durations, sizes and times of day: agentd.core.quantities.
"""

# Written out: reading the version from the package's metadata would cost a third of the start time.
__version__ = "0.1.0"
