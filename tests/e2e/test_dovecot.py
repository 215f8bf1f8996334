"""Dovecot's own servers on the same Maildir: before us, after us, and at the same time.

A site that changes servers, in either direction, must not make its clients download anything again: unique-ids, sizes and
order stay the same. What Dovecot does while one of our sessions is open must neither break the session nor be lost.
"""

import contextlib
import imaplib
import os
import subprocess

import harness
from harness import Case, Pop, message, needs_root, odd_messages, program, wire


class Dovecot:
    """A whole Dovecot in a directory of its own, with its POP3 and IMAP servers and its own passwd-file."""

    def __init__(self, box, settings=()):
        self.box = box
        self.bind = harness.HOST
        self.dir = box.dir / "dovecot"
        self.dir.mkdir(exist_ok=True)
        self.port, self.imap_port = harness.free_port(), harness.free_port()
        self.log = self.dir / "log"
        harness.write(self.dir / "users",
                      [f"{u.name}:{{SHA512-CRYPT}}{u.digest}:{u.uid}:{u.gid}::{u.home}::" for u in box.users.values()], 0o644)
        self.configuration = self.dir / "dovecot.conf"
        harness.write(self.configuration, [
            f"base_dir = {self.dir}/run", f"state_dir = {self.dir}/state", f"log_path = {self.log}",
            "protocols = pop3 imap", "ssl = no", f"listen = {harness.HOST}", "mail_location = maildir:~/Maildir",
            "disable_plaintext_auth = no", "auth_failure_delay = 0", "first_valid_uid = 1", "mail_fsync = never",
            "passdb {", "  driver = passwd-file", f"  args = {self.dir}/users", "}",
            "userdb {", "  driver = passwd-file", f"  args = {self.dir}/users", "}",
            "service pop3-login {", "  chroot =", "  inet_listener pop3 {", f"    port = {self.port}", "  }",
            "  inet_listener pop3s {", "    port = 0", "  }", "}",
            "service imap-login {", "  chroot =", "  inet_listener imap {", f"    port = {self.imap_port}", "  }",
            "  inet_listener imaps {", "    port = 0", "  }", "}",
            "service stats {", "  chroot =", "}", "service anvil {", "  chroot =", "}",
            *settings,
        ], 0o644)

    def __enter__(self):
        self.process = subprocess.Popen([program("dovecot"), "-F", "-c", str(self.configuration)],
                                        stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)
        try:
            harness.wait_until(self.listens, f"Dovecot listens {self.log_text()}")
        except AssertionError:
            self.__exit__()
            raise
        return self

    def listens(self):
        if self.process.poll() is not None:
            raise AssertionError(f"Dovecot has ended: {self.process.stderr.read().decode()} {self.log_text()}")
        return {self.port, self.imap_port} <= harness.listening_ports()

    def log_text(self):
        return self.log.read_text() if self.log.exists() else ""

    def __exit__(self, failure=None, *_):
        harness.stop(self.process, 20)
        if failure and self.complaints():
            print(f"Dovecot says:\n{self.complaints()}", flush=True)

    def connect(self):
        return Pop(self)

    def complaints(self):
        """What it logged as an error, for a test that fails."""
        return "".join(line for line in self.log_text().splitlines(True) if "Error" in line or "Panic" in line)

    def imap(self, user=None):
        user = user or self.box.user
        connection = imaplib.IMAP4(harness.HOST, self.imap_port, timeout=harness.SOON)
        connection.login(user.name, user.password)
        connection.select("INBOX")
        return connection


def remembered(server, user=None):
    """What a POP3 client would remember, and the messages themselves."""
    with server.connect() as pop:
        pop.login(*(user or server.box.user))
        listing = pop.listing()
        stat = pop.ok("STAT")
        messages = [pop.retrieve(n) for n in range(1, len(listing) + 1)]
        pop.quit()
    return listing, stat.split()[1:3], messages


