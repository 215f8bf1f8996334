"""Delivery status notifications as programs read them: RFC 3461, 3464, 6533, with Python's parser."""

import email
import email.policy
import smtplib
import time

import harness
from harness import HOST, needs_root, run
from smtp_box import OneBox

POLICY = email.policy.default
# RFC 3464 sections 2.2 and 2.3: the order of the fields.
OF_MESSAGE = ("Original-Envelope-Id", "Reporting-MTA", "Arrival-Date", "X-Tinmail-Queue-ID")
OF_RECIPIENT = ("Original-Recipient", "Final-Recipient", "Action", "Status", "Remote-MTA", "Diagnostic-Code", "Last-Attempt-Date",
                "Will-Retry-Until")


class Report:
    """A notification, taken apart."""

    def __init__(self, raw):
        self.raw = raw
        self.message = email.message_from_bytes(raw, policy=POLICY)
        assert not self.message.defects, self.message.defects
        assert self.message.get_content_type() == "multipart/report"
        self.kind = self.message.get_param("report-type")
        self.people, self.machines, self.returned = self.message.iter_parts()
        assert self.machines.get_content_type() == f"message/{self.kind}"
        octets = self.machines.as_bytes(policy=POLICY.clone(linesep="\n", utf8=True, cte_type="8bit")).partition(b"\n\n")[2]
        groups = octets.decode("utf-8").strip().split("\n\n")
        groups = [email.message_from_string(group) for group in groups]
        for group in groups:
            assert not group.defects and not group.get_payload().strip(), group
        self.fields, self.recipients = groups[0], groups[1:]
        for group, order in [(self.fields, OF_MESSAGE)] + [(group, OF_RECIPIENT) for group in self.recipients]:
            names = group.keys()
            assert names == [name for name in order if name in names], names
        for group in self.recipients:
            assert email.utils.parsedate_to_datetime(group["Last-Attempt-Date"])

    def of(self, address):
        """The fields of one recipient."""
        [found] = [group for group in self.recipients if group["Final-Recipient"].partition("; ")[2] == address]
        return found

    @property
    def actions(self):
        return {group["Final-Recipient"].partition("; ")[2]: group["Action"] for group in self.recipients}


