"""Replies of smtpd that no transcript can bring about: an expired account, and a queue whose file system is full."""

import smtplib
import time
import unittest

import harness
from harness import HOST, IN_NAMESPACE, needs_root, run
from smtp_box import DOMAIN, BoxAndSink, Smtp

FULL = (452, b"4.3.1 Insufficient system storage")
SMALL = "Subject: small\r\n\r\nx\r\n"
LARGE = "Subject: large\r\n\r\n" + ("x" * 70 + "\r\n") * 20000


@needs_root
class Expired(Smtp):
    settings = {"smtpd_sasl_auth_enable": "yes"}

    def test_expired(self):
        """Who has the right password is told why it is not taken; a wrong one is no more than wrong."""
        today, right = int(time.time()) // 86400, (535, b"5.7.8 Account or password expired")
        for shadow in (lambda digest: f"{digest}:{today}:0:99999:7::{today}:", lambda digest: f"{digest}:{today - 100}:0:30:7:5::"):
            user = self.box.add_user(f"old{len(self.box.users)}", shadow=shadow)
            for password, wanted in ((user.password, right), ("wrong", (535, b"5.7.8 Authentication credentials invalid"))):
                with smtplib.SMTP(HOST, self.server.port, timeout=60) as client:
                    with self.assertRaises(smtplib.SMTPAuthenticationError) as caught:
                        client.user, client.password = user.name, password
                        client.ehlo("a")
                        client.auth("PLAIN", client.auth_plain)
                    self.assertEqual((caught.exception.smtp_code, caught.exception.smtp_error), wanted)


@unittest.skipUnless(IN_NAMESPACE, "needs a mount namespace of its own")
class FullQueue(BoxAndSink):
    """Mail for others: what is refused is refused for now, nothing of it is left, and what was taken goes out."""

    def mount(self, options):
        self.directory = self.box.dir / "queue"
        run("mount", "-t", "tmpfs", "-o", f"{options},mode=755", "tmpfs", self.directory)
        self.addCleanup(run, "umount", "-l", self.directory)
        self.queue_run()
        self.server = self.box.serve()
        self.before = self.files()

    def queue_run(self):
        run(self.box.binary, "-c", self.box.conf, "-q")

    def files(self):
        """All but the locks, which stay."""
        files = (path.relative_to(self.directory) for path in self.directory.rglob("*") if path.is_file())
        return sorted(str(path) for path in files if path.parts[0] != "lock" and not path.name.startswith("fill"))

    def send(self, client, text):
        """What the client is told."""
        try:
            client.sendmail("a@x.example", ["u@far.example"], text)
        except smtplib.SMTPResponseException as error:
            return error.smtp_code, error.smtp_error
        return "taken"

    def refuses(self, *texts):
        with smtplib.SMTP(HOST, self.server.port, timeout=60) as client:
            for text in texts:
                self.assertEqual(self.send(client, text), FULL)
        self.box.wait_idle()
        self.assertEqual(self.files(), self.before)
        # With room again the same server takes what it refused.
        for path in self.directory.glob("fill*"):
            path.unlink()
        with smtplib.SMTP(HOST, self.server.port, timeout=60) as client:
            self.assertEqual(self.send(client, SMALL), "taken")
        self.sent(1)

    def sent(self, count):
        until = time.monotonic() + 60
        while self.sink.got.total() < count and time.monotonic() < until:
            self.queue_run()
            time.sleep(0.1)
        self.assertEqual(self.sink.got, {("small", "u@far.example"): count})
        self.box.wait_idle()
        self.assertEqual(self.files(), self.before)

    def fill_pages(self):
        with open(self.directory / "fill", "wb", buffering=0) as file:
            with self.assertRaises(OSError):
                while True:
                    file.write(b"x" * 4096)

    def fill_inodes(self):
        with self.assertRaises(OSError):
            for number in range(100):
                (self.directory / f"fill{number}").touch()

    def test_no_pages(self):
        self.mount("size=300k")
        self.fill_pages()
        self.refuses(SMALL, LARGE)

    def test_no_inodes(self):
        self.mount("size=3m,nr_inodes=60")
        self.fill_inodes()
        self.refuses(SMALL, LARGE)

    def test_room_for_a_small_one(self):
        self.mount("size=300k")
        with smtplib.SMTP(HOST, self.server.port, timeout=60) as client:
            told = [self.send(client, text) for text in (SMALL, LARGE, SMALL)]
        self.assertEqual(told, ["taken", FULL, "taken"])
        self.sent(2)

    def told_by_lmtp(self, server, users, text):
        """At DATA, or at the end for each recipient."""
        with smtplib.LMTP(HOST, server.port, timeout=60) as client:
            client.ehlo("a")
            client.mail("a@x.example")
            for user in users:
                client.rcpt(f"{user.name}@{DOMAIN}")
            try:
                return {client.data(text), *(client.getreply() for _ in users[1:])}
            except smtplib.SMTPDataError as error:
                return {(error.smtp_code, error.smtp_error)}

    def test_what_several_get_by_lmtp(self):
        """Such a message comes into a file of the queue's before it is written into the mailboxes."""
        users = [self.box.add_user(name) for name in ("anna", "bert")]
        for options, fill in (("size=300k", self.fill_pages), ("size=3m,nr_inodes=60", self.fill_inodes)):
            with self.subTest(options):
                self.mount(options)
                server = self.box.serve(arguments=["--lmtp"])
                fill()
                for text in (SMALL, LARGE):
                    self.assertEqual(self.told_by_lmtp(server, users, text), {FULL})
                self.box.wait_idle()
                self.assertEqual(self.files(), self.before)
                self.assertEqual([self.box.received(user) for user in users], [[], []])


if __name__ == "__main__":
    harness.main()
