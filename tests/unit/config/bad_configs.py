"""Configurations that are wrong, each in one way, and what agentd says about them.

One entry each: what is wrong, the file, and every sentence in order, with line and column before it.
"""

NINES = "9" * 5000
LONG = "a" * 101
TOP = (
    "concurrency, history, jobs, kpis, learning, llm, may_restart, notices, reboot, rules, sampling, scheduler, "
    "stop_timeout, timezone, watch"
)
JOB = (
    "concurrency, critical, description, enabled, environment, expect, group, jitter, learning, limits, missed, "
    "notify, overlap, ping, retries, run, scheduler, stop_timeout, systemd, timeout, timezone, useful, user, when, "
    "working_directory"
)
USEFUL = "output, exit-code, reported, {exit-code: [10, 11]}, {file: /path}"
EVENTS = "failure, late, progress, recovered, start, success, too-long, too-short, tool"
TRIGGERS = "every, adaptive, cron, at, boot, after, manual"
EVERYWHERE = """timezon: UTC
jobs:
  b:
    when: {every: 5x}
    timeout: 5
    retries: {count: -1, backof: 1s}
  a b:
    run: []
    timeout: 1x
    timeout: 2h
concurrency: 0
watch: 7
"""

CHECK = "expected a credential of its own, with the URL of a check"


def job(setting: str) -> str:
    """A file of one job with this setting in line 4, from column 5 on."""
    return f"jobs:\n  backup:\n    run: x\n    {setting}\n"


def when(trigger: str) -> str:
    """A file of one job with this trigger in line 4, from column 11 on."""
    return job(f"when: {trigger}")


