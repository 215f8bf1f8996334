"""What an administrator is told: by --check, by the log with its queue IDs, by mailq."""

import os
import smtplib

import harness
from harness import HOST, needs_root, run, wait_until
from smtp_box import DOMAIN, BoxAndSink


@needs_root
class Check(BoxAndSink):
    more = {"smtp_tls_CAfile": ""}

    def check(self, *options):
        done = run(self.box.binary, "-c", self.box.conf, *options, "--check", check=False)
        return done.stdout + done.stderr

    def test_a_queue_that_is_read_only(self):
        queue = self.box.dir / "queue"
        self.assertNotIn(str(queue), self.check())
        run("mount", "--bind", queue, queue)
        self.addCleanup(run, "umount", "-l", queue)
        run("mount", "-o", "remount,bind,ro", queue)
        self.assertRegex(self.check(), rf"(?m)^error: {queue}/\w+: it cannot be written: Read-only file system")

    def test_files_that_their_readers_cannot_reach(self):
        closed = self.box.dir / "closed"
        closed.mkdir(mode=0o700)
        for name, text in (("transport", "x.example smtp:[127.0.0.1]\n"), ("checks", "/Subject: x/ REJECT\n")):
            (closed / name).write_text(text)
            (closed / name).chmod(0o644)
        self.box.write_settings(transport_maps=f"hash:{closed}/transport", header_checks=f"glob:{closed}/checks")
        owner = self.box.settings["mail_owner"]
        found = self.check()
        self.assertRegex(found, rf"(?m)^error: transport_maps: {closed}/transport: mail_owner = {owner} cannot read it: Permission denied")
        self.assertRegex(found, rf"(?m)^error: header_checks: {closed}/checks: mail_owner = {owner} cannot read it")
        self.assertRegex(found, rf"(?m)^error: {closed}/checks cannot be read by everybody: Permission denied.*: chmod o\+x")
        closed.chmod(0o711)
        self.assertNotIn(str(closed), self.check())

    def test_names_and_values_at_once(self):
        more = {"no_such_name": "1", "smtpd_client_restrictions": "permit_everybody", "smtpd_sender_restrictions": "reject_nothing",
                "alias_maps": "ldap:x", "smtpd_timeout": "soon", "transport_maps": "mysql:/x", "recipient_delimiter": "a"}
        self.box.write_settings(**more)
        found = self.check()
        for name in more:
            self.assertRegex(found, rf'(?m)^smtpd: .*(unknown setting "{name}"|error: {name}[: ]|: {name}: )', found)
        # The other servers, which share this.
        for name in ("pop3", "imap"):
            done = run(self.box.binaries[name], "-c", self.box.conf, "-o", "last_valid_uid=5", "--check", check=False)
            self.assertEqual(done.returncode, 100)
            self.assertRegex(done.stderr, r'(?s)unknown setting "no_such_name".*error: last_valid_uid is lower than first_valid_uid')
        # The same without what is no setting.
        self.box.write_settings(smtpd_timeout="5m")
        text = self.box.conf.read_text()
        self.box.conf.write_text("".join(line for line in text.splitlines(True) if not line.startswith("no_such_name")))
        found = self.check()
        for name in set(more) - {"no_such_name", "smtpd_timeout"}:
            self.assertEqual(sum(line.startswith((f"error: {name}: ", f"error: {name} = ")) for line in found.splitlines()), 1, f"{name}\n{found}")


@needs_root
class Told(BoxAndSink):
    def test_why_a_mailbox_cannot_be_written(self):
        closed = self.box.add_user("closed")
        os.chown(closed.home, 0, 0)
        closed.home.chmod(0o755)
        self.sendmail("-f", "a@client.example", f"closed@{DOMAIN}", input="Subject: x\n\nx\n")
        why = rf"The mailbox cannot be written now: mkdir\({closed.home}/Maildir[^ ]*\): Permission denied"
        line = self.box.wait_log(rf": to=<closed@example\.org>, relay=local, .*status=deferred \({why}")
        [name] = self.queue()
        self.assertIn(f" {name}: ", line)
        self.assertEqual(self.box.log().count("Permission denied"), 1, self.box.log())
        listed = wait_until(lambda: (text := self.sendmail("-bp").stdout).count("Permission denied") and text, "the reason in mailq")
        self.assertRegex(listed, rf"(?m)^    \({why}")
        # Whoever sent it is told of no path.
        self.box.write_settings(maximal_queue_lifetime="1s")
        here = self.box.user
        self.sendmail("-f", f"{here.name}@{DOMAIN}", f"closed@{DOMAIN}", input="Subject: x\n\nx\n")
        self.box.write_settings(minimal_backoff_time="1s", maximal_backoff_time="1s")

        def returned():
            run(self.box.binary, "-c", self.box.conf, "-q")
            return b"".join(self.box.received(here))
        raw = wait_until(returned, "a notification")
        self.assertIn(b"The mailbox cannot be written now", raw)
        self.assertNotIn(str(closed.home).encode(), raw)

    def test_a_system_account(self):
        """By SMTP and from programs of this host: the same, and one line for the administrator."""
        with open(self.box.dir / "passwd", "a", encoding="ascii") as file:
            file.write("www-data:x:33:33::/var/www:/usr/sbin/nologin\n")
        refusal = "mail for www-data refused: uid 33 is below first_valid_uid; alias www-data to somebody"
        with smtplib.SMTP(HOST, self.box.serve().port, timeout=60) as client:
            client.ehlo()
            client.mail("a@client.example")
            self.assertEqual(client.rcpt(f"www-data@{DOMAIN}"), (550, b"5.2.1 This user gets no mail here"))
        self.box.wait_log("disconnect from")
        self.assertEqual(self.box.log().count(refusal), 1, self.box.log())
        for to in (["www-data"], ["www-data", self.box.user.name]):
            self.box.clear_log()
            self.sendmail("-f", f"{self.box.user.name}@{DOMAIN}", *to, input="Subject: x\n\nx\n")
            line = self.box.wait_log(r"to=<www-data@example\.org>, .*status=")
            self.assertRegex(line, r"dsn=5\.2\.1, status=bounced \(This user gets no mail here: uid 33 is below first_valid_uid; alias")
            wait_until(lambda: not self.queue(), f"an empty queue {self.box.log()}")
            self.assertEqual(self.box.log().count(refusal), 1, self.box.log())


if __name__ == "__main__":
    harness.main()
