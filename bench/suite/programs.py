"""Programs that a measure starts: pinned to a CPU, inside of a namespace, ended by pid when it is over."""
import os
import select
import subprocess
import time

HERE = os.path.dirname(os.path.abspath(__file__))
PROGRAMS = os.path.abspath(os.environ.get("TAPIR_BENCH_PROGRAMS", os.path.join(HERE, "../../build/release/bench")))


class Failed(Exception):
    """A sentence for whoever started the bench."""


class Missing(Exception):
    """A contender that cannot be had here; the sentence says what it lacks."""


def program(name):
    path = os.path.join(PROGRAMS, name)
    if not os.access(path, os.X_OK):
        raise Missing(f"{name} was not built")
    return path


def must(command):
    done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, check=False)
    if done.returncode != 0:
        raise Failed(f"{' '.join(command)}: {done.stderr.strip() or done.stdout.strip()}")
    return done.stdout


def placed(command, cpu, namespace=None):
    """`command` on one CPU, in that namespace."""
    there = ["ip", "netns", "exec", namespace] if namespace else []
    return [*there, "taskset", "-c", str(cpu), *command]


def words(line):
    """A line of "name value" pairs as a dict, numbers as numbers; what stands before the first pair is skipped."""
    parts = line.split()
    if len(parts) % 2:
        parts = parts[1:]
    out = {}
    for name, value in zip(parts[::2], parts[1::2]):
        try:
            out[name] = float(value) if "." in value else int(value)
        except ValueError:
            out[name] = value
    return out


class Child:
    """A program whose lines of output are waited for. `ip netns exec` and `taskset` become it: the pid is its own."""

    def __init__(self, command, log):
        self.name = os.path.basename(command[-1] if len(command) == 1 else " ".join(command[-3:]))
        self.process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=log)
        self.unread = b""

    @property
    def pid(self):
        return self.process.pid

    def line(self, begins, seconds):
        """The next line that begins so; None when it did not come in time, or the program ended before."""
        deadline = time.monotonic() + seconds
        while True:
            while b"\n" in self.unread:
                text, self.unread = self.unread.split(b"\n", 1)
                if text.decode(errors="replace").startswith(begins):
                    return text.decode(errors="replace")
            left = deadline - time.monotonic()
            if left <= 0 or not select.select([self.process.stdout], [], [], left)[0]:
                return None
            more = os.read(self.process.stdout.fileno(), 65536)
            if not more:
                return None
            self.unread += more

    def close_input(self):
        self.process.stdin.close()

    def stop(self):
        if self.process.poll() is None:
            self.process.terminate()
        try:
            self.process.wait(5)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
        for pipe in (self.process.stdin, self.process.stdout):
            try:
                pipe.close()
            except BrokenPipeError:
                pass


def run(command, seconds, log):
    """Output and CPU seconds of a program that ends by itself."""
    before = os.times()
    try:
        done = subprocess.run(command, stdout=subprocess.PIPE, stderr=log, text=True, timeout=seconds, check=False)
    except subprocess.TimeoutExpired:
        raise Failed(f"{' '.join(command)}: has not ended after {seconds:.0f} s") from None
    after = os.times()
    if done.returncode != 0:
        raise Failed(f"{' '.join(command)}: ended with status {done.returncode}")
    used = after.children_user - before.children_user + after.children_system - before.children_system
    return done.stdout, used