BAD: list[tuple[str, str, list[str]]] = [
    # The file is not YAML, or not a mapping.
    (
        "flow mapping that is never closed",
        "jobs: {backup: {run: x\n",
        ["2:1: is not YAML: the { of line 1 is never closed"],
    ),
    (
        "flow mapping that is closed too late",
        "jobs:\n  backup: {run: x, when: {every: 5min}\n  feed: {run: y}\n",
        ["3:3: is not YAML: expected , or } here: the { of line 2 is not closed yet"],
    ),
    (
        "list that is closed by a brace",
        "jobs:\n  backup: {run: [x}\n",
        ["2:19: is not YAML: expected , or ] here: the [ of line 2 is not closed yet"],
    ),
    ("nothing after a bracket", "[", ["1:2: is not YAML: the file ends in the middle of a value"]),
    ("quote that is never closed", 'timezone: "UTC\n', ['2:1: is not YAML: the " of line 1 is never closed']),
    (
        "apostrophe in a text that is never closed",
        "timezone: 'it''s\n",
        ["2:1: is not YAML: the ' of line 1 is never closed"],
    ),
    (
        "tab as indentation",
        "jobs:\n\tbackup: {run: x}\n",
        ["2:1: is not YAML: a tab cannot stand here: YAML is indented with spaces"],
    ),
    (
        "tab below spaces",
        "jobs:\n  backup:\n    run: x\n  \twhen: manual\n",
        ["4:3: is not YAML: a tab cannot stand here: YAML is indented with spaces"],
    ),
    (
        "colon without a value before it",
        "jobs:\n  backup: run: x\n",
        [
            (
                '2:14: is not YAML: ":" cannot stand here: a setting has a line of its own, and a text with ": " in it '
                "needs quotes"
            )
        ],
    ),
    (
        "key without a colon",
        "jobs:\n  backup:\n    run: x\n    useful\n",
        ['4:5: is not YAML: the ":" after the name of a setting is missing'],
    ),
    (
        "indentation that fits nothing",
        "jobs:\n    backup:\n      run: x\n   feed:\n      run: x\n",
        ["4:4: is not YAML: this line does not go on with what stands above it: look at how far it is indented"],
    ),
    (
        "text after a quote",
        "jobs:\n  backup: {}\n  feed:\n    run: 'x' y\n",
        [
            (
                "4:14: is not YAML: the value has ended before this (a text with quotes or brackets in it needs quotes "
                "around all of it)"
            )
        ],
    ),
    (
        "list in the line of its key",
        "jobs:\n  backup:\n    run: - x\n",
        ['3:10: is not YAML: a list cannot begin here: each "-" stands at the beginning of a line'],
    ),
    (
        "comma first",
        "timezone: ,UTC\n",
        ['1:11: is not YAML: "," cannot stand here: a text that begins with it needs quotes'],
    ),
    (
        "two documents",
        "timezone: UTC\n---\ntimezone: UTC\n",
        ["2:1: is not YAML: a second document begins here; a configuration is one document"],
    ),
    (
        "alias of nothing",
        "jobs:\n  backup: *base\n",
        ['2:11: is not YAML: "*base" stands for nothing: there is no "&base" before it'],
    ),
    (
        "anchor twice",
        "jobs:\n  backup: &base {run: x}\n  feed: &base {run: y}\n",
        ['3:9: is not YAML: "&base" is there twice (first in line 2)'],
    ),
    (
        "percent sign first",
        "timezone: %UTC\n",
        ['1:11: is not YAML: a text cannot begin with "%": put it in quotes'],
    ),
    (
        "asterisk alone",
        "jobs:\n  backup:\n    when: {cron: * * * * *}\n",
        ['3:18: is not YAML: a text cannot begin with "*": put it in quotes'],
    ),
    (
        "text in the line of a pipe sign",
        "jobs:\n  backup:\n    run: | x\n",
        ['3:12: is not YAML: nothing may come after "|": the text begins in the next line'],
    ),
    (
        "NUL in the file",
        "timezone: UTC\njobs: {}\x00\n",
        ["2:9: is not YAML: U+0000 is a character that YAML does not allow"],
    ),
    (
        "escape that YAML does not know",
        'jobs:\n  backup: {run: "\\d"}\n',
        ["2:18: is not YAML: \\d is not an escape that YAML knows (between ' and ' a backslash is only a backslash)"],
    ),
    (
        "half of a surrogate pair",
        'jobs:\n  backup: {run: "\\ud800"}\n',
        [
            (
                "2:18: is not YAML: \\ud800 is not an escape that YAML knows (between ' and ' a backslash is only a "
                "backslash)"
            )
        ],
    ),
    (
        "escape beyond Unicode",
        'jobs:\n  backup: {run: "\\U00110000"}\n',
        [
            (
                "2:18: is not YAML: \\U00110000 is not an escape that YAML knows (between ' and ' a backslash is only "
                "a backslash)"
            )
        ],
    ),
    ("nested without end", "jobs: " + "[" * 100000 + "\n", ["1:55: is not YAML: nested too deeply"]),
    ("list at the top", "- jobs\n- timezone\n", ["1:1: expected a mapping of settings, got a list"]),
    ("one word at the top", "jobs\n", ['1:1: expected a mapping of settings, got "jobs"']),
    # Keys.
    ("key twice at the top", "timezone: UTC\ntimezone: UTC\n", ['2:1: "timezone" is there twice (first in line 1)']),
    ("jobs twice", "jobs:\n  a: {run: x}\njobs:\n  b: {run: x}\n", ['3:1: "jobs" is there twice (first in line 1)']),
    (
        "job twice",
        "jobs:\n  backup: {run: x}\n  feed: {run: x}\n  backup: {run: y}\n",
        ['4:3: jobs: "backup" is there twice (first in line 2)'],
    ),
    ("setting of a job twice", job("run: y"), ['4:5: jobs.backup: "run" is there twice (first in line 3)']),
    (
        "setting inside a setting twice",
        job("retries: {count: 1, count: 2}"),
        ['4:25: jobs.backup.retries: "count" is there twice (first in line 4)'],
    ),
    (
        "setting of history twice",
        "history:\n  runs: 1000\n  runs: 2000\n",
        ['3:3: history: "runs" is there twice (first in line 2)'],
    ),
    (
        "variable twice",
        job("environment: {LEVEL: full, LEVEL: none}"),
        ['4:32: jobs.backup.environment: "LEVEL" is there twice (first in line 4)'],
    ),
    (
        "trigger twice",
        when("{every: 5min, every: 6min}"),
        ['4:25: jobs.backup.when: "every" is there twice (first in line 4)'],
    ),
    ("unknown key at the top, near another", "timezon: UTC\n", ['1:1: unknown key "timezon" (did you mean timezone?)']),
    ("unknown key at the top, near jobs", "job: {}\n", ['1:1: unknown key "job" (did you mean jobs?)']),
    ("unknown key at the top, near nothing", "zzz: 1\n", [f'1:1: unknown key "zzz"; expected one of {TOP}']),
    (
        "unknown setting of a job, near another",
        job("timout: 2h"),
        ['4:5: jobs.backup: unknown key "timout" (did you mean timeout?)'],
    ),
    (
        "unknown setting of a job, near nothing",
        job("zzz: 1"),
        [f'4:5: jobs.backup: unknown key "zzz"; expected one of {JOB}'],
    ),
    (
        "name as a setting of a job",
        job("name: other"),
        [f'4:5: jobs.backup: unknown key "name"; expected one of {JOB}'],
    ),
    (
        "unknown limit",
        job("limits: {memroy: 1G}"),
        ['4:14: jobs.backup.limits: unknown key "memroy" (did you mean memory?)'],
    ),
    (
        "unknown setting of retries",
        job("retries: {counts: 1}"),
        ['4:15: jobs.backup.retries: unknown key "counts" (did you mean count?)'],
    ),
    ("list as a key", job("? [a, b]\n    : c"), ["4:7: jobs.backup: a key must be plain text"]),
    ("mapping as a key of when", when("{{every: 5min}: 1}"), ["4:12: jobs.backup.when: a key must be plain text"]),
    (
        "merge key in a job",
        "base: &base {run: x}\njobs:\n  backup: {<<: *base}\n",
        [
            f'1:1: unknown key "base"; expected one of {TOP}',
            "3:11: jobs.backup: needs run",
            "3:12: jobs.backup: merge keys (<<) are not supported; write the settings out",
        ],
    ),
    (
        "merge key in a trigger",
        "jobs:\n  a: {run: x, when: &w {every: 5min}}\n  b: {run: x, when: {<<: *w}}\n",
        ["3:22: jobs.b.when: merge keys (<<) are not supported; write the settings out"],
    ),
    (
        "merge key in an environment",
        "jobs:\n  a: {run: x, environment: &e {A: b}}\n  b: {run: x, environment: {<<: *e}}\n",
        ["3:29: jobs.b.environment: merge keys (<<) are not supported; write the settings out"],
    ),
    # Jobs and their names.
    ("jobs without a value", "jobs:\n", ["1:6: jobs: expected a mapping of job names to jobs (with no job: {})"]),
    ("jobs as a list", "jobs:\n  - run: x\n", ["2:3: jobs: expected a mapping of job names to jobs (with no job: {})"]),
    ("job without settings", "jobs:\n  backup:\n", ["2:10: jobs.backup: expected a mapping of settings, got nothing"]),
    (
        "job as a text",
        "jobs:\n  backup: /bin/true\n",
        ['2:11: jobs.backup: expected a mapping of settings, got "/bin/true"'],
    ),
    ("job without run", "jobs:\n  backup:\n    user: backup\n", ["3:5: jobs.backup: needs run"]),
    (
        "job name with a space",
        "jobs:\n  my backup: {run: x}\n",
        ['2:3: jobs: "my backup" is not a job name (1 to 100 letters, digits, _ . : - and none of . : - first)'],
    ),
    (
        "job name with a slash",
        "jobs:\n  ../etc/passwd: {run: x}\n",
        ['2:3: jobs: "../etc/passwd" is not a job name (1 to 100 letters, digits, _ . : - and none of . : - first)'],
    ),
    (
        "job name with a dash first",
        "jobs:\n  -backup: {run: x}\n",
        ['2:3: jobs: "-backup" is not a job name (1 to 100 letters, digits, _ . : - and none of . : - first)'],
    ),
    (
        "job name with a line break",
        'jobs:\n  "a\\nb": {run: x}\n',
        ['2:3: jobs: "a\\nb" is not a job name (1 to 100 letters, digits, _ . : - and none of . : - first)'],
    ),
    (
        "job name that is empty",
        'jobs:\n  "": {run: x}\n',
        ['2:3: jobs: "" is not a job name (1 to 100 letters, digits, _ . : - and none of . : - first)'],
    ),
    (
        "job name of 101 characters",
        f"jobs:\n  {LONG}: {{run: x}}\n",
        [f'2:3: jobs: "{LONG}" is not a job name (1 to 100 letters, digits, _ . : - and none of . : - first)'],
    ),
    # run.
    (
        "run as an empty text",
        'jobs:\n  backup: {run: ""}\n',
        ["2:17: jobs.backup.run: is empty: expected a program to run"],
    ),
    ("run as spaces", 'jobs:\n  backup: {run: "  "}\n', ["2:17: jobs.backup.run: is empty: expected a program to run"]),
    (
        "run without a value",
        "jobs:\n  backup:\n    run:\n",
        ["3:9: jobs.backup.run: has no value: give one, or leave the key out"],
    ),
    (
        "run as an empty list",
        "jobs:\n  backup: {run: []}\n",
        ["2:17: jobs.backup.run: is empty: expected a program to run"],
    ),
    (
        "run with an empty program",
        'jobs:\n  backup: {run: ["", --all]}\n',
        ["2:18: jobs.backup.run[0]: is empty: expected a program to run"],
    ),
    (
        "run as a mapping",
        "jobs:\n  backup: {run: {program: x}}\n",
        ["2:17: jobs.backup.run: expected a list of a program and its arguments, or a text for /bin/sh -c"],
    ),
    (
        "run as a list of lists",
        "jobs:\n  backup: {run: [[/bin/true]]}\n",
        ["2:18: jobs.backup.run[0]: expected a text: the program or one of its arguments"],
    ),
    (
        "run with NUL",
        'jobs:\n  backup: {run: ["/bin/echo", "a\\0b"]}\n',
        ["2:31: jobs.backup.run[1]: has a NUL character, which no argument can have"],
    ),
    (
        "run longer than any argument list",
        f"jobs:\n  backup: {{run: {'x' * 100000}}}\n",
        ["2:17: jobs.backup.run: is longer than 100,000 bytes: put it into a script"],
    ),
    ("run that holds itself", "jobs:\n  backup: {run: &a [x, *a]}\n", ["2:17: jobs.backup.run: is nested too deeply"]),
    # when.
    (
        "when as a text",
        when("15min"),
        [f"4:11: jobs.backup.when: expected a mapping with one of {TRIGGERS} (for example {{every: 15min}})"],
    ),
    (
        "when as a list",
        when("[{every: 15min}]"),
        [f"4:11: jobs.backup.when: expected a mapping with one of {TRIGGERS} (for example {{every: 15min}})"],
    ),
    ("when without a value", when(""), ["4:10: jobs.backup.when: has no value: give one, or leave the key out"]),
    ("when without a trigger", when("{}"), [f"4:11: jobs.backup.when: expected exactly one of {TRIGGERS}; got none"]),
    (
        "when with two triggers",
        when('{every: 5min, at: "03:00"}'),
        [f"4:11: jobs.backup.when: expected exactly one of {TRIGGERS}; got every and at"],
    ),
    (
        "unknown trigger, near another",
        when("{evry: 5min}"),
        ['4:12: jobs.backup.when: unknown key "evry" (did you mean every?)'],
    ),
    (
        "unknown trigger, near nothing",
        when("{zzz: 5min}"),
        [f'4:12: jobs.backup.when: unknown key "zzz"; expected one of {TRIGGERS}'],
    ),
    (
        "another job's setting among the triggers",
        when("{every: 5min, jitter: 1min}"),
        [f'4:25: jobs.backup.when: unknown key "jitter"; expected one of {TRIGGERS}'],
    ),
    (
        "every with a unit that does not exist",
        when("{every: 5x}"),
        ['4:19: jobs.backup.when.every: "5x" is not a duration (try 5min, 2h, 1d)'],
    ),
    ("every without a unit", when("{every: 5}"), ['4:19: jobs.backup.when.every: "5" has no unit (try 5s, 5min, 5h)']),
    (
        "every with a clock's colon",
        when("{every: 1:30}"),
        ['4:19: jobs.backup.when.every: "1:30" is not a duration (try 5min, 2h, 1d)'],
    ),
    (
        "every too short",
        when("{every: 500ms}"),
        ['4:19: jobs.backup.when.every: "500ms" is shorter than one second, the shortest interval'],
    ),
    (
        "every of nothing",
        when("{every: 0}"),
        ['4:19: jobs.backup.when.every: "0" is shorter than one second, the shortest interval'],
    ),
    (
        "every negative",
        when("{every: -5min}"),
        ['4:19: jobs.backup.when.every: "-5min" is not a duration (try 5min, 2h, 1d)'],
    ),
    (
        "every without a value",
        when("{every: }"),
        ['4:19: jobs.backup.when.every: "" is not a duration (try 5min, 2h, 1d)'],
    ),
    (
        "every as a list",
        when("{every: [5min]}"),
        ["4:19: jobs.backup.when.every: expected a duration such as 15min or 1hour"],
    ),
    (
        "every longer than a century",
        when("{every: 6000w}"),
        ['4:19: jobs.backup.when.every: "6000w" is longer than a hundred years'],
    ),
    (
        "every with a number that has no end",
        when("{every: " + NINES[:1000] + "h}"),
        [f'4:19: jobs.backup.when.every: "{NINES[:225]} ... {NINES[:211]}h" is not a duration (try 5min, 2h, 1d)'],
    ),
    (
        "cron of four fields",
        when('{cron: "30 2 * *"}'),
        [
            (
                '4:18: jobs.backup.when.cron: "30 2 * *" is not a cron expression: expected five fields, minute '
                "hour day month weekday"
            )
        ],
    ),
    (
        "cron of six fields",
        when('{cron: "0 30 2 * * *"}'),
        [
            (
                '4:18: jobs.backup.when.cron: "0 30 2 * * *" is not a cron expression: expected five fields, '
                "minute hour day month weekday; seconds and years are none of them: seconds are when: {every: 30s}"
            )
        ],
    ),
    (
        "cron with minute 60",
        when('{cron: "60 * * * *"}'),
        ['4:18: jobs.backup.when.cron: "60 * * * *" is not a cron expression: bad minute'],
    ),
    (
        "cron with hour 24",
        when('{cron: "0 24 * * *"}'),
        ['4:18: jobs.backup.when.cron: "0 24 * * *" is not a cron expression: bad hour'],
    ),
    (
        "cron with day 0",
        when('{cron: "0 0 0 * *"}'),
        ['4:18: jobs.backup.when.cron: "0 0 0 * *" is not a cron expression: bad day-of-month'],
    ),
    (
        "cron with month 13",
        when('{cron: "0 0 1 13 *"}'),
        ['4:18: jobs.backup.when.cron: "0 0 1 13 *" is not a cron expression: bad month'],
    ),
    (
        "cron with weekday 8",
        when('{cron: "0 0 * * 8"}'),
        ['4:18: jobs.backup.when.cron: "0 0 * * 8" is not a cron expression: bad day-of-week'],
    ),
    (
        "cron with a range that runs backwards",
        when('{cron: "30-10 * * * *"}'),
        ['4:18: jobs.backup.when.cron: "30-10 * * * *" is not a cron expression: bad minute'],
    ),
    (
        "cron with a step of 0",
        when('{cron: "*/0 * * * *"}'),
        ['4:18: jobs.backup.when.cron: "*/0 * * * *" is not a cron expression: bad minute'],
    ),
    (
        "cron with a word",
        when("{cron: hourly}"),
        [
            (
                '4:18: jobs.backup.when.cron: "hourly" is not a cron expression: expected five fields, minute '
                "hour day month weekday"
            )
        ],
    ),
    (
        "cron with @reboot",
        when('{cron: "@reboot"}'),
        [
            (
                '4:18: jobs.backup.when.cron: "@reboot" is not a cron expression: expected five fields, minute '
                "hour day month weekday; a job of the boot has when: {boot: 0s}"
            )
        ],
    ),
    (
        "cron with a date that never comes",
        when('{cron: "0 0 30 2 *"}'),
        ['4:18: jobs.backup.when.cron: "0 0 30 2 *" names a date that never comes'],
    ),
    (
        "cron with April 31",
        when('{cron: "0 0 31 4,6 *"}'),
        ['4:18: jobs.backup.when.cron: "0 0 31 4,6 *" names a date that never comes'],
    ),
    (
        "cron with a number that has no end",
        when('{cron: "' + NINES + ' * * * *"}'),
        [
            (
                f'4:18: jobs.backup.when.cron: "{NINES[:226]} ... {NINES[:206]} * * * *" is not a cron '
                "expression: too long"
            )
        ],
    ),
    (
        "cron as a mapping",
        when("{cron: {minute: 5}}"),
        ['4:18: jobs.backup.when.cron: expected a cron expression such as "30 2 * * *"'],
    ),
    (
        "at 25:00",
        when('{at: "25:00"}'),
        ['4:16: jobs.backup.when.at: "25:00" is not a time of day (try "02:30" or "23:15:00")'],
    ),
    (
        "at 24:00, unquoted",
        when("{at: 24:00}"),
        ['4:16: jobs.backup.when.at: "24:00" is not a time of day (try "02:30" or "23:15:00")'],
    ),
    (
        "at without a colon",
        when("{at: 1330}"),
        ['4:16: jobs.backup.when.at: "1330" is not a time of day (try "02:30" or "23:15:00")'],
    ),
    (
        "at with half past",
        when("{at: 2:3}"),
        ['4:16: jobs.backup.when.at: "2:3" is not a time of day (try "02:30" or "23:15:00")'],
    ),
    (
        "at with pm",
        when("{at: 2:30pm}"),
        ['4:16: jobs.backup.when.at: "2:30pm" is not a time of day (try "02:30" or "23:15:00")'],
    ),
    (
        "at with one bad time of two",
        when('{at: ["02:30", "12:60"]}'),
        ['4:26: jobs.backup.when.at[1]: "12:60" is not a time of day (try "02:30" or "23:15:00")'],
    ),
    (
        "at without times",
        when("{at: []}"),
        ['4:16: jobs.backup.when.at: expected at least one time of day, such as "02:30"'],
    ),
    (
        "at as a list of mappings",
        when('{at: [{time: "02:30"}]}'),
        ['4:17: jobs.backup.when.at[0]: expected a time of day such as "02:30"'],
    ),
    ("at without time", when("{at: {days: mon-fri}}"), ['4:16: jobs.backup.when.at: at needs time, such as "02:30"']),
    (
        "at with a bad time beside days",
        when("{at: {time: noon, days: mon-fri}}"),
        ['4:23: jobs.backup.when.at.time: "noon" is not a time of day (try "02:30" or "23:15:00")'],
    ),
    (
        "at with an unknown key",
        when('{at: {time: "02:30", day: mon}}'),
        ['4:32: jobs.backup.when.at: unknown key "day" (did you mean days?)'],
    ),
    (
        "at with a weekday that does not exist",
        when('{at: {time: "02:30", days: mon-fry}}'),
        ['4:38: jobs.backup.when.at.days: "mon-fry" does not name weekdays (try mon-fri, or sat,sun)'],
    ),
    (
        "at with a weekday that only begins well",
        when('{at: {time: "02:30", days: monkey}}'),
        ['4:38: jobs.backup.when.at.days: "monkey" does not name weekdays (try mon-fri, or sat,sun)'],
    ),
    (
        "at with half a range of weekdays",
        when('{at: {time: "02:30", days: mon-}}'),
        ['4:38: jobs.backup.when.at.days: "mon-" does not name weekdays (try mon-fri, or sat,sun)'],
    ),
    (
        "at with numbers as weekdays",
        when('{at: {time: "02:30", days: 1-5}}'),
        ['4:38: jobs.backup.when.at.days: "1-5" does not name weekdays (try mon-fri, or sat,sun)'],
    ),
    (
        "at with a mapping as weekdays",
        when('{at: {time: "02:30", days: {from: mon}}}'),
        ["4:38: jobs.backup.when.at.days: expected weekdays such as mon-fri"],
    ),
    (
        "adaptive as a text",
        when("{adaptive: 5min}"),
        ["4:22: jobs.backup.when.adaptive: expected a mapping such as {start: 5min, min: 30s, max: 6h}"],
    ),
    (
        "adaptive without start",
        when("{adaptive: {min: 30s, max: 6h}}"),
        ["4:22: jobs.backup.when.adaptive: adaptive needs start, the interval to begin with"],
    ),
    (
        "adaptive start below min",
        when("{adaptive: {start: 5s, min: 30s, max: 6h}}"),
        ["4:30: jobs.backup.when.adaptive.start: start must lie between min and max"],
    ),
    (
        "adaptive start above max",
        when("{adaptive: {start: 7h, min: 30s, max: 6h}}"),
        ["4:30: jobs.backup.when.adaptive.start: start must lie between min and max"],
    ),
    (
        "adaptive with a bad bound",
        when("{adaptive: {start: 5min, min: 30}}"),
        ['4:41: jobs.backup.when.adaptive.min: "30" has no unit (try 30s, 30min, 30h)'],
    ),
    (
        "adaptive with a bound that is too short",
        when("{adaptive: {start: 5min, min: 10ms}}"),
        ['4:41: jobs.backup.when.adaptive.min: "10ms" is shorter than one second, the shortest interval'],
    ),
    (
        "adaptive with an unknown key",
        when("{adaptive: {start: 5min, maximum: 1h}}"),
        ['4:36: jobs.backup.when.adaptive: unknown key "maximum" (did you mean max?)'],
    ),
    (
        "boot as a truth",
        when("{boot: yes}"),
        ['4:18: jobs.backup.when.boot: "yes" is not a duration (try 5min, 2h, 1d)'],
    ),
    (
        "boot as a number",
        when("{boot: 120}"),
        ['4:18: jobs.backup.when.boot: "120" has no unit (try 120s, 120min, 120h)'],
    ),
    (
        "boot as a mapping",
        when("{boot: {after: 2min}}"),
        ["4:18: jobs.backup.when.boot: expected a duration such as 2min"],
    ),
    (
        "manual: false",
        when("{manual: false}"),
        ["4:20: jobs.backup.when.manual: expected manual: true, or no when at all"],
    ),
    (
        "after a job that does not exist",
        when("{after: bakup}"),
        ['4:19: jobs.backup.when.after: there is no job "bakup" (did you mean backup?)'],
    ),
    (
        "after itself",
        when("{after: backup}"),
        ["4:19: jobs.backup.when.after: the jobs go round in a circle: backup after backup"],
    ),
    ("after a list", when("{after: [backup]}"), ["4:19: jobs.backup.when.after: expected the name of a job"]),
    # Other settings of a job.
    (
        "time zone that does not exist",
        job("timezone: Europe/Berln"),
        ['4:15: jobs.backup.timezone: "Europe/Berln" is not a time zone (try Europe/Berlin or UTC)'],
    ),
    (
        "time zone that is a folder",
        job("timezone: Europe"),
        ['4:15: jobs.backup.timezone: "Europe" is not a time zone (try Europe/Berlin or UTC)'],
    ),
    (
        "time zone that leaves its folder",
        job("timezone: ../../etc/localtime"),
        ['4:15: jobs.backup.timezone: "../../etc/localtime" is not a time zone (try Europe/Berlin or UTC)'],
    ),
    (
        "time zone as a list",
        job("timezone: [UTC]"),
        ["4:15: jobs.backup.timezone: expected a time zone such as Europe/Berlin"],
    ),
    (
        "time zone of all that does not exist",
        "timezone: Mars/Olympus\n",
        ['1:11: timezone: "Mars/Olympus" is not a time zone (try Europe/Berlin or UTC)'],
    ),
    (
        "time zone of all without a value",
        "timezone:\n",
        ["1:10: timezone: has no value: give one, or leave the key out"],
    ),
    (
        "enabled that is no truth",
        job("enabled: maybe"),
        ['4:14: jobs.backup.enabled: "maybe" is neither true nor false'],
    ),
    ("enabled as a number", job("enabled: 1"), ['4:14: jobs.backup.enabled: "1" is neither true nor false']),
    ("enabled as a list", job("enabled: [true]"), ["4:14: jobs.backup.enabled: expected one value, got a list"]),
    (
        "description as a list",
        job("description: [a, b]"),
        ["4:18: jobs.backup.description: expected one value, got a list"],
    ),
    ("user without a value", job("user: ~"), ["4:11: jobs.backup.user: has no value: give one, or leave the key out"]),
    ("user with a space", job("user: the backup"), ['4:11: jobs.backup.user: "the backup" is not a valid name']),
    ("user with a line break", job('user: "root\\n"'), ['4:11: jobs.backup.user: "root\\n" is not a valid name']),
    ("user with a slash", job("user: ../root"), ['4:11: jobs.backup.user: "../root" is not a valid name']),
    (
        "group of 33 characters",
        job("group: " + LONG[:33]),
        [f'4:12: jobs.backup.group: "{LONG[:33]}" is not a valid name'],
    ),
    (
        "working directory that is relative",
        job("working_directory: var/backup"),
        ['4:24: jobs.backup.working_directory: "var/backup" is not an absolute path'],
    ),
    (
        "working directory as a list",
        job("working_directory: [/var]"),
        ["4:24: jobs.backup.working_directory: expected a path"],
    ),
    (
        "working directory with NUL",
        job('working_directory: "/var/\\0"'),
        ["4:24: jobs.backup.working_directory: has a control character, or a space or backslash at its end"],
    ),
    (
        "environment as a list",
        job("environment: [LEVEL=full]"),
        ["4:18: jobs.backup.environment: expected a mapping of names to texts"],
    ),
    (
        "environment name with a dash",
        job("environment: {MY-LEVEL: full}"),
        ['4:19: jobs.backup.environment: "MY-LEVEL" is not a name for an environment variable'],
    ),
    (
        "environment name with a dot",
        job("environment:\n      GOOD: x\n      my.level: full"),
        ['6:7: jobs.backup.environment: "my.level" is not a name for an environment variable'],
    ),
    (
        "environment name that begins with a digit",
        job("environment: {1ST: full}"),
        ['4:19: jobs.backup.environment: "1ST" is not a name for an environment variable'],
    ),
    (
        "environment name that is agentd's own",
        job("environment: {AGENTD_JOB: feed}"),
        [
            (
                '4:19: jobs.backup.environment: "AGENTD_JOB" is not a name for an environment variable (AGENTD_ '
                "names are agentd's own)"
            )
        ],
    ),
    (
        "environment value as a list",
        job("environment: {LEVEL: [full]}"),
        ["4:26: jobs.backup.environment.LEVEL: expected a text, got a list"],
    ),
    (
        "environment value with NUL",
        job('environment: {LEVEL: "a\\0b"}'),
        ["4:26: jobs.backup.environment.LEVEL: expected at most 30,000 characters, no control characters"],
    ),
    (
        "expectation of nothing",
        job("expect: {at_most: 0}"),
        ['4:23: jobs.backup.expect.at_most: "0" is too small'],
    ),
    (
        "expectation that there is not",
        job("expect: {at_mots: 2h}"),
        ['4:14: jobs.backup.expect: unknown key "at_mots" (did you mean at_most?)'],
    ),
    (
        "expectation that contradicts another",
        job("expect: {at_least: 2h, at_most: 2h}"),
        ["4:24: jobs.backup.expect.at_least: expected a duration below that of at_most, which is 2h"],
    ),
    ("timeout of nothing", job("timeout: 0"), ['4:14: jobs.backup.timeout: "0" is too small']),
    (
        "timeout without a unit",
        job("timeout: 90"),
        ['4:14: jobs.backup.timeout: "90" has no unit (try 90s, 90min, 90h)'],
    ),
    (
        "timeout as a mapping",
        job("timeout: {start: 1h}"),
        ["4:14: jobs.backup.timeout: expected a duration such as 5min"],
    ),
    (
        "environment variable that is the shell's",
        job("environment: {OPTIND: abc}"),
        ["4:19: jobs.backup.environment: OPTIND belongs to the shell that starts the job"],
    ),
    (
        "environment variable that is systemd's verdict",
        job("environment: {SERVICE_RESULT: success}"),
        [
            "4:19: jobs.backup.environment: SERVICE_RESULT belongs to systemd, which tells the job about itself in it",
        ],
    ),
    (
        "systemd setting that has root run a command",
        job("systemd: {ExecStartPre: [/bin/true, -+/bin/x]}"),
        [
            (
                "4:41: jobs.backup.systemd.ExecStartPre[1]: begins a command with + or !: root would run it from the "
                "job's environment, which is its user's; root's work is a job of its own"
            )
        ],
    ),
    (
        "systemd setting that has root run all commands but one",
        job("systemd: {PermissionsStartOnly: yes}"),
        ["4:15: jobs.backup.systemd: PermissionsStartOnly would have root run commands from the job's environment"],
    ),
    (
        "folder that systemd refuses",
        job("working_directory: /.."),
        ['4:24: jobs.backup.working_directory: "/.." has . or .. in it, which systemd refuses: write where it leads'],
    ),
    (
        "folder whose name is too long",
        job(f"working_directory: /{'a' * 256}"),
        ["4:24: jobs.backup.working_directory: is longer than a path can be"],
    ),
    (
        "more processes than systemd counts",
        job("limits: {tasks: 10000000000}"),
        ['4:21: jobs.backup.limits.tasks: "10000000000" must lie between 1 and 1000000000'],
    ),
    (
        "line that systemd does not read, and with it the whole unit",
        job(f"systemd: {{X: {'a' * 30_001}}}"),
        ["4:18: jobs.backup.systemd.X: expected at most 30,000 characters: systemd reads no unit with a longer line"],
    ),
    (
        "what is no character, as it is",
        "jobs:\n  backup: {run: a\ufdd0}\n",
        ["2:18: is not YAML: U+FDD0 is no character: Unicode keeps it out of texts"],
    ),
    (
        "what is no character, as an escape",
        'jobs:\n  backup: {run: "a\\U0001FFFE"}\n',
        ["2:19: is not YAML: \\U0001FFFE is no character: Unicode keeps it out of texts"],
    ),
    (
        "root directory of its own without the path of the program",
        "jobs:\n  jail:\n    run: [ls]\n    systemd: {RootDirectory: /srv}\n",
        [
            (
                "3:10: jobs.jail.run: with RootDirectory in systemd, expected the path of the program within that "
                'root, not "ls"'
            )
        ],
    ),
    (
        "systemd setting that is no name",
        job("systemd: {protect-home: true}"),
        ['4:15: jobs.backup.systemd: "protect-home" is not the name of a setting such as ProtectHome'],
    ),
    (
        "systemd setting that follows from others",
        job("systemd: {ExecStart: /bin/sh}"),
        ["4:15: jobs.backup.systemd: ExecStart follows from the job's own settings and cannot be set here"],
    ),
    (
        "systemd setting of two lines",
        job('systemd: {Nice: "10\\nExecStartPre=/bin/sh"}'),
        ["4:21: jobs.backup.systemd.Nice: expected a text of one line, or a list of them"],
    ),
    (
        "systemd settings as a list",
        job("systemd: [Nice]"),
        ["4:14: jobs.backup.systemd: expected a mapping of settings of [Service] to texts or lists of them"],
    ),
    (
        "stop_timeout with a bad unit",
        job("stop_timeout: 1month"),
        ['4:19: jobs.backup.stop_timeout: "1month" is not a duration (try 5min, 2h, 1d)'],
    ),
    (
        "overlap that does not exist",
        job("overlap: repalce"),
        ['4:14: jobs.backup.overlap: "repalce" is not one of queue, replace, skip (did you mean replace?)'],
    ),
    ("overlap as a truth", job("overlap: no"), ['4:14: jobs.backup.overlap: "no" is not one of queue, replace, skip']),
    (
        "missed that does not exist",
        job("missed: never"),
        ['4:13: jobs.backup.missed: "never" is not one of skip, once, all, {within: 1h}'],
    ),
    (
        "missed as a list",
        job("missed: [once]"),
        ["4:13: jobs.backup.missed: expected one of skip, once, all, {within: 1h}"],
    ),
    (
        "missed with a bad duration",
        job("missed: {within: 1}"),
        ['4:22: jobs.backup.missed.within: "1" has no unit (try 1s, 1min, 1h)'],
    ),
    (
        "missed with another key",
        job("missed: {after: 1h}"),
        ["4:13: jobs.backup.missed: expected one of skip, once, all, {within: 1h}"],
    ),
    (
        "useful that does not exist",
        job("useful: exitcode"),
        [f'4:13: jobs.backup.useful: "exitcode" is not one of {USEFUL}'],
    ),
    (
        "useful with a relative file",
        job("useful: {file: last}"),
        ['4:20: jobs.backup.useful.file: "last" is not an absolute path'],
    ),
    (
        "useful with another key",
        job("useful: {files: /last}"),
        [f"4:13: jobs.backup.useful: expected one of {USEFUL}"],
    ),
    (
        "notify that does not exist",
        job("notify: [start, finish]"),
        [f'4:21: jobs.backup.notify[1]: "finish" is not one of {EVENTS}'],
    ),
    (
        "notify as one word that does not exist",
        job("notify: falure"),
        [f'4:13: jobs.backup.notify: "falure" is not one of {EVENTS} (did you mean failure?)'],
    ),
    (
        "notify as a mapping",
        job("notify: {on: failure}"),
        ["4:13: jobs.backup.notify: expected one value, got a mapping"],
    ),
    (
        "notify as a list of lists",
        job("notify: [[failure]]"),
        ["4:14: jobs.backup.notify[0]: expected one value, got a list"],
    ),
    ("retries as a number", job("retries: 3"), ['4:14: jobs.backup.retries: expected a mapping of settings, got "3"']),
    (
        "retries.count negative",
        job("retries: {count: -1}"),
        ['4:22: jobs.backup.retries.count: "-1" must lie between 0 and 100'],
    ),
    (
        "retries.count 1000",
        job("retries: {count: 1000}"),
        ['4:22: jobs.backup.retries.count: "1000" must lie between 0 and 100'],
    ),
    (
        "retries.count with a number that has no end",
        job("retries: {count: " + NINES + "}"),
        [f'4:22: jobs.backup.retries.count: "{NINES[:222]} ... {NINES[:227]}" is not a whole number'],
    ),
    (
        "retries.count octal",
        job("retries: {count: 010}"),
        ['4:22: jobs.backup.retries.count: "010" is not a whole number (YAML reads it as octal; write 10)'],
    ),
    (
        "retries.count of zeros",
        job("retries: {count: 000}"),
        ['4:22: jobs.backup.retries.count: "000" is not a whole number (YAML reads it as octal; write 0)'],
    ),
    (
        "retries.count hexadecimal",
        job("retries: {count: 0x10}"),
        ['4:22: jobs.backup.retries.count: "0x10" is not a whole number'],
    ),
    (
        "retries.count a float",
        job("retries: {count: 3.0}"),
        ['4:22: jobs.backup.retries.count: "3.0" is not a whole number'],
    ),
    (
        "retries.count a truth",
        job("retries: {count: yes}"),
        ['4:22: jobs.backup.retries.count: "yes" is not a whole number'],
    ),
    (
        "retries.count without a value",
        job("retries: {count: null}"),
        ["4:22: jobs.backup.retries.count: has no value: give one, or leave the key out"],
    ),
    (
        "retries.count as a list",
        job("retries: {count: [3]}"),
        ["4:22: jobs.backup.retries.count: expected one value, got a list"],
    ),
    (
        "retries.backoff without a unit",
        job("retries: {count: 3, backoff: 60}"),
        ['4:34: jobs.backup.retries.backoff: "60" has no unit (try 60s, 60min, 60h)'],
    ),
    ("concurrency 0", job("concurrency: 0"), ['4:18: jobs.backup.concurrency: "0" must lie between 1 and 1000']),
    ("concurrency of all 0", "concurrency: 0\n", ['1:14: concurrency: "0" must lie between 1 and 100000']),
    (
        "jitter as a word",
        job("jitter: some"),
        ['4:13: jobs.backup.jitter: "some" is not a duration (try 5min, 2h, 1d)'],
    ),
    ("limits as a size", job("limits: 1G"), ['4:13: jobs.backup.limits: expected a mapping of settings, got "1G"']),
    (
        "limits.memory with a unit that does not exist",
        job("limits: {memory: 1X}"),
        ['4:22: jobs.backup.limits.memory: "1X" is not a size (try 512M, 1G)'],
    ),
    (
        "limits.memory with a fraction",
        job("limits: {memory: 1.5G}"),
        ['4:22: jobs.backup.limits.memory: "1.5G" is not a size (try 512M, 1G)'],
    ),
    (
        "limits.memory in percent",
        job("limits: {memory: 50%}"),
        ['4:22: jobs.backup.limits.memory: "50%" is not a size (try 512M, 1G)'],
    ),
    ("limits.memory of nothing", job("limits: {memory: 0}"), ['4:22: jobs.backup.limits.memory: "0" is too small']),
    (
        "limits.memory that no machine has",
        job("limits: {memory: 9999999T}"),
        ['4:22: jobs.backup.limits.memory: "9999999T" is larger than any machine'],
    ),
    (
        "limits.cpu_weight 0",
        job("limits: {cpu_weight: 0}"),
        ['4:26: jobs.backup.limits.cpu_weight: "0" must lie between 1 and 10000'],
    ),
    (
        "limits.cpu_weight 10001",
        job("limits: {cpu_weight: 10001}"),
        ['4:26: jobs.backup.limits.cpu_weight: "10001" must lie between 1 and 10000'],
    ),
    (
        "limits.tasks 0",
        job("limits: {tasks: 0}"),
        ['4:21: jobs.backup.limits.tasks: "0" must lie between 1 and 1000000000'],
    ),
    # Other settings.
    ("history.runs too few", "history: {runs: 5}\n", ['1:17: history.runs: "5" must be at least 100']),
    (
        "history.keep without a unit",
        "history: {keep: 90}\n",
        ['1:17: history.keep: "90" has no unit (try 90s, 90min, 90h)'],
    ),
    (
        "history.output nonsense",
        "history: {output: much}\n",
        ['1:19: history.output: "much" is not a size (try 512M, 1G)'],
    ),
    ("watch that is no truth", "watch: sometimes\n", ['1:8: watch: "sometimes" is neither true nor false']),
    ("history as a list", "history: [90d]\n", ["1:10: history: expected a mapping of settings, got a list"]),
    # Reboots.
    (
        "a time of day for reboots that is none",
        'reboot: {nightly: {at: "25:00"}}\n',
        ['1:24: reboot.nightly.at: "25:00" is not a time of day (try "02:30" or "23:15:00")'],
    ),
    (
        "a time of day for reboots said twice",
        'reboot: {nightly: {at: "02:00", hour: 3}}\n',
        ["1:19: reboot.nightly: has both at and hour or minute: say it once"],
    ),
    (
        "a date that does not exist",
        "reboot: {nightly: {except: [2026-02-30]}}\n",
        [
            '1:29: reboot.nightly.except[0]: "2026-02-30" is not a date (try 2026-12-24, or 2026-12-24/2027-01-02)',
        ],
    ),
    (
        "a week's day in the place of a date",
        "reboot: {nightly: {except: [2026-W43-1]}}\n",
        [
            '1:29: reboot.nightly.except[0]: "2026-W43-1" is not a date (try 2026-12-24, or 2026-12-24/2027-01-02)',
        ],
    ),
    (
        "a last date without hyphens",
        "reboot: {nightly: {except: [2026-12-24/20270102]}}\n",
        [
            (
                '1:29: reboot.nightly.except[0]: "2026-12-24/20270102" is not a date '
                "(try 2026-12-24, or 2026-12-24/2027-01-02)"
            )
        ],
    ),
    (
        "a date in other digits",
        "reboot: {nightly: {except: [2026-12-٢٤]}}\n",
        [
            '1:29: reboot.nightly.except[0]: "2026-12-٢٤" is not a date (try 2026-12-24, or 2026-12-24/2027-01-02)',
        ],
    ),
    (
        "a stretch that ends before its begin",
        "reboot: {nightly: {except: [2026-12-24/2026-12-23]}}\n",
        [
            (
                '1:29: reboot.nightly.except[0]: "2026-12-24/2026-12-23" is not a date '
                "(try 2026-12-24, or 2026-12-24/2027-01-02)"
            )
        ],
    ),
    (
        "an hour that does not exist, of a second window",
        "reboot: {windows: [{hour: 2}, {hour: 24}]}\n",
        ['1:38: reboot.windows[1].hour: "24" must lie between 0 and 23'],
    ),
    (
        "a jitter as long as its window",
        "reboot: {nightly: {window: 1h, jitter: 1h}}\n",
        ["1:19: reboot.nightly: has a jitter that is not shorter than its window"],
    ),
    (
        "a kind of reboot that does not exist",
        "reboot: {kind: hard}\n",
        ['1:16: reboot.kind: "hard" is not one of kexec, reboot, soft-reboot'],
    ),
    (
        "a hook that is no job",
        "jobs: {save: {run: /bin/true}}\nreboot: {hooks: {before: sav}}\n",
        ['2:26: reboot.hooks.before: there is no job "sav" (did you mean save?)'],
    ),
    (
        "inhibitors that shall be overridden",
        "reboot: {wait_for: {inhibitors: 1h}}\n",
        [
            "1:33: reboot.wait_for.inhibitors: inhibitors hold a reboot as long as they last: the only value is window",
        ],
    ),
    (
        "a secret in the URL of a fleet's lock",
        "reboot: {fleet: {fleetlock: https://a:b@lock.example/}}\n",
        [
            "1:29: reboot.fleet.fleetlock: the URL must hold no user and no password: see CREDENTIALS in agentd(8)",
        ],
    ),
    (
        "the URL of a fleet's lock with a port that is none",
        "reboot: {fleet: {etcd: [https://a.example, https://b.example:99999]}}\n",
        [
            "1:44: reboot.fleet.etcd[1]: the URL must name a host and, where it has one, a port from 1 to 65535",
        ],
    ),
    (
        "a fleet without a lock",
        "reboot: {fleet: {group: web}}\n",
        ["1:17: reboot.fleet: needs exactly one of fleetlock and etcd"],
    ),
    # Words and signs of other programs.
    (
        "cron with @every",
        when('{cron: "@every 5m"}'),
        [
            (
                '4:18: jobs.backup.when.cron: "@every 5m" is not a cron expression: expected five fields, minute '
                "hour day month weekday; an interval is when: {every: 5m}"
            )
        ],
    ),
    (
        "cron of seven fields",
        when('{cron: "0 0 30 2 * * 2027"}'),
        [
            (
                '4:18: jobs.backup.when.cron: "0 0 30 2 * * 2027" is not a cron expression: expected five fields, '
                "minute hour day month weekday; seconds and years are none of them: seconds are when: {every: 30s}"
            )
        ],
    ),
    (
        "cron with a question mark",
        when('{cron: "0 0 ? * *"}'),
        ['4:18: jobs.backup.when.cron: "0 0 ? * *" is not a cron expression: bad day-of-month (write * for ?)'],
    ),
    (
        "when as a cron expression",
        when('"0 8 * * *"'),
        [f'4:11: jobs.backup.when: expected a mapping with one of {TRIGGERS} (for example {{cron: "0 8 * * *"}})'],
    ),
    (
        "when as a name of cron's",
        when('"@daily"'),
        [f'4:11: jobs.backup.when: expected a mapping with one of {TRIGGERS} (for example {{cron: "@daily"}})'],
    ),
    (
        "settings of a job as others call them",
        "jobs: {a: {command: x}, b: {run: x, schedule: x}, c: {run: x, every: 5min}}\n",
        [
            "1:11: jobs.a: needs run",
            '1:12: jobs.a: unknown key "command" (did you mean run?)',
            '1:37: jobs.b: unknown key "schedule" (did you mean when?)',
            '1:63: jobs.c: unknown key "every" (did you mean when?)',
        ],
    ),
    (
        "overlap as Kubernetes says it",
        "jobs: {a: {run: x, overlap: allow}, b: {run: x, overlap: forbid}}\n",
        [
            '1:29: jobs.a.overlap: "allow" is not one of queue, replace, skip: for that, set concurrency: 2 or more',
            '1:58: jobs.b.overlap: "forbid" is not one of queue, replace, skip: for that, say skip',
        ],
    ),
    # Meant otherwise than it is read.
    (
        "window of two days",
        "reboot: {nightly: {at: '03:00', window: 2d}}\n",
        ['1:41: reboot.nightly.window: "2d" must lie between 1min and 1d'],
    ),
    (
        "durations with a capital M",
        "history: {keep: 3M}\njobs:\n  a: {run: x, when: {every: 1M}, timeout: 1h 3M}\n",
        [
            '1:17: history.keep: "3M" may mean months, or minutes: say 90d, or 3min',
            '3:29: jobs.a.when.every: "1M" may mean months, or minutes: say 30d, or 1min',
            '3:43: jobs.a.timeout: "1h 3M" may mean months, or minutes: say 90d, or 3min',
        ],
    ),
    (
        "tags of YAML",
        (
            "jobs:\n  a: {run: !include cmd.txt, environment: {A: !env A, B: !!binary aGk=}}\n"
            "  b: !job {run: [x, !vault y]}\n"
        ),
        [
            "2:12: jobs.a.run: tags such as !include are not supported: write the value itself",
            "2:47: jobs.a.environment.A: tags such as !env are not supported: write the value itself",
            "2:58: jobs.a.environment.B: tags such as !!binary are not supported: write the value itself",
            "3:6: jobs.b: tags such as !job are not supported: write the value itself",
            "3:21: jobs.b.run[1]: tags such as !vault are not supported: write the value itself",
        ],
    ),
    (
        "null in an environment and a command",
        "jobs:\n  a: {run: [x, ~], environment: {A: null, B: 'null'}}\n",
        [
            ("2:16: jobs.a.run[1]: has no value: give one, or leave the key out; a text such as ~ stands in quotes"),
            (
                "2:37: jobs.a.environment.A: has no value: give one, or leave the key out; a text such as null stands "
                "in quotes"
            ),
        ],
    ),
    (
        "environment value as a mapping",
        job("environment: {LEVEL: {full: yes}}"),
        ["4:26: jobs.backup.environment.LEVEL: expected a text, got a mapping"],
    ),
    (
        "name of a job that is the id of another's run",
        "jobs: {a: {run: x}, a.1: {run: x}, b.2: {run: x}}\n",
        ["1:26: jobs.a.1: run 1 of the job a has the same name: call one of the two otherwise"],
    ),
    (
        "missed within less than the grace of each due time",
        job("missed: {within: 20s}"),
        [
            (
                '4:22: jobs.backup.missed.within: "20s" is shorter than a minute, by which any due time may be late: '
                "expected more"
            )
        ],
    ),
    (
        "retries whose first pause is longer than the longest",
        "jobs: {a: {run: x, retries: {backoff: 2h, max: 1h}}, b: {run: x, retries: {backoff: 1h}}}\n",
        [
            (
                "1:39: jobs.a.retries.backoff: the first pause of 2h is longer than the longest, 1h (max): set max as "
                "well"
            ),
            (
                "1:85: jobs.b.retries.backoff: the first pause of 1h is longer than the longest, 30min (max): set max "
                "as well"
            ),
        ],
    ),
    (
        "password of etcd in the clear",
        "reboot: {fleet: {etcd: [https://a.example, http://10.0.0.9:2379], user: agentd}}\n",
        ["1:17: reboot.fleet: the password of user would go over http://, for all to read: expected https://"],
    ),
    # Notices.
    (
        "a credential that is an address",
        "notices: {channels: {phone: {credential: 'ntfy://secret'}}}\n",
        [
            (
                "1:42: notices.channels.phone.credential: is not the name of a credential: 1 to 32 small letters, "
                "digits and -, and no - first; the address itself stands in the credential"
            )
        ],
    ),
    (
        "a channel without a credential",
        "notices: {channels: {phone: {rate: 20}}}\n",
        ["1:29: notices.channels.phone: needs credential"],
    ),
    (
        "a rate of nothing",
        "notices: {channels: {phone: {credential: ntfy, rate: 0}}}\n",
        ['1:54: notices.channels.phone.rate: "0" must lie between 1 and 3600'],
    ),
    (
        "a channel's name with capitals",
        "notices: {channels: {Phone: {credential: ntfy}}}\n",
        [
            (
                '1:29: notices.channels.Phone: "Phone" cannot be the name of a channel: 1 to 32 small letters, digits '
                "and -, and no - first"
            )
        ],
    ),
    (
        "a default that is no channel",
        "notices: {channels: {phone: {credential: ntfy}}, default: phnoe}\n",
        ['1:59: notices.default: there is no channel "phnoe" (did you mean phone?)'],
    ),
    (
        "a route to no channel",
        "notices: {channels: {phone: {credential: ntfy}}, routes: [{events: [failure], to: [team]}]}\n",
        ['1:84: notices.routes[0].to[0]: there is no channel "team"; name it in notices.channels'],
    ),
    (
        "a route for an event that is none",
        "notices: {channels: {phone: {credential: ntfy}}, routes: [{events: [falure], to: [phone]}]}\n",
        ['1:69: notices.routes[0].events[0]: there is no event "falure" (did you mean failure?)'],
    ),
    (
        "quiet hours that end as they begin",
        'notices: {quiet: {from: "22:00", to: "22:00"}}\n',
        ["1:18: notices.quiet: begins and ends at the same time of day: expected two times"],
    ),
    (
        "reminders each second",
        "notices: {remind: 1s}\n",
        ["1:19: notices.remind: is shorter than a minute: expected a longer duration, or no"],
    ),
    (
        "a priority that is none",
        'notices: {quiet: {from: "22:00", to: "07:00", breaks: urgent}}\n',
        ['1:55: notices.quiet.breaks: "urgent" is not one of high, low, normal'],
    ),
    (
        "a heartbeat that races",
        "notices: {heartbeat: {credential: alive, every: 59s}}\n",
        ["1:49: notices.heartbeat.every: is shorter than a minute: expected a longer duration"],
    ),
    (
        "checks that are a channel's or the heartbeat's",
        """notices: {channels: {phone: {credential: ntfy}}, heartbeat: {credential: alive}}
jobs: {a: {run: x, ping: {credential: ntfy}}, b: {run: x, ping: {credential: alive}}}
""",
        [
            f"2:39: jobs.a.ping.credential: the channel phone has this credential: {CHECK}",
            f"2:78: jobs.b.ping.credential: the heartbeat (notices.heartbeat) has this credential: {CHECK}",
        ],
    ),
    (
        "a heartbeat that goes to a channel",
        "notices: {channels: {phone: {credential: ntfy}}, heartbeat: {credential: ntfy}}\n",
        [f"1:74: notices.heartbeat.credential: the channel phone has this credential: {CHECK}"],
    ),
    (
        "the address of a check in the place of its credential",
        "jobs: {a: {run: x, ping: {credential: 'https://hc.example.org/secret'}}}\n",
        [
            (
                "1:39: jobs.a.ping.credential: is not the name of a credential: 1 to 32 small letters, digits and -, "
                "and no - first; the address itself stands in the credential"
            )
        ],
    ),
    ("a ping to nowhere", "jobs: {a: {run: x, ping: {}}}\n", ["1:26: jobs.a.ping: needs credential"]),
    # Several at once.
    (
        "errors everywhere, sorted by place",
        EVERYWHERE,
        [
            '1:1: unknown key "timezon" (did you mean timezone?)',
            "4:5: jobs.b: needs run",
            '4:19: jobs.b.when.every: "5x" is not a duration (try 5min, 2h, 1d)',
            '5:14: jobs.b.timeout: "5" has no unit (try 5s, 5min, 5h)',
            '6:22: jobs.b.retries.count: "-1" must lie between 0 and 100',
            '6:26: jobs.b.retries: unknown key "backof" (did you mean backoff?)',
            '7:3: jobs: "a b" is not a job name (1 to 100 letters, digits, _ . : - and none of . : - first)',
            "8:10: jobs.a b.run: is empty: expected a program to run",
            '9:14: jobs.a b.timeout: "1x" is not a duration (try 5min, 2h, 1d)',
            '10:5: jobs.a b: "timeout" is there twice (first in line 9)',
            '11:14: concurrency: "0" must lie between 1 and 100000',
            '12:8: watch: "7" is neither true nor false',
        ],
    ),
]
