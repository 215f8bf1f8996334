"""kill -9 at every system call of smtpd, its queue run and sendmail: what was accepted arrives, once where that can be known.

A run without a kill tells which calls there are, of which process; then each of them is the last one of its process, or of
all processes. Afterwards the queue is run until it is empty, and every recipient is asked. Between the remote host's word
for a message and our mark of it a repetition cannot be told from a first time (RFC 5321 section 4.5.4.1, RFC 1047): there,
and only there, a message may come twice. E2E_POINTS says how many points of each way of the mail are tried, 0: all; E2E_SEED
which ones, it is another in every run.
"""

import contextlib
import os
import pathlib
import platform
import random
import re
import shutil
import socket
import time
import unittest

import harness
from harness import HOST, needs_root, run
from killing import WithKiller
from smtp_box import OneBox

SEED = int(os.environ.get("E2E_SEED") or random.randrange(1_000_000))
POINTS = int(os.environ.get("E2E_POINTS", "45"))
END = b"the last line"


def text(name, lines=200):
    return b"Subject: %s\r\n\r\n%s%s\r\n" % (name.encode(), b"a line of some length\r\n" * lines, END)


def speak(end, sender, recipients, raw, lmtp=False):
    """Sends a message. Whether it was accepted; over LMTP the codes that came, one for each recipient."""
    codes = []
    client = socket.socket(fileno=end)
    client.settimeout(60)
    with client, client.makefile("rb") as replies:
        def reply():
            while True:
                line = replies.readline()
                if line[3:4] != b"-":
                    return line[:3]
        with contextlib.suppress(OSError):
            reply()
            client.sendall(b"LHLO client.example\r\n" if lmtp else b"EHLO client.example\r\n")
            reply()
            client.sendall(f"MAIL FROM:<{sender}>\r\n".encode() + b"".join(b"RCPT TO:<%s>\r\n" % to.encode() for to in recipients)
                           + b"DATA\r\n")
            if [reply() for _ in range(len(recipients) + 2)][-1] == b"354":
                client.sendall(raw + b".\r\n")
                for _ in recipients if lmtp else [sender]:
                    codes.append(reply())
                client.sendall(b"QUIT\r\n")
                reply()
    return codes if lmtp else codes == [b"250"]


