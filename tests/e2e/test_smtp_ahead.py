"""What writer and front do without waiting for the guard: the writer is asked before DATA, and tells the front itself when it is done."""

import os
import signal
import smtplib
import socket
import struct

import harness
from harness import HOST, needs_root, uid_of, wait_until
from smtp_box import DOMAIN, Smtp


class OneClient(Smtp):
    def setUp(self):
        super().setUp()
        self.other = self.box.add_user(f"v{len(self.box.users)}")
        self.client = smtplib.SMTP(HOST, self.server.port, timeout=60)
        self.addCleanup(self.client.close)
        self.client.ehlo()

    def begun(self, user):
        """Files that wait for their messages."""
        tmp = self.box.maildir_of(user).path / "tmp"
        return list(tmp.iterdir()) if tmp.exists() else []

    def wait_for_file(self, user):
        wait_until(lambda: len(self.begun(user)) == 1, "one file in tmp")

    def wait_for(self, user, *subjects):
        wait_until(lambda: sorted(self.subjects(user)) == list(subjects), f"{user.name} has {subjects}")

    def address(self, user):
        return f"{user.name}@{DOMAIN}"

    def open(self, *users):
        self.assertEqual(self.client.mail("a@client.example")[0], 250)
        for user in users:
            self.assertEqual(self.client.rcpt(self.address(user))[0], 250)

    def send(self, subject):
        self.assertEqual(self.client.data(f"Subject: {subject}\r\n\r\ntext\r\n")[0], 250)

    def subjects(self, user):
        return [raw.split(b"Subject: ")[1].split(b"\n")[0].decode() for raw in self.box.received(user)]

    def end(self):
        self.client.quit()
        self.box.wait_idle()
        self.assertEqual(self.begun(self.user) + self.begun(self.other), [])


class AskedAhead(OneClient):
    """What the client may say instead of DATA, and what may have become of the writer by then."""

    def test_its_file_is_there_before_data(self):
        for subject in ("first", "second"):
            self.open(self.user)
            self.wait_for_file(self.user)
            self.send(subject)
            self.assertEqual(self.begun(self.user), [])
        self.end()
        self.assertEqual(sorted(self.subjects(self.user)), ["first", "second"])

    def test_another_transaction_instead(self):
        for user in (self.other, self.user):
            self.open(self.user)
            self.wait_for_file(self.user)
            self.client.rset()
            self.open(user)
            self.wait_for_file(user)
            self.send(f"for {user.name}")
        self.end()
        for user in (self.other, self.user):
            self.assertEqual(self.subjects(user), [f"for {user.name}"])

    def test_a_second_recipient(self):
        self.open(self.user, self.other)
        self.assertEqual(self.begun(self.user), [])
        self.send("both")
        self.open(self.user)
        self.send("one")
        self.end()
        self.wait_for(self.other, "both")
        self.wait_for(self.user, "both", "one")

    def test_a_recipient_that_is_refused_instead(self):
        self.open(self.user)
        self.wait_for_file(self.user)
        self.assertEqual(self.client.rcpt(f"nobody-like-that@{DOMAIN}")[0], 550)
        self.send("one")
        self.end()
        self.assertEqual(self.subjects(self.user), ["one"])

    def test_the_end_instead(self):
        for last in (self.client.quit, self.client.close):
            self.client.connect(HOST, self.server.port)
            self.client.ehlo()
            self.open(self.user)
            self.wait_for_file(self.user)
            last()
            self.box.wait_idle()
            self.assertEqual(self.begun(self.user), [])
        self.assertEqual(self.subjects(self.user), [])

    @needs_root
    def test_who_has_said_more_already_is_not_waited_for(self):
        lines = ["MAIL FROM:<a@client.example>", f"RCPT TO:<{self.to}>", f"RCPT TO:<{self.address(self.other)}>"]
        self.client.sock.sendall("".join(f"{line}\r\n" for line in lines).encode())
        for _ in lines:
            self.assertEqual(self.client.getreply()[0], 250)
        # It was not asked: else its process would be kept for the next message.
        self.assertEqual(self.box.servers_of(self.user), [])
        self.send("both")
        self.end()
        self.wait_for(self.user, "both")

    @needs_root
    def test_a_writer_that_was_stopped_keeps_nobody_from_a_second_recipient(self):
        self.open(self.user)
        self.wait_for_file(self.user)
        [writer] = self.box.servers_of(self.user)
        os.kill(writer, signal.SIGSTOP)
        self.assertEqual(self.client.rcpt(self.address(self.other))[0], 250)
        self.assertFalse(os.path.exists(f"/proc/{writer}"))
        self.send("both")
        self.client.quit()
        self.wait_for(self.user, "both")
        self.wait_for(self.other, "both")

    @needs_root
    def test_a_writer_that_is_gone_within_a_large_message(self):
        self.open(self.user)
        self.assertEqual(self.client.docmd("DATA")[0], 354)
        line = b"x" * 76 + b"\r\n"
        self.client.sock.sendall(b"Subject: lost\r\n\r\n" + line * 1000)
        wait_until(lambda: any(path.stat().st_size for path in self.begun(self.user)), "some of it is on disk")
        [writer] = self.box.servers_of(self.user)
        os.kill(writer, signal.SIGKILL)
        # More than the sockets hold. The client would not wait as long as a writer that is only slow is waited for.
        self.client.sock.sendall(line * 100_000 + b".\r\n")
        self.assertEqual(self.client.getreply()[0], 451)
        self.client.close()
        self.box.wait_idle()
        self.assertEqual(self.subjects(self.user), [])
        self.assertNotIn("takes too long", self.box.log())

    @needs_root
    def test_a_writer_that_is_gone_at_data(self):
        self.open(self.user)
        self.wait_for_file(self.user)
        [writer] = self.box.servers_of(self.user)
        os.kill(writer, signal.SIGKILL)
        code = self.client.docmd("DATA")[0]
        # Unless it was killed between its file and its word, it had said that the message may come.
        if code == 354:
            self.client.sock.sendall(b"Subject: lost\r\n\r\ntext\r\n.\r\n")
            code = self.client.getreply()[0]
        self.assertEqual(code, 451)
        self.client.close()
        self.box.wait_idle()
        self.assertEqual(self.subjects(self.user), [])


