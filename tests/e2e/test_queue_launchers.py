"""What starts queue runs on an installed system: cron and s6, as the papers say, and the smtpd that accepted a message. In between
nothing runs. test_systemd.py has systemd's timer and path unit."""

import os
import pathlib
import smtplib
import subprocess

import harness
import test_local_programs
from harness import HOST, TREE, needs_root, program, wait_until
from smtp_box import Sink

SMTPD = "/usr/local/sbin/smtpd"


@needs_root
class Launchers(test_local_programs.WithPrograms):
    def setUp(self):
        super().setUp()
        self.sink = Sink()
        self.addCleanup(self.sink.close)
        with open("/etc/tinmail.conf", "a", encoding="ascii") as file:
            file.write(f"relayhost = [{HOST}]:{self.sink.port}\nminimal_backoff_time = 1s\nmaximal_backoff_time = 1s\n")

    def submit(self, name):
        """One that is dropped, because there is no smtpd to tell, and stays there until somebody runs the queue."""
        self.as_bert("sendmail", "-i", f"{name}@far.example", input=f"Subject: {name}\n\nx\n")
        self.assertEqual(self.running(), [])
        self.assertEqual(len(os.listdir("/var/spool/tinmail/drop")), 1)

    def running(self):
        return harness.processes_of(SMTPD)

    def arrives(self, *names, seconds=60):
        wait_until(lambda: dict(self.sink.got) == {(name, f"{name}@far.example"): 1 for name in names}, f"{names}", seconds)
        wait_until(lambda: not self.running(), "nothing runs")

    def test_cron(self):
        readme = (TREE / "README.md").read_text()
        line = f"*/5 * * * * root {SMTPD} -q"
        self.assertIn(f"`{line}`", readme)
        self.submit("first")
        # The pauses are for an administrator's patience, not for a test's.
        self.cron(of_system=[line.replace("*/5", "*")])
        self.arrives("first", seconds=90)

    def test_s6(self):
        """A real s6-supervise runs the shipped script: at once, and again after each pause, until it is told to stop."""
        directory = self.box.dir / "queue-service"
        directory.mkdir()
        text = (TREE / "s6/queue/run").read_text()
        self.assertEqual(text.count("sleep 300"), 1)
        (directory / "run").write_text(text.replace("sleep 300", "sleep 0.5"))
        (directory / "run").chmod(0o755)
        self.submit("first")
        supervise = subprocess.Popen([program("s6-supervise"), str(directory)], stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL,
                                     stderr=subprocess.DEVNULL)
        self.addCleanup(harness.stop, supervise)
        self.arrives("first")
        self.as_bert("sendmail", "-i", "second@far.example", input="Subject: second\n\nx\n")
        self.arrives("first", "second")
        harness.run(program("s6-svc"), "-xd", directory)
        self.assertEqual(supervise.wait(60), 0)
        self.submit("third")
        self.assertEqual(self.running(), [])

    def test_who_accepts_runs_it(self):
        """What another host has sent leaves at once, with nobody else to start a run; what was dropped before goes along."""
        with open("/etc/tinmail.conf", "a", encoding="ascii") as file:
            file.write("mynetworks = 127.0.0.0/8\n")
        self.submit("dropped")
        self.xinetd({"smtp": 25})
        with smtplib.SMTP(HOST, 25, timeout=60) as client:
            client.sendmail("a@client.example", ["relayed@far.example"], "Subject: relayed\r\n\r\nx\r\n")
        self.arrives("dropped", "relayed")
        for place in ("drop", "queue", "tmp"):
            self.assertEqual(os.listdir(pathlib.Path("/var/spool/tinmail", place)), [])


if __name__ == "__main__":
    harness.main()
