"""report.py - the table: what was measured, beside what is to be reached."""
import platform
import subprocess
import sys
import typing

import measure
import peers

LOW, HIGH = "<=", ">="


class Row(typing.NamedTuple):
    """One row of a table. The limit is of the ratio to the peer, without one, or when absolute, of the figure."""
    name: str
    text: str
    peer: str = None
    way: str = LOW                                          # which way is better
    limit: float = None                                     # None: nothing to reach
    absolute: bool = False


def number(x):
    return "%.0f" % x if abs(x) >= 100 or x == int(x) else "%.1f" % x if abs(x) >= 10 else "%.2f" % x


def ratio(x):
    return "%.3f" % x if x < .2 else "%.2f" % x


def run(*command):
    try:
        return subprocess.run(command, capture_output=True, text=True).stdout.strip()
    except OSError:
        return ""


def machine():
    """What was measured on, in one line."""
    with open("/proc/cpuinfo") as f:
        lines = [line.split(":", 1)[1].strip() for line in f if line.startswith("model name")]
    with open("/proc/meminfo") as f:
        memory = int(f.readline().split()[1]) // 1024
    with open("/etc/os-release") as f:
        system = dict(line.rstrip().replace('"', "").split("=", 1) for line in f if "=" in line)["PRETTY_NAME"]
    virtual = run("systemd-detect-virt") or "unknown"
    cpuid = run(peers.STATE + "/bin/cpuid")
    return "%d x %s, %d MiB, virtualisation: %s, Linux %s, %s, Python %s%s" % (
        len(lines), lines[0] if lines else platform.machine(), memory, virtual, platform.release(), system,
        platform.python_version(),
        ", " + cpuid if cpuid else "")


def versions():
    """The peers' versions."""
    names = ("dovecot-core", "postfix", "xinetd", "libssl3", "libssl3t64")
    found = run("dpkg-query", "-W", "-f", "${Package} ${Version}\\n", *names).split("\n")
    return ", ".join(line for line in found if " " in line.strip())


def noise(*figures):
    """The most CPU that others used during any of the figures."""
    known = [f["other_cpu"] for f in figures if f and "other_cpu" in f]
    return max(known) if known else None


def cells(row, figures):
    """The cells of a row; None if there is no figure."""
    ours = figures.get(row.name, {}).get("tinmail")
    theirs = figures.get(row.name, {}).get(row.peer) if row.peer else None
    if not ours or (row.peer and not theirs):
        return None
    ratio_of = ours["value"] / theirs["value"] if theirs and theirs["value"] and not row.absolute else None
    value = ours["value"] if ratio_of is None else ratio_of
    limit, reached = "", ""
    others = noise(ours, theirs)
    if row.limit is not None:
        limit = row.way + " " + (number(row.limit) if ratio_of is None else ratio(row.limit))
        reached = "yes" if (value <= row.limit if row.way == LOW else value >= row.limit) else "**no**"
        if others is not None and others >= measure.QUIET:
            reached += " (disturbed)"
    return (
        row.text,
        number(ours["value"]) + " " + ours["unit"],
        (row.peer or "").replace("-ec", ""),
        number(theirs["value"]) if theirs else "",
        "" if ratio_of is None else ratio(ratio_of),
        limit,
        reached,
        "" if others is None else "%.2f" % others,
    )


def table(rows, figures):
    out = ["| measure | tinmail | peer | | ratio | to reach | reached | other CPU |",
           "|---|---:|---|---:|---:|---:|---|---:|"]
    out += ["| " + " | ".join(row) + " |" for row in (cells(row, figures) for row in rows) if row]
    return "\n".join(out) + "\n"


def tables(figures, protocols, realtime):
    """The table of each protocol; `protocols` are the modules by their names."""
    out = "Machine: %s. Peers: %s, popa3d 1.0.3 of Debian.\n" % (machine(), versions())
    if realtime:
        out += "\nClients and servers ran with real-time priority, because the machine was not quiet.\n"
    for name, found in figures.items():
        out += "\n### %s\n\n%s" % (name.upper(), table(protocols[name].ROWS, found))
    return out


if __name__ == "__main__":
    import json

    import series
    with open(sys.argv[1]) as file:
        saved = json.load(file)
    print(tables(saved["figures"], series.PROTOCOLS, saved["realtime"]), end="")
