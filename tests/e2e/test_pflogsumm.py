"""Programs that count messages by Postfix's log: pflogsumm as Debian has it, over what syslog gets."""

import contextlib
import os
import re
import smtplib

import harness
from harness import HOST, needs_root, program, run, syslog, wait_until
from smtp_box import DOMAIN, BoxAndSink


@needs_root
class Pflogsumm(BoxAndSink):
    more = {"log_path": ""}

    def setUp(self):
        super().setUp()
        self.other = self.box.add_user("other")
        # Before there is a queue run: while the list of users is written, one that looks finds a part of it.
        self.closed = self.box.add_user("closed")
        self.here = f"{self.box.user.name}@{DOMAIN}"
        syslog.lines.clear()

    def summary(self):
        """What pflogsumm says of the lines that have come."""
        path = self.box.dir / "mail.log"
        lines = [re.sub(r"^<\d+>", "Nov 22 10:00:00 mx ", line) for line in list(syslog.lines)]
        path.write_text("".join(f"{line}\n" for line in lines))
        done = run(program("pflogsumm"), path)
        self.assertEqual(done.stderr, "")
        text = done.stdout
        return text, {name: value for value, name in re.findall(r"(?m)^ +(\d+k?) +(.*?)(?: +\(.*\))?$", text.split("Per-")[0])}

    def test_what_is_counted(self):
        checks = self.box.dir / "checks"
        checks.write_text("/Subject: cheap/ REJECT\n/Subject: gone/ DISCARD\n")
        checks.chmod(0o644)
        self.box.write_settings(header_checks=f"glob:{checks}")
        message = "Subject: x\r\nMessage-ID:\r\n <1@client.example>\r\n\r\n" + "0123456789\r\n" * 100
        with smtplib.SMTP(HOST, self.box.serve().port, timeout=60) as client:
            client.sendmail("a@client.example", self.here, message)
            client.sendmail("a@client.example", [self.here, f"other@{DOMAIN}", "x@far.example"], message)
            client.sendmail("b@client.example", "later@far.example", message)
            client.sendmail(f"other@{DOMAIN}", "bad@far.example", message)
            with self.assertRaises(smtplib.SMTPRecipientsRefused):
                client.sendmail("a@client.example", f"unknown@{DOMAIN}", message)
            for subject, refused in (("cheap", True), ("gone", False)):
                with self.assertRaises(smtplib.SMTPDataError) if refused else contextlib.nullcontext():
                    client.sendmail("a@client.example", self.here, f"Subject: {subject}\r\n\r\nx\r\n")
            # Its mailbox cannot be written: nothing is taken.
            os.chown(self.closed.home, 0, 0)
            with self.assertRaises(smtplib.SMTPDataError):
                client.sendmail("a@client.example", f"closed@{DOMAIN}", message)
        self.sendmail("-f", "c@client.example", self.here, input="Message-ID: <2@here>\n\n" + "x" * 1000 + "\n")
        syslog.wait(r"uid=0 from=<c@client\.example>")
        wait_until(lambda: sum("status=sent" in line for line in syslog.lines) == 6, f"deliveries: {syslog.lines}")
        syslog.wait("status=deferred")
        text, totals = self.summary()
        want = {"received": "5", "delivered": "6", "forwarded": "0", "deferred": "1", "bounced": "1", "rejected": "3", "discarded": "1", "senders": "4",
                "sending hosts/domains": "2", "recipients": "3", "recipient hosts/domains": "2"}
        self.assertEqual({name: totals.get(name) for name in want}, want, text + "\n".join(syslog.lines))
        # Octets: four of these messages, and the one of sendmail, each with what was added to it.
        self.assertTrue(4 * len(message) + 1000 <= int(totals["bytes received"]) < 4 * len(message) + 4000, text)
        self.assertIn("bytes delivered", totals)
        self.assertRegex(text, r"(?m)^ +2 +a@client\.example$")
        # Which message it was, in the line that says who brought it.
        syslog.wait(r"postfix/smtpd\[\d+\]: \w+: client=localhost\[127\.0\.0\.1\], message-id=<1@client\.example>$")
        syslog.wait(r"postfix/cleanup\[\d+\]: [\w-]+: message-id=<2@here>$")


if __name__ == "__main__":
    harness.main()