class SecondMessage(OneClient):
    def setUp(self):
        super().setUp()
        self.open(self.user)
        self.send("first")


class Promised(SecondMessage):
    """The client hears of a message when its writer has it on disk, and not when everybody else knows: from the second one on."""

    def send_without_guard(self, subject):
        """Sends a message while the guard is stopped. Its pid, and what the client hears."""
        self.open(self.user)
        self.assertEqual(self.client.docmd("DATA")[0], 354)
        # 354 waited for nobody: the guard may not have started the writer yet.
        self.wait_for_file(self.user)
        [guard] = [pid for pid in self.box.servers() if uid_of(pid) == 0]
        os.kill(guard, signal.SIGSTOP)
        self.client.send(f"Subject: {subject}\r\n\r\ntext\r\n.\r\n")
        code, text = self.client.getreply()
        self.assertEqual(code, 250)
        return guard, text.decode()

    @needs_root
    def test_the_guard_is_not_waited_for(self):
        guard, text = self.send_without_guard("second")
        self.assertEqual(sorted(self.subjects(self.user)), ["first", "second"])
        os.kill(guard, signal.SIGCONT)
        self.open(self.user)
        self.send("third")
        self.end()
        self.wait_for(self.user, "first", "second", "third")
        # The guard says the same of it.
        self.box.wait_log(f"{text.split()[-1]}: to=<{self.to}>")

    @needs_root
    def test_a_guard_that_is_gone_by_then_takes_nothing_back(self):
        guard, _ = self.send_without_guard("second")
        os.kill(guard, signal.SIGKILL)
        self.assertEqual(self.client.docmd("MAIL FROM:<a@client.example>")[0], 421)
        self.box.wait_idle()
        self.assertEqual(sorted(self.subjects(self.user)), ["first", "second"])


