"""A real OpenSMTPD, which is unpacked and not installed: its users and directories are there for one test only."""

import os
import pathlib
import shutil
import subprocess

from harness import run, stop


def start(case, base, conf):
    """Starts it with this smtpd.conf, in a new directory; `osuser`, with a home directory there, is a user of the host."""
    unpacked = pathlib.Path(os.environ.get("E2E_OPENSMTPD", "/nonexistent"))
    case.assertTrue((unpacked / "usr/sbin/smtpd").exists(), "opensmtpd is not unpacked: tests/run does that")
    (base / "empty").mkdir(parents=True)
    os.chmod(base, 0o755)
    os.chmod(base / "empty", 0o755)
    (base / "home").mkdir(mode=0o755)
    os.chown(base / "home", 30003, 30003)
    for file, lines in (("passwd", [f"opensmtpd:x:30001:30001::{base}/empty:/bin/false",
                                    f"opensmtpq:x:30002:30002::{base}/empty:/bin/false",
                                    f"osuser:x:30003:30003::{base}/home:/bin/sh"]),
                        ("group", ["opensmtpd:x:30001:", "opensmtpq:x:30002:", "osuser:x:30003:"])):
        names = {line.split(":")[0] for line in lines}
        kept = [line for line in pathlib.Path("/etc", file).read_text().splitlines() if line.split(":")[0] not in names]
        (base / file).write_text("\n".join([*kept, *lines, ""]))
        run("mount", "--bind", base / file, f"/etc/{file}")
        case.addCleanup(run, "umount", "-l", f"/etc/{file}")
    for directory in ("/var/spool", "/usr/libexec", "/var/lib"):
        os.makedirs(directory, exist_ok=True)
        run("mount", "-t", "tmpfs", "e2e", directory)
        case.addCleanup(run, "umount", "-l", directory)
    os.mkdir("/var/spool/smtpd", 0o711)
    os.chmod("/var/spool/smtpd", 0o711)
    os.makedirs("/var/lib/opensmtpd/empty")
    shutil.copytree(unpacked / "usr/libexec/opensmtpd", "/usr/libexec/opensmtpd")
    (base / "smtpd.conf").write_text(conf)
    with open(base / "log", "wb") as log:
        process = subprocess.Popen([unpacked / "usr/sbin/smtpd", "-d", "-f", base / "smtpd.conf"], stdout=log, stderr=log)
    case.addCleanup(stop, process)
