"""One transfer over one path, or two beside each other: starts the programs, and returns what they say."""
import contextlib

from network import Program
from suite.programs import Failed, words

RECEIVER = "192.0.2.2"
TAPIR = "192.0.2.9"
MODES = ("k->k", "t->k", "k->t")  # who sends and who receives: the kernel or tapir
READY = 10  # seconds that a program may take to begin
STALLED = 20  # seconds without a byte: past every back-off after which TCP may still go on
ENDLESS = 10**13  # bytes, for a flow that its receiver ends
WARM_UP, COUNTED = 10, 30  # seconds of a flow that shares a bottleneck


class Lab:
    """The ends and the programs of a run."""

    def __init__(self, programs, left, beside, right, log, buffer, ack_loss):
        self.path, self.bulk = f"{programs}/path", f"{programs}/bulk"
        self.left, self.beside, self.right = left, beside, right  # Kernels
        self.log = log
        self.buffer = buffer
        self.ack_loss = ack_loss

    def run_path(self, cell, seed, life, *options):
        return Program([self.path, *cell.path_options(), "--seed", str(seed), "--ack-loss", str(self.ack_loss),
                        "--buffer", str(self.buffer), "--stalled", str(STALLED), "--life", str(life), *options], self.log)

    def receive(self, port, *options):
        program = Program([self.bulk, "receive", f"{RECEIVER}:{port}", "--stalled", str(STALLED), *options],
                          self.log, self.right)
        must_begin(program)
        return program

    def send(self, kernel, to, size):
        return Program([self.bulk, "send", to, "--bytes", str(size), "--stalled", str(STALLED)], self.log, kernel)


def must_begin(program):
    if program.line("ready", READY) is None:
        program.stop()
        raise Failed(f"{program.name} did not begin")


def one(lab, cell, mode, seed, size, limit):
    """What its receiver saw, what its sender says, what the path did."""
    life = limit + STALLED + 2 * READY
    patience = max(limit, STALLED) + READY
    to_tapir, from_tapir = mode == "k->t", mode == "t->k"
    kernels = ([] if from_tapir else [lab.left]) + ([] if to_tapir else [lab.right])
    options = ["--left", lab.left.device] if not from_tapir else ["--tapir-sends", f"{RECEIVER}:8001"]
    options += ["--right", lab.right.device] if not to_tapir else ["--tapir-receives", "8001"]
    options += ["--tapir-address", f"{TAPIR}/24", "--bytes", str(size), "--seconds", str(limit)]
    with contextlib.ExitStack() as running:
        receiver = None if to_tapir else running.enter_context(lab.receive(8001, "--seconds", str(limit)))
        path = running.enter_context(lab.run_path(cell, seed, life, *options))
        must_begin(path)
        dropped = sum(k.dropped() for k in kernels)
        sender = path
        if not from_tapir:
            sender = running.enter_context(lab.send(lab.left, f"{TAPIR if to_tapir else RECEIVER}:8001", size))
        received = (path if to_tapir else receiver).line("received", patience)
        if received is None:
            raise Failed(f"{cell.name} {mode}: the receiver ended without a result")
        settled = 2 + 5 * cell.rtt / 1000  # until the last acknowledgements are there
        sent = sender.line("sent", settled) if sender is not path else None
        dropped = sum(k.dropped() for k in kernels) - dropped
        if sender is path:
            sent = path.line("sent", settled if "complete" in received else 0)
        path.process.terminate()
        if sender is path and sent is None:
            sent = path.line("sent", 5)
        did = path.line("path", 5)
        if did is None:
            raise Failed(f"{cell.name} {mode}: the path ended without a word")
    seen = words(received)
    seen["sender"] = words(sent) if sent else {}
    seen["path"] = words(did)
    seen["path"]["kernel_drops"] = dropped
    return seen


def beside(lab, cell, first, seed, scale):
    """Two flows over one bottleneck: `first` ("t" or "k") and a kernel's. Bytes per second of each, once they
    have had time to find their shares, and what the path did."""
    warm_up, counted = WARM_UP * scale, COUNTED * scale
    seconds = warm_up + counted
    limits = ["--seconds", str(seconds), "--warm-up", str(warm_up)]
    options = ["--left", lab.beside.device, "--right", lab.right.device, "--bytes", str(ENDLESS)]
    options += ["--left", lab.left.device] if first == "k" else ["--tapir-sends", f"{RECEIVER}:8001"]
    with contextlib.ExitStack() as running:
        receivers = [running.enter_context(lab.receive(port, *limits)) for port in (8001, 8002)]
        path = running.enter_context(lab.run_path(cell, seed, seconds + STALLED + 2 * READY, *options))
        must_begin(path)
        if first == "k":
            running.enter_context(lab.send(lab.left, f"{RECEIVER}:8001", ENDLESS))
        running.enter_context(lab.send(lab.beside, f"{RECEIVER}:8002", ENDLESS))
        lines = [r.line("received", seconds + STALLED + READY) for r in receivers]
        path.process.terminate()
        did = path.line("path", 5)
    if None in lines or did is None:
        raise Failed(f"{cell.name}, {first} beside k: a program ended without a result")
    seen = [words(line) for line in lines]
    return [s["received"] / max(s["seconds"], 1e-9) for s in seen], [s["ended"] for s in seen], words(did)
