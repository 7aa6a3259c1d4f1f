"""One run of the suite: every contender of every measure once in each round, in an order that turns, so that what changes
on the machine hits all of them."""
import os
import sys
import tempfile

from suite import machine
from suite.network import Networks
from suite.output import Results
from suite.programs import PROGRAMS, Failed, Missing

GIVE_UP_AFTER = 2  # failures of one contender in one measure


class Session:
    def __init__(self, options, measures):
        self.options = options
        self.measures = measures
        self.results = Results()
        self.networks = Networks(options)
        self.said = {}
        self.runs = 0
        self.disturbed = 0
        self.machine = machine.description()
        self.work = self.log = None

    def note(self, contender, said):
        if said:
            self.said[contender] = said

    def count_run(self, disturbed):
        self.runs += 1
        self.disturbed += disturbed

    def contenders(self, measure):
        only = self.options.only
        return [c for c in measure.contenders if not only or c in only]

    def expected_seconds(self):
        return self.options.rounds * sum(m.seconds(self.options) for m in self.measures)

    def plan(self):
        for turn in range(self.options.rounds):
            for measure in self.measures:
                who = self.contenders(measure)
                first = turn % len(who) if who else 0
                for contender in who[first:] + who[:first]:
                    yield turn, measure, contender

    def run(self):
        """False when it was interrupted; what there is by then is in `results`."""
        with tempfile.TemporaryDirectory() as work, tempfile.TemporaryFile("w+") as log:
            self.work, self.log = work, log
            os.mkdir(os.path.join(work, "t"))
            try:
                self.run_all()
                return True
            except KeyboardInterrupt:
                return False
            finally:
                self.networks.remove()
                self.progress("")
                log.seek(0)
                self.programs_said = log.read()[-2000:].strip()

    def run_all(self):
        for turn, measure, contender in self.plan():
            absent = (measure.name, contender) in self.results.absent
            failures = sum(n for (m, c, _), n in self.results.failures.items() if (m, c) == (measure.name, contender))
            if absent or failures >= GIVE_UP_AFTER:
                continue
            self.progress(f"round {turn + 1} of {self.options.rounds}: {measure.name}, {contender}")
            try:
                self.results.add(measure.name, contender, turn, measure.run(contender, self))
            except Missing as e:
                self.results.missing(measure.name, contender, str(e))
            except Failed as e:
                self.results.failed(measure.name, contender, str(e))

    @staticmethod
    def progress(text):
        if sys.stderr.isatty():
            print(f"\r{text:<78}\r", end="", file=sys.stderr, flush=True)

    def about(self):
        """What the numbers hold for."""
        o = self.options
        return {"machine": self.machine, "compiler": machine.compiler_of(PROGRAMS), "rounds": o.rounds,
                "seconds": o.seconds, "congestion_control": o.congestion_control, "steer": o.steer,
                "server_cpu": o.server_cpu, "client_cpu": o.client_cpu, "tapir_buffers": o.buffer or "default", "tapir_link": self.said.get("tapir"),
                "runs": self.runs, "disturbed_runs": self.disturbed}
