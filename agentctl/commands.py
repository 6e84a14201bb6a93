"""The table of agentctl's commands, and agentctl as click knows it."""

import os

import click

from agentctl import __version__
from agentctl.cli import Commands, address_option, json_option
from agentctl.client import ExitCode
from agentctl.session import Session

# Every command in the order of --help: where it is (module:name) and the first sentence of its help. A new command is
# a row here and a function in the folder of its part, whose module is imported when the command is called.
COMMANDS = {
    "status": ("agentctl.jobs.commands:status", "Shows all jobs, or one JOB in detail."),
    "increase": ("agentctl.jobs.commands:increase", "Runs JOB more often from now on."),
    "decrease": ("agentctl.jobs.commands:decrease", "Runs JOB less often from now on."),
    "enable": ("agentctl.jobs.commands:enable", "Lets JOB run by its schedule."),
    "disable": ("agentctl.jobs.commands:disable", "Keeps JOB from running by its schedule."),
    "set": ("agentctl.jobs.commands:set_interval", "Runs JOB at a fixed interval."),
    "reset": ("agentctl.jobs.commands:reset", "Makes JOB what the configuration says again."),
    "prefer": (
        "agentctl.learning.explain:prefer",
        "Sets by how many steps an adaptive JOB runs more or less often.",
    ),
    "next": ("agentctl.jobs.commands:next_times", "Shows when jobs, or one JOB, will be due."),
    "run": ("agentctl.jobs.runs:run", "Starts JOB now and prints the id of the run."),
    "stop": ("agentctl.jobs.runs:stop", "Stops the runs of a JOB, or one RUN."),
    "log": ("agentctl.jobs.runs:log", "Prints the output of a RUN, or of the newest run of a JOB."),
    "history": ("agentctl.jobs.runs:history", "Shows past runs of all jobs or one JOB, newest first."),
    "progress": ("agentctl.jobs.runs:progress", "Tells agentd how far a job is; for use inside the job."),
    "reboot-now": ("agentctl.reboots.commands:reboot_now", "Reboots this machine now, without asking back."),
    "reboot": ("agentctl.reboots.commands:reboots", "Shows and steers when this machine reboots."),
    "fleet": ("agentctl.reboots.commands:fleet", "Shows which machines of the fleet hold a slot to reboot."),
    "sched": ("agentctl.schedulers.commands:sched", "Shows and steers which CPU scheduler the kernel uses."),
    "kpi": ("agentctl.rules.commands:kpi", "Shows the KPIs that agentd samples, or the past of one NAME."),
    "rules": ("agentctl.rules.commands:rules", "Shows the rules, explains one, and tries rules on old samples."),
    "learning": (
        "agentctl.learning.commands:learning",
        "Shows what agentd has learnt of each job, and tries it on old events.",
    ),
    "explain": ("agentctl.learning.explain:explain", "Shows why an adaptive JOB runs as often as it does."),
    "model": ("agentctl.learning.model:model", "Shows and trains the network that foretells changes."),
    "notices": ("agentctl.notices.commands:notices", "Shows what agentd told people, and what waits to be told."),
    "tell": ("agentctl.notices.commands:tell", "Sends a message to people: from a person, or from within a job."),
    "self-test": ("agentctl.rules.commands:self_test", "Runs agentd's self-test and prints what it finds."),
    "watch": ("agentctl.rules.watching:watch", "Prints what happens as it happens."),
    "reload": ("agentctl.manager:reload", "Reads the configuration again and prints what changed."),
    "check": ("agentctl.manager:check", "Checks the configuration, or one FILE, for errors."),
    "version": ("agentctl.manager:version", "Shows the versions of agentctl and of the running agentd."),
    "completion": ("agentctl.manager:completion", "Prints the completion script for a shell."),
}
EPILOG = """\b
Exit status:
  0  done
  1  agentd refused, or something went wrong, or a check of self-test failed
  2  wrong usage, or a configuration with errors
  3  agentd is not running
  4  not allowed
  5  no such job, run, rule, KPI, channel or message, or no pending reboot
  6  run --wait, run --follow: the run did not end with success
  7  reboot-now: something is in the way
"""


@click.group(
    cls=Commands,
    table=COMMANDS,
    invoke_without_command=True,
    epilog=EPILOG,
    context_settings={
        "help_option_names": ["-h", "--help"],
        # rich heeds NO_COLOR by itself, click does not.
        "color": False if os.environ.get("NO_COLOR") else None,
    },
)
@address_option
@json_option
@click.version_option(__version__, "--version", message="agentctl %(version)s")
@click.pass_context
def cli(context: click.Context) -> None:
    """Shows and steers the jobs of agentd and the reboots of its machine.

    Without a command agentctl shows the status of all jobs.

    \b
    Examples:
      agentctl                      what runs, what is next, what failed
      agentctl run backup --follow  run a job now and watch its output
      agentctl history --failed     what went wrong lately
    """
    context.call_on_close(context.ensure_object(Session).close)
    if context.invoked_subcommand is None:
        context.invoke(cli.loaded("status"))


def run(arguments: list[str]) -> int:
    """Runs the command that click reads in the arguments, and returns its exit code. Raises Failure, OSError."""
    try:
        code = cli.main(arguments, prog_name="agentctl", standalone_mode=False)
    except click.ClickException as wrong:
        wrong.show()
        return wrong.exit_code
    except click.Abort:
        return 130
    return code if isinstance(code, int) else ExitCode.OK
