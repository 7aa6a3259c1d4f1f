"""Who is measured: servers with the same services at the same ports, over the network of their kind.

    8000  HTTP, the same response of 13 bytes      8002  a sink: reads until the client's FIN, then closes
    8001  a source: sends until the client is gone 8003  echo

A contender that cannot be had here (a package is missing, a library was not there when the bench was built) is reported
as missing, and why.
"""
import os
import shutil
import subprocess
import time

from suite.network import DEVICE
from suite.programs import Child, Failed, Missing, placed, program

PORT = 8000
ALL = frozenset({"http", "source", "sink", "echo"})


class Setting:
    """What a measure asks of the network, and of the programs."""

    def __init__(self, mtu=1500, offload=True, same_cpu=False, spin=0):
        self.mtu = mtu
        self.offload = offload
        self.same_cpu = same_cpu
        self.spin = spin  # microseconds for which the server looks before it sleeps; who cannot, sleeps

    def __str__(self):
        return f"MTU {self.mtu}, offload {'on' if self.offload else 'off'}" + (", one CPU" if self.same_cpu else "")


class Contender:
    """`command(address, setting, options, work)` is what starts it; Missing when it cannot."""

    def __init__(self, name, what, link, services, command, says_ready=True):
        self.name = name
        self.what = what
        self.link = link
        self.services = services
        self.command = command
        self.says_ready = says_ready


class Running:
    """A server that listens, and the network to reach it. It has ended when the `with` has."""

    def __init__(self, contender, setting, networks, options, work, log):
        self.contender = contender
        command = contender.command(setting, options, work)  # first: who is missing needs no network
        self.network = networks.veth(setting.mtu, setting.offload) if contender.link == "veth" else networks.tap(setting.mtu)
        self.address = self.network.address
        self.child = None
        try:
            self.network.steer(apart=not setting.same_cpu)
            command = [word.format(address=self.address) for word in command]
            self.child = Child(placed(command, options.server_cpu, self.network.server), log)
            self.said = self.wait_until_ready()
        except BaseException:
            self.stop()
            raise

    def wait_until_ready(self):
        if self.contender.says_ready:
            line = self.child.line("ready", 10)
        else:
            line = "ready" if listens(self.child, self.network.server, 10) else None
        if line is None:
            raise Failed(f"the server of {self.contender.name} did not start")
        return line.removeprefix("ready").strip()

    def stop(self):
        if self.child:
            self.child.stop()
        self.network.close()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.stop()


def listens(child, namespace, seconds):
    """Whether somebody listens at one of our ports in that namespace, which the program enters after it has begun: state
    0A in the kernel's tables, of which a socket for both versions of IP is in the second."""
    ports = {f"{PORT + i:04X}" for i in range(4)}
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline and child.process.poll() is None:
        try:
            if os.path.samefile(f"/proc/{child.pid}/ns/net", f"/run/netns/{namespace}"):
                for table in ("tcp", "tcp6"):
                    with open(f"/proc/{child.pid}/net/{table}", encoding="utf-8") as file:
                        rows = [line.split() for line in file.readlines()[1:]]
                    if any(row[3] == "0A" and row[1].rsplit(":", 1)[1] in ports for row in rows):
                        return True
        except OSError:
            pass
        time.sleep(0.02)
    return False


def installed(name, package):
    path = shutil.which(name) or shutil.which(name, path="/usr/sbin:/sbin")
    if not path:
        raise Missing(f"no {name} (Debian package {package})")
    return path


def knows(path, option):
    """Whether a program of ours has that option."""
    if (path, option) not in knows.found:
        said = subprocess.run([path, "--help"], capture_output=True, text=True, check=False).stdout
        knows.found[path, option] = option in said
    return knows.found[path, option]


knows.found = {}


def _tapir(setting, options, _):
    path = program("server")
    offload = ["--tap-offload", "auto" if setting.offload else "off"] if knows(path, "--tap-offload") else []
    reclaim = [] if options.tap_reclaim is None else ["--tap-reclaim", str(options.tap_reclaim)]
    join = [] if options.tap_join is None else ["--tap-join", str(options.tap_join)]
    return [path, "--stack", "tap", "--tap", DEVICE, "--tap-io", options.tap_io, "--buffer", str(options.buffer),
            "--no-control", *offload, *reclaim, *join, "--spin", str(setting.spin), "--address", "{address}/24", "--port", str(PORT)]


def _framework(setting, *_):
    return [program("server"), "--stack", "kernel", "--spin", str(setting.spin), "--address", "{address}/24", "--port",
            str(PORT)]


def _kernel(*_):
    return [program("epoll_server"), "--address", "{address}/24", "--port", str(PORT)]


def _null(setting, *_):
    return [program("null_tcp"), "--tap", DEVICE, "--offload", "on" if setting.offload else "off",
            *(["--spin"] if setting.spin else []), "--address", "{address}/24", "--port", str(PORT)]


def _lwip(setting, *_):
    if setting.mtu != 1500:
        raise Missing("Debian's lwIP is built with an MSS of 1460")
    try:
        path = program("lwip_server")
    except Missing:
        raise Missing("lwip_server was not built (Debian package liblwip-dev)") from None
    return [path, "--tap", DEVICE, "--address", "{address}/24", "--port", str(PORT)]


NGINX = """
daemon off;
master_process off;
error_log stderr;
pid nginx.pid;
events {{ worker_connections 30000; }}
http {{
    access_log off;
    keepalive_requests 1000000000;
    keepalive_timeout 3600;
    client_header_timeout 3600;
    client_body_temp_path t; proxy_temp_path t; fastcgi_temp_path t; uwsgi_temp_path t; scgi_temp_path t;
    server {{
        listen {port} backlog=1024;
        location / {{ default_type text/plain; return 200 "hello, world\\n"; }}
    }}
}}
"""


def _nginx(_setting, _options, work):
    path = installed("nginx", "nginx")
    with open(os.path.join(work, "nginx.conf"), "w", encoding="utf-8") as file:
        file.write(NGINX.format(port=PORT))
    return [path, "-p", work, "-c", "nginx.conf"]


def _iperf3(*_):
    return [installed("iperf3", "iperf3"), "-s", "-p", str(PORT + 1)]


CONTENDERS = {c.name: c for c in (
    Contender("kernel", "the kernel over veth: a program with epoll, read() and write()", "veth", ALL, _kernel),
    Contender("framework", "the kernel over veth: tapir's coroutines on kernel sockets", "veth", ALL, _framework),
    Contender("tapir", "tapir's TCP over a TAP", "tap", ALL, _tapir),
    Contender("null", "the limit over a TAP: no timers, no recovery", "tap", ALL, _null),
    Contender("lwip", "lwIP of Debian over a TAP", "tap", ALL, _lwip),
    Contender("nginx", "nginx of Debian, the kernel over veth", "veth", frozenset({"http"}), _nginx, says_ready=False),
    Contender("iperf3", "iperf3 of Debian at both ends, the kernel over veth", "veth", frozenset({"iperf3"}), _iperf3,
              says_ready=False),
)}
