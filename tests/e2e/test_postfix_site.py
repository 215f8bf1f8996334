"""A site that had Postfix: its main.cf is read, its virtual mailboxes are served, and messages are refused by their header."""

import os
import pathlib
import re
import shutil
import smtplib

import harness
from harness import HOST, Case, needs_root, run, wait_until
from smtp_box import DOMAIN, SmtpBox

# What Debian's package writes: main.cf.debian, main.cf.tls, and what its postinst sets for each kind of site.
DEBIAN = """\
smtpd_banner = $myhostname ESMTP $mail_name (Debian/GNU)
biff = no
append_dot_mydomain = no
readme_directory = no
compatibility_level = 3.6
smtpd_tls_cert_file=/etc/ssl/certs/ssl-cert-snakeoil.pem
smtpd_tls_key_file=/etc/ssl/private/ssl-cert-snakeoil.key
smtpd_tls_security_level=may
smtp_tls_CApath=/etc/ssl/certs
smtp_tls_security_level=may
smtp_tls_session_cache_database = btree:${data_directory}/smtp_scache
smtpd_relay_restrictions = permit_mynetworks permit_sasl_authenticated defer_unauth_destination
myhostname = mail.example.org
alias_maps = hash:/etc/aliases
alias_database = hash:/etc/aliases
myorigin = /etc/mailname
mydestination = $myhostname, example.org, localhost.localdomain, , localhost
mynetworks = 127.0.0.0/8 [::ffff:127.0.0.0]/104 [::1]/128
mailbox_size_limit = 0
recipient_delimiter = +
inet_protocols = all
"""
KINDS = {
    "Internet Site": "relayhost = \ninet_interfaces = all\n",
    "Internet with smarthost": "relayhost = [smtp.example.net]:587\ninet_interfaces = all\n",
    "Satellite system": "relayhost = smtp.example.net\ninet_interfaces = loopback-only\n",
    "Local only": "relayhost = \ninet_interfaces = loopback-only\ndefault_transport = error\nrelay_transport = error\n",
}
TAKEN = {"smtpd_banner", "smtp_tls_security_level", "smtpd_relay_restrictions", "myhostname", "alias_maps", "myorigin", "mydestination",
         "mynetworks", "mailbox_size_limit", "recipient_delimiter", "inet_protocols", "relayhost"}


