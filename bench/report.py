"""report.py - the table: what was measured, beside what is to be reached."""
import platform
import subprocess
import sys

import measure
import peers

LOW, HIGH = "<=", ">="
# row, what it says, peer, which way is better, ratio to reach
ROWS = [
    ("idle_clear_cold", "idle, logged in, clear, index built in this session", "popa3d", LOW, .3),
    ("idle_clear_cold", "the same", "dovecot", LOW, 1 / 9),
    ("idle_clear_warm", "idle, logged in, clear, index there already", "popa3d", LOW, .3),
    ("idle_clear_warm", "the same", "dovecot", LOW, 1 / 9),
    ("idle_tls_cold", "idle, logged in, TLS, index built in this session", "dovecot", LOW, .1),
    ("idle_tls_warm", "idle, logged in, TLS, index there already", "dovecot", LOW, .1),
    ("preauth_clear", "before login, clear", "popa3d", LOW, .6),
    ("preauth_tls", "before login, TLS", "dovecot", LOW, 1 / 8),
    ("greet_clear", "connect to greeting, clear", "hello", LOW, 1.35),
    ("greet_tls_ec", "connect to greeting, POP3S, ECDSA", "dovecot-ec", LOW, .4),
    ("session_clear", "whole session, clear", "popa3d", LOW, .75),
    ("session_tls_ec", "whole session, TLS, ECDSA", "dovecot-ec", LOW, .4),
    ("session_tls_rsa", "whole session, TLS, RSA", "dovecot", LOW, .4),
    ("rate_clear", "sessions, 8 clients, clear", "popa3d", HIGH, 1.35),
    ("rate_tls_ec", "sessions, 8 clients, TLS, ECDSA", "dovecot-ec", HIGH, 3),
    ("rate_tls_rsa", "sessions, 8 clients, TLS, RSA", "dovecot", HIGH, 3),
    ("retr_stalls_clear", "10,000 RETR one by one, clear: stalls of 35 ms or more", None, LOW, 0),
    ("retr_stalls_tls", "10,000 RETR one by one, TLS: stalls of 35 ms or more", None, LOW, 0),
    ("retr_cpu_clear", "10,000 RETR one by one, clear, server CPU", "dovecot", LOW, .5),
    ("retr_cpu_tls", "10,000 RETR one by one, TLS, server CPU", "dovecot", LOW, .5),
    ("retr_pipelined_clear", "10,000 RETR pipelined, clear", "dovecot", HIGH, 2),
    ("retr_pipelined_tls", "10,000 RETR pipelined, TLS", "dovecot", HIGH, 2),
    ("first_look", "first STAT + UIDL, 10,000 messages, no size hints", "dovecot", LOW, .5),
    ("large_time", "login + STAT, 100,000 messages, second time", None, LOW, 50),
    ("large_memory", "the same, private memory", None, LOW, 1536),
]


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
    names = ("dovecot-core", "xinetd", "libssl3", "libssl3t64")
    found = run("dpkg-query", "-W", "-f", "${Package} ${Version}\\n", *names).split("\n")
    return ", ".join(line for line in found if " " in line.strip())


def noise(*figures):
    """The most CPU that others used during any of the figures."""
    known = [f["other_cpu"] for f in figures if f and "other_cpu" in f]
    return max(known) if known else None


def table(figures, realtime):
    out = ["| measure | tinmail | peer | | ratio | to reach | reached | other CPU |",
           "|---|---:|---|---:|---:|---:|---|---:|"]
    for row, text, peer, way, limit in ROWS:
        ours = figures.get(row, {}).get("tinmail")
        theirs = figures.get(row, {}).get(peer) if peer else None
        if not ours or (peer and not theirs):
            continue
        value = ours["value"] / theirs["value"] if peer else ours["value"]
        reached = value <= limit if way == LOW else value >= limit
        others = noise(ours, theirs)
        disturbed = "" if others is None or others < measure.QUIET else " (disturbed)"
        cells = (
            text,
            number(ours["value"]) + " " + ours["unit"],
            (peer or "").replace("-ec", ""),
            number(theirs["value"]) if theirs else "",
            ratio(value) if peer else "",
            way + " " + (ratio(limit) if peer else number(limit)),
            ("yes" if reached else "**no**") + disturbed,
            "" if others is None else "%.2f" % others,
        )
        out.append("| " + " | ".join(cells) + " |")
    head = ["Machine: %s. Peers: %s, popa3d 1.0.3 of Debian." % (machine(), versions()), ""]
    if realtime:
        head += ["Clients and servers ran with real-time priority, because the machine was not quiet.", ""]
    return "\n".join(head + out) + "\n"


if __name__ == "__main__":
    import json
    with open(sys.argv[1]) as file:
        saved = json.load(file)
    print(table(saved["figures"], saved["realtime"]), end="")
