#!/usr/bin/env python3
"""series.py - every row of the table, tinmail beside its peers, in one run.

  series.py [--only ROW,...] [--quick] [--patience SECONDS] [--realtime] [--table FILE] PROGRAM

PROGRAM is the pop3d to measure. Figures go to results/latest.json as they come, the table to FILE or standard output.
"""
import argparse
import json
import os
import statistics
import sys
import time

import measure
import peers
import report
from measure import Meter, Target

HERE = os.path.dirname(os.path.abspath(__file__))
TRIES = 3                                                   # of one measurement that others disturbed
SHORT = .5                                                  # seconds; over less, foreign CPU cannot be told


class Series:
    def __init__(self, options):
        self.o = options
        self.figures = {}                                   # row -> peer -> figure
        self.scale = 4 if options.quick else 1
        self.noted = 0

    def add(self, row, peer, value, unit, **more):
        """Notes one figure."""
        figure = dict(value=value, unit=unit, **more)
        self.figures.setdefault(row, {})[peer] = figure
        extra = " ".join("%s=%.4g" % (k, v) for k, v in more.items() if isinstance(v, (int, float)))
        now = time.strftime("%H:%M:%S")
        print("%s  %-20s %-11s %10.3f %-8s %s" % (now, row, peer, value, unit, extra), file=sys.stderr)
        os.makedirs(HERE + "/results", exist_ok=True)
        with open(HERE + "/results/latest.json", "w") as f:
            json.dump(dict(machine=report.machine(), realtime=self.o.realtime, figures=self.figures), f, indent=1)

    def quietly(self, name, act):
        """Measures on a quiet machine; again if others came in between, and the least disturbed one counts."""
        best = None
        for _ in range(TRIES):
            if not self.o.realtime:
                measure.wait_until_quiet(self.o.patience)
            with Meter(name) as m:
                result = act()
            if best is None or m.other < best[1].other:
                best = (result, m)
            if m.other < measure.QUIET or m.wall < SHORT or self.o.realtime or self.o.patience == 0:
                break
        return best

    def times(self, row, targets, act, n, rounds=4):
        """Medians of many short measurements, the servers taking turns."""
        values, noise, cpu = {}, {}, {}
        for _ in range(rounds):
            for t in targets:
                v, m = self.quietly(t.peer, lambda t=t: act(t, max(5, n // self.scale // rounds)))
                values.setdefault(t.peer, []).extend(v)
                noise.setdefault(t.peer, []).append(m.other)
                cpu.setdefault(t.peer, []).append(m.cpu * 1000 / len(v))
        for t in targets:
            v = values[t.peer]
            self.add(row, t.peer, statistics.median(v), "ms", min=min(v), max=max(v), n=len(v),
                     cpu_ms=statistics.median(cpu[t.peer]), other_cpu=max(noise[t.peer]))

    # --- rows ---------------------------------------------------------------------------------------------------------

    def fresh(self, name, users=(peers.ONE,), copy=False, mbox=True):
        peers.reset(users, name, copy)
        if mbox:
            peers.reset_mbox(users, name)

    def memory(self):
        """Private memory of idle connections."""
        everybody = peers.MANY
        for row, way, names in (("preauth_clear", "clear", ("tinmail", "popa3d", "dovecot", "hello")),
                                ("preauth_tls", "rsa", ("tinmail", "dovecot"))):
            for name in names:
                kib, processes = measure.idle_memory(Target(name, way), everybody, False)
                self.add(row, name, kib, "KiB", processes=processes)
        for way, names in (("clear", ("tinmail", "popa3d", "dovecot")), ("rsa", ("tinmail", "dovecot"))):
            for name in names:
                self.fresh("s1000", [peers.ONE] + everybody, copy=True)
                for index in ("cold", "warm"):
                    row = "idle_%s_%s" % ("clear" if way == "clear" else "tls", index)
                    kib, processes = measure.idle_memory(Target(name, way), everybody, True)
                    self.add(row, name, kib, "KiB", processes=processes)

    def greeting(self):
        """Connect to greeting."""
        self.times("greet_clear", [Target("tinmail", "clear"), Target("hello", "clear")], measure.greeting, 200)
        self.times("greet_tls_ec", [Target("tinmail", "ec"), Target("dovecot-ec", "ec")], measure.greeting, 100)

    def session(self):
        """Connect, login, STAT, QUIT in an empty maildrop; serially, then 8 clients at once."""
        pairs = (("clear", "clear", "popa3d"), ("tls_ec", "ec", "dovecot-ec"), ("tls_rsa", "rsa", "dovecot"))
        self.fresh("empty", [peers.ONE] + peers.MANY)
        for label, way, peer in pairs:
            targets = [Target("tinmail", way), Target(peer, way)]
            self.times("session_" + label, targets, measure.sessions, 100)
        for label, way, peer in pairs:
            got = {}
            for _ in range(1 if self.o.quick else 3):
                for t in (Target("tinmail", way), Target(peer, way)):
                    load = lambda t=t: measure.sessions_per_second(t, 8, 5 / self.scale)
                    (rate, failed), m = self.quietly(t.peer, load)
                    got.setdefault(t.peer, []).append((rate, failed, m.cpu, m.other))
            for name, v in got.items():
                self.add("rate_" + label, name, statistics.median(x[0] for x in v), "1/s", n=len(v),
                         failed=sum(x[1] for x in v), other_cpu=max(x[3] for x in v))

    def first_look(self):
        """First STAT and UIDL in 10,000 messages without size hints."""
        got = {}
        for _ in range(1 if self.o.quick else 3):
            for name in ("tinmail", "dovecot"):
                peers.reset([peers.ONE], "c10000")
                peers.warm(peers.ONE)
                os.sync()
                m, _ = self.quietly(name, lambda name=name: measure.first_look(Target(name, "clear")))
                got.setdefault(name, []).append(m)
        for name, v in got.items():
            walls = [x.wall for x in v]
            self.add("first_look", name, statistics.median(walls), "s", n=len(v), min=min(walls), max=max(walls),
                     cpu_ms=statistics.median(x.cpu for x in v) * 1000, other_cpu=max(x.other for x in v))

    def download(self):
        """RETR of 10,000 messages, one by one and pipelined. A first pass is not counted: it writes the access times."""
        for way, label in (("clear", "clear"), ("rsa", "tls")):
            got = {}
            for name in ("tinmail", "dovecot"):
                peers.reset([peers.ONE], "c10000")
                os.sync()
                measure.download(Target(name, way))
                for _ in range(1 if self.o.quick else 2):
                    result, _ = self.quietly(name, lambda t=Target(name, way): measure.download(t))
                    got.setdefault(name, []).append(result)
            for name, v in got.items():
                one, many = [x["one"] for x in v], [x["many"] for x in v]
                self.add("retr_cpu_" + label, name, statistics.median(m.cpu for m in one), "s CPU", n=len(v),
                         mb_s=statistics.median(x["one_mb_s"] for x in v), other_cpu=max(m.other for m in one))
                self.add("retr_stalls_" + label, name, max(x["stalls"] for x in v), "stalls", n=len(v),
                         longest_ms=max(x["longest_ms"] for x in v))
                self.add("retr_pipelined_" + label, name, statistics.median(x["many_mb_s"] for x in v), "MB/s",
                         n=len(v), cpu_s=statistics.median(m.cpu for m in many), other_cpu=max(m.other for m in many))

    def large(self):
        """Login and STAT in 100,000 messages that the server has seen before."""
        peers.reset(peers.MANY[:2], "empty")
        for name in ("tinmail", "dovecot"):
            peers.reset([peers.ONE], "s100000")
            os.sync()
            measure.large_maildrop(Target(name, "clear"))
            # Files younger than a few seconds are looked at again by servers that trust directory times.
            time.sleep(4)
            measure.large_maildrop(Target(name, "clear"))
            look = lambda name=name: measure.large_maildrop(Target(name, "clear"))
            v = [self.quietly(name, look)[0] for _ in range(5)]
            other = max(x["meter"].other for x in v)
            ms = [x["ms"] for x in v]
            self.add("large_time", name, statistics.median(ms), "ms", n=len(v), min=min(ms), max=max(ms), other_cpu=other)
            self.add("large_memory", name, max(x["at_once"] for x in v), "KiB", n=len(v),
                     idle=max(x["idle"] for x in v))


STEPS = ("memory", "greeting", "session", "first_look", "download", "large")


def main():
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("program")
    p.add_argument("--only", default=",".join(STEPS), help="steps: " + " ".join(STEPS))
    p.add_argument("--quick", action="store_true", help="a quarter of the runs, to see whether everything works")
    p.add_argument("--patience", type=float, default=300, help="seconds to wait for a quiet machine, each time")
    p.add_argument("--realtime", action="store_true", help="for a machine that is never quiet: see README.md")
    p.add_argument("--table", help="where the table goes")
    o = p.parse_args()
    if "BENCH_OUTSIDE" not in os.environ:                   # a mount over /dev/log is for the servers alone
        os.environ["BENCH_OUTSIDE"] = os.readlink("/proc/self/ns/mnt")
        os.execvp("unshare", ["unshare", "--mount", sys.executable] + sys.argv)
    peers.REALTIME = o.realtime
    peers.prefer()
    peers.setup(o.program)
    series = Series(o)
    try:
        peers.start_all()
        for step in o.only.split(","):
            getattr(series, step)()
    finally:
        peers.stop_all()
    text = report.table(series.figures, o.realtime)
    if o.table:
        with open(o.table, "w") as f:
            f.write(text)
    else:
        print(text)


if __name__ == "__main__":
    main()
