"""always_bcc, sender_bcc_maps and recipient_bcc_maps: what comes in by SMTP and from programs of this host, and nothing else, has
blind copies; each of those who get a message gets it once."""

import os
import smtplib

import harness
from harness import HOST, needs_root, run, wait_until
from smtp_box import DOMAIN, BoxAndSink, added_lines


@needs_root
class BlindCopies(BoxAndSink):
    more = {"recipient_delimiter": "+", "always_bcc": "archive"}

    def setUp(self):
        super().setUp()
        self.archive, self.other = self.box.add_user("archive"), self.box.add_user("other")
        self.here, self.copy = f"{self.box.user.name}@{DOMAIN}", f"archive@{DOMAIN}"

    def configure(self, **more):
        self.box.write_settings(**{"always_bcc": "", "sender_bcc_maps": "", "recipient_bcc_maps": ""} | more)

    def send(self, *to, sender="a@client.example"):
        """The code of the reply."""
        with smtplib.SMTP(HOST, self.box.serve(change={"cps": "1000 1"}).port, timeout=60) as client:
            client.ehlo()
            client.mail(sender)
            for address in to:
                self.assertEqual(client.rcpt(address)[0], 250)
            code, _ = client.docmd("DATA")
            if code == 354:
                client.send("Subject: x\r\n\r\nhello\r\n.\r\n")
                code, _ = client.getreply()
            return code

    def arrived(self, *counts):
        """So many messages have come for the user, the archive and the other one, and nothing waits."""
        box = self.box
        got = lambda: tuple(len(box.received(user)) for user in (box.user, self.archive, self.other))
        wait_until(lambda: not self.queue() and got() == counts, f"{counts} messages: {got()}, {self.queue()}\n{box.log()}")

    def test_all_mail_by_smtp(self):
        self.send(self.here)
        self.arrived(1, 1, 0)
        [raw] = self.box.received(self.archive)
        trace, text = added_lines(raw)
        self.assertIn(f"Return-Path: <a@client.example>\nX-Original-To: {self.copy}\nDelivered-To: {self.copy}\n".encode(), trace)
        self.assertTrue(text.endswith(b"\nhello\n"))
        # To several, among whom the archive is: once.
        self.send(self.here, self.copy, f"other@{DOMAIN}")
        self.arrived(2, 2, 1)
        self.send(self.copy)
        self.arrived(2, 3, 1)
        # From nobody, and to another host.
        self.send("x@far.example", sender="")
        self.arrived(2, 4, 1)
        self.assertEqual(dict(self.sink.got), {("x", "x@far.example"): 1})

    def test_what_comes_by_lmtp_came_in_elsewhere(self):
        with smtplib.LMTP(HOST, self.box.serve(arguments=["--lmtp"]).port, timeout=60) as client:
            client.ehlo()
            client.mail("a@client.example")
            for to in (self.here, f"other@{DOMAIN}"):
                self.assertEqual(client.rcpt(to)[0], 250)
            self.assertEqual(client.docmd("DATA")[0], 354)
            client.send("Subject: x\r\n\r\nx\r\n.\r\n")
            self.assertEqual([client.getreply()[0] for _ in range(2)], [250, 250])
        self.arrived(1, 0, 1)

    def test_what_this_host_makes_has_none(self):
        """A notification, and what a ~/.forward sends on."""
        forward = self.other.home / ".forward"
        forward.write_text(f"{self.here}\n")
        os.chown(forward, self.other.uid, self.other.gid)
        self.send(f"other@{DOMAIN}")
        self.arrived(1, 1, 0)
        self.send("bad@far.example", sender=self.here)
        # The user hears that it failed.
        self.arrived(2, 2, 0)

    def test_by_sender_and_recipient(self):
        table = self.box.dir / "bcc"
        table.write_text(f"{self.here} archive@{DOMAIN}\n@far.example other\n")
        self.configure(sender_bcc_maps=f"inline:{{{self.here}=other@{DOMAIN}}}", recipient_bcc_maps=f"hash:{table}")
        self.send("one@client.example.net", sender="b@client.example")
        self.arrived(0, 0, 0)
        self.send(self.here.replace("@", "+list@"), sender="")
        self.arrived(1, 1, 0)
        self.send("x@far.example", "y@far.example", sender="b@client.example")
        self.arrived(1, 1, 1)
        self.send("z@far.example", self.here, sender=self.here)
        self.arrived(2, 2, 2)

    def test_mail_of_programs(self):
        self.configure(always_bcc=self.copy, recipient_bcc_maps=f"inline:{{{self.here}=other}}")
        self.sendmail(self.here, self.copy, input="Subject: x\n\nhello\n")
        self.arrived(1, 1, 1)

    def test_a_copy_that_nobody_can_get(self):
        # A table that cannot be read, or says what is no address: the mail waits at its sender's.
        for setting in (f"hash:{self.box.dir}/none", "inline:{@example.org=a b@c}"):
            self.configure(recipient_bcc_maps=setting)
            self.assertEqual(self.send(self.here), 451, setting)
        # Nobody of that name: the mail goes on, and the log says so.
        self.configure(always_bcc="nobody-here")
        self.assertEqual(self.send(self.here), 250)
        self.box.wait_log("<nobody-here@example.org> gets no blind copy: 550 5.1.1")
        self.arrived(1, 0, 0)
        found = run(self.box.binary, "-c", self.box.conf, "--check", check=False).stdout
        self.assertRegex(found, "(?m)^error: always_bcc = nobody-here: .*550 5\.1\.1")
        # One that another host refuses: its sender hears nothing.
        self.configure(always_bcc="bad@far.example")
        self.send(self.here, sender=f"other@{DOMAIN}")
        self.arrived(2, 0, 0)


if __name__ == "__main__":
    harness.main()
