"""The process that starts, bounds and reaps the jobs of a standalone agentd.

The supervisor is a child of the daemon and adopts (PR_SET_CHILD_SUBREAPER) whatever its own children leave behind, so
that every process of every job is below it. When the daemon goes away, however suddenly, the socket between
the two ends, and everything below ends too: no job outlives its agentd. The supervisor is started by the path of
__main__.py, needs the standard library alone and stays small, which makes each fork cheap.

Both sides speak datagrams of JSON. To the supervisor: {"op": "start", "id", "argv", "env", "cwd", "user", "group",
"output", "cap", "timeout", "kill_after", "at", "due"} (times in seconds, null for none, "at" of the monotonic clock,
"due" the same instant of the wall clock in microseconds since 1970),
{"op": "keep", ...} with the same fields for a program that is no run and ends with the supervisor, {"op": "stop",
"id", "result"} and {"op": "stored", "id"}: the end of that run is stored. To the daemon: {"ev": "started", "id", "at"}
and {"ev": "ended", "id", ...} with the fields of model.Outcome. Ends that the daemon did not live to store are left in
a file, a line each, for the next daemon.
"""
