"""Learning: what runs were of use goes in, intervals of adaptive jobs come out."""

from collections.abc import Mapping, Sequence

import msgspec
from msgspec.structs import replace

from agentd.core.jobs.model import FAILURES, JobSaved, Run, RunChanged
from agentd.core.jobs.roster import Entry
from agentd.core.jobs.settings import Mode
from agentd.core.learning import champion, guardrails, learner, outcomes, story, wishes
from agentd.core.learning import memory as memories
from agentd.core.learning.learner import START_COST, Decision, State
from agentd.core.learning.model import (
    FEWEST_ROWS,
    MOST_ROWS,
    PART,
    JobLearns,
    JobsLearning,
    Learnt,
    LearntSaved,
    Network,
    NetworkChosen,
    NetworkDoubted,
    Outcome,
    OutcomeKept,
    Saved,
    TrainingWanted,
    UseWanted,
)
from agentd.core.learning.settings import LearningSettings, mode_of, terms_of
from agentd.core.part import Core, Decided, Effect
from agentd.core.quantities import SECOND
from agentd.core.times import jitter_offset, offset_at

TRAIN_CYCLES = 20
"""The cycles between two trainings, at least."""
NEWS = 200
"""The rows that must have come since the last training, at least; and a tenth of all."""
DOUBT = -8.0
"""The log-likelihood, in nats over all jobs, by which a network foretells worse than the counted rate before the one
before it takes its place."""
_PARTS = 1 << 16