@needs_root
class Dsn(OneBox):
    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        cls.prepare("two: r1@far.example, r2@far.example\none: r1@far.example\n"
                    f"list: bad@far.example, r2@far.example\nowner-list: {cls.shared.user.name}\n"
                    f"program: \"|/bin/false\"\n")
        cls.server = cls.shared.serve(change={"cps": "1000 1"})

    @classmethod
    def configure(cls, **more):
        super().configure(**{"mynetworks": "127.0.0.0/8"} | more)

    def setUp(self):
        super().setUp()
        self.sender = self.box.add_user(f"s{len(self.box.users)}")
        self.me = f"{self.sender.name}@example.org"

    def send(self, recipients, mail=(), text=b"Subject: x\r\n\r\nthe body\r\n", sender=None):
        """recipients: addresses, or pairs with options of RCPT. Then the queue is run until it is quiet."""
        with smtplib.SMTP(HOST, self.server.port, timeout=60, local_hostname="client.example") as client:
            client.ehlo()
            if "SMTPUTF8" in mail:
                client.command_encoding = "utf-8"
            code, reply = client.mail(self.me if sender is None else sender, list(mail))
            self.assertEqual(code, 250, reply)
            for one in recipients:
                address, *options = (one,) if isinstance(one, str) else one
                code, reply = client.rcpt(address, options)
                self.assertEqual(code, 250, reply)
            code, reply = client.data(text)
            self.assertEqual(code, 250, reply)
        self.box.wait_idle()
        for _ in range(3):
            run(self.box.binary, "-c", self.box.conf, "-q")

    def reports(self, user=None):
        """All notifications in a mailbox; anything else is left out."""
        maildir = self.box.maildir_of(user or self.sender)
        found = [raw for raw in maildir.contents().values() if b"multipart/report" in raw]
        for name in maildir.files():
            (maildir.path / name).unlink()
        return [Report(raw) for raw in found]

    def test_failure(self):
        text = b"Subject: whole\r\nX-A: b\r\n\r\nthe body\r\n"
        to = [("bad@far.example", "ORCPT=rfc822;o+2Bri+3Dg@far.example"), ("never-bad@far.example", "NOTIFY=NEVER"),
              ("bad2@far.example", "NOTIFY=SUCCESS"), ("bad3@far.example", "NOTIFY=FAILURE,DELAY"), "r1@far.example"]
        for ret, kind in ((None, "message/rfc822"), ("FULL", "message/rfc822"), ("HDRS", "text/rfc822-headers")):
            with self.subTest(ret):
                self.send(to, ["ENVID=QQ+2B314+20159"] + ([f"RET={ret}"] if ret else []), text)
                [report] = self.reports()
                self.assertEqual(report.kind, "delivery-status")
                message = report.message
                self.assertEqual((message["Return-Path"], message["To"]), ("<>", self.me))
                self.assertEqual(message["Auto-Submitted"], "auto-replied")
                self.assertEqual(report.fields["Original-Envelope-Id"], "QQ+314 159")
                self.assertEqual(report.fields["Reporting-MTA"], "dns; mx.example.org")
                self.assertLess(abs(email.utils.parsedate_to_datetime(report.fields["Arrival-Date"]).timestamp() - time.time()), 100)
                self.assertEqual(report.actions, {"bad@far.example": "failed", "bad3@far.example": "failed"})
                bad = report.of("bad@far.example")
                self.assertEqual(bad["Original-Recipient"], "rfc822; o+ri=g@far.example")
                self.assertEqual((bad["Status"], bad["Diagnostic-Code"]), ("5.1.1", "smtp; 550 5.1.1 nobody"))
                self.assertEqual(bad["Remote-MTA"], f"dns; [{HOST}]")
                self.assertNotIn("Original-Recipient", report.of("bad3@far.example"))
                self.assertIn("550 5.1.1 nobody", report.people.get_content())
                self.assertEqual(report.returned.get_content_type(), kind)
                self.assertEqual("the body" in report.returned.as_string(), ret != "HDRS")
                self.assertIn("X-A: b", report.returned.as_string())

    def test_success(self):
        """Who delivers tells, who passes on to somebody who does not tell says so (RFC 3461 sections 5.2.2, 5.2.3)."""
        box, asked = self.box, "NOTIFY=SUCCESS,FAILURE"
        there = f"{box.user.name}@example.org"
        for to, actions in (((there, asked, f"ORCPT=rfc822;{there}"), {there: "delivered"}),
                            (("r1@far.example", asked), {"r1@far.example": "relayed"}),
                            (("one@example.org", asked), {"one@example.org": "relayed"}),
                            (("two@example.org", asked), {"two@example.org": "expanded"}),
                            (("list@example.org", asked), {"list@example.org": "delivered"}),
                            (("two@example.org", "NOTIFY=FAILURE"), {}), (there, {}), ("r1@far.example", {})):
            with self.subTest(to):
                self.reports(box.user)
                self.send([to], ["ENVID=e1", "RET=FULL"])
                reports = self.reports()
                self.assertEqual([report.actions for report in reports], [actions] if actions else [])
                for report in reports:
                    [fields] = report.recipients
                    self.assertTrue(fields["Status"].startswith("2."))
                    self.assertEqual(report.fields["Original-Envelope-Id"], "e1")
                    # Only a failure brings the whole message back.
                    self.assertEqual(report.returned.get_content_type(), "text/rfc822-headers")
                    self.assertNotIn(b"maildir", report.raw.partition(b"\n\n")[2])
                    self.assertEqual("Remote-MTA" in fields, actions.get(to[0]) == "relayed")
                if to[0] == "list@example.org":
                    # The member who failed is the list owner's business, in the owner's terms.
                    [report] = self.reports(box.user)
                    self.assertEqual(report.actions, {"bad@far.example": "failed"})
                    self.assertNotIn("Original-Envelope-Id", report.fields)

    def test_delay_and_expiry(self):
        self.addCleanup(self.configure)
        self.configure(delay_warning_time="1s")
        to = [("later@far.example", "ORCPT=rfc822;later@far.example"), ("later2@far.example", "NOTIFY=FAILURE")]
        self.send(to, ["RET=FULL"])
        time.sleep(1.1)
        run(self.box.binary, "-c", self.box.conf, "-q")
        run(self.box.binary, "-c", self.box.conf, "-q")
        [report] = self.reports()
        self.assertEqual(report.actions, {"later@far.example": "delayed"})
        [fields] = report.recipients
        self.assertEqual((fields["Status"], fields["Diagnostic-Code"]), ("4.2.0", "smtp; 450 4.2.0 later"))
        left = email.utils.parsedate_to_datetime(fields["Will-Retry-Until"]).timestamp() - time.time()
        self.assertTrue(4.9 * 86400 < left < 5.1 * 86400, left)
        self.assertEqual(report.returned.get_content_type(), "text/rfc822-headers")
        self.configure(maximal_queue_lifetime="1s")
        time.sleep(1.1)
        run(self.box.binary, "-c", self.box.conf, "-q")
        run(self.box.binary, "-c", self.box.conf, "-q")
        [report] = self.reports()
        self.assertEqual(report.actions, {"later@far.example": "failed", "later2@far.example": "failed"})
        # What was temporary to the end stays so in the code (RFC 3464 section 2.3.3).
        self.assertEqual({group["Status"] for group in report.recipients}, {"4.2.0"})
        self.assertTrue(all("Will-Retry-Until" not in group for group in report.recipients))

    def test_utf8(self):
        me = self.sender
        text = "Subject: grün\r\n\r\nschön\r\n".encode()
        self.send([("bad-grün@far.example", "ORCPT=utf-8;bad-gr\\x{FC}n@far.example")], ["SMTPUTF8", "BODY=8BITMIME"], text)
        [report] = self.reports(me)
        self.assertEqual(report.kind, "global-delivery-status")
        [fields] = report.recipients
        self.assertEqual(fields["Final-Recipient"], "utf-8; bad-grün@far.example")
        self.assertEqual(fields["Original-Recipient"], "utf-8; bad-grün@far.example")
        self.assertEqual(report.returned.get_content_type(), "message/global")
        # In a report without UTF-8 it is written so that it fits.
        self.send([("bad@far.example", "ORCPT=utf-8;bad-gr\\x{FC}n@far.example")])
        [report] = self.reports(me)
        self.assertEqual(report.kind, "delivery-status")
        [fields] = report.recipients
        self.assertEqual(fields["Original-Recipient"], "utf-8; bad-gr\\x{FC}n@far.example")

    def test_nobody_is_answered_and_nothing_goes_in_circles(self):
        """Null reverse-paths: the postmaster hears of it, once, and what fails there rests in corrupt."""
        queue = self.box.dir / "queue"
        postmaster = self.box.add_user("chief")
        aliases = (self.box.dir / "aliases").read_text()
        self.addCleanup((self.box.dir / "aliases").write_text, aliases)
        (self.box.dir / "aliases").write_text(aliases + "postmaster: chief\n")
        self.addCleanup(self.configure)
        self.configure(double_bounce_notice_recipient="postmaster")
        self.send(["bad@far.example"], sender="")
        [report] = self.reports(postmaster)
        self.assertEqual(report.message["Return-Path"], "<>")
        self.assertEqual(report.message["To"], "postmaster@example.org")
        # The bounce of a bounce: the sender does not exist.
        self.send(["bad@far.example"], sender="bad2@far.example")
        [report] = self.reports(postmaster)
        self.assertEqual(report.actions, {"bad2@far.example": "failed"})
        # A sender who does not exist here is named.
        self.send(["bad@far.example"], sender="nouser@example.org")
        [report] = self.reports(postmaster)
        self.assertEqual(report.actions, {"bad@far.example": "failed"})
        self.assertIn("and its sender <nouser@example.org> does not exist here.", " ".join(report.raw.decode().split()))
        # The postmaster does not exist either.
        self.configure(double_bounce_notice_recipient="bad3@far.example")
        self.send(["bad@far.example"], sender="bad2@far.example")
        names = [name for place in ("queue", "drop") for name in (queue / place).iterdir()]
        self.assertEqual(names, [])
        self.assertEqual(len([name for name in (queue / "corrupt").iterdir() if name.suffix != ".log"]), 1)
        self.assertEqual(self.reports(postmaster), [])


if __name__ == "__main__":
    harness.main()
