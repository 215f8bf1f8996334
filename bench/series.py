#!/usr/bin/env python3
"""series.py - every row of the tables, tinmail beside its peers, in one run.

  series.py [--only STEP,...] [--quick] [--patience SECONDS] [--realtime] [--table FILE] PROGRAMS [PROTOCOL...]

PROGRAMS is the directory of the programs to measure. Figures go to results/latest.json as they come, the tables to FILE
or standard output. What is measured of a protocol is in the module of its name.
"""
import argparse
import json
import os
import statistics
import sys
import time

import imap
import measure
import peers
import pop3
import report
import smtp
from measure import Meter

HERE = os.path.dirname(os.path.abspath(__file__))
PROTOCOLS = {"pop3": pop3, "imap": imap, "smtp": smtp}
TRIES = 3                                                   # of one measurement that others disturbed
SHORT = .5                                                  # seconds; over less, a second try gains nothing


class Series:
    """What the protocols' steps measure with, and where their figures go."""
    def __init__(self, options):
        self.o = options
        self.quick = options.quick
        self.scale = 4 if options.quick else 1
        self.protocol = None
        self.figures = {}                                   # protocol -> row -> peer -> figure

    def add(self, row, peer, value, unit, **more):
        """Notes one figure."""
        figure = dict(value=value, unit=unit, **more)
        self.figures.setdefault(self.protocol, {}).setdefault(row, {})[peer] = figure
        extra = " ".join("%s=%.4g" % (k, v) for k, v in more.items() if isinstance(v, (int, float)))
        now = time.strftime("%H:%M:%S")
        print("%s  %-20s %-11s %10.3f %-8s %s" % (now, row, peer, value, unit, extra), file=sys.stderr)
        os.makedirs(HERE + "/results", exist_ok=True)
        with open(HERE + "/results/latest.json", "w") as f:
            json.dump(dict(machine=report.machine(), realtime=self.o.realtime, figures=self.figures), f, indent=1)

    def add_meters(self, row, peer, meters, unit="s"):
        """Notes the median wall time of some measurements."""
        factor = {"s": 1, "ms": 1000}[unit]
        walls = [m.wall * factor for m in meters]
        self.add(row, peer, statistics.median(walls), unit, n=len(walls), min=min(walls), max=max(walls),
                 cpu_ms=statistics.median(m.cpu for m in meters) * 1000, other_cpu=max(m.other for m in meters))

    def wait(self):
        """Waits for a quiet machine."""
        if not self.o.realtime and self.o.patience:
            measure.wait_until_quiet(self.o.patience)

    def quietly(self, name, act, prepare=None):
        """Measures on a quiet machine; again if others came in between, each time from the same beginning, and the least disturbed
        one counts."""
        best = None
        for _ in range(TRIES):
            if prepare:
                prepare()
            self.wait()
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

    def rates(self, row, targets, session):
        """Sessions per second with 8 clients at once, the servers taking turns."""
        got = {}
        for _ in range(1 if self.quick else 3):
            for t in targets:
                load = lambda t=t: measure.sessions_per_second(session, t, 8, 5 / self.scale)
                (rate, failed), m = self.quietly(t.peer, load)
                got.setdefault(t.peer, []).append((rate, failed, m.other))
        for name, v in got.items():
            self.add(row, name, statistics.median(x[0] for x in v), "1/s", n=len(v),
                     failed=sum(x[1] for x in v), other_cpu=max(x[2] for x in v))

    def compare(self, row, targets, act, prepare, unit="s", rounds=3):
        """Medians of measurements that each need a preparation; `act` returns its Meter."""
        got = {}
        for _ in range(1 if self.quick else rounds):
            for t in targets:
                m, _ = self.quietly(t.peer, lambda t=t: act(t), lambda t=t: prepare(t))
                got.setdefault(t.peer, []).append(m)
        for name, v in got.items():
            self.add_meters(row, name, v, unit)


def main():
    steps = {name: list(module.STEPS) for name, module in PROTOCOLS.items()}
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("programs", help="the directory of the programs")
    p.add_argument("protocols", nargs="*", metavar="PROTOCOL", help="all of: " + " ".join(PROTOCOLS))
    p.add_argument("--only", help="; ".join("steps of %s: %s" % (k, " ".join(v)) for k, v in steps.items()))
    p.add_argument("--quick", action="store_true", help="a quarter of the runs, to see whether everything works")
    p.add_argument("--patience", type=float, default=300, help="seconds to wait for a quiet machine, each time")
    p.add_argument("--realtime", action="store_true", help="for a machine that is never quiet: see README.md")
    p.add_argument("--table", help="where the tables go")
    o = p.parse_args()
    protocols = o.protocols or list(PROTOCOLS)
    for name in protocols:
        if name not in PROTOCOLS:
            p.error("no such protocol: " + name)
    only = o.only.split(",") if o.only else None
    for step in only or ():
        if not any(step in steps[name] for name in protocols):
            p.error("no such step: " + step)
    if "BENCH_OUTSIDE" not in os.environ:                   # a mount over /dev/log is for the servers alone
        os.environ["BENCH_OUTSIDE"] = os.readlink("/proc/self/ns/mnt")
        os.execvp("unshare", ["unshare", "--mount", sys.executable] + sys.argv)
    peers.REALTIME = o.realtime
    peers.prefer()
    peers.setup(o.programs, protocols)
    series = Series(o)
    try:
        peers.start_all(protocols)
        for name in protocols:
            series.protocol = name
            for step, act in PROTOCOLS[name].STEPS.items():
                if only is None or step in only:
                    act(series)
    finally:
        peers.stop_all()
    text = report.tables(series.figures, PROTOCOLS, o.realtime)
    if o.table:
        with open(o.table, "w") as f:
            f.write(text)
    else:
        print(text)


if __name__ == "__main__":
    main()
