"""What this machine is, and what its CPUs did while something was measured."""
import glob
import mmap
import os
import platform
import re
import subprocess

TICK = 1 / os.sysconf("SC_CLK_TCK")  # seconds


def description():
    model = "unknown CPU"
    with open("/proc/cpuinfo", encoding="utf-8") as file:
        for line in file:
            if line.startswith("model name"):
                model = line.split(":", 1)[1].strip()
                break
    return {"kernel": platform.release(), "cpus": os.cpu_count(), "model": model,
            "load_before": round(os.getloadavg()[0], 2)}


def touch_free_memory():
    """Writes to nine tenths of the free memory and gives it back; how many bytes. A virtual machine may have pages that
    its host has not backed yet: the first run that comes by them may wait for it, page by page."""
    with open("/proc/meminfo", encoding="utf-8") as file:
        available = int(re.search(r"^MemAvailable:\s*(\d+) kB", file.read(), re.M).group(1)) * 1024
    size = available // 10 * 9 // mmap.PAGESIZE * mmap.PAGESIZE
    populate_write = 23  # MADV_POPULATE_WRITE; the mmap module has no name for it
    with mmap.mmap(-1, size, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS) as memory:
        memory.madvise(populate_write)
    return size


def compiler_of(programs):
    """Compiler and flags that the programs were built with, as CMake remembers them."""
    try:
        with open(os.path.join(programs, "../CMakeCache.txt"), encoding="utf-8") as file:
            cache = file.read()
    except OSError:
        return "unknown compiler"
    name = re.search(r"^CMAKE_CXX_COMPILER:[^=]*=(.*)$", cache, re.M)
    flags = re.search(r"^CMAKE_CXX_FLAGS_RELEASE:[^=]*=(.*)$", cache, re.M)
    said = subprocess.run([name.group(1) if name else "c++", "--version"], capture_output=True, text=True, check=False)
    return f"{said.stdout.splitlines()[0] if said.stdout else 'unknown compiler'} {flags.group(1) if flags else ''}"


def _stat_of(pid):
    """Fields of /proc/PID/stat behind the name, which may hold blanks; None when it has ended."""
    try:
        with open(f"/proc/{pid}/stat", encoding="utf-8") as file:
            return file.read().rsplit(") ", 1)[1].split()
    except (OSError, IndexError):
        return None


def _children_of(pid):
    found = []
    for path in glob.glob(f"/proc/{pid}/task/*/children"):
        try:
            with open(path, encoding="utf-8") as file:
                found += [int(n) for n in file.read().split()]
        except OSError:
            pass
    return found


def cpu_seconds(pid):
    """User and system time that a process, its threads and its children have used, in nanoseconds' resolution."""
    total = 0.0
    for path in glob.glob(f"/proc/{pid}/task/*/schedstat"):
        try:
            with open(path, encoding="utf-8") as file:
                total += int(file.read().split()[0]) / 1e9
        except (OSError, IndexError):
            pass
    if total == 0.0 and (stat := _stat_of(pid)):  # a kernel without schedstat: ticks of 10 ms
        total = (int(stat[11]) + int(stat[12])) * TICK
    return total + sum(cpu_seconds(child) for child in _children_of(pid))


def resident_bytes(pid):
    """Memory of a process that is in RAM; what the kernel has for it (sockets above all) is not in there."""
    with open(f"/proc/{pid}/status", encoding="utf-8") as file:
        return next((int(line.split()[1]) * 1024 for line in file if line.startswith("VmRSS")), 0)


def slab_bytes():
    """Memory of the kernel's objects, whoever they are for: sockets are among them."""
    with open("/proc/meminfo", encoding="utf-8") as file:
        return next((int(line.split()[1]) * 1024 for line in file if line.startswith("Slab:")), 0)


def busy_seconds(cpu):
    """Seconds that a CPU was not idle: everybody's, interrupts and softirqs too."""
    with open("/proc/stat", encoding="utf-8") as file:
        for line in file:
            if line.startswith(f"cpu{cpu} "):
                user, nice, system, _, _, irq, softirq, steal = (int(n) * TICK for n in line.split()[1:9])
                return user + nice + system + irq + softirq + steal
    return 0.0


def foreign_seconds(ours):
    """CPU that processes which are not ours have used: their disturbance is the difference of two calls. Children that
    have ended count through their parents."""
    ours = set(ours) | {os.getpid()}
    total = 0
    for path in glob.glob("/proc/[0-9]*/stat"):
        pid = int(path.split("/")[2])
        stat = _stat_of(pid)
        kernel_thread = stat is None or int(stat[6]) & 0x200000
        if kernel_thread or pid in ours or int(stat[1]) in ours:
            continue
        total += sum(int(n) for n in stat[11:15])
    return total * TICK
