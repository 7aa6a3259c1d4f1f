"""Network namespaces with one TAP each, made for a run and removed after it, and the programs in them.

Nothing else is touched: no sysctl, route or device outside of these namespaces.
"""
import json
import os
import select
import signal
import subprocess
import sys
import time

DEVICE = "t0"
BUFFER_MAX = 16 * 1024 * 1024  # the kernel's autotuning may go up to this, 32 times the largest window here
TXQUEUELEN = 4096  # as path.cpp has it


class Failed(Exception):
    """A sentence for whoever started the bench."""


class Kernel:
    """One kernel end: a namespace, its address, and the TAP that is its only link."""

    def __init__(self, letter, address):
        self.namespace = f"tapir-recovery-{os.getpid()}-{letter}"
        self.address = address

    @property
    def device(self):
        return f"{self.namespace}/{DEVICE}"

    def make(self):
        ip("netns", "add", self.namespace)
        self.inside(
            "sysctl", "-qw", "net.ipv6.conf.all.disable_ipv6=1", "net.ipv6.conf.default.disable_ipv6=1",
            "net.ipv4.tcp_no_metrics_save=1",  # or a run would begin with the last one's ssthresh
            f"net.ipv4.tcp_rmem=4096 131072 {BUFFER_MAX}", f"net.ipv4.tcp_wmem=4096 16384 {BUFFER_MAX}")
        ip("-n", self.namespace, "link", "set", "lo", "up")
        ip("-n", self.namespace, "tuntap", "add", "dev", DEVICE, "mode", "tap")
        ip("-n", self.namespace, "link", "set", DEVICE, "mtu", "1500", "txqueuelen", str(TXQUEUELEN))
        ip("-n", self.namespace, "addr", "add", f"{self.address}/24", "dev", DEVICE)
        ip("-n", self.namespace, "link", "set", DEVICE, "up")

    def congestion_control(self, name):
        """By route: the one way that needs no entry in a list of what is allowed."""
        network = self.address.rsplit(".", 1)[0] + ".0/24"
        try:
            ip("-n", self.namespace, "route", "replace", network, "dev", DEVICE, "src", self.address, "congctl", name)
        except Failed:
            raise Failed(f"this kernel has no congestion control '{name}' (modprobe tcp_{name}?)") from None

    def remove(self):
        subprocess.run(["ip", "netns", "del", self.namespace], stderr=subprocess.DEVNULL, check=False)

    def inside(self, *command):
        must(["ip", "netns", "exec", self.namespace, *command])

    def dropped(self):
        """Frames that the kernel could not hand to the path."""
        shown = subprocess.run(["ip", "-n", self.namespace, "-s", "-j", "link", "show", DEVICE],
                               capture_output=True, text=True, check=True)
        return json.loads(shown.stdout)[0]["stats64"]["tx"]["dropped"]


def must(command):
    done = subprocess.run(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True, check=False)
    if done.returncode != 0:
        raise Failed(f"{' '.join(command)}: {done.stderr.strip()}")


def ip(*arguments):
    must(["ip", *arguments])


class Program:
    """A child whose lines of output are waited for. It has ended when the `with` has."""

    def __init__(self, command, log, kernel=None):
        self.name = os.path.basename(command[0])
        if kernel is not None:
            command = ["ip", "netns", "exec", kernel.namespace, *command]
        self.child = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=log)
        self.unread = b""

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.stop()
        self.child.stdout.close()

    def line(self, begins, seconds):
        """The next line that begins so; None when it did not come in time, or the program ended before."""
        deadline = time.monotonic() + seconds
        while True:
            while b"\n" in self.unread:
                text, self.unread = self.unread.split(b"\n", 1)
                if text.decode().startswith(begins):
                    return text.decode()
            left = deadline - time.monotonic()
            if left <= 0 or not select.select([self.child.stdout], [], [], left)[0]:
                return None
            more = os.read(self.child.stdout.fileno(), 65536)
            if not more:
                return None
            self.unread += more

    def stop(self):
        if self.child.poll() is None:
            self.child.terminate()
        try:
            self.child.wait(5)
        except subprocess.TimeoutExpired:
            self.child.kill()
            self.child.wait()


def words(line):
    """A line of "name value" pairs as a dict, numbers as numbers."""
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


def become_root(script):
    """An ordinary user gets a user namespace in which everything below is allowed, or a sentence."""
    if os.geteuid() == 0:
        return
    if not os.access("/dev/net/tun", os.R_OK | os.W_OK):
        raise Failed("/dev/net/tun is not open to you: run this as root, or once as root: chmod 0666 /dev/net/tun")
    unshare = ["unshare", "--user", "--map-root-user", "--net", "--mount"]
    if subprocess.run([*unshare, "true"], stderr=subprocess.DEVNULL, check=False).returncode != 0:
        raise Failed("this system does not let users make network namespaces: run this as root")
    os.execvp("unshare", [*unshare, "--", "sh", "-c", 'mount -t tmpfs tmpfs /run && exec "$0" "$@"',
                          script, *sys.argv[1:]])


def interrupt_on_signals():
    def interrupt(*_):
        raise KeyboardInterrupt

    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, interrupt)


def ignore_signals():
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)
