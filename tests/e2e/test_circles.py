"""Aliases with members on other hosts that send back what they get: whoever is behind the alias gets a message once."""

import os
import re
import smtplib

import harness
from harness import HOST, needs_root, run, wait_until
from smtp_box import DOMAIN, BoxAndSink
from smtp_out import Server


@needs_root
class Circles(BoxAndSink):
    def setUp(self):
        super().setUp()
        self.alice, self.user = self.box.add_user("alice"), self.box.user
        # Who hears of what has no sender.
        self.box.add_user("operator")
        self.sent_back = 0

    def configure(self, aliases, **more):
        (self.box.dir / "aliases").write_text(f"postmaster: operator\n{aliases}")
        self.box.write_settings(alias_maps=f"hash:{self.box.dir / 'aliases'}", **more)
        self.port = self.box.serve(change={"cps": "1000 1"}).port

    def send(self, *to, text=b"Subject: x\r\n\r\nhello\r\n", sender=""):
        to = [one if "@" in one else f"{one}@{DOMAIN}" for one in to]
        with smtplib.SMTP(HOST, self.port, timeout=60) as client:
            client.sendmail(sender, to, text, [] if "".join(to).isascii() else ["SMTPUTF8"])

    def settled(self):
        wait_until(lambda: not self.queue(), f"an empty queue\n{self.box.log()}")

    def come_back(self, to):
        """The other host sends back whatever it gets, as long as it gets something."""
        self.settled()
        while self.sent_back < len(self.sink.messages):
            self.assertLess(self.sent_back, 12, "rounds")
            self.sent_back += 1
            self.send(to, text=b"Received: by loopy.test\r\n" + self.sink.messages[self.sent_back - 1])
            self.settled()

    def copies(self, user):
        return len(self.box.received(user))

    def refused(self, alias):
        return len(re.findall(f"status=bounced \\(mail forwarding loop for {alias}@{DOMAIN}\\)", self.box.log()))

    def test_one_member(self):
        self.configure("team: alice, x@loopy.test\n")
        self.send("team")
        self.come_back("team")
        self.assertEqual((self.copies(self.alice), len(self.sink.messages), self.refused("team")), (1, 1, 2))
        self.assertTrue(self.sink.messages[0].startswith(f"Delivered-To: team@{DOMAIN}\r\nReceived: ".encode()))

    def test_two_members(self):
        """It was a copy more for each in each round."""
        self.configure("team: alice, x@loopy.test, y@loopy.test\n")
        self.send("Team")
        self.come_back("team")
        # Both in one transaction.
        self.assertEqual((self.copies(self.alice), len(self.sink.messages), self.refused("team")), (1, 1, 3))

    def test_a_virtual_alias(self):
        self.configure("", virtual_alias_domains="alias.test",
                       virtual_alias_maps=f"inline:{{{{team@alias.test=alice@{DOMAIN}, x@loopy.test}}}}")
        self.send("team@alias.test")
        self.come_back("team@alias.test")
        self.assertEqual((self.copies(self.alice), len(self.sink.messages)), (1, 1))

    def test_an_alias_that_is_not_ascii(self):
        """Its line is, or the message could go to nobody but servers with SMTPUTF8."""
        alias = "gr\u00fcn@alias.test"
        self.configure("", virtual_alias_domains="alias.test",
                       virtual_alias_maps=f"inline:{{{{{alias}=alice@{DOMAIN}, x@loopy.test}}}}")
        self.send(alias)
        self.settled()
        self.assertTrue(self.sink.messages[0].startswith(b"Delivered-To: gr\\x{FC}n@alias.test\r\n"), self.sink.messages[0])
        self.come_back(alias)
        self.assertEqual((self.copies(self.alice), len(self.sink.messages)), (1, 1))

    def test_one_recipient_behind_an_alias(self):
        """Nothing goes through the queue."""
        self.configure("one: alice\n")
        self.send("one", text=f"Delivered-To: other@{DOMAIN}\r\nSubject: x\r\n\r\nhello\r\n".encode())
        self.assertEqual(self.copies(self.alice), 1)
        with self.assertRaises(smtplib.SMTPDataError) as caught:
            self.send("one", text=f"Delivered-To: one@{DOMAIN}\r\nSubject: x\r\n\r\nhello\r\n".encode())
        self.assertEqual((caught.exception.smtp_code, caught.exception.smtp_error),
                         (554, f"5.4.6 mail forwarding loop for one@{DOMAIN}".encode()))
        self.assertEqual(self.copies(self.alice), 1)

    def test_what_is_no_circle(self):
        """Forwarding of one user, somebody on two lists, and what was delivered to somebody else before."""
        self.configure("bob: bob@loopy.test\none: alice, x@loopy.test\ntwo: alice, x@loopy.test, y@loopy.test\n")
        self.send("bob", text=f"Delivered-To: one@{DOMAIN}\r\nSubject: x\r\n\r\nhello\r\n".encode())
        self.send("one", "two", text=b"Subject: y\r\n\r\nhello\r\n")
        self.settled()
        self.assertEqual(dict(self.sink.got), {(name, f"{to}@loopy.test"): 1 for name, to in (("x", "bob"), ("y", "x"), ("y", "y"))})
        lines = sorted(re.findall(rb"(?m)^Delivered-To: [a-z]*", text) for text in self.sink.messages)
        self.assertEqual(lines, [[b"Delivered-To: bob", b"Delivered-To: one"], [b"Delivered-To: one"], [b"Delivered-To: two"]])
        self.assertEqual((self.copies(self.alice), self.refused(".*")), (1, 0))

    def test_a_forward_has_its_line_once(self):
        """And the alias that it was reached through: what comes back is known by both."""
        self.configure(f"team: alice, {self.user.name}\n")
        self.forward(f"\\{self.user.name}, x@loopy.test, \"|/usr/bin/tee {self.user.home}/out\", {self.user.home}/file\n")
        self.send(self.user.name)
        self.settled()
        self.send("team", text=b"Subject: y\r\n\r\nhello\r\n")
        self.settled()
        own = f"Delivered-To: {self.user.name}@{DOMAIN}\r\n"
        direct, by_team = self.sink.messages
        self.assertTrue(direct.startswith(f"{own}Received: ".encode()), direct)
        self.assertTrue(by_team.startswith(f"Delivered-To: team@{DOMAIN}\r\n{own}Received: ".encode()), by_team)
        own = own.rstrip().encode()
        self.assertEqual([raw.count(own) for raw in self.box.received(self.user)], [1, 1])
        # Each of these has both messages, and the last one of them is in the program's file.
        self.assertEqual([(self.user.home / name).read_bytes().count(own) for name in ("out", "file")], [1, 2])
        # What had not come by the alias comes by it once.
        self.come_back("team")
        self.assertEqual((self.copies(self.alice), self.copies(self.user), len(self.sink.messages)), (2, 2, 2))

    def forward(self, text):
        forward = self.user.home / ".forward"
        forward.write_text(text)
        os.chown(forward, self.user.uid, self.user.gid)

    def test_the_line_is_part_of_the_size(self):
        other = Server(HOST, port=0, extensions=("SIZE 0", "8BITMIME", "PIPELINING"), answers={"end": iter_of("451 4.3.0 Later", "250 Ok")})
        self.addCleanup(other.close)
        self.configure("team: x@loopy.test\n", relayhost=f"[{HOST}]:{other.port}", minimal_backoff_time="1s")
        self.send("team", text="Subject: x\r\n\r\n\u00e4\r\n".encode())
        wait_until(lambda: run(self.box.binary, "-c", self.box.conf, "-q") and not self.queue(), "an empty queue", pause=0.5)
        first, again = other.messages
        self.assertEqual(first, again)
        self.assertEqual(first.count(b"Delivered-To: "), 1)
        sizes = re.findall(r"SIZE=(\d+)", "\n".join(other.said))
        self.assertEqual(sizes, [str(len(first))] * 2)


def iter_of(*answers):
    answers = iter(answers)
    return lambda _: next(answers)


if __name__ == "__main__":
    harness.main()
