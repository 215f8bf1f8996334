#!/usr/bin/env python3
"""sizes.py PROGRAM... - octets of the stripped programs: those that are measured, linked dynamically, and with glibc, with musl
and for ARMv7 where that has been built; and the crates that take most of them."""
import collections
import glob
import os
import re
import subprocess
import sys

ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
TARGET = os.environ.get("CARGO_TARGET_DIR", ROOT + "/target")
CRATES = 10


def build(directory, **environment):
    """Builds once more, apart, with other flags; the directory of the programs."""
    env = dict(os.environ, CARGO_TARGET_DIR="%s/bench-%s" % (TARGET, directory), **environment)
    out = subprocess.run([ROOT + "/build"], env=env, check=True, capture_output=True, text=True).stdout
    return [os.path.dirname(line) for line in out.split("\n") if line.endswith("/pop3d")][0]


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


def builds(programs):
    """[(how it was built, directory)]"""
    own = os.path.dirname(programs[0])
    found = [("as measured", own), ("dynamic, x86-64", build("dynamic", RUSTFLAGS="-C target-feature=-crt-static"))]
    places = (("static, x86-64", "."), ("static, x86-64, musl", "x86_64-*-musl"), ("static, ARMv7", "armv7*"))
    for text, pattern in places:
        for directory in glob.glob("%s/%s/release" % (TARGET, pattern)):
            if all(os.path.exists("%s/%s" % (directory, os.path.basename(p))) for p in programs):
                found.append((text, directory))
    return found


def main():
    programs = sys.argv[1:]
    names = [os.path.basename(p) for p in programs]
    print("| octets, stripped | %s |\n|---|%s" % (" | ".join(names), "---:|" * len(names)))
    for text, directory in builds(programs):
        print("| %s | %s |" % (text, " | ".join(str(os.path.getsize("%s/%s" % (directory, name))) for name in names)))
    unstripped = build("symbols", CARGO_PROFILE_RELEASE_STRIP="none")
    print("\nThe largest crates, octets of code (what the compiler merged into a caller counts as the caller's):")
    for name in names:
        print("\n| crate, %s | octets |\n|---|---:|" % name)
        for crate_name, octets in largest_crates("%s/%s" % (unstripped, name)).most_common(CRATES):
            print("| %s | %d |" % (crate_name, octets))


if __name__ == "__main__":
    main()
