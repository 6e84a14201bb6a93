"""The pure core: no clock, no I/O, no asyncio, no logging. Time is always an argument.

Instants are integers, microseconds since 1970-01-01 00:00 UTC; durations are integers, microseconds.
"""
