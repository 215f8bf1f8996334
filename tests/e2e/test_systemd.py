"""The shipped units under a real systemd: the first process of a namespace, on a directory of units of its own."""

import contextlib
import os
import pathlib
import shutil
import signal
import subprocess

import harness
from harness import TREE, Case, free_port, needs_root, run, wait_until

SYSTEMD = os.path.realpath("/lib/systemd/systemd")
TARGETS = "basic sysinit sockets shutdown umount local-fs timers paths slices".split()
START = """
mkdir -p {groups} && echo $$ >{groups}/cgroup.procs
exec unshare --mount --propagation private --pid --fork --ipc --uts --cgroup --kill-child sh -c '
    mount -t proc proc /proc && mount -t tmpfs -o mode=755 tmpfs /run && mkdir -p /run/tinmail
    export container=tinmail SYSTEMD_UNIT_PATH={units}
    exec {systemd} --system --log-target=console --show-status=no'
"""


def groups():
    """A place for control groups below the one that systemd counts by."""
    for base in ("/sys/fs/cgroup/systemd", "/sys/fs/cgroup"):
        if os.path.exists(f"{base}/cgroup.procs"):
            return pathlib.Path(base) / f"tinmail-e2e-{os.urandom(4).hex()}"
    raise AssertionError("there are no control groups")


@needs_root
class Systemd(Case):
    def start(self, service):
        """A systemd that serves the box with the shipped units, adapted as an administrator would: port and paths."""
        box, self.port = self.box, free_port()
        units = box.dir / "units"
        units.mkdir()
        for target in TARGETS:
            shutil.copy(f"/lib/systemd/system/{target}.target", units)
        (units / "default.target").write_text("[Unit]\nRequires=basic.target\n")
        for unit in (f"{service}.socket", f"{service}@.service"):
            lines = (TREE / "systemd" / unit).read_text().splitlines()
            lines = [line for line in lines if not line.startswith("ListenStream=[")]
            adapted = {"ListenStream": f"ListenStream=127.0.0.1:{self.port}",
                       # No journal runs here, and /tmp is where the box lies.
                       "StandardError": "StandardError=null", "PrivateTmp": "PrivateTmp=no"}
            lines = [adapted.get(line.partition("=")[0], line)
                     .replace(f"/usr/local/sbin/{box.binary.name}", f"{box.binary} -c {box.conf}") for line in lines]
            (units / unit).write_text("\n".join(lines) + "\n")
        place = groups()
        script = START.format(groups=place, units=units, systemd=SYSTEMD)
        self.output = open(box.dir / "systemd.log", "wb")
        self.systemd = subprocess.Popen(["sh", "-c", script], stdin=subprocess.DEVNULL, stdout=self.output,
                                        stderr=self.output, start_new_session=True)
        self.addCleanup(self.end, place)
        self.first = wait_until(self.first_process, "systemd runs")
        wait_until(lambda: self.systemctl("is-system-running", check=False).stdout.strip() in ("running", "degraded"),
                   "systemd has started")
        self.systemctl("start", f"{service}.socket")

    def first_process(self):
        for pid in harness.processes_of(SYSTEMD):
            with contextlib.suppress(OSError):
                if str(self.box.dir).encode() in pathlib.Path(f"/proc/{pid}/environ").read_bytes():
                    return pid
        return None

    def end(self, place):
        with contextlib.suppress(OSError, TypeError):
            os.kill(self.first_process(), signal.SIGKILL)
        self.systemd.kill()
        self.systemd.wait()
        self.output.close()
        for directory, _, _ in sorted(os.walk(place), reverse=True):
            with contextlib.suppress(OSError):
                os.rmdir(directory)

    def systemctl(self, *words, check=True):
        return run("nsenter", "-t", self.first, "-m", "-p", "-C", "systemctl", "--no-pager", *words, check=check)

    def test_status_says_what_a_session_does(self):
        self.new_box()
        self.box.maildir.fill()
        self.start("pop3")
        with harness.Pop(address=("127.0.0.1", self.port)) as pop:
            pop.login(*self.box.user)
            status = wait_until(lambda: self.reading("pop3"), "the status of the session")
            self.assertRegex(status, r'Status: "demo 127\.0\.0\.1: reading mail"')
            self.assertRegex(status, r"TriggeredBy: . pop3\.socket")
            self.assertEqual(len(pop.listing()), len(harness.odd_messages()))
            pop.quit()
        self.box.wait_log(r"pop3\(demo\)<\d+><\S+>: Disconnected: Logged out")
        self.assertRegex(self.systemctl("status", "pop3.socket").stdout, r"Accepted: 1;")

    def test_imap_in_the_sandbox(self):
        for service in ("imap", "imaps"):
            with self.subTest(service):
                self.new_box(protocol="imap")
                self.box.maildir.fill()
                self.start(service)
                context = self.box.authority.context() if service == "imaps" else None

                class Server:
                    bind, port, tls_port, box = harness.HOST, self.port, self.port, self.box
                with harness.Imap(Server, tls=service == "imaps", context=context) as imap:
                    imap.login()
                    status = wait_until(lambda: self.reading(service), "the status of the session")
                    self.assertRegex(status, rf"TriggeredBy: . {service}\.socket")
                    imap.ok("CREATE Filed")
                    imap.ok("SELECT INBOX")
                    self.assertEqual(list(imap.bodies().values()), [harness.crlf(raw) for _, raw in harness.odd_messages()])
                    imap.ok("MOVE 1:2 Filed")
                    imap.append(harness.message("stored"))
                    self.assertEqual(len(imap.ok("SEARCH TEXT stored")[0].split()), 3)
                    imap.send("i IDLE\r\n")
                    self.assertTrue(imap.line().startswith("+ "))
                    self.box.maildir.add(harness.message("new"))
                    self.assertEqual(imap.line(), "* 10 EXISTS")
                    imap.send("DONE\r\n")
                    imap.completion(b"i")
                    imap.quit()
                self.box.wait_log(r"imap\(demo\)<\d+><\S+>: Disconnected: Logged out")
                self.doCleanups()

    def reading(self, service):
        status = self.systemctl("status", f"{service}@*", check=False).stdout
        return status if "reading mail" in status else None


if __name__ == "__main__":
    harness.main()