class Learning(Core):
    """Decides how often adaptive jobs run. `host` seeds the jitter."""

    def __init__(
        self, jobs: JobsLearning, saved: Saved, settings: LearningSettings, now: int, *, host: str = ""
    ) -> None:
        self.settings = settings
        self.network: Network | None = None
        self.learnt = dict(saved.jobs)
        self.rows = saved.rows
        """The rows that there are to learn from."""
        self.training = False
        self.came = ""
        """What came of the last training since agentd began; empty: none is over."""
        self.gain = 0.0
        """The log-likelihood, in nats, by which the network in force foretold runs better than the counted rate."""
        self._jobs = jobs
        self._host = host
        self._effects: list[Effect] = []
        self._news: set[str] = set()
        self._unsaved: set[str] = set()
        self._next_cycle = now + settings.cycle
        self._cycles = 0  # since the last training
        self._fresh = saved.fresh  # rows since the last training
        self._stretch = 1.0  # the factor by which the budget has intervals longer
        self._draining = False
        self._look_away()

    # As every core

    def effects(self) -> list[Effect]:
        """Returns the effects since the last call, in order."""
        saved = [LearntSaved(name, msgspec.json.encode(self.learnt[name])) for name in sorted(self._unsaved)]
        taken, self._effects = [*saved, *self._effects], []
        self._unsaved.clear()
        return taken

    def wakeup(self) -> int | None:
        """Returns when the next cycle is due, where there is news of some job."""
        return self._next_cycle if self._news and not self._draining else None

    def tick(self, now: int) -> None:
        """Goes through the jobs with news, where a cycle is due."""
        if self._news and not self._draining and now >= self._next_cycle:
            self._next_cycle = now + self.settings.cycle
            self._cycle(now)

    def heard(self, effects: Sequence[Effect], now: int) -> None:
        """Takes note of runs and of what people want of jobs."""
        for effect in effects:
            if isinstance(effect, RunChanged):
                self._hear_run(effect, now)
            elif isinstance(effect, JobSaved):
                self._hear_wish(effect, now)

    def clock_stepped(self, delta: int, now: int) -> None:
        """Moves along what counts elapsed time."""
        self._next_cycle = min(self._next_cycle + delta, now + self.settings.cycle)
        for name, learnt in self.learnt.items():
            learnt.wish_until += delta if learnt.wish_until else 0
            if learnt.state is not None:
                memories.move(learnt.state.memory, delta / SECOND)
                self._unsaved.add(name)

    def drain(self) -> None:
        """Decides nothing from here on: agentd stops."""
        self._draining = True

    def save_all(self) -> None:
        """Wants everything stored once more: the store that had it is gone."""
        self._unsaved |= set(self.learnt)
        self._effects.append(NetworkChosen(self.number))

    def configure(self, settings: LearningSettings, now: int) -> None:
        """Takes the settings that are in force from now on; jobs are decided about again."""
        if settings != self.settings:
            self._next_cycle = min(self._next_cycle, now + settings.cycle)
        self.settings = settings
        self._look_away()
        self._look_again()

    # For others to read

    @property
    def number(self) -> int:
        """The number of the network in force; -1: none is."""
        return -1 if self.network is None else self.network.number

    def mode(self, entry: Entry) -> Mode:
        """Returns what is done with a job: "off" where it is not adaptive."""
        return mode_of(self.settings, entry.job) if entry.job.trigger.key == "adaptive" else "off"

    def deciding(self, entry: Entry, now: int) -> Decision | None:
        """Returns what would be decided about a job now; None where nothing is known of it yet. Nothing changes by
        this."""
        learnt = self.learnt.get(entry.job.name)
        if learnt is None or learnt.state is None:
            return None
        state = msgspec.json.decode(msgspec.json.encode(learnt.state), type=State)
        if not self._acts(entry):
            return self._decide(entry, learnt, state, now)
        in_force = _in_force(entry)
        if in_force != learnt.given:
            state.interval = in_force
        decision = self._decide(entry, learnt, state, now)
        interval, bound = self._afforded(entry, learnt, decision.interval, decision.bound, now)
        return replace(decision, interval=interval, bound=bound)

    # What happens

    def take_back_wish(self, name: str) -> None:
        """Takes note that a person takes a preference back, which wants the job neither more nor less often."""
        if name in self.learnt:
            learnt = self._of(name)
            learnt.preference = learnt.wish = 0
            self._follow(self._jobs.entries[name], learnt)
            self._news.add(name)

    def looked(self, run: Run, mark: str, why_not: str) -> None:
        """Takes what a run left where it is watched, as text that tells one content from another; or why that cannot
        be told, as a sentence."""
        if (entry := self._entry(run)) is None:
            return
        learnt = self._watching(entry)
        if why_not:
            self._unknown(learnt, run, why_not)
        else:
            self._compare(entry, learnt, run, mark)

    def take_network(self, network: Network | None, why: str, now: int) -> None:
        """Takes the network that is in force from now on; `why` is a sentence, "" where nothing was decided."""
        self.network, self.gain = network, 0.0
        if why:
            self._effects += [NetworkChosen(self.number), Decided(now, PART, "model", "", why)]
            self._look_again()

    def train(self) -> None:
        """Begins a training, if none is under way."""
        if not self.training:
            self.training, self._cycles, self._fresh = True, 0, 0
            self._effects.append(TrainingWanted())

    def trained(self, network: Network | None, came: str, why: str, now: int) -> None:
        """Takes the end of a training: a network that is better, or None; `came` is model.BETTER, NOTHING or FAILED,
        `why` a sentence."""
        self.training, self.came = False, came
        if network is not None:
            self.take_network(network, why, now)
        else:
            self._effects.append(Decided(now, PART, "model", "", why))

    # How it is done

    def _entry(self, run: Run) -> Entry | None:
        """Returns the job of a run, if that job learns."""
        entry = self._jobs.entries.get(run.job)
        return entry if entry is not None and self._learns(entry) else None

    def _learns(self, entry: Entry) -> bool:
        return entry.job.useful is not None and self.mode(entry) != "off"

    def _look_away(self) -> None:
        """Has the next run of each job at which nobody looks be compared with nothing, and follow no known span."""
        for name, learnt in self.learnt.items():
            entry = self._jobs.entries.get(name)
            if learnt.state is not None and entry is not None and not self._learns(entry):
                learnt.mark, learnt.state.memory.at, learnt.state.foretold = "", 0.0, []
                self._unsaved.add(name)

    def _look_again(self) -> None:
        """Has all jobs decided about at the next cycle."""
        self._news |= {name for name, learnt in self.learnt.items() if learnt.state and name in self._jobs.entries}

    def _of(self, name: str) -> Learnt:
        self._unsaved.add(name)
        return self.learnt.setdefault(name, Learnt())

    def _watching(self, entry: Entry) -> Learnt:
        """Returns what is remembered of a job: what was learnt of another thing that it watched is of no use."""
        learnt = self._of(entry.job.name)
        if learnt.watched != entry.job.useful:
            learnt.watched, learnt.mark, learnt.state = entry.job.useful or "", "", None
        return learnt

    def _hear_wish(self, effect: JobSaved, now: int) -> None:
        learnt = self.learnt.get(effect.job)
        if learnt is not None and wishes.hear(learnt, effect.state, now):
            self._unsaved.add(effect.job)
            self._news.add(effect.job)

    def _hear_run(self, effect: RunChanged, now: int) -> None:
        run, entry = effect.run, self._entry(effect.run)
        if entry is None:
            return
        learnt = self._watching(entry)
        if effect.event == "started" and run.cause == "manual" and learnt.state is not None:
            memories.ran_by_hand(learnt.state.memory, now / SECOND)
            self._news.add(run.job)
        elif effect.event == "changed":
            learnt.reported = [*learnt.reported[-9:], run.run_id]
        elif effect.event == "finished" and run.result != "cancelled":
            self._finished(entry, learnt, run)

    def _finished(self, entry: Entry, learnt: Learnt, run: Run) -> None:
        watch = outcomes.watch(entry.job.useful or "")
        if why := outcomes.tells_nothing(watch, run):
            if learnt.state is not None:
                learnt.state.memory.failures += run.result in FAILURES
            self._unknown(learnt, run, why)
        elif watch.kind == "exit-codes":
            self._use(entry, run, run.exit_code in watch.codes)
        elif watch.kind == "exit-code":
            self._compare(entry, learnt, run, str(run.exit_code))
        elif watch.kind == "reported":
            self._use(entry, run, run.run_id in learnt.reported)
        else:
            self._effects.append(UseWanted(run, watch))
        learnt.reported = [run_id for run_id in learnt.reported if run_id != run.run_id]

    def _compare(self, entry: Entry, learnt: Learnt, run: Run, mark: str) -> None:
        """Takes what a run left, as text that tells one content from another."""
        before, learnt.mark = learnt.mark, mark
        self._use(entry, run, mark != before if before else None)

    def _unknown(self, learnt: Learnt, run: Run, why: str) -> None:
        learnt.unknown = why
        if learnt.state is not None:
            self._news.add(run.job)

    def _use(self, entry: Entry, run: Run, useful: bool | None) -> None:
        """Takes whether a run was of use; None: there was nothing yet to compare with."""
        learnt, terms = self._of(run.job), terms_of(self.settings, entry.job)
        at, cpu = (run.started or run.ended) / SECOND, run.cpu_usec / SECOND
        if learnt.state is None:
            learnt.state = learner.begin(terms, cpu)
            learnt.state.interval = _in_force(entry) or terms.start
            learnt.preference = entry.state.preference
        state, learnt.unknown = learnt.state, ""
        if useful is None:
            memories.spend(state.memory, cpu)
            state.memory.at, state.foretold = at, []
        else:
            self._judge(state, at, useful=useful)
            row = learner.outcome(
                state, terms, at, useful=useful, cost=cpu, local=at + self._offset(entry, run.started)
            )
            if row is not None:
                self.rows, self._fresh = min(self.rows + 1, MOST_ROWS), self._fresh + 1
                self._effects.append(OutcomeKept(Outcome(at=run.started or run.ended, job=run.job, row=row, cpu=cpu)))
        learnt.wish_runs += 1
        self._news.add(run.job)

    def _judge(self, state: State, at: float, *, useful: bool) -> None:
        """Has the network in force answer for what it foretold."""
        self.gain = min(0.0, self.gain + champion.gained(state.foretold, at - state.memory.at, useful=useful))
        if self.gain < DOUBT and self.number > 0:
            self._effects.append(NetworkDoubted(self.number, self.gain))
            self.gain = 0.0

    def _offset(self, entry: Entry, at: int) -> float:
        return offset_at(at, entry.zone).total_seconds()

    def _decide(self, entry: Entry, learnt: Learnt, state: State, now: int) -> Decision:
        number = jitter_offset(self._host, f"interval of {entry.job.name}", _PARTS) / _PARTS
        return learner.decide(
            state,
            terms_of(self.settings, entry.job),
            now / SECOND,
            entry.state.preference,
            None if self.network is None else self.network.mlp,
            now / SECOND + self._offset(entry, now),
            spread=guardrails.spread(number),
            wish=wishes.lasting(learnt, now),
        )

    def _acts(self, entry: Entry) -> bool:
        """Tells whether the interval of a job is agentd's to change."""
        free = entry.enabled and not entry.state.fixed and _in_force(entry) > 0
        return free and self._learns(entry) and self.mode(entry) == "on"

    def _cycle(self, now: int) -> None:
        """Decides about the jobs with news, then about what all of them together may take."""
        news, self._news = self._news, set()
        self._cycles += 1
        decided: dict[str, Decision] = {}
        acting: dict[str, Entry] = {}
        for name, learnt in self.learnt.items():
            entry, state = self._jobs.entries.get(name), learnt.state
            if entry is None or state is None or not self._learns(entry):
                continue
            if acts := self._acts(entry):
                acting[name] = entry
                self._follow(entry, learnt)
            if name in news:
                decided[name] = self._decide(entry, learnt, state, now)
                self._unsaved.add(name)
                if not acts:
                    self._would(entry, state, decided[name], now)
        self._act(acting, decided, now)
        self._train_in_time()

    def _follow(self, entry: Entry, learnt: Learnt) -> None:
        """Goes on from the interval of a job, where a person or the configuration gave another one."""
        if (in_force := _in_force(entry)) != learnt.given and learnt.state is not None:
            learnt.state.interval = learnt.given = in_force

    def _would(self, entry: Entry, state: State, decision: Decision, now: int) -> None:
        """Notes what would be done with a job whose interval is not to be changed."""
        if guardrails.noticed(decision.interval, state.interval):
            reason = story.reason(state, decision, decision.bound)
            state.interval = story.whole(decision.interval)
            interval = round(state.interval * SECOND)
            mode = "fixed" if self.mode(entry) == "on" else "shadow"
            text = f"would run {story.every(state.interval)}: {reason}"
            self._effects.append(Decided(now, PART, "shadow", entry.job.name, text))
            self._effects.append(JobLearns(entry.job.name, interval, mode, reason))

    def _act(self, acting: Mapping[str, Entry], decided: Mapping[str, Decision], now: int) -> None:
        """Gives jobs their intervals, as far as all of them together can be afforded."""
        states = {name: state for name in acting if (state := self.learnt[name].state) is not None}
        wanted = {name: decided[name].interval if name in decided else one.interval for name, one in states.items()}
        costs = {name: START_COST + one.memory.cost for name, one in states.items()}
        most = {name: acting[name].job.trigger.bounds[1] / SECOND for name in states}
        self._stretch = guardrails.stretch(wanted, costs, most, self.settings.cpu_budget)
        for name, entry in acting.items():
            learnt, state, decision = self.learnt[name], states[name], decided.get(name)
            interval, bound = self._afforded(entry, learnt, wanted[name], decision.bound if decision else "", now)
            if not guardrails.noticed(interval, learnt.given):
                continue
            reason = story.reason(state, decision, bound) if decision else "all adaptive jobs share the CPU budget"
            low, high = (end / SECOND for end in entry.job.trigger.bounds)
            new = min(max(story.whole(interval), low), high)
            text = f"{story.every(learnt.given)} to {story.every(new)}: {reason}"
            state.interval, learnt.given = wanted[name], new
            self._unsaved.add(name)
            self._effects.append(Decided(now, PART, "interval", name, text))
            self._jobs.adapt(name, round(new * SECOND), now)
            self._effects.append(JobLearns(name, round(new * SECOND), "on", reason))

    def _afforded(self, entry: Entry, learnt: Learnt, wanted: float, bound: str, now: int) -> tuple[float, str]:
        """Returns the interval that a job gets, as far as all together can be afforded, and the bound that acted."""
        longest, wish = entry.job.trigger.bounds[1] / SECOND, wishes.lasting(learnt, now)
        return guardrails.afforded(wanted, bound, _in_force(entry), self._stretch, longest, wish)

    def _train_in_time(self) -> None:
        """Begins a training where enough new rows came."""
        due = self._cycles >= TRAIN_CYCLES and self._fresh >= max(NEWS, self.rows // 10) and self.rows >= FEWEST_ROWS
        if due and self.settings.training:
            self.train()


def _in_force(entry: Entry) -> float:
    """Returns the interval of a job in seconds; 0 where there is none."""
    return (entry.schedule.trigger.interval or 0) / SECOND