class TakingTurns(OneClient):
    """Guard and front are where the writer is, unless they have more to do than to wake each other."""

    def places(self, size=None):
        """Where guard and front, then the writer, may run while a message of this announced size is on its way."""
        self.assertEqual(self.client.mail("a@client.example", [f"SIZE={size}"] if size else [])[0], 250)
        self.assertEqual(self.client.rcpt(self.to)[0], 250)
        writers = self.box.servers_of(self.user)
        others = {frozenset(os.sched_getaffinity(pid)) for pid in self.box.servers() if pid not in writers}
        self.assertEqual((len(writers), len(others)), (1, 1))
        return others.pop(), os.sched_getaffinity(writers[0])

    @needs_root
    def test_small_messages_and_others(self):
        everywhere = os.sched_getaffinity(0)
        if len(everywhere) == 1:
            self.skipTest("one processor is no choice")
        self.open(self.user)
        self.send("first")
        # By then the writer has tried all processors that it tries; from the sixteenth message on a machine that is busy with
        # something else changes what is seen here.
        for _ in range(11):
            others, writer = self.places()
            self.send("small")
        self.assertEqual((len(writer), others), (1, writer))
        large = "large\r\n\r\n" + "text\r\n" * 20_000
        self.assertEqual(self.places(size=len(large)), (everywhere, writer))
        self.send(large)
        # Nothing is said of the size: it will be like the last one.
        self.assertEqual(self.places(), (everywhere, writer))
        self.send("small")
        self.assertEqual(self.places(), (writer, writer))
        self.send("last")
        self.end()


