#!/usr/bin/env python3
"""sizes.py PROGRAM - octets of the stripped program: as built, linked dynamically, for ARMv7 and with musl if that
has been built; and the crates that take most of it."""
import collections
import glob
import os
import re
import shutil
import subprocess
import sys

ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
TARGET = os.environ.get("CARGO_TARGET_DIR", ROOT + "/target")
CRATES = 10


def build(directory, **environment):
    """Builds once more, apart, with other flags."""
    env = dict(os.environ, CARGO_TARGET_DIR="%s/bench-%s" % (TARGET, directory), **environment)
    out = subprocess.run([ROOT + "/build"], env=env, check=True, capture_output=True, text=True).stdout
    return [line for line in out.split("\n") if line.endswith("/pop3d")][0]


def crate(symbol):
    """The crate that a demangled symbol comes from; C code has no path."""
    for generic in ("<", "&", "mut ", "dyn ", "[", "(", "*const ", "*mut "):
        while symbol.startswith(generic):
            symbol = symbol[len(generic):]
    # Symbols of ring's C and assembly parts carry its version as prefix.
    if symbol.startswith("ring_core_"):
        return "ring"
    m = re.match(r"([a-z_][a-z0-9_]*)::", symbol)
    return m.group(1) if m else "C library"


def largest_crates(program):
    """[(crate, octets of code)], by the names of the functions in an unstripped build."""
    total = collections.Counter()
    for line in subprocess.check_output(["nm", "-S", "-C", program], text=True).split("\n"):
        m = re.match(r"[0-9a-f]+ ([0-9a-f]+) [tTwWvV] (.*)", line)
        if m:
            total[crate(m.group(2))] += int(m.group(1), 16)
    return total


def main():
    program = sys.argv[1]
    dynamic = build("dynamic", RUSTFLAGS="-C target-feature=-crt-static")
    own = "static, x86-64, musl" if "-musl/" in program else "static, x86-64"
    rows = [(own, program), ("dynamic, x86-64", dynamic)]
    for musl in glob.glob(TARGET + "/x86_64-*-musl/release/pop3d"):
        if musl != program:
            rows.append(("static, x86-64, musl", musl))
    for arm in glob.glob(TARGET + "/armv7*/release/pop3d"):
        rows.append(("static, ARMv7", arm))
    print("| pop3d, stripped | octets |\n|---|---:|")
    for text, path in rows:
        print("| %s | %d |" % (text, os.path.getsize(path)))
    unstripped = build("symbols", CARGO_PROFILE_RELEASE_STRIP="none")
    if shutil.which("cargo-bloat"):
        print("\n```")
        env = dict(os.environ, CARGO_PROFILE_RELEASE_STRIP="none", CARGO_TARGET_DIR=TARGET + "/bench-symbols")
        subprocess.run(["cargo", "bloat", "--release", "--crates", "-n", str(CRATES)], cwd=ROOT, check=True, env=env)
        print("```")
        return
    total = largest_crates(unstripped)
    print("\nThe largest crates, octets of code (what the compiler merged into a caller counts as the caller's):\n")
    print("| crate | octets |\n|---|---:|")
    for name, octets in total.most_common(CRATES):
        print("| %s | %d |" % (name, octets))


if __name__ == "__main__":
    main()
