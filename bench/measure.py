"""measure.py - takes the time, and keeps the books of CPU, memory and noise. What every protocol shares."""
import contextlib
import multiprocessing
import os
import re
import socket
import ssl
import time

import peers

TICK = os.sysconf("SC_CLK_TCK")
TLS = ssl.create_default_context()
TLS.check_hostname = False
TLS.verify_mode = ssl.CERT_NONE
QUIET = .1                                                  # cores that others may use
TICKS = .2                                                  # seconds; over less, the kernel's tick of 10 ms says nothing
clock = time.perf_counter


class Failed(Exception):
    pass


# --- the servers' processes -------------------------------------------------------------------------------------------

def server_cpu(name):
    """CPU seconds that a server has used, ended processes included."""
    group = peers.groups(name)[0]
    if group.startswith("/sys/fs/cgroup/cpuacct"):
        with open(group + "/cpuacct.usage") as f:
            return int(f.read()) / 1e9
    with open(group + "/cpu.stat") as f:
        return int(re.search(r"usage_usec (\d+)", f.read()).group(1)) / 1e6


def private_kib(name, kinds="Clean|Dirty"):
    """Private_Clean + Private_Dirty, or one of them, of all processes of a server: (KiB, processes)."""
    total = count = 0
    for p in peers.pids(name):
        try:
            with open("/proc/%d/smaps_rollup" % p) as f:
                text = f.read()
        except OSError:
            continue
        total += sum(int(x) for x in re.findall(r"^Private_(?:%s):\s+(\d+)" % kinds, text, re.M))
        count += 1
    return total, count


def settle(name):
    """Waits until no process has come or gone for a second."""
    last, same = None, 0
    for _ in range(60):
        time.sleep(.25)
        now = len(peers.pids(name))
        same = same + 1 if now == last else 0
        last = now
        if same >= 4:
            return


# --- noise ------------------------------------------------------------------------------------------------------------

def machine_cpu():
    with open("/proc/stat") as f:
        x = [int(x) for x in f.readline().split()[1:9]]
    return (sum(x) - x[3] - x[4]) / TICK


def all_servers_cpu():
    return sum(server_cpu(name) for name in peers.running)


def wait_until_quiet(patience):
    """Waits until everything else on the machine uses less than QUIET cores for two seconds. Says whether it did."""
    until = clock() + patience
    while True:
        with Meter() as m:
            time.sleep(2)
        if m.other < QUIET:
            return True
        if clock() > until:
            return False


class Meter:
    """Wall time, CPU of the server, and CPU of everything that is neither a server nor this client, in cores."""
    def __init__(self, name=None):
        self.name = name

    def __enter__(self):
        self.server = server_cpu(self.name) if self.name else 0
        self.busy, self.own, self.servers = machine_cpu(), sum(os.times()[:4]), all_servers_cpu()
        self.begun = clock()
        return self

    def __exit__(self, *_):
        self.wall = clock() - self.begun
        self.cpu = server_cpu(self.name) - self.server if self.name else 0
        own, servers = sum(os.times()[:4]) - self.own, all_servers_cpu() - self.servers
        self.other = max(0, machine_cpu() - self.busy - own - servers) / max(self.wall, TICKS)


# --- connections ------------------------------------------------------------------------------------------------------

class Target:
    """A server, and how to speak to it: clear, rsa (TLS from the start), ec (the same, other key)."""
    def __init__(self, peer, protocol, way="clear"):
        self.peer = peer
        self.way = way
        self.port = peers.PORTS[protocol][peer][("clear", "rsa", "ec").index(way)]


class Connection:
    """The octets of a connection; the protocols' clients add their commands."""
    def __init__(self, target):
        self.s = socket.create_connection(("127.0.0.1", target.port), 60)
        self.s.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        if target.way != "clear":
            self.s = TLS.wrap_socket(self.s)
        self.b = b""

    def receive(self):
        d = self.s.recv(262144)
        if not d:
            raise Failed("closed by the server")
        return d

    def line(self):
        while b"\n" not in self.b:
            self.b += self.receive()
        line, self.b = self.b.split(b"\n", 1)
        return line

    def close(self):
        with contextlib.suppress(OSError):
            self.s.close()


# --- what every protocol is measured by -------------------------------------------------------------------------------

def timed(n, once):
    """ms that it takes, n times. What it returns, if anything, is done before the next time, untimed."""
    values = []
    for _ in range(n):
        t = clock()
        rest = once()
        values.append((clock() - t) * 1000)
        if rest:
            rest()
        time.sleep(.003)
    return values


def see_off(c, farewell):
    """Ends a session; it is over when the server has closed."""
    with contextlib.suppress(OSError):
        c.s.sendall(farewell)
        while c.s.recv(4096):
            pass
    c.close()


def greeting(client, target, farewell, n):
    """ms from connect to the greeting, n times."""
    def once():
        c = client(target)
        c.line()
        return lambda: see_off(c, farewell)
    return timed(n, once)


def _worker(session, target, user, until, result):
    done = failed = 0
    while clock() < until:
        try:
            session(target, user)
            done += 1
        except (OSError, Failed):
            failed += 1
            time.sleep(.01)
    result.put((done, failed))


def sessions_per_second(session, target, clients, seconds):
    """Several clients at once, each with a user of its own: (per second, failed)."""
    result = multiprocessing.Queue()
    begun = clock()
    workers = [multiprocessing.Process(target=_worker, args=(session, target, user, begun + seconds, result))
               for user in peers.MANY[:clients]]
    for w in workers:
        w.start()
    counts = [result.get() for _ in workers]
    for w in workers:
        w.join()
    return sum(x[0] for x in counts) / (clock() - begun), sum(x[1] for x in counts)


def idle_memory(enter, target, users, wait=3):
    """KiB private and processes for each of the connections, which all exist at once and have been idle for a while.
    `enter` makes one, for a user."""
    # Helpers that a server starts when first needed are not the connections'.
    enter(peers.ONE).close()
    settle(target.peer)
    before, processes = private_kib(target.peer)
    clients = [enter(user) for user in users]
    time.sleep(wait)
    full, more = private_kib(target.peer)
    for c in clients:
        c.close()
    settle(target.peer)
    return (full - before) / len(clients), (more - processes) / len(clients)
