"""The shipped units under a real systemd: the first process of a namespace, on a directory of units of its own."""

import contextlib
import os
import pathlib
import re
import shutil
import signal
import smtplib
import subprocess
import sys

import harness
from harness import TREE, Case, free_port, needs_root, run, wait_until
from smtp_box import DOMAIN, SmtpBox

SYSTEMD = os.path.realpath("/lib/systemd/systemd")
TARGETS = "basic sysinit sockets shutdown umount local-fs timers paths slices".split()
# Stands in for journald, at the socket where systemd brings the standard error of a service: writes down what comes.
JOURNAL = """
import os, selectors, socket, sys
listener = socket.socket(socket.AF_UNIX)
listener.bind("/run/systemd/journal/stdout")
listener.listen()
ready = selectors.DefaultSelector()
ready.register(listener, selectors.EVENT_READ)
with open(sys.argv[1], "ab", buffering=0) as journal:
    while True:
        for key, _ in ready.select():
            if key.fileobj is listener:
                ready.register(listener.accept()[0], selectors.EVENT_READ)
            elif octets := key.fileobj.recv(65536):
                journal.write(octets)
            else:
                ready.unregister(key.fileobj)
                key.fileobj.close()
"""
START = """
mkdir -p {groups} && echo $$ >{groups}/cgroup.procs
exec unshare --mount --propagation private --pid --fork --ipc --uts --cgroup --kill-child sh -c '
    mount -t proc proc /proc && mount -t tmpfs -o mode=755 tmpfs /run && mkdir -p /run/tinmail /run/systemd/journal
    {python} {journal}.py {journal} &
    while ! [ -e {journal} ]; do sleep 0.01; done
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
    def start(self, *services, units=(), **changes):
        """A systemd that serves the box with the shipped units, adapted as an administrator would: port, paths, owner of a
        socket. Their ports are in .ports; units are more of the shipped ones, with these changes, which are started as well."""
        box, self.ports = self.box, {service: free_port() for service in services}
        directory = box.dir / "units"
        directory.mkdir()
        for target in TARGETS:
            shutil.copy(f"/lib/systemd/system/{target}.target", directory)
        (directory / "default.target").write_text("[Unit]\nRequires=basic.target\n")
        for service in services:
            unix = {"ListenStream": box.dir / "lmtp", "SocketUser": "nobody", "SocketGroup": "nogroup"}
            self.adapt(f"{service}.socket", **(unix if service == "lmtp" else {"ListenStream": f"127.0.0.1:{self.ports[service]}"}))
            self.adapt(f"{service}@.service")
        for unit in units:
            self.adapt(unit, PathChanged=box.dir / "queue/drop", **changes)
        place = groups()
        self.journal = box.dir / "journal"
        (box.dir / "journal.py").write_text(JOURNAL)
        script = START.format(groups=place, units=directory, systemd=SYSTEMD, python=sys.executable, journal=self.journal)
        self.output = open(box.dir / "systemd.log", "wb")
        self.systemd = subprocess.Popen(["sh", "-c", script], stdin=subprocess.DEVNULL, stdout=self.output,
                                        stderr=self.output, start_new_session=True)
        self.addCleanup(self.end, place)
        self.first = wait_until(self.first_process, "systemd runs")
        wait_until(lambda: self.systemctl("is-system-running", check=False).stdout.strip() in ("running", "degraded"),
                   "systemd has started")
        self.systemctl("start", *(f"{service}.socket" for service in services),
                       *(unit for unit in units if not unit.endswith(".service")))

    def adapt(self, unit, **changes):
        """Writes a shipped unit with these lines instead of its own."""
        box = self.box
        # /tmp is where the box lies.
        changes |= {"PrivateTmp": "no"}
        lines = []
        for line in (TREE / "systemd" / unit).read_text().splitlines():
            name = line.partition("=")[0]
            if line.startswith("ListenStream=["):
                continue
            line = f"{name}={changes[name]}" if name in changes else line
            for program in ("pop3d", "imapd", "smtpd"):
                line = line.replace(f"/usr/local/sbin/{program}", f"{box.dir}/{program} -c {box.conf}")
            lines.append(line)
        (box.dir / "units" / unit).write_text("\n".join(lines) + "\n")

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
        with harness.Pop(address=("127.0.0.1", self.ports["pop3"])) as pop:
            pop.login(*self.box.user)
            status = wait_until(lambda: self.reading("pop3"), "the status of the session")
            self.assertRegex(status, r'Status: "demo 127\.0\.0\.1: reading mail"')
            self.assertRegex(status, r"TriggeredBy: . pop3\.socket")
            self.assertEqual(len(pop.listing()), len(harness.odd_messages()))
            pop.quit()
        self.box.wait_log(r"pop3\(demo\)<\d+><\S+>: Disconnected: Logged out")
        self.assertRegex(self.systemctl("status", "pop3.socket").stdout, r"Accepted: 1;")

    def test_pop3_in_the_sandbox(self):
        """Reading marks, and QUIT deletes; descriptor 2 is the journal and not the client."""
        self.new_box(settings={"log_path": "/dev/stderr"})
        expected = self.box.maildir.fill()
        self.start("pop3", "pop3s")

        class Server:
            bind, port, tls_port, box = harness.HOST, self.ports["pop3"], self.ports["pop3s"], self.box
        for way, service in (("clear", "pop3"), ("STLS", "pop3"), ("POP3S", "pop3s")):
            with self.subTest(way), harness.Pop(Server, tls=way == "POP3S") as pop:
                if way == "STLS":
                    pop.stls()
                pop.login()
                status = wait_until(lambda: self.reading(service), "the status of the session")
                self.assertRegex(status, rf"TriggeredBy: . {service}\.socket")
                for number, octets in enumerate(expected, 1):
                    self.assertEqual(pop.retrieve(number), octets)
                pop.ok("DELE 1")
                pop.quit()
                del expected[0]
                files = self.box.maildir.files()
                self.assertEqual(len(files), len(expected))
                self.assertEqual([name for name in files if "S" not in name.rpartition(":2,")[2]], [])
                wait_until(lambda: re.search(rf"{service}@\S+\.service(?s:.*)pop3-login: Login: user=<demo>(?s:.*)"
                                             r"pop3\(demo\)<\d+><\S+>: Disconnected: Logged out .*del=1/", self.journal.read_text()),
                           "the log in the journal")
                os.truncate(self.journal, 0)

    def test_imap_in_the_sandbox(self):
        for service in ("imap", "imaps"):
            with self.subTest(service):
                self.new_box(protocol="imap")
                self.box.maildir.fill()
                self.start(service)
                context = self.box.authority.context() if service == "imaps" else None

                class Server:
                    bind, port, tls_port, box = harness.HOST, self.ports[service], self.ports[service], self.box
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

    def smtp_box(self):
        self.box = box = SmtpBox(settings={"myorigin": DOMAIN, "minimal_backoff_time": "1s"})
        self.addCleanup(box.close)
        self.addCleanup(self.keep_log)
        self.other = box.add_user("other")
        aliases = box.dir / "aliases"
        aliases.write_text("both: demo, other\n")
        box.write_settings(alias_maps=f"texthash:{aliases}")
        return box

    def arrives(self, user, *subjects):
        def there():
            return sorted(re.search(rb"(?m)^Subject: (.*)$", raw)[1].decode() for raw in self.box.received(user))
        wait_until(lambda: there() == sorted(subjects), f"{subjects} for {user.name}")

    def test_smtp_in_the_sandbox(self):
        """Straight into a Maildir, an alias through the queue, and a ~/.forward with a program, a file and another user: the
        queue's runner has the same sandbox."""
        box = self.smtp_box()
        out, home = box.user.home / "out", box.user.home
        self.start("smtp", "submission", "submissions")
        context = box.authority.context()
        sent = []
        for way in ("smtp", "starttls", "submission", "submissions"):
            port = self.ports.get(way, self.ports["smtp"])
            kind, more = (smtplib.SMTP_SSL, {"context": context}) if way == "submissions" else (smtplib.SMTP, {})
            with self.subTest(way), kind("localhost", port, timeout=60, **more) as client:
                if way in ("starttls", "submission"):
                    client.starttls(context=context)
                if way.startswith("submission"):
                    client.login(*box.user)
                client.sendmail("a@client.example", [f"other@{DOMAIN}"], f"Subject: straight {way}\r\n\r\nbody\r\n")
                client.sendmail("a@client.example", [f"both@{DOMAIN}"], f"Subject: queued {way}\r\n\r\nbody\r\n")
                status = wait_until(lambda: self.systemctl("status", "smtp@*", "submission@*", "submissions@*", check=False).stdout,
                                    "the status of a session")
                self.assertRegex(status, r"TriggeredBy: . (smtp|submissions?)\.socket")
            sent += [f"straight {way}", f"queued {way}"]
            self.arrives(self.other, *sent)
        self.arrives(box.user, *(subject for subject in sent if subject.startswith("queued")))
        forward = home / ".forward"
        forward.write_text(f'"|/usr/bin/tee {out}", {home}/mbox, other@{DOMAIN}\n')
        os.chown(forward, box.user.uid, box.user.gid)
        with smtplib.SMTP("localhost", self.ports["smtp"], timeout=60) as client:
            client.sendmail("a@client.example", [f"demo@{DOMAIN}"], "Subject: forwarded\r\n\r\nbody\r\n")
        self.arrives(self.other, *sent, "forwarded")
        for path in (out, home / "mbox"):
            wait_until(lambda path=path: path.exists() and b"\nbody\n" in path.read_bytes(), f"{path}")
            self.assertEqual(path.stat().st_uid, box.user.uid)
        wait_until(lambda: not list((box.dir / "queue/queue").iterdir()), "an empty queue")

    def box_with_sendmail(self):
        """The box, and what has its user without rights submit something."""
        box = self.smtp_box()
        for name in ("sendmail",):
            shutil.copy(pathlib.Path(os.environ["E2E_SMTPD"]).with_name(name), box.dir / name)
        os.chmod(box.dir, 0o755)
        box.log_path.chmod(0o666)
        run(box.binary, "-c", box.conf, "-q")

        def sendmail(subject):
            run(box.dir / "sendmail", "-C", box.conf, "-i", "other", user=box.user.uid, group=box.user.gid, extra_groups=[], cwd="/",
                input=f"Subject: {subject}\n\nbody\n")
        return box, sendmail

    def test_what_sendmail_leaves_is_picked_up(self):
        """By the path unit, and by what smtpd does for whoever connects: in its sandbox, too."""
        box, sendmail = self.box_with_sendmail()
        self.start("smtp", units=("tinmail-queue.path", "tinmail-queue.service"))
        sendmail("path")
        self.arrives(self.other, "path")
        wait_until(lambda: not box.servers(), "the run has ended")
        sendmail("again")
        self.arrives(self.other, "again", "path")
        self.systemctl("stop", "tinmail-queue.path")
        wait_until(lambda: not box.servers(), "the run has ended")
        sendmail("smtp")
        self.assertEqual(len(list((box.dir / "queue/drop").iterdir())), 1)
        with smtplib.SMTP("localhost", self.ports["smtp"], timeout=60) as client:
            client.noop()
        self.arrives(self.other, "again", "path", "smtp")

    def test_the_timer_runs_the_queue(self):
        """When the machine has been up for a minute, and again after each pause; in between nothing runs."""
        box, sendmail = self.box_with_sendmail()
        sendmail("before")
        self.start("smtp", units=("tinmail-queue.timer", "tinmail-queue.service"), OnBootSec="1s", OnUnitInactiveSec="2s", AccuracySec="1s")
        self.arrives(self.other, "before")
        wait_until(lambda: not box.servers(), "the run has ended")
        sendmail("after")
        self.arrives(self.other, "after", "before")
        self.systemctl("stop", "tinmail-queue.timer")
        wait_until(lambda: not box.servers(), "the run has ended")
        self.assertRegex(self.systemctl("show", "-p", "Result", "tinmail-queue.service").stdout, "Result=success")

    def test_lmtp_in_the_sandbox(self):
        """One recipient, and two, for whom the message is kept in a file meanwhile."""
        box = self.smtp_box()
        self.start("lmtp")
        self.assertEqual((os.stat(box.dir / "lmtp").st_uid, os.stat(box.dir / "lmtp").st_mode & 0o777), (65534, 0o600))
        with smtplib.LMTP(str(box.dir / "lmtp")) as client:
            client.ehlo()
            for number, to in enumerate((["demo"], ["demo", "absent", "other"], ["both"])):
                client.mail("a@client.example")
                codes = [client.rcpt(f"{name}@{DOMAIN}")[0] for name in to]
                self.assertEqual(codes, [550 if name == "absent" else 250 for name in to])
                self.assertEqual(client.docmd("DATA")[0], 354)
                client.send(f"Subject: {number}\r\n\r\nbody\r\n.\r\n")
                # RFC 2033 section 4.2: a reply for each recipient that was taken.
                self.assertEqual({client.getreply()[0] for code in codes if code == 250}, {250})
        self.arrives(box.user, "0", "1", "2")
        self.arrives(self.other, "1", "2")

    def reading(self, service):
        status = self.systemctl("status", f"{service}@*", check=False).stdout
        return status if "reading mail" in status else None


if __name__ == "__main__":
    harness.main()