class SentForAhead(SecondMessage):
    """From the second message on the data are sent for before it is known that somebody takes them."""

    def fill(self, user):
        maildir = self.box.maildir_of(user)
        maildir.add(b"Subject: large\n\ntext\n", "S")
        (maildir.path / "maildirsize").write_text("10S\n20 1\n")
        maildir.own(maildir.path / "maildirsize")

    def test_a_full_mailbox_refuses_at_the_end_and_leaves_nothing_for_the_next(self):
        self.fill(self.other)
        for subject in ("second", "third"):
            self.open(self.other)
            self.assertEqual(self.client.docmd("DATA")[0], 354)
            self.client.send(f"Subject: {subject}\r\n\r\n{'text' * 10}\r\n" + "text\r\n" * 10000 + ".\r\n")
            self.assertEqual(self.client.getreply()[0], 552)
            self.open(self.user)
            self.send(f"after {subject}")
        self.end()
        self.assertEqual(self.subjects(self.other), ["large"])
        self.wait_for(self.user, "after second", "after third", "first")
        self.box.wait_log("reject: DATA from")

    def test_one_that_is_announced_as_large_is_refused_before(self):
        self.fill(self.other)
        self.assertEqual(self.client.mail("a@client.example", ["SIZE=2000000"])[0], 250)
        self.assertEqual(self.client.rcpt(self.address(self.other))[0], 250)
        self.assertEqual(self.client.docmd("DATA")[0], 552)
        self.open(self.user)
        self.send("after it")
        self.end()
        self.wait_for(self.user, "after it", "first")

    def test_a_full_mailbox_and_a_client_that_goes(self):
        self.fill(self.other)
        self.open(self.other)
        self.assertEqual(self.client.docmd("DATA")[0], 354)
        self.client.send("Subject: half\r\n")
        self.client.close()
        self.box.wait_idle()
        self.assertEqual(self.subjects(self.other), ["large"])

    @needs_root
    def test_who_forwards_mail_gets_it_forwarded(self):
        forward = self.other.home / ".forward"
        forward.write_text(f"{self.to}\n")
        os.chown(forward, self.other.uid, self.other.gid)
        self.open(self.other)
        self.send("second")
        self.open(self.user)
        self.send("third")
        self.end()
        self.wait_for(self.user, "first", "second", "third")
        self.assertEqual(self.subjects(self.other), [])

    def test_what_is_said_between(self):
        for words, code in (("NOOP", 250), ("VRFY anna", 252), ("HELP", 214), ("MAIL FROM:<b@client.example>", 503)):
            self.open(self.user)
            self.assertEqual(self.client.docmd(words)[0], code, words)
            self.send(words.split()[0])
        for words in ("RSET", "EHLO x.example"):
            self.open(self.other)
            self.assertEqual(self.client.docmd(words)[0], 250, words)
            self.assertEqual(self.client.docmd("DATA")[0], 503)
            self.open(self.user)
            self.send(words.split()[0])
        self.end()
        self.wait_for(self.user, *sorted(["first", "NOOP", "VRFY", "HELP", "MAIL", "RSET", "EHLO"]))
        self.assertEqual(self.subjects(self.other), [])

    def test_between_chunks_other_things_may_be_asked(self):
        self.open(self.user)
        self.client.send("BDAT 18\r\nSubject: chunk\r\n\r\nVRFY anna\r\n")
        self.assertEqual([self.client.getreply()[0] for _ in range(2)], [250, 252])
        self.client.send("BDAT 6 LAST\r\ntext\r\n")
        self.assertEqual(self.client.getreply()[0], 250)
        self.end()
        self.wait_for(self.user, "chunk", "first")

    @needs_root
    def test_a_writer_that_begins_to_read_when_nobody_waits_for_it_any_more(self):
        """What it has read of the message is not the next one's: this one is refused, and there is no other on this connection."""
        self.client.quit()
        self.box.write_settings(ipc_timeout="5s")
        self.client.connect(HOST, self.server.port)
        self.client.ehlo()
        self.open(self.user)
        self.send("again")
        [writer] = self.box.servers_of(self.user)
        os.kill(writer, signal.SIGSTOP)
        self.open(self.user)
        self.assertEqual(self.client.docmd("DATA")[0], 354)
        self.client.send("Subject: second\r\n\r\ntext\r\n.\r\n")
        self.assertEqual(self.client.getreply()[0], 451)
        self.assertEqual(self.client.mail("a@client.example")[0], 250)
        self.assertEqual(self.client.rcpt(self.address(self.other))[0], 421)
        self.client.close()
        self.box.wait_idle()
        self.assertFalse(os.path.exists(f"/proc/{writer}"))
        self.assertEqual(sorted(self.subjects(self.user)), ["again", "first"])

    @needs_root
    def test_a_guard_that_hears_of_all_of_it_late(self):
        [guard] = [pid for pid in self.box.servers() if uid_of(pid) == 0]
        for number in range(5):
            self.open(self.user)
            self.wait_for_file(self.user)
            os.kill(guard, signal.SIGSTOP)
            self.send(str(number))
            os.kill(guard, signal.SIGCONT)
        self.end()
        self.wait_for(self.user, "0", "1", "2", "3", "4", "first")

    def test_a_client_that_resets_the_connection(self):
        """It has gone, and attacks nobody: the guard may hear of the message and of its end at once."""
        taken = 1
        for number in range(12):
            self.open(self.user)
            self.assertEqual(self.client.docmd("DATA")[0], 354)
            if number % 2:
                self.client.send(f"Subject: {number}\r\n\r\ntext\r\n.\r\n")
            self.client.sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            self.client.close()
            self.box.wait_idle()
            subjects = self.subjects(self.user)
            self.assertEqual(len(subjects), len(set(subjects) - {"first"}) + taken)
            self.client.connect(HOST, self.server.port)
            self.client.ehlo()
            self.open(self.user)
            self.send("first")
            taken += 1
        self.assertEqual([line for line in self.box.log().splitlines() if "invalid data" in line], [])
        self.assertIn("lost connection after", self.box.log())

    def test_in_chunks(self):
        for number in range(2):
            self.open(self.user)
            text = f"Subject: chunk {number}\r\n\r\ntext\r\n"
            self.client.send(f"BDAT {len(text)} LAST\r\n{text}")
            self.assertEqual(self.client.getreply()[0], 250)
        self.end()
        self.wait_for(self.user, "chunk 0", "chunk 1", "first")

    @needs_root
    def test_a_writer_that_is_gone(self):
        for when, user in (("before its word", self.user), ("after its word", self.other)):
            self.client.connect(HOST, self.server.port)
            self.client.ehlo()
            self.open(user)
            self.send(when)
            self.open(user)
            if when.startswith("after"):
                self.wait_for_file(user)
            [writer] = self.box.servers_of(user)
            os.kill(writer, signal.SIGKILL)
            self.assertEqual(self.client.docmd("DATA")[0], 354)
            self.client.send("Subject: lost\r\n\r\ntext\r\n.\r\n")
            code = self.client.getreply()[0]
            # One that has not been asked yet is missed by nobody: another one takes the message.
            taken = ["lost"] if code == 250 and when.startswith("before") else []
            self.assertEqual(code, 250 if taken else 451)
            self.client.close()
            self.box.wait_idle()
            had = ["first"] if user == self.user else []
            self.assertEqual(sorted(self.subjects(user)), sorted([when, *had, *taken]))
        self.wait_for(self.other, "after its word")


if __name__ == "__main__":
    harness.main()