@needs_root
class SideBySide(Case):
    def setUp(self):
        self.server = self.serve()
        self.maildir = self.box.maildir

    def compare(self, settings=(), first="dovecot"):
        """Alternates between both servers and demands that nothing a client sees changes."""
        seen = []
        for turn in range(4):
            if (turn % 2 == 0) == (first == "dovecot"):
                with Dovecot(self.box, settings) as dovecot:
                    seen.append(("Dovecot", remembered(dovecot)))
            else:
                seen.append(("pop3d", remembered(self.server)))
                self.box.wait_idle()
        _, (listing, stat, messages) = seen[0]
        for name, (other_listing, other_stat, other_messages) in seen[1:]:
            self.assertEqual(other_listing, listing, f"{name} differs from {seen[0][0]}")
            self.assertEqual(other_stat, stat)
            self.assertEqual(other_messages, messages)
        return listing, messages

    def test_dovecot_first(self):
        expected = self.maildir.fill()
        listing, messages = self.compare()
        self.assertEqual(messages, expected)
        self.assertEqual(len({unique_id for unique_id, _ in listing}), len(expected))

    def test_pop3d_first(self):
        expected = self.maildir.fill()
        listing, messages = self.compare(first="pop3d")
        self.assertEqual(messages, expected)

    def test_hints_flags_keywords_and_crlf_files(self):
        """All hints, wrong-looking and right, all flags, letters of keywords, files with CRLF, gaps in the order."""
        harness.write(self.maildir.path / "dovecot-keywords", ["0 $Label1", "1 $Forwarded", "25 zebra"], 0o600)
        self.maildir.own(self.maildir.path / "dovecot-keywords")
        flags = [None, "", "S", "FRS", "DS", "Sa", "FSabz", "RSz", "T", "P"]
        for at in range(40):
            newline = b"\r\n" if at % 3 == 0 else b"\n"
            raw = message(f"number {at}", newline.join([b"text"] * at) + newline, newline=newline)
            self.maildir.add(raw, flags=flags[at % len(flags)], hints=["none", "S", "W", "SW"][at // 10])
        self.compare()

    def test_delivery_between_the_servers(self):
        self.maildir.fill(odd_messages()[:3])
        before = [unique_id for unique_id, _ in self.compare()[0]]
        for at in range(5):
            self.maildir.add(message(f"new {at}"))
        after = [unique_id for unique_id, _ in self.compare(first="pop3d")[0]]
        self.assertEqual(after[:3], before)
        self.assertEqual(len(set(after)), 8)
        # A unique-id is never used again, whoever deleted the message.
        with self.server.connect() as pop:
            pop.login()
            pop.ok("DELE 8")
            pop.quit()
        self.box.wait_idle()
        self.maildir.add(message("after a deletion"))
        with Dovecot(self.box) as dovecot:
            now = [unique_id for unique_id, _ in remembered(dovecot)[0]]
        self.assertEqual(now[:7], after[:7])
        self.assertNotIn(now[7], after)

    def test_deletion_by_each_is_seen_by_the_other(self):
        self.maildir.fill()
        listing = self.compare()[0]
        with Dovecot(self.box) as dovecot, dovecot.connect() as pop:
            pop.login()
            pop.ok("DELE 2")
            pop.quit()
        with self.server.connect() as pop:
            pop.login()
            self.assertEqual(pop.listing(), listing[:1] + listing[2:])
            pop.ok("DELE 1")
            pop.quit()
        self.box.wait_idle()
        with Dovecot(self.box) as dovecot:
            self.assertEqual(remembered(dovecot)[0], listing[2:])

    def test_other_formats_of_unique_ids(self):
        self.maildir.fill()
        for pattern in ("%v.%u", "%08Xv%08Xu", "%u", "%f", "%03u-%4v", "%12Uf-%02Xu"):
            with self.subTest(pattern):
                self.box.write_settings(pop3_uidl_format=pattern)
                # The first of both decides: ids that dovecot-uidlist records are kept.
                (self.maildir.path / "dovecot-uidlist").unlink(missing_ok=True)
                for file in self.maildir.path.glob("tinmail-*"):
                    file.unlink()
                for file in self.maildir.path.glob("dovecot.index*"):
                    file.unlink()
                self.compare([f"pop3_uidl_format = {pattern}"])

    def test_md5_as_unique_id(self):
        """Dovecot has %m for other stores only, so there is nothing to compare with."""
        self.box.write_settings(pop3_uidl_format="%m")
        expected = self.maildir.fill()
        first = remembered(self.server)[0]
        self.box.wait_idle()
        self.assertEqual(remembered(self.server)[0], first)
        self.assertEqual(len({unique_id for unique_id, _ in first}), len(expected))
        for unique_id, _ in first:
            self.assertRegex(unique_id, "^[0-9a-f]{32}$")

    def test_seen_flags_are_the_same(self):
        """RETR marks as seen with both, and new mail moves to cur."""
        self.maildir.fill(odd_messages()[:4])
        with self.server.connect() as pop:
            pop.login()
            pop.retrieve(1)
            pop.quit()
        self.box.wait_idle()
        with Dovecot(self.box) as dovecot:
            imap = dovecot.imap()
            status = imap.search(None, "SEEN")[1][0].split()
            imap.logout()
        self.assertIn(b"1", status)

    def test_uidlist_survives_with_everything_dovecot_put_there(self):
        """P and O of single messages, and what the header holds beside."""
        names = [self.maildir.add(message(f"m{n}"), flags="S") for n in range(3)]
        uidlist = self.maildir.path / "dovecot-uidlist"
        harness.write(uidlist, ["3 V1700000000 N10 Gaabbccddeeff00112233445566778899",
                                f"3 Pspecial-3 O7 :{names[2]}", f"5 Pspecial-5 :{names[0]}", f"9 O2 W999 :{names[1]}"], 0o600)
        self.maildir.own(uidlist)
        listing, _ = self.compare(["pop3_no_flag_updates = yes"])
        ids = [unique_id for unique_id, _ in listing]
        self.assertIn("special-3", ids)
        self.assertIn("special-5", ids)
        self.maildir.add(message("later"))
        remembered(self.server)
        self.box.wait_idle()
        lines = self.maildir.uidlist().splitlines()
        # Written anew or, as Dovecot does it too, only appended to: then the header's next UID is that of before.
        self.assertRegex(lines[0], "^3 V1700000000 N1[01] Gaabbccddeeff00112233445566778899")
        self.assertTrue(any(line.startswith("10 ") for line in lines), lines)
        self.assertTrue(any("Pspecial-3" in line and "O7" in line for line in lines), lines)
        self.compare(["pop3_no_flag_updates = yes"])


@needs_root
class AtTheSameTime(Case):
    """Dovecot changes the Maildir while our session is open: the session keeps what it saw at login."""

    def setUp(self):
        self.server = self.serve()
        self.maildir = self.box.maildir
        self.expected = self.maildir.fill()
        with self.server.connect() as pop:
            pop.login()
            self.before = pop.listing()
            pop.quit()
        self.box.wait_idle()
        dovecot = Dovecot(self.box)
        self.dovecot = dovecot.__enter__()
        self.addCleanup(dovecot.__exit__)

    def test_flags_change_and_every_message_stays_readable(self):
        with self.server.connect() as pop:
            pop.login()
            listing = pop.listing()
            imap = self.dovecot.imap()
            for number in range(1, len(self.expected) + 1):
                imap.store(str(number), "+FLAGS", r"(\Flagged \Answered)")
                self.assertEqual(pop.retrieve(number), self.expected[number - 1])
            imap.store("1:*", "-FLAGS", r"(\Flagged \Answered \Seen)")
            for number in range(1, len(self.expected) + 1):
                self.assertEqual(pop.retrieve(number), self.expected[number - 1])
            self.assertEqual(pop.listing(), listing)
            pop.ok("DELE 3")
            pop.quit()
            imap.noop()
            self.assertEqual(len(self.maildir.files()), len(self.expected) - 1)
            imap.logout()

    def test_what_imap_expunges_is_answered_with_err(self):
        with self.server.connect() as pop:
            pop.login()
            listing = pop.listing()
            imap = self.dovecot.imap()
            imap.store("2,4", "+FLAGS", r"(\Deleted)")
            imap.expunge()
            imap.logout()
            pop.err("RETR 2")
            pop.err("TOP 4 1")
            self.assertEqual(pop.retrieve(1), self.expected[0])
            self.assertEqual(pop.retrieve(3), self.expected[2])
            self.assertEqual(pop.listing(), listing, "the numbers of a session do not change")
            pop.ok("DELE 2")
            pop.ok("DELE 1")
            # The message is gone, which is what the client wanted.
            self.assertTrue(pop.ok("QUIT"))
        self.box.wait_idle()
        with self.server.connect() as pop:
            pop.login()
            self.assertEqual(pop.listing(), [listing[2]] + listing[4:])

    def test_what_is_delivered_meanwhile_waits_for_the_next_session(self):
        with self.server.connect() as pop:
            pop.login()
            listing = pop.listing()
            imap = self.dovecot.imap()
            imap.append("INBOX", None, None, message("appended").replace(b"\n", b"\r\n"))
            self.maildir.add(message("delivered"))
            imap.noop()
            self.assertEqual(pop.listing(), listing)
            pop.ok("DELE 1")
            pop.quit()
            imap.logout()
        self.box.wait_idle()
        with self.server.connect() as pop:
            pop.login()
            now = pop.listing()
            self.assertEqual(now[:len(listing) - 1], listing[1:])
            self.assertEqual(len(now), len(listing) + 1)
            ours = [pop.retrieve(n) for n in range(len(listing), len(listing) + 2)]
            self.assertEqual({b"appended" in octets for octets in ours}, {True, False})
        with self.dovecot.connect() as pop:
            pop.login()
            self.assertEqual(pop.listing(), now)

    def test_both_write_the_uidlist_at_once(self):
        """Deliveries, IMAP sessions and POP3 sessions all the time: at the end every message has one UID for both."""
        for turn in range(15):
            self.maildir.add(message(f"turn {turn}"))
            with self.server.connect() as pop:
                pop.login()
                imap = self.dovecot.imap()
                self.maildir.add(message(f"turn {turn} b"))
                imap.noop()
                pop.lines("UIDL")
                imap.logout()
                pop.quit()
        self.box.wait_idle()
        with self.dovecot.connect() as pop:
            pop.login()
            theirs = pop.listing()
            pop.quit()
        with self.server.connect() as pop:
            pop.login()
            self.assertEqual(pop.listing(), theirs)
        self.assertEqual(len(theirs), len(self.expected) + 30)
        self.assertEqual([unique_id for unique_id, _ in theirs][:10], [unique_id for unique_id, _ in self.before])
        uids = [int(line.split()[0]) for line in self.maildir.uidlist().splitlines()[1:]]
        self.assertEqual(uids, sorted(set(uids)))


class Courier(Case):
    """The lists that Courier leaves are taken over: its clients do not download anything again."""

    def setUp(self):
        self.server = self.serve()
        self.maildir = self.box.maildir
        self.names = [self.maildir.add(message(f"m{n}"), flags="S") for n in range(5)]

    def put(self, name, lines):
        harness.write(self.maildir.path / name, lines, 0o600)
        self.maildir.own(self.maildir.path / name)

    def unique_ids(self):
        with self.server.connect() as pop:
            pop.login()
            listing = pop.listing()
            pop.quit()
        self.box.wait_idle()
        return [unique_id for unique_id, _ in listing]

    def test_courierimapuiddb(self):
        uids = [11, 12, 20, 21, 30]
        self.put("courierimapuiddb", ["1 723456789 31", *(f"{uid} {name}" for uid, name in zip(uids, self.names, strict=True))])
        self.assertEqual(self.unique_ids(), [f"{uid:08x}{723456789:08x}" for uid in uids])
        self.maildir.add(message("later"))
        self.assertEqual(self.unique_ids()[5], f"{31:08x}{723456789:08x}")

    def test_courierpop3dsizelist(self):
        self.box.write_settings(pop3_uidl_format="UID%u-%v")
        self.put("courierpop3dsizelist", ["/3 6 987654321", *(
            f"{name}:2,S {len(wire((self.maildir.path / 'cur' / (name + ':2,S')).read_bytes()))} {at}:987654321:0"
            for at, name in enumerate(self.names, 1))])
        expected = [f"UID{at}-987654321" for at in range(1, 6)]
        self.assertEqual(self.unique_ids(), expected)
        self.assertEqual(self.unique_ids(), expected)
        self.assertTrue((self.maildir.path / "dovecot-uidlist").exists())
        # Courier's list is there no more or too old: nothing changes.
        with contextlib.suppress(FileNotFoundError):
            os.unlink(self.maildir.path / "courierpop3dsizelist")
        self.maildir.add(message("later"))
        self.assertEqual(self.unique_ids()[:5], expected)

    def test_courier_and_then_dovecot(self):
        if not harness.IS_ROOT:
            self.skipTest("needs root")
        uids = [3, 4, 8, 9, 10]
        self.put("courierimapuiddb", ["1 723456789 11", *(f"{uid} {name}" for uid, name in zip(uids, self.names, strict=True))])
        ours = self.unique_ids()
        with Dovecot(self.box) as dovecot:
            self.assertEqual([unique_id for unique_id, _ in remembered(dovecot)[0]], ours)


if __name__ == "__main__":
    harness.main()