class Kills(WithKiller, OneBox):
    """What all ways of the mail have."""

    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        box = cls.shared
        box.other = box.add_user("other")
        for name in ("sendmail", "tinmail"):
            shutil.copy(pathlib.Path(os.environ["E2E_SMTPD"]).with_name(name), box.dir / name)
            os.chmod(box.dir / name, 0o755)
        os.chmod(box.conf, 0o644)
        os.chmod(box.dir, 0o755)
        box.log_path.chmod(0o666)
        cls.files = {"file": box.other.home / "file", "own file": box.other.home / "own-file"}
        cls.prepare(f"list: {box.user.name}, {box.other.name}, r1@far.example\nfile: {cls.files['file']}\n")

    def setUp(self):
        super().setUp()
        self.queue = self.box.dir / "queue"
        self.output = self.box.other.home / "output"
        self.number = 0

    def names(self, place):
        return [name for name in os.listdir(self.queue / place) if not name.endswith(".log") and not name.startswith("new.")]

    def queue_run(self, *words):
        run(self.box.binary, "-c", self.box.conf, "-q", *words)

    def recover(self):
        """Runs the queue until nothing is left."""
        for _ in range(8):
            ids = self.names("queue")
            if not ids and not self.names("drop"):
                return
            self.queue_run(*ids)
        raise AssertionError(f"the queue does not become empty: {self.names('queue')}, drop {self.names('drop')}")

    def arrived(self, name):
        """Who has got the message, or a notification about it, and how often. Everything must be whole."""
        got = {to: count for (subject, to), count in self.sink.got.items() if subject == name}
        self.assertTrue(all(message.endswith(END + b"\r\n") for message in self.sink.messages), "sent in part")
        for user in (self.box.user, self.box.other):
            new = user.home / "Maildir" / "new"
            for path in new.iterdir() if new.exists() else ():
                raw = path.read_bytes()
                path.unlink()
                kind = "bounce " if b"\nSubject: Undelivered" in raw else ""
                self.assertTrue(raw.endswith(END + b"\n") or kind and END in raw and raw.rstrip().endswith(b"--"), raw[-200:])
                about = re.search(rb"(?m)^Subject: (\w+-\d+)\r?$", raw)[1].decode()
                self.assertEqual(about, name)
                got[kind + user.name] = got.get(kind + user.name, 0) + 1
        if count := self.told_program(name):
            self.assertTrue(self.output.read_bytes().endswith(END + b"\n"), "the program has got a part")
            self.output.unlink()
            got["program"] = count
        for to, path in self.files.items():
            if path.exists():
                raw = path.read_bytes()
                path.unlink()
                whole = re.findall(rb"(?s)From a@client.example [^\n]*\nReturn-Path: .*?\nSubject: %s\n\n(?:a line of some length\n)+%s\n\n"
                                   % (name.encode(), END), raw)
                self.assertEqual(b"".join(whole), raw, f"{to}: parts")
                got[to] = len(whole)
        self.sink.got.clear()
        self.sink.messages.clear()
        return got

    def told_program(self, name):
        """How often the program of the ~/.forward has begun to write the message to its file."""
        return self.output.read_bytes().count(b"\nSubject: %s\n" % name.encode()) if self.output.exists() else 0

    def marked(self):
        """Addresses that a file of the queue names as done with."""
        found = set()
        for name in self.names("queue"):
            head = (self.queue / "queue" / name).read_bytes().partition(b"\n\n")[0]
            found |= {address.decode() for address in re.findall(rb"(?m)^R[+!]\t([^\t]*)\t", head)}
        return found

    def over(self, way, act, wanted, share=5):
        """act(name, point, everybody) does it once, killed at that point, and says whether the message was accepted, or for whom
        where each recipient has an answer of his own, and what the killer saw. At most one in share may come twice."""
        def name():
            self.number += 1
            return f"{way}-{self.number}"
        subject = name()
        accepted, (_, _, hung, points) = act(subject, None, False)
        self.assertTrue(accepted and not hung, way)
        self.recover()
        self.assertEqual(self.arrived(subject), dict.fromkeys(wanted, 1))
        chance = random.Random(f"{SEED} {way}")
        chosen = points
        if POINTS:
            chosen = chance.sample(points, min(POINTS, len(points)))
        tried, twice, missed, problems = 0, 0, 0, []
        begun = time.monotonic()
        for place, count, number in sorted(chosen):
            # Of all points or of some: one or everybody.
            for everybody in (chance.random() < 0.5,) if POINTS else (False, True):
                subject = name()
                what = f"{subject}: killed {'all' if everybody else 'one'} at {place} {count} (call {number}), seed {SEED}"
                accepted, (_, reached, hung, _) = act(subject, (place, count), everybody)
                tried += 1
                missed += not reached
                self.sink.settle()
                told = {to for (about, to) in self.sink.got if about == subject} - self.marked()
                told |= {"program"} if self.told_program(subject) else set()
                try:
                    self.assertFalse(hung, f"{what}: the others hang")
                    self.recover()
                    got = self.arrived(subject)
                    promised = accepted if isinstance(accepted, set) else set(wanted) if accepted else set()
                    self.assertEqual(promised - set(got), set(), f"{what}: lost")
                    self.assertLessEqual(set(got), set(wanted), what)
                    self.assertEqual(self.names("corrupt"), [], what)
                    # Only another's word can be lost on its way, and only if it has been given, and is not in our file.
                    often = {to: times for to, times in got.items() if times > (2 if to in told else 1)}
                    self.assertEqual(often, {}, f"{what}: had it, without a mark: {told}")
                except AssertionError as error:
                    problems.append(str(error))
                    continue
                twice += any(times > 1 for times in got.values())
        # What was being written stays for an hour, lest it is still being written.
        for path in (self.queue / "tmp").iterdir():
            os.utime(path, (1, 1))
        self.queue_run()
        self.assertEqual(os.listdir(self.queue / "tmp"), [])
        print(f"    {way}: {len(points)} points, {len(chosen)} tried, seed {SEED}, {missed} not reached, {twice} came twice,"
              f" {time.monotonic() - begun:.1f} s")
        self.assertEqual(problems, [])
        # Who waits for whom differs a little from run to run. Between the other host's word and the mark there are few calls.
        self.assertLessEqual(missed, tried // 5 + 2, f"points that were not reached, seed {SEED}")
        self.assertLessEqual(twice, tried // share + 2, f"came twice, seed {SEED}")

    def by_smtp(self, sender, recipients, lines=200):
        def act(name, point, everybody):
            with socket.create_server((HOST, 0)) as listener:
                client = socket.create_connection(listener.getsockname())
                server, _ = listener.accept()
            with server:
                self.killer.start([self.box.binary, "-c", self.box.conf], point, everybody, stdio=server.fileno())
            accepted = speak(client.detach(), sender, recipients, text(name, lines))
            return accepted, self.killer.result()
        return act


@needs_root
class QueueKill(Kills):
    def test_reception_and_relay(self):
        self.over("relay", self.by_smtp("a@client.example", ["r1@far.example", "r2@far.example"]),
                  ["r1@far.example", "r2@far.example"])

    def test_local_delivery(self):
        to = self.box.user.name
        self.over("mailbox", self.by_smtp("a@client.example", [f"{to}@example.org"]), [to])

    def test_queue_and_local_delivery(self):
        self.over("list", self.by_smtp("a@client.example", ["list@example.org"]),
                  [self.box.user.name, self.box.other.name, "r1@far.example"])

    def test_forward(self):
        """A ~/.forward that keeps it, sends it on and gives it to a program."""
        other = self.box.other
        forward = other.home / ".forward"
        forward.write_text(f'\\{other.name}\nr1@far.example\n"|tee -a {self.output}"\n')
        os.chown(forward, other.uid, other.gid)
        self.addCleanup(forward.unlink)
        self.over("forward", self.by_smtp("a@client.example", [f"{other.name}@example.org"]), [other.name, "r1@far.example", "program"])

    def test_files(self):
        """One of an alias, and one of a ~/.forward, in mbox format; of the message each has several writes."""
        other = self.box.other
        self.configure(default_privs=other.name)
        forward = other.home / ".forward"
        forward.write_text(f"{self.files['own file']}\n")
        os.chown(forward, other.uid, other.gid)
        self.addCleanup(forward.unlink)
        self.over("files", self.by_smtp("a@client.example", ["file@example.org", f"{other.name}@example.org"], 6000), list(self.files))

    def test_sendmail(self):
        source = self.box.dir / "text"

        def act(name, point, everybody):
            source.write_bytes(text(name).replace(b"\r\n", b"\n"))
            user = (self.box.user.uid, self.box.user.gid)
            with open(source, "rb") as file:
                command = [self.box.dir / "sendmail", "-C", self.box.conf, "-i", "r1@far.example"]
                self.killer.start(command, point, everybody, user=user, stdio=file.fileno())
            result = self.killer.result()
            return result[0] == 0, result
        self.over("sendmail", act, ["r1@far.example"])

    @unittest.skipUnless(platform.machine() == "x86_64", "numbers of system calls")
    def test_what_flushes_cost(self):
        """Flash wears out: a message is flushed with its directory when it comes, and a mark of one of several recipients. An
        attempt that has reached nobody flushes nothing."""
        def flushes(result):
            _, _, hung, points = result
            self.assertFalse(hung)
            return len([number for _, _, number in points if number in (74, 75)])
        sender = f"{self.box.user.name}@example.org"
        for number, (recipients, marks) in enumerate(((["r1@far.example"], 0), (["later@far.example"], 0),
                                                      (["r1@far.example", "later@far.example"], 1))):
            with self.subTest(recipients):
                # The run that the connection starts is its child.
                accepted, result = self.by_smtp(sender, recipients)(f"flush-{number}", None, False)
                self.assertTrue(accepted)
                self.assertEqual(flushes(result), 2 + marks)
                time.sleep(1.1)
                self.killer.start([self.box.binary, "-c", self.box.conf, "-q"])
                self.assertEqual(flushes(self.killer.result()), 0)
        for name in self.names("queue"):
            (self.queue / "queue" / name).unlink()
        self.sink.got.clear()
        self.sink.messages.clear()

    def test_pickup_and_bounce(self):
        me = self.box.user.name

        def act(name, point, everybody):
            run(self.box.dir / "sendmail", "-C", self.box.conf, "-i", "r1@far.example", "bad@far.example",
                input=text(name).replace(b"\r\n", b"\n"), text=False, user=self.box.user.uid, group=self.box.user.gid,
                extra_groups=[], cwd="/")
            self.killer.start([self.box.binary, "-c", self.box.conf, "-q"], point, everybody)
            return True, self.killer.result()
        self.over("pickup", act, ["r1@far.example", f"bounce {me}"])

    def test_lmtp(self):
        """Each recipient has an answer of his own (RFC 2033 section 4.2): who is told 250 has the message."""
        to = [self.box.user.name, self.box.other.name]

        def act(name, point, everybody):
            with socket.create_server((HOST, 0)) as listener:
                client = socket.create_connection(listener.getsockname())
                server, _ = listener.accept()
            with server:
                self.killer.start([self.box.binary, "-c", self.box.conf, "--lmtp"], point, everybody, stdio=server.fileno())
            codes = speak(client.detach(), "a@client.example", [f"{user}@example.org" for user in to], text(name), lmtp=True)
            return {user for user, code in zip(to, codes) if code == b"250"}, self.killer.result()
        self.over("lmtp", act, to)


@needs_root
class Later(Kills):
    """What is put off: the other host takes it only once everybody who was killed is gone."""

    def setUp(self):
        super().setUp()
        self.takes_at_last = True
        self.configure(maximal_queue_lifetime="5d")

    def recover(self):
        run(self.box.dir / "tinmail", "-c", self.box.conf, "queue", "release", "all")
        self.sink.later = () if self.takes_at_last else ("later",)
        super().recover()
        self.sink.later = ("later",)

    def leave(self, name, *recipients):
        """Gives it to sendmail, and has it tried once. The IDs in the queue."""
        user = self.box.user
        run(self.box.dir / "sendmail", "-C", self.box.conf, "-i", *recipients, input=text(name).replace(b"\r\n", b"\n"), text=False,
            user=user.uid, group=user.gid, extra_groups=[], cwd="/")
        self.queue_run()
        return self.names("queue")

    def by_command(self, *recipients, prepare=(), command=()):
        """Kills a command about a message that has been put off once; prepare is one that is done before, and not killed."""
        def act(name, point, everybody):
            ids = self.leave(name, *recipients)
            tinmail = [self.box.dir / "tinmail", "-c", self.box.conf, "queue"]
            if prepare:
                run(*tinmail, *prepare, *ids)
            self.killer.start([*tinmail, *command, *ids], point, everybody)
            return True, self.killer.result()
        return act

    def test_deferral(self):
        """The first attempt reaches one, and puts the other off."""
        to = ["r1@far.example", "later@far.example"]
        self.over("deferral", self.by_smtp("a@client.example", to), to)

    def test_second_attempt(self):
        """One was reached before, one is reached now, one is put off again."""
        to = ["r1@far.example", "later1@far.example", "later2@far.example"]

        def act(name, point, everybody):
            ids = self.leave(name, *to)
            self.sink.later = ("later2",)
            self.killer.start([self.box.binary, "-c", self.box.conf, "-q", *ids], point, everybody)
            return True, self.killer.result()
        # There is little else to such a run than what it is told and what it writes.
        self.over("second", act, to, share=3)

    def test_expiry(self):
        """What has been put off is too old: the sender is told, and not about the one who was reached."""
        self.takes_at_last = False

        def act(name, point, everybody):
            [queue_id] = self.leave(name, "r1@far.example", "later@far.example")
            path = self.queue / "queue" / queue_id
            raw, count = re.subn(rb"(?m)^(C \d{8} )\d{10} ", rb"\g<1>%010d " % (6 * 86400), path.read_bytes(), count=1)
            self.assertEqual(count, 1)
            # As it is, with its owner.
            path.write_bytes(raw)
            self.killer.start([self.box.binary, "-c", self.box.conf, "-q", queue_id], point, everybody)
            return True, self.killer.result()
        self.over("expiry", act, ["r1@far.example", f"bounce {self.box.user.name}"])

    def test_hold(self):
        self.over("hold", self.by_command("r1@far.example", "later@far.example", command=["hold"]), ["r1@far.example", "later@far.example"])

    def test_release(self):
        self.over("release", self.by_command("r1@far.example", "later@far.example", prepare=["hold"], command=["release"]),
                  ["r1@far.example", "later@far.example"])


if __name__ == "__main__":
    harness.main()
