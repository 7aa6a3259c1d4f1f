"""Network namespaces with one TAP each, made for a run and removed after it, and the programs in them.

Nothing else is touched: no sysctl, route or device outside of these namespaces.
"""
import json
import os
import signal
import subprocess
import sys

from suite.programs import Child, Failed, must

DEVICE = "t0"
BUFFER_MAX = 16 * 1024 * 1024  # the kernel's autotuning may go up to this, 32 times the largest window here
TXQUEUELEN = 4096  # as path.cpp has it


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


def ip(*arguments):
    must(["ip", *arguments])


class Program(Child):
    """A child, in a kernel's namespace if one is given. It has ended when the `with` has."""

    def __init__(self, command, log, kernel=None):
        there = ["ip", "netns", "exec", kernel.namespace] if kernel is not None else []
        super().__init__([*there, *command], log)
        self.name = os.path.basename(command[0])

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.stop()


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
