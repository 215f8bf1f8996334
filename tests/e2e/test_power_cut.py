"""Power cuts: the file system of mailbox and queue loses all that was not flushed, at any moment, while all servers are at work.

The cut is the kernel's own: ext4 stops writing at once, its journal included, and what is mounted afterwards is what a disk has after
a power cut. What a client was told is done must be there then: a message that was accepted, also behind sendmail; a UID that was
given. E2E_CUTS says how many cuts there are.
"""

import contextlib
import ctypes
import os
import pathlib
import random
import re
import socket
import subprocess
import threading
import time

import harness
from conversations import Imap
from disk_image import OnImage
from harness import HOST, needs_root, run
from smtp_box import DOMAIN, BoxAndSink

CUTS = int(os.environ.get("E2E_CUTS", "4"))
END = b"the last line"
MOVED = 60
CLONE_NEWTIME = 0x80
libc = ctypes.CDLL(None, use_errno=True)


def text(name):
    return b"Subject: %s\r\n\r\n%s%s\r\n" % (name.encode(), b"a line of some length\r\n" * random.choice((1, 200, 3000)), END)


@needs_root
class PowerCut(OnImage, BoxAndSink):
    def setUp(self):
        super().setUp()
        box = self.box
        box.log_path.chmod(0o666)
        os.chmod(box.dir, 0o755)
        disk = box.dir / "disk"
        self.make_image(1 << 30, on=disk)
        (disk / "mail").mkdir()
        os.chown(disk / "mail", box.user.uid, box.user.gid)
        self.mail, self.queue = disk / "mail/Maildir", disk / "queue"
        box.write_settings(queue_directory=self.queue, mail_location=f"maildir:{self.mail}", minimal_backoff_time="1s",
                           maximal_backoff_time="1s", default_process_limit="4")
        run(box.binary, "-c", box.conf, "-q")
        self.start()
        # What was promised: to the mailbox, of that what did not go through the queue, to the other host, and by UID.
        self.here, self.straight, self.there, self.uids = set(), set(), set(), {}
        self.number, self.dark, self.lock = 0, False, threading.Lock()

    def start(self):
        """As if the machine had been started just now: what is started from here has a clock that says so."""
        with open("/proc/uptime", encoding="ascii") as file:
            up = int(float(file.read().split()[0]))
        if libc.unshare(CLONE_NEWTIME) != 0:
            raise OSError(ctypes.get_errno(), "unshare")
        pathlib.Path("/proc/self/timens_offsets").write_text(f"boottime -{up} 0\n", encoding="ascii")
        change = {"cps": "1000 1", "per_source": "UNLIMITED"}
        self.smtp = self.box.serve(change=change)
        self.imap = self.box.serve(protocol="imap", change=change)

    def name(self, kind):
        with self.lock:
            self.number += 1
            return f"{kind}-{self.number}"

    def promised(self, name, recipients):
        with self.lock:
            if self.box.user.name in recipients[0]:
                self.here.add(name)
            if "far" in recipients[-1]:
                self.there.add(name)
            elif not name.startswith("drop"):
                self.straight.add(name)

    def submit(self):
        """Messages by SMTP, some on each connection; a run is begun when it ends, and each second."""
        near, far = f"{self.box.user.name}@{DOMAIN}", "r@far.example"
        with socket.create_connection((HOST, self.smtp.port), timeout=60) as client, client.makefile("rb") as replies:
            def reply():
                while True:
                    line = replies.readline()
                    if line[3:4] != b"-":
                        return line[:3]
            reply()
            client.sendall(b"EHLO client.example\r\n")
            reply()
            for _ in range(random.choice((1, 5, 20))):
                recipients = random.choice(([near], [near, far], [far]))
                commands = [b"MAIL FROM:<s@far.example>", *(b"RCPT TO:<%s>" % to.encode() for to in recipients), b"DATA"]
                client.sendall(b"".join(command + b"\r\n" for command in commands))
                if [reply() for _ in commands][-1] != b"354":
                    return
                name = self.name("smtp")
                client.sendall(text(name) + b".\r\n")
                if reply() == b"250":
                    self.promised(name, recipients)
            client.sendall(b"QUIT\r\n")
            reply()

    def drop(self):
        """A message of a user without rights."""
        name, to = self.name("drop"), random.choice((self.box.user.name, "r@far.example"))
        done = subprocess.run([self.program, "-C", self.box.conf, "-i", to], input=text(name), user=self.box.user.uid, check=False,
                              group=self.box.user.gid, extra_groups=[], timeout=60, stderr=subprocess.DEVNULL, env={})
        if done.returncode == 0:
            self.promised(name, [to])

    def append(self):
        with Imap(self.imap, timeout=60) as imap:
            imap.login()
            for _ in range(10):
                name = self.name("append")
                imap.append(text(name))
                with self.lock:
                    self.here.add(name)
                    self.straight.add(name)

    def append_with_uid(self):
        with Imap(self.imap, timeout=60) as imap:
            imap.login()
            for _ in range(10):
                name, raw = self.name("uid"), text(self.name("x"))
                raw = raw.replace(b"Subject: x", b"Subject: %s-x" % name.encode())
                completion, _ = imap.say(b"APPEND Sent {%d+}\r\n%s" % (len(raw), raw))
                if not completion.startswith("OK"):
                    return
                with self.lock:
                    self.uids[re.search(r"APPENDUID (\d+ \d+)", completion)[1]] = raw

    def move(self):
        """All messages of one mailbox into another, and back."""
        with Imap(self.imap, timeout=60) as imap:
            imap.login()
            for here, there in (("A", "B"), ("B", "A")) * 5:
                imap.ok(f"SELECT {here}")
                imap.ok(f"MOVE 1:* {there}")

    def work(self, what):
        while not self.dark:
            # What ends in the middle of something that is told has many faces.
            with contextlib.suppress(Exception):
                what()

    def recover(self):
        """Runs the queue until nothing is left."""
        for _ in range(20):
            run(self.box.binary, "-c", self.box.conf, "-q")
            # What was never finished goes after a day.
            left = [name for place in ("queue", "drop") for name in os.listdir(self.queue / place) if not name.startswith("new.")]
            if not left:
                return
            time.sleep(1)
        lines = [line for line in self.box.log().splitlines() if any(name.removesuffix(".log") in line for name in left)]
        raise AssertionError(f"the queue does not become empty: {left}\n" + "\n".join(lines[-20:]))

    def look(self):
        found = {}
        for path in [*self.mail.glob("new/*"), *self.mail.glob("cur/*")]:
            raw = path.read_bytes()
            self.assertTrue(raw.replace(b"\r\n", b"\n").endswith(END + b"\n") or b"Undelivered" in raw, (path.name, raw[-200:]))
            if name := re.search(rb"(?m)^Subject: (\w+-\d+)\r?$", raw):
                found[name[1].decode()] = found.get(name[1].decode(), 0) + 1
        self.assertEqual(self.here - set(found), set(), "lost")
        # What a queue run did last may be done again: a mark that is not flushed is cheaper than one that is.
        self.twice = {name for name, count in found.items() if count > 1}
        self.assertEqual(self.twice & self.straight, set(), "twice")
        self.assertEqual(self.there - {name for name, _ in self.sink.got}, set(), "not sent")
        self.assertTrue(all(message.endswith(END + b"\r\n") for message in self.sink.messages))
        with Imap(self.imap, timeout=60) as imap:
            imap.login()
            moved = set()
            for mailbox in ("A", "B"):
                imap.ok(f"SELECT {mailbox}")
                moved |= set(re.findall(rb"Subject: (m\d+)", b"".join(imap.bodies().values())))
            self.assertEqual(len(moved), MOVED)
            # The same UID is the same message for ever (RFC 3501 section 2.3.1.1).
            [validity] = [re.search(rb"UIDVALIDITY (\d+)", line)[1].decode() for line in imap.ok("SELECT Sent") if b"UIDVALIDITY" in line]
            bodies = imap.bodies()
            for key, raw in self.uids.items():
                was, uid = key.split()
                self.assertEqual((was, bodies.get(int(uid), b"")[:60]), (validity, raw[:60]), key)

    def cut(self, seconds):
        """All are at work for so long; then the power is cut, and comes back."""
        self.dark = False
        jobs = [threading.Thread(target=self.work, args=(what,), daemon=True)
                for what in (self.submit, self.submit, self.submit, self.drop, self.append, self.append_with_uid, self.move)]
        for job in jobs:
            job.start()
        time.sleep(seconds)
        self.cut_power()
        self.dark = True
        for job in jobs:
            job.join(60)
            self.assertFalse(job.is_alive(), "it hangs")
        self.box.wait_idle()
        self.smtp.stop()
        self.imap.stop()
        self.power_up()
        # No machine is quicker; locks that are left over are older than its start then.
        time.sleep(4)
        self.start()
        self.recover()

    def test_what_was_accepted_is_there(self):
        with Imap(self.imap) as imap:
            imap.login()
            for mailbox in ("A", "B", "Sent"):
                imap.ok(f"CREATE {mailbox}")
            for number in range(MOVED):
                imap.append(text(f"m{number}"), "A")
            imap.quit()
        os.sync()
        for _ in range(CUTS):
            self.cut(random.uniform(0.3, 2))
            self.look()
        print(f"    {CUTS} cuts: {len(self.here)} messages accepted here, {len(self.there)} for another host, {len(self.uids)} UIDs given;"
              f" {len(self.twice)} delivered and {sum(count - 1 for count in self.sink.got.values())} sent twice")
        self.assertGreater(min(len(self.here), len(self.there), len(self.uids)), 2 * CUTS)

    def test_a_loss_would_be_seen(self):
        """Where nothing is flushed, the last ones are lost."""
        self.box.write_settings(fsync_disable="yes")
        self.cut(1)
        with self.assertRaisesRegex(AssertionError, "lost|not sent"):
            self.look()


if __name__ == "__main__":
    harness.main()