class MainCf(Case):
    def setUp(self):
        self.box = SmtpBox(tls=False)
        self.addCleanup(self.box.close)
        mailname = self.box.dir / "mailname"
        mailname.write_text("example.org\n")
        self.path = self.box.dir / "main.cf"

    def check(self, text):
        """The lines about this text, and by which settings they are."""
        self.path.write_text(text.replace("/etc/mailname", f"{self.box.dir}/mailname"))
        done = run(self.box.binary, "-c", self.path, "--check", check=False)
        lines = [line for line in (done.stdout + done.stderr).splitlines() if line]
        return lines, [match[1] for line in lines if (match := re.search(r'unknown setting "(\w+)"', line))]

    def test_each_setting_is_taken_or_named_once(self):
        for kind, more in KINDS.items():
            with self.subTest(kind):
                text = DEBIAN + more
                lines, named = self.check(text)
                settings = re.findall(r"(?m)^(\w+)", text)
                self.assertEqual(len(lines), len(named), lines)
                self.assertEqual(sorted(named), sorted(set(settings) - TAKEN))
                for line in lines:
                    # It says what to do, not only what is wrong.
                    self.assertRegex(line, r'main\.cf:\d+: unknown setting "\w+"(: \w+|, did you mean "\w+")', line)
                    self.assertNotIn("--help lists all", line)
                # What is left is in order: rules, networks, names.
                kept = "".join(line for line in text.splitlines(True) if line.split("=")[0].strip() in TAKEN)
                lines, named = self.check(kept)
                self.assertEqual(named, [])
                self.assertFalse([line for line in lines if re.search("(?i)" + "|".join(TAKEN), line)], lines)
                changed = run(self.box.binary, "-c", self.path, "-n").stdout
                self.assertIn("mydestination = $myhostname, example.org, localhost.localdomain, , localhost\n", changed)

    def test_every_parameter_of_postfix(self):
        """Known, or named in one line; a name that is meant to be another is really that other."""
        names = [line.split(" =")[0] for line in run(harness.program("postconf"), "-d").stdout.splitlines()]
        self.assertGreater(len(names), 800)
        meant = {}
        for at in range(0, len(names), 150):
            lines, named = self.check("".join(f"{name} = \n" for name in names[at:at + 150]))
            self.assertEqual(len(named), len(set(named)))
            self.assertLessEqual(set(named), set(names))
            for line in lines:
                if match := re.search(r'"(\w+)", did you mean "(\w+)"', line):
                    meant[match[1]] = match[2]
        self.assertLessEqual(set(meant), {
            "2bounce_notice_recipient", "maillog_file", "smtpd_hard_error_limit", "smtpd_tls_CAfile", "smtpd_tls_auth_only",
            "smtpd_tls_cert_file", "smtpd_tls_chain_files", "smtpd_tls_key_file", "virtual_mailbox_limit", "virtual_minimum_uid",
            "smtp_sasl_auth_cache_name", "smtp_sasl_tls_verified_security_options"}, meant)

    def test_what_other_sites_have(self):
        for name, said in (("canonical_maps", "not supported"), ("smtpd_milters", "not supported yet"), ("postscreen_greet_action", "leave"),
                           ("header_checks", "glob:/FILE"), ("virtual_minimum_uid", "first_valid_uid"), ("smtpd_tls_auth_only", "disable_"),
                           ("smtpd_peername_lookup", "not looked up"), ("smtpd_client_connection_rate_limit", "launcher")):
            with self.subTest(name):
                lines, _ = self.check(f"{name} = regexp:/etc/postfix/x\n")
                self.assertIn(said, "\n".join(lines))

    def test_rules_that_need_the_dns_are_refused_with_their_reason(self):
        for word in ("reject_unknown_client_hostname", "reject_unknown_reverse_client_hostname", "reject_rbl_client zen.example"):
            with self.subTest(word):
                lines, _ = self.check(f"smtpd_client_restrictions = {word}\n")
                self.assertRegex("\n".join(lines), r"error: .*needs DNS at reception")


@needs_root
class VirtualMailboxes(Case):
    def setUp(self):
        self.box = box = SmtpBox()
        self.addCleanup(box.close)
        self.addCleanup(self.keep_log)
        self.base = box.dir / "vhosts"
        self.base.mkdir(mode=0o755)
        for domain in ("v.example", "w.example"):
            (self.base / domain).mkdir(mode=0o700)
            os.chown(self.base / domain, 5000, 5000)
        vmailbox = box.dir / "vmailbox"
        vmailbox.write_text("# as for postmap\nanna@v.example  v.example/anna/\nbert@v.example v.example/bert/\n"
                            "@w.example w.example/all/\nold@v.example v.example/old\n")
        digest = box.user.digest
        users = box.dir / "users"
        users.write_text(f"anna@v.example:{{SHA512-CRYPT}}{digest}::::::\n")
        users.chmod(0o600)
        box.write_settings(virtual_mailbox_domains="v.example, w.example", virtual_mailbox_maps=f"hash:{vmailbox}",
                           virtual_mailbox_base=self.base, virtual_uid_maps="static:5000", virtual_gid_maps="static:5000",
                           recipient_delimiter="+", mail_location=f"maildir:{self.base}/%d/%n", mail_uid="5000", mail_gid="5000",
                           passdb=f"shadow passwd-file:{users}")
        self.server = box.serve()

    def there(self, path):
        new = self.base / path / "new"
        return [(new / name).read_bytes() for name in os.listdir(new)] if new.exists() else []

    def send(self, *to):
        with smtplib.SMTP(HOST, self.server.port, timeout=60) as client:
            return client.sendmail("a@client.example", to, "Subject: x\r\n\r\nbody\r\n")

    def test_straight_queued_and_read(self):
        self.send("Anna+list@V.example")
        self.assertEqual(len(self.there("v.example/anna")), 1)
        self.send("anna@v.example", "bert@v.example", "anybody@w.example")
        for path, count in (("v.example/anna", 2), ("v.example/bert", 1), ("w.example/all", 1)):
            wait_until(lambda path=path, count=count: len(self.there(path)) == count, path)
        self.assertEqual((self.base / "v.example/anna/new").stat().st_uid, 5000)
        imap = self.box.serve(protocol="imap")
        with imap.connect(tls=True) as session:
            session.login("anna@v.example", self.box.user.password)
            self.assertIn(b"* 2 EXISTS", session.ok("SELECT INBOX"))
            self.assertEqual(len(session.bodies()), 2)
            session.quit()

    def test_who_is_not_there(self):
        with self.assertRaises(smtplib.SMTPRecipientsRefused) as caught:
            self.send("carl@v.example", "old@v.example")
        refused = caught.exception.recipients
        self.assertEqual(refused["carl@v.example"][0], 550)
        # It would be an mbox file: the administrator has to convert it first.
        self.assertEqual(refused["old@v.example"][0], 451)
        self.box.wait_log(r"old@v\.example deferred: virtual_mailbox_maps: v\.example/old is no Maildir")
        self.assertFalse((self.base / "v.example/old").exists())
        done = run(self.box.binary, "-c", self.box.conf, "--check", check=False)
        self.assertRegex(done.stdout, r"error: virtual_mailbox_maps: old@v\.example: v\.example/old is no Maildir")


