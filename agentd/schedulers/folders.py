"""The folders in which only root can have put a program or an object of a scheduler.

These are not in programs.py, as root's side of a start needs them alone, and what that module imports takes time.
"""

from pathlib import Path

FOLDERS = tuple(Path(folder) for folder in ("/usr/bin", "/usr/local/bin", "/usr/sbin", "/usr/local/sbin"))
"""The folders in which programs are looked for, in this order."""
OBJECTS = tuple(Path(folder) for folder in ("/usr/lib/agentd/schedulers", "/usr/local/lib/agentd/schedulers"))
"""The folders in which BPF objects are looked for, as NAME.bpf.o."""
BPFTOOL = "bpftool"
"""The program that loads BPF objects."""
