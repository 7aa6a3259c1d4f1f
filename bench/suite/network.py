"""Two kinds of network between a client and a server: a veth pair for the kernel's TCP, a TAP for those that bring their
own. Each lives in namespaces of this run, which are removed after it; nothing else is touched.

Every kernel has CUBIC (or what --congestion-control says) by route: a sysctl in a namespace takes only what a list of the
whole system allows. No kernel remembers, from one run to the next, what it learnt about a path.
"""
import contextlib
import os
import subprocess

from suite.programs import Failed, must

DEVICE = "tapir0"
TXQUEUELEN = "1024"  # frames towards the server, for everybody on a TAP: what tapir asks for
FEATURES = ("tso", "gso", "gro", "tx", "rx", "sg")


class Networks:
    """Makes what is asked for, once, and removes all of it."""

    def __init__(self, options):
        self.congestion_control = options.congestion_control
        self.cpu_of = {"client": options.client_cpu, "server": options.server_cpu} if options.steer else {}
        self.namespaces = []
        self.pairs = {}

    def veth(self, mtu, offload):
        if (mtu, offload) not in self.pairs:
            self.pairs[mtu, offload] = Veth(self, len(self.pairs), mtu, offload)
        return self.pairs[mtu, offload]

    def tap(self, mtu):
        if "tap" not in self.pairs:
            self.pairs["tap"] = Tap(self)
        self.pairs["tap"].make_device(mtu)
        return self.pairs["tap"]

    def namespace(self, letter):
        name = f"tapir-bench-{os.getpid()}-{letter}"
        must(["ip", "netns", "add", name])
        self.namespaces.append(name)
        must(["ip", "-n", name, "link", "set", "lo", "up"])
        must(["ip", "netns", "exec", name, "sysctl", "-qw", "net.ipv4.ip_local_port_range=10000 65000",
              "net.ipv4.tcp_no_metrics_save=1",
              "net.ipv6.conf.all.disable_ipv6=1", "net.ipv6.conf.default.disable_ipv6=1"])
        return name

    def route(self, namespace, device, address):
        network = address.rsplit(".", 1)[0] + ".0/24"
        try:
            must(["ip", "-n", namespace, "route", "replace", network, "dev", device, "src", address,
                  "congctl", self.congestion_control])
        except Failed:
            raise Failed(f"this kernel has no congestion control '{self.congestion_control}' "
                         f"(modprobe tcp_{self.congestion_control}?)") from None

    def steer(self, namespace, device, side, apart):
        """What comes in at the device is worked on by that side's CPU, and not by whoever has sent it. Not `apart`, on
        one CPU, there is no difference. A device must not go while it is steered: Linux counts them, and one that has
        gone like that makes each packet of the whole system look for its CPU until the next boot."""
        if side not in self.cpu_of:
            return
        mask = f"{1 << self.cpu_of[side]:x}" if apart else "0"
        must(["ip", "netns", "exec", namespace, "sh", "-c",
              f"for queue in /sys/class/net/{device}/queues/rx-*; do echo {mask} >$queue/rps_cpus || exit; done"])

    def remove(self):
        for pair in self.pairs.values():
            with contextlib.suppress(Failed):
                pair.unsteer()
        for name in self.namespaces:
            subprocess.run(["ip", "netns", "del", name], stderr=subprocess.DEVNULL, check=False)


class Veth:
    def __init__(self, networks, number, mtu, offload):
        self.networks = networks
        self.client = networks.namespace(f"{number}c")
        self.server = networks.namespace(f"{number}s")
        self.address = f"198.18.{number}.2"
        must(["ip", "-n", self.client, "link", "add", "v0", "mtu", str(mtu), "type", "veth",
              "peer", "name", "v0", "mtu", str(mtu), "netns", self.server])
        for namespace, own in ((self.client, f"198.18.{number}.1"), (self.server, self.address)):
            must(["ip", "-n", namespace, "addr", "add", f"{own}/24", "dev", "v0"])
            must(["ip", "-n", namespace, "link", "set", "v0", "up"])
            networks.route(namespace, "v0", own)
            if not offload:
                off = [word for feature in FEATURES for word in (feature, "off")]
                must(["ip", "netns", "exec", namespace, "ethtool", "-K", "v0", *off])

    def steer(self, apart):
        self.networks.steer(self.client, "v0", "client", apart)
        self.networks.steer(self.server, "v0", "server", apart)

    def unsteer(self):
        self.steer(apart=False)

    def close(self):
        """It stays: a pair has no state that a run could leave behind."""


class Tap:
    """The client is on the TAP's kernel side. Each run has a device of its own, without what another one left in it."""

    def __init__(self, networks):
        self.networks = networks
        self.client = self.server = networks.namespace("t")
        self.address = "203.0.113.2"

    def make_device(self, mtu):
        inside = ["ip", "-n", self.client]
        must([*inside, "tuntap", "add", "dev", DEVICE, "mode", "tap"])
        must([*inside, "link", "set", DEVICE, "mtu", str(mtu), "txqueuelen", TXQUEUELEN])
        must([*inside, "addr", "add", "203.0.113.1/24", "dev", DEVICE])
        must([*inside, "link", "set", DEVICE, "up"])
        self.networks.route(self.client, DEVICE, "203.0.113.1")

    def steer(self, apart):
        self.networks.steer(self.client, DEVICE, "client", apart)

    def unsteer(self):
        """Its device has gone."""

    def close(self):
        try:
            self.steer(apart=False)
        finally:
            must(["ip", "-n", self.client, "link", "del", DEVICE])