class HeaderChecks(Case):
    def setUp(self):
        self.box = box = SmtpBox(tls=False)
        self.addCleanup(box.close)
        self.addCleanup(self.keep_log)
        self.other = box.add_user("other")
        self.table = box.dir / "header_checks"
        self.table.write_text("/Subject: *cheap*/ REJECT Keep it\n/Subject: gone/ DISCARD\n/X-Secret:*/ IGNORE\n"
                              "/X-Spam: yes/ PREPEND X-Folder: Junk\n/X-Odd:*/ WARN look at this\n")
        self.table.chmod(0o644)
        box.write_settings(header_checks=f"glob:{self.table}")
        self.server = box.serve()

    def send(self, header, *names):
        with smtplib.SMTP(HOST, self.server.port, timeout=60) as client:
            client.sendmail("a@client.example", [f"{name}@{DOMAIN}" for name in names], f"{header}\r\n\r\nSubject: cheap\r\n")

    def test_straight_and_through_the_queue(self):
        for count, names in enumerate((["demo"], ["demo", "other"]), 1):
            with self.subTest(names):
                with self.assertRaises(smtplib.SMTPDataError) as caught:
                    self.send("From: a\r\nSubject: very\r\n\tCHEAP things", *names)
                self.assertEqual((caught.exception.smtp_code, caught.exception.smtp_error), (550, b"5.7.1 Keep it"))
                self.send("Subject: gone", *names)
                self.send("Subject: stays\r\nX-Secret: 1\r\n 2\r\nX-Spam: YES\r\nX-Odd: 1", *names)
                wait_until(lambda count=count: len(self.box.received()) == count, "the message")
                for raw in self.box.received():
                    self.assertTrue(raw.endswith(b"Subject: stays\nX-Folder: Junk\nX-Spam: YES\nX-Odd: 1\n\nSubject: cheap\n"), raw)
                for word in ("reject: header Subject: very", "discard: header Subject: gone", "warning: header X-Odd: 1: look at this"):
                    self.box.wait_log(word + ".*; from=<a@client.example> to=<demo@example.org>")
                self.box.clear_log()

    def test_nothing_is_started_for_what_is_discarded(self):
        """A runner would pick up what lies in the drop directory."""
        run(self.box.binary, "-c", self.box.conf, "-q")
        to = ["demo@" + DOMAIN, "other@" + DOMAIN]
        with smtplib.SMTP(HOST, self.server.port, timeout=60) as client:
            client.ehlo()
            waiting = self.box.dir / "queue/drop/1PJ48MLZ15TT47"
            waiting.write_text("no message\n")
            client.sendmail("a@client.example", to, "Subject: gone\r\n\r\nx\r\n")
            self.box.wait_log("discard: header Subject: gone")
            # A runner would have been there before the client heard that all is well.
            writers = "the writers of the first recipient, who was alone at first, and of the queue"
            wait_until(lambda: len(self.box.servers()) <= 4, f"no more than front, guard, {writers}")
            self.assertTrue(waiting.exists())
            client.sendmail("a@client.example", to, "Subject: stays\r\n\r\nx\r\n")
            wait_until(lambda: not waiting.exists(), "a runner")

    @needs_root
    def test_mail_of_sendmail(self):
        """As Postfix's cleanup has it: what is refused comes back, with its reason and its header."""
        box, sendmail = self.box, self.box.dir / "sendmail"
        shutil.copy(pathlib.Path(os.environ["E2E_SMTPD"]).with_name("sendmail"), sendmail)
        os.chmod(box.conf, 0o644)
        os.chmod(box.dir, 0o755)
        box.write_settings(myorigin=DOMAIN)
        os.chmod(box.conf, 0o644)
        run(box.binary, "-c", box.conf, "-q")

        def send(header):
            run(sendmail, "-C", box.conf, "-i", f"other@{DOMAIN}", input=f"{header}\n\nSubject: cheap\n", cwd="/",
                user=box.user.uid, group=box.user.gid, extra_groups=[])
            run(box.binary, "-c", box.conf, "-q")
        for header in ("Subject: gone", "Subject: very\n cheap things", "Subject: stays\nX-Secret: 1\nX-Spam: yes\nX-Odd: 1"):
            send(header)
        [raw] = box.received(self.other)
        self.assertIn(b"\nSubject: stays\nX-Folder: Junk\nX-Spam: yes\nX-Odd: 1\nMessage-ID: ", raw)
        self.assertTrue(raw.endswith(b"\n\nSubject: cheap\n"), raw)
        [back] = box.received()
        for text in (b"Return-Path: <>\n", b"Final-Recipient: rfc822; other@example.org\nAction: failed\nStatus: 5.7.1\n",
                     b"Keep it", b"\nSubject: very\n cheap things\n"):
            self.assertIn(text, back)
        self.assertEqual([os.listdir(box.dir / "queue" / place) for place in ("queue", "drop", "corrupt")], [[], [], []])
        # A table that is wrong lets nothing pass, and nothing is lost.
        self.table.write_text("/^Subject: x/ REJECT\n")
        send("Subject: waits")
        box.wait_log("header_checks: .*this looks like a regular expression")
        self.assertEqual(box.log().count("this looks like a regular expression"), 1, "it is tried once")
        self.assertEqual(len(box.received(self.other)), 1)
        self.table.write_text("/Subject: gone/ DISCARD\n")
        run(box.binary, "-c", box.conf, "-q")
        self.assertEqual(len(box.received(self.other)), 2)

    def test_lmtp_for_several(self):
        """The message is kept once and looked at for each recipient: each hears of it."""
        server = self.box.serve(arguments=["--lmtp"])
        with smtplib.LMTP(HOST, server.port, timeout=60) as client:
            client.ehlo()
            for header, codes in (("Subject: cheap", {550}), ("Subject: gone", {250}), ("Subject: stays\r\nX-Secret: 1", {250})):
                client.mail("a@client.example")
                for name in ("demo", "other"):
                    client.rcpt(f"{name}@{DOMAIN}")
                self.assertEqual(client.docmd("DATA")[0], 354)
                client.send(f"{header}\r\n\r\nbody\r\n.\r\n")
                self.assertEqual({client.getreply()[0] for _ in range(2)}, codes, header)
        for user in (self.box.user, self.other):
            [raw] = self.box.received(user)
            self.assertTrue(raw.endswith(b"Subject: stays\n\nbody\n"), raw)

    def test_a_table_that_is_wrong_lets_nothing_pass(self):
        self.table.write_text("/^Subject: x/ REJECT\n")
        for names in (["demo"], ["demo", "other"]):
            with self.assertRaises(smtplib.SMTPException) as caught:
                self.send("Subject: fine", *names)
            self.assertIn("451", str(caught.exception))
        self.box.wait_log(r"header_checks:1: this looks like a regular expression")
        self.assertEqual(self.box.received(), [])


if __name__ == "__main__":
    harness.main()
