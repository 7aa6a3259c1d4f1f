"""The other end: programs on the kernel's sockets that load a server for a while. Each returns what came out: a dict from
metric to value, and how much work that was (requests, connections, gigabytes) to divide the server's CPU by.
"""
import json
import os
import re
import shutil

from suite.peers import PORT
from suite.programs import HERE, Failed, Missing, placed, program, run, words


class Client:
    """Where the programs run."""

    def __init__(self, server, setting, options, log):
        self.server = server
        self.cpu = options.server_cpu if setting.same_cpu else options.client_cpu
        self.seconds = options.seconds
        self.log = log

    def inside(self, command):
        return placed(command, self.cpu, self.server.network.client)

    def run(self, command):
        output, used = run(self.inside(command), self.seconds + 30, self.log)
        return output, used

    def own(self, what, port, *more):
        output, used = self.run([program("client"), what, self.server.address, str(port),
                                 "--seconds", str(self.seconds), *more])
        return words(output), used


def installed(name, package):
    path = shutil.which(name)
    if not path:
        raise Missing(f"no {name} (Debian package {package})")
    return path


def bulk(direction, connections):
    """`send`: the server sends. GB are of payload."""
    def load(client):
        if client.server.contender.name == "iperf3":
            return iperf3(client, direction, connections)
        port = PORT + (1 if direction == "send" else 2)
        said, used = client.own(f"bulk-{direction}", port, "--concurrent", str(connections))
        return {"Gbit/s": said["gbit_per_s"]}, said["bytes"] / 1e9, used
    return load


def iperf3(client, direction, connections):
    reverse = ["-R"] if direction == "send" else []
    output, used = client.run(["iperf3", "-c", client.server.address, "-p", str(PORT + 1), "-t", str(client.seconds),
                               "-P", str(connections), "-J", *reverse])
    end = json.loads(output)["end"]["sum_received"]
    return {"Gbit/s": end["bits_per_second"] / 1e9}, end["bytes"] / 1e9, used


def _latency(output, quantile):
    """wrk's line "    99%    1.23ms", in microseconds."""
    found = re.search(rf"^\s+{quantile}%\s+([0-9.]+)(us|ms|s)\s*$", output, re.M)
    if not found:
        raise Failed(f"wrk told no {quantile} % latency")
    return float(found.group(1)) * {"us": 1, "ms": 1000, "s": 1_000_000}[found.group(2)]


def http(connections, pipelined=False):
    def load(client):
        script = ["-s", os.path.join(HERE, "pipelined.lua")] if pipelined else []
        output, used = client.run([installed("wrk", "wrk"), "-t1", f"-c{connections}", f"-d{client.seconds}s", "--latency",
                                   *script, f"http://{client.server.address}:{PORT}/"])
        if errors := re.search(r"(Socket errors.*|Non-2xx.*)", output):
            raise Failed(f"wrk: {errors.group(1)}")
        requests = int(re.search(r"(\d+) requests in", output).group(1))
        values = {"requests/s": float(re.search(r"Requests/sec:\s*([0-9.]+)", output).group(1))}
        if not pipelined:  # there it is that of a whole batch
            values |= {"p50 us": _latency(output, 50), "p99 us": _latency(output, 99)}
        return values, requests, used
    return load


def connections(client):
    said, used = client.own("connections", PORT, "--concurrent", "64")
    if said["failed"] > said["count"] / 100:  # fewer are told
        raise Failed(f"{said['failed']:.0f} connections failed, {said['count']:.0f} did not")
    return {"connections/s": said["connections_per_s"], "failed %": 100 * said["failed"] / max(1, said["count"])}, said["count"], used


def connections_of_ab(client):
    count = 10_000 * client.seconds
    output, used = client.run([installed("ab", "apache2-utils"), "-q", "-n", str(count), "-c", "64", "-s", "5",
                               f"http://{client.server.address}:{PORT}/"])
    failed = int(re.search(r"Failed requests:\s*(\d+)", output).group(1))
    if failed:
        raise Failed(f"ab: {failed} of {count} failed")
    return {"connections/s": float(re.search(r"Requests per second:\s*([0-9.]+)", output).group(1))}, count, used


def pingpong(client):
    said, used = client.own("pingpong", PORT + 3)
    return {"p50 us": said["p50_us"], "p99 us": said["p99_us"], "p99.9 us": said["p999_us"]}, said["count"], used
