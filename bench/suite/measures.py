"""What is measured. A measure runs one contender once, and returns a dict from metric to value.

The server's CPU is divided by the work that was done: the client saturates first in most of these, so that throughput
says less of a server than what it pays for it.
"""
import contextlib
import os

from suite import clients, machine
from suite.peers import CONTENDERS, PORT, Running, Setting
from suite.programs import Child, Failed, Missing, placed, program, run

OVERHEAD = 0.9  # seconds to start and to end a server
EVERYBODY = ("kernel", "framework", "tapir", "null", "lwip")
DISTURBING = 0.05  # of one CPU, used by others: such a run counts as disturbed


class Served:
    """A server, a load, and what both CPUs did meanwhile."""

    def __init__(self, name, what, load, contenders, work, setting=None, idle=0):
        self.name = name
        self.what = what
        self.load = load
        self.contenders = contenders
        self.work = work  # what the server's CPU is divided by
        self.setting = setting or Setting()
        self.idle = idle  # connections that are open beside the load

    def seconds(self, options):
        return len(self.contenders) * (options.seconds + OVERHEAD + self.idle / 5000)

    def run(self, name, session):
        options = session.options
        with contextlib.ExitStack() as stack:
            server = stack.enter_context(Running(CONTENDERS[name], self.setting, session.networks, options,
                                                 session.work, session.log))
            client = clients.Client(server, self.setting, options, session.log)
            ours = {os.getpid(), server.child.pid}
            if self.idle:
                resident, slab = machine.resident_bytes(server.child.pid), machine.slab_bytes()
                holder = Child(client.inside([program("client"), "hold", server.address, str(PORT),
                                              "--concurrent", str(self.idle)]), session.log)
                stack.callback(holder.stop)
                ours.add(holder.pid)
                if holder.line("holding", 30) is None:
                    raise Failed(f"{self.idle} connections could not be opened")
                resident = machine.resident_bytes(server.child.pid) - resident
                slab = machine.slab_bytes() - slab
            values = self.measured(client, server, ours, session)
            if self.idle:
                values["server's resident bytes/idle"] = resident / self.idle
                values["kernels' slab bytes/idle"] = slab / self.idle  # the client's socket, too
                holder.close_input()
                alive = holder.line("alive", 30)
                if alive is None or int(alive.split()[1]) != self.idle:
                    raise Failed(f"of {self.idle} idle connections, this is left: {alive}")
            session.note(name, server.said)
        return values

    def measured(self, client, server, ours, session):
        options = session.options
        foreign = machine.foreign_seconds(ours)
        used = machine.cpu_seconds(server.child.pid)
        busy = machine.busy_seconds(options.server_cpu)
        began = os.times().elapsed
        values, work, client_used = self.load(client)
        took = os.times().elapsed - began
        used = machine.cpu_seconds(server.child.pid) - used
        busy = machine.busy_seconds(options.server_cpu) - busy
        session.count_run(machine.foreign_seconds(ours) - foreign > DISTURBING * took)
        if work <= 0:
            raise Failed("no work was done")
        scale, unit = (1, "s") if self.work == "GB" else (1e6, "us")
        values = dict(values)
        values[f"server CPU {unit}/{self.work}"] = used * scale / work
        if not self.setting.same_cpu:
            values[f"CPU {options.server_cpu} {unit}/{self.work}"] = busy * scale / work
            values["server CPU %"] = 100 * used / took
            values["client CPU %"] = 100 * client_used / took
        return values


class Printed:
    """Programs of which each prints lines "contender value metric": what runs in one process, without a network."""

    def __init__(self, name, what, programs, seconds, placed_on="server"):
        self.name = name
        self.what = what
        self.programs = programs  # name -> arguments
        self.contenders = tuple(programs)
        self.expected = seconds
        self.placed_on = placed_on

    def seconds(self, _):
        return self.expected

    def run(self, name, session):
        try:
            path = program(name)
        except Missing:
            raise Missing(f"{name} was not built" + (" (Debian package libasio-dev)" if "asio" in name else "")) from None
        command = [path, *self.programs[name]]
        if self.placed_on == "server":
            command = placed(command, session.options.server_cpu)
        output, _ = run(command, 600, session.log)
        values = {}
        for line in output.splitlines():
            contender, value, metric = line.split(maxsplit=2)
            values[contender, metric] = float(value)
        return values


def bulk():
    for direction, what in (("send", "the server sends"), ("receive", "the server receives")):
        for connections in (1, 8):
            for mtu in (1500, 9000):
                for offload in (True, False):
                    name = f"bulk-{direction}" + (f"-{connections}" if connections > 1 else "") + \
                        (f"-{mtu}" if mtu != 1500 else "") + ("" if offload else "-plain")
                    peers = EVERYBODY + (("iperf3",) if offload and mtu == 1500 else ())
                    yield Served(name, f"{what}, {connections} connection{'s' if connections > 1 else ''}",
                                 clients.bulk(direction, connections), peers, "GB", Setting(mtu, offload))


def http(name, what, connections, **more):
    pipelined = more.pop("pipelined", False)
    return Served(name, what, clients.http(connections, pipelined), EVERYBODY + ("nginx",), "request", **more)


def everything():
    yield from bulk()
    yield http("http-1", "requests of one connection, one at a time", 1)
    yield http("http-64", "requests of 64 keep-alive connections", 64)
    yield http("http-1000", "requests of 1000 keep-alive connections", 1000)
    yield http("http-pipelined", "64 connections, 16 requests at once on each", 64, pipelined=True)
    yield http("http-beside-idle", "requests of 64 connections, 10 000 idle ones beside them", 64, idle=10_000)
    yield Served("connections", "connect, one request, response, close: 64 at a time", clients.connections,
                 EVERYBODY + ("nginx",), "connection")
    yield Served("connections-ab", "the same by ab", clients.connections_of_ab, EVERYBODY + ("nginx",), "connection")
    yield Served("pingpong-one-cpu", "a byte there and back, both ends on one CPU", clients.pingpong, EVERYBODY,
                 "round trip", Setting(same_cpu=True))
    yield Served("pingpong", "the same over two CPUs, each of which sleeps meanwhile", clients.pingpong, EVERYBODY,
                 "round trip")
    yield Served("pingpong-polling", "the same, the server looks for 200 us before it sleeps (the kernel's sleeps)",
                 clients.pingpong, ("kernel", "framework", "tapir", "null"), "round trip", Setting(spin=200))
    yield Printed("runtime", "what coroutines, timers and fibers cost, in one thread",
                  {"runtime": ["--rounds", "1"], "asio_runtime": ["--rounds", "1"]}, 4)
    yield Printed("segments", "TCP alone, in memory: CPU for each segment, by connections",
                  {"memory": ["segments"]}, 8)
    yield Printed("memory", "bytes for each connection by state, in memory", {"memory": ["states"]}, 10)
    yield Printed("counts", "exact counts for each request", {"counts": []}, 3)


MEASURES = {m.name: m for m in everything()}
HEADLINES = ("bulk-send", "bulk-receive", "http-64", "http-beside-idle", "connections", "pingpong-one-cpu", "runtime",
             "segments", "memory", "counts")
GROUPS = {"bulk": [n for n in MEASURES if n.startswith("bulk-")], "http": [n for n in MEASURES if n.startswith("http-")]}
