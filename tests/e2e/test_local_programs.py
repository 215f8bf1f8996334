"""Programs of this host that send mail, on a system where all is installed as the papers say: sendmail of a user without rights,
PHP, and Debian's cron. No timer runs the queue: xinetd's port 25 is all there is."""

import contextlib
import os
import pathlib
import re
import shutil
import signal
import socket
import subprocess

import harness
import test_launchers
from harness import needs_root, processes_of, program, run, wait_until


class WithPrograms(test_launchers.Installed):
    """smtpd, sendmail and mailq in their places, and two users; the queue's directories are there. Nothing listens."""

    def setUp(self):
        super().setUp()
        names = {"sendmail": "/usr/sbin/sendmail", "mailq": "/usr/bin/mailq"}
        for name, place in names.items():
            ours = pathlib.Path("/usr/local/sbin") / name
            shutil.copy(pathlib.Path(os.environ["E2E_SMTPD"]).with_name("sendmail"), ours)
            ours.chmod(0o755)
            if not os.path.exists(place):
                pathlib.Path(place).touch()
                self.addCleanup(os.unlink, place)
            run("mount", "--bind", ours, place)
            self.addCleanup(run, "umount", "-l", place)
        run("mount", "-t", "tmpfs", "-o", "mode=755", "e2e", "/var/spool")
        self.addCleanup(run, "umount", "-l", "/var/spool")
        run("mount", "-t", "tmpfs", "-o", "mode=755", "e2e", "/run")
        self.addCleanup(run, "umount", "-l", "/run")
        self.box.log_path.chmod(0o666)
        os.chmod(self.box.dir, 0o755)
        pathlib.Path("/etc/tinmail.conf").write_text(f"log_path = {self.box.log_path}\nmyhostname = mx.example.org\n"
                                                     "mydestination = example.org\nmyorigin = example.org\n")
        pathlib.Path("/etc/aliases").write_text("root: anna\n")
        for name, uid in (("anna", "23456"), ("bert", "23457")):
            run("useradd", "--create-home", "--uid", uid, "--shell", "/bin/sh", name)
        self.anna = harness.Maildir("/home/anna/Maildir", (23456, 23456))
        # It makes the queue's directories, once.
        run("/usr/local/sbin/smtpd", "-q")

    def as_bert(self, *command, **more):
        return run(*command, user=23457, group=23457, extra_groups=[], cwd="/home/bert",
                   env={"PATH": "/usr/sbin:/usr/bin:/bin", "HOME": "/home/bert", "LOGNAME": "bert"}, **more)

    def as_anna(self, *command, **more):
        return run(*command, user=23456, group=23456, extra_groups=[], cwd="/home/anna",
                   env={"PATH": "/usr/sbin:/usr/bin:/bin", "HOME": "/home/anna", "LOGNAME": "anna"}, **more)

    def long_list(self, as_user):
        """What a user has in the queue: too much for a socket's buffer."""
        conf = pathlib.Path("/etc/tinmail.conf")
        conf.write_text(conf.read_text() + "relayhost = [127.0.0.1]:1\n")
        domain = f"{'d' * 60}.{'e' * 60}.far.example"
        to = ",\n ".join(f"{'x' * 50}{number}@{domain}" for number in range(1000))
        as_user("sendmail", "-i", "-t", input=f"To: {to}\n\nx\n")
        wait_until(lambda: run("mailq").stdout.count("Connection refused") == 1000, "a message that waits", 60)

    def asks(self, uid, sockets, then):
        """A program of a user's that asks for the queue, listens, and does this instead of reading."""
        code = ("import socket, time\n"
                "asks = [socket.socket(socket.AF_UNIX) for _ in range(%d)]\n"
                "for number, one in enumerate(asks):\n"
                "    one.bind(f'/var/spool/tinmail/drop/ask.0000000000000{number}')\n"
                "    one.listen(100)\n"
                "%s\n" % (sockets, then))
        process = subprocess.Popen(["/usr/bin/python3", "-c", code], user=uid, group=uid, extra_groups=[], stdout=subprocess.PIPE,
                                   start_new_session=True)
        self.addCleanup(harness.stop, process)
        return process

    def arrives(self, *parts):
        """The one message that anna gets, and nothing is left of it elsewhere."""
        [raw] = wait_until(lambda: list(self.anna.contents().values()), f"a message\n{self.box.log()}")
        for part in parts:
            self.assertIn(part, raw)
        wait_until(lambda: not any(os.listdir(f"/var/spool/tinmail/{place}") for place in ("drop", "queue")), "an empty queue")
        return raw

    def cron(self, *lines, of_system=()):
        """Debian's cron, with these lines of bert's own table, and of a file in /etc/cron.d."""
        tables = pathlib.Path("/var/spool/cron/crontabs")
        tables.mkdir(parents=True)
        for name in ("/etc/cron.d", "/etc/crontab"):
            shutil.rmtree(name, ignore_errors=True)
            pathlib.Path(name).unlink(missing_ok=True)
        if of_system:
            pathlib.Path("/etc/cron.d").mkdir()
            pathlib.Path("/etc/cron.d/tinmail").write_text("".join(f"{line}\n" for line in of_system))
        (tables / "bert").write_text("".join(f"{line}\n" for line in lines))
        os.chown(tables / "bert", 23457, 0)
        (tables / "bert").chmod(0o600)
        output = open(self.box.dir / "cron.log", "wb")
        self.addCleanup(output.close)
        cron = subprocess.Popen([program("cron"), "-f"], stdin=subprocess.DEVNULL, stdout=output, stderr=output,
                                start_new_session=True)
        self.addCleanup(harness.stop, cron)


@needs_root
class WithoutServer(WithPrograms):
    """Nothing runs the queue."""

    def test_mailq_that_nobody_answers(self):
        done = self.as_bert("mailq", check=False)
        self.assertEqual((done.returncode, done.stdout), (69, ""))
        self.assertIn("no queue run has answered", done.stderr)
        self.assertEqual(os.listdir("/var/spool/tinmail/drop"), [])
        pathlib.Path("/var/spool/tinmail/drop").rmdir()
        done = self.as_bert("mailq", check=False)
        self.assertEqual(done.returncode, 75)
        self.assertIn("/var/spool/tinmail/drop: No such file or directory (os error 2): root makes it", done.stderr)

    def test_mailq_whose_answer_is_not_whole(self):
        """Half a list would look like all that waits."""
        most = 64 << 20
        for octets, end, status, why in ((10, b"", 75, "the list was cut off"), (most, b"", 75, "the list was cut off"),
                                         (most, b"\0", 0, ""), (most + 1, b"\0", 75, "more than 64 MiB")):
            asks = subprocess.Popen(["mailq"], user=23457, group=23457, extra_groups=[], cwd="/home/bert",
                                    stdout=subprocess.PIPE, stderr=subprocess.PIPE)
            self.addCleanup(harness.stop, asks)
            [name] = wait_until(lambda: list(pathlib.Path("/var/spool/tinmail/drop").iterdir()), "somebody asks")
            with socket.socket(socket.AF_UNIX) as answer:
                wait_until(lambda: not answer.connect_ex(str(name)), "a listener")
                with contextlib.suppress(BrokenPipeError):
                    answer.sendall(b"x" * octets + end)
            out, error = asks.communicate(timeout=60)
            self.assertEqual((asks.returncode, len(out)), (status, 0 if status else octets), error)
            self.assertIn(why, error.decode())
        self.assertEqual(os.listdir("/var/spool/tinmail/drop"), [])

    def test_mailq_of_more_users_than_are_answered_at_once(self):
        """One run answers all of them, also who asks again while he is answered."""
        asks = []
        for number in range(40):
            one = socket.socket(socket.AF_UNIX)
            self.addCleanup(one.close)
            # The kernel notes whose process listens.
            os.seteuid(30000 + number % 25)
            try:
                one.bind(f"/var/spool/tinmail/drop/ask.000000000000{number:02}")
                one.listen(1)
            finally:
                os.seteuid(0)
            one.settimeout(1)
            asks.append(one)
        run("/usr/local/sbin/smtpd", "-q")
        for one in asks:
            answer, _ = one.accept()
            with answer, answer.makefile("rb") as told:
                self.assertEqual(told.read(), b"The queue has none of your messages\n\0")
        self.assertEqual(os.listdir("/var/spool/tinmail/drop"), [])

    def test_mailq_at_the_last_moment_of_a_run(self):
        """What has come since the run looked last has nobody else."""
        sink = socket.create_server(("127.0.0.1", 0))
        self.addCleanup(sink.close)
        conf = pathlib.Path("/etc/tinmail.conf")
        conf.write_text(conf.read_text() + f"relayhost = [127.0.0.1]:{sink.getsockname()[1]}\n")
        self.as_anna("sendmail", "x@far.example", input="Subject: slow\n\nx\n")
        queue_run = subprocess.Popen(["/usr/local/sbin/smtpd", "-q"], start_new_session=True)
        self.addCleanup(harness.stop, queue_run)
        client, _ = sink.accept()
        asks = subprocess.Popen(["mailq"], user=23457, group=23457, extra_groups=[], cwd="/home/bert", stdout=subprocess.PIPE)
        self.addCleanup(harness.stop, asks)
        wait_until(lambda: any(pathlib.Path("/var/spool/tinmail/drop").glob("ask.*")), "somebody asks")
        client.close()
        self.assertIn(b"none of your", asks.communicate(timeout=60)[0])
        self.assertEqual(queue_run.wait(60), 0)

    def test_mailq_at_the_end_of_a_run(self):
        """A run that only waits for what a user makes slow goes on answering the others."""
        conf = pathlib.Path("/etc/tinmail.conf")
        conf.write_text(conf.read_text() + "message_size_limit = 0\n")
        self.as_anna("sendmail", "-i", "anna", input="Subject: large\n\n" + ("x" * 70 + "\n") * 500_000)
        queue_run = subprocess.Popen(["/usr/local/sbin/smtpd", "-q"], start_new_session=True)
        self.addCleanup(harness.stop, queue_run)
        readers = []

        def reader():
            """The process that reads the message: it has anna's uid, so she may stop it."""
            for proc in pathlib.Path("/proc").glob("[0-9]*"):
                with contextlib.suppress(OSError):
                    if proc.stat().st_uid == 23456 and proc.name not in readers:
                        os.kill(int(proc.name), signal.SIGSTOP)
                        readers.append(proc.name)
                        return True
            return False

        wait_until(reader, "the one that the run waits for", pause=0.001)
        wait_until(reader, "the one beside it", pause=0.001)
        self.assertIn("none of your", self.as_bert("mailq").stdout)
        self.assertIsNone(queue_run.poll())
        self.assertEqual(pathlib.Path(f"/proc/{readers[1]}/stat").read_text().rpartition(")")[2].split()[0], "T")


@needs_root
class Programs(WithPrograms):
    def setUp(self):
        super().setUp()
        self.xinetd({"smtp": 25})

    def test_sendmail_without_rights(self):
        self.as_bert("sendmail", "-i", "anna@example.org", input="Subject: by hand\n\nhello\n.\nend\n")
        raw = self.arrives(b"\nSubject: by hand\n", b"\nhello\n.\nend\n", b"Return-Path: <bert@example.org>\n")
        self.assertRegex(raw, rb"(?m)^Received: by mx\.example\.org \(tinmail, from userid 23457\)$")
        # They may leave something there, and look at nothing.
        self.assertNotEqual(self.as_bert("ls", "/var/spool/tinmail/drop", check=False).returncode, 0)

    def test_sendmail_of_root(self):
        run("sendmail", "anna", input="Subject: by root\n\nhello\n")
        self.arrives(b"\nSubject: by root\n", b"Return-Path: <root@example.org>\n")

    def test_the_queue_is_not_for_everybody_to_run(self):
        for command in (["sendmail", "-q"], ["sendmail", "-qRexample.org"]):
            done = self.as_bert(*command, check=False)
            self.assertEqual(done.returncode, 77, (command, done))
            self.assertIn("the queue is for root and its owner", done.stderr)

    def test_mailq_without_rights(self):
        """Everybody sees what they submitted themselves; whom authorized_mailq_users names sees all that root does."""
        conf = pathlib.Path("/etc/tinmail.conf")
        conf.write_text(conf.read_text() + "relayhost = [127.0.0.1]:1\n")
        pathlib.Path("/home/bert/.forward").write_text("z@far.example\n")
        os.chown("/home/bert/.forward", 23457, 23457)
        shutil.copy(pathlib.Path(os.environ["E2E_SMTPD"]).with_name("tinmail"), "/usr/local/sbin")
        none = "The queue has none of your messages\n"
        self.assertEqual(self.as_bert("mailq").stdout, none)
        run("sendmail", "roots@far.example", input="Subject: of root\n\nx\n")
        # It has the name of one of bert's.
        run("sendmail", "-f", "bert@example.org", "bert", input="Subject: to bert\n\nx\n")
        self.as_bert("sendmail", "berts@far.example", input="Subject: of bert\n\nx\n")
        whole = wait_until(lambda: (text := run("mailq").stdout).count("Connection refused") == 3 and text, "three messages that wait")
        for command in (["mailq"], ["sendmail", "-bp"], ["/usr/local/sbin/tinmail", "queue", "list"]):
            own = self.as_bert(*command).stdout
            for part in ("    berts@far.example\n", "bert@example.org\n", "\n1 message, ", "Connection refused"):
                self.assertIn(part, own)
            for part in ("roots@far.example", "z@far.example"):
                self.assertNotIn(part, own)
                self.assertIn(part, whole)
        good = conf.read_text()
        for users, sees in (("anna, 23457", whole), ("static:anyone", whole), ("anna", own)):
            # A run has the settings of its beginning.
            wait_until(lambda: not processes_of("/usr/local/sbin/smtpd"), "no queue run")
            conf.write_text(f"{good}authorized_mailq_users = {users}\n")
            self.assertEqual(self.as_bert("mailq").stdout, sees, users)
        wait_until(lambda: not os.listdir("/var/spool/tinmail/drop"), "an empty drop directory")
        # On a terminal's interrupt, and where nobody is there to answer any more, nothing is left for ever.
        for name, uid in (("ask.000000000000000", 23456), ("ask.000000000000001", 23457)):
            with socket.socket(socket.AF_UNIX) as gone:
                gone.bind(f"/var/spool/tinmail/drop/{name}")
            os.chown(f"/var/spool/tinmail/drop/{name}", uid, uid)
        self.assertEqual(self.as_bert("mailq").stdout, own)
        wait_until(lambda: not os.listdir("/var/spool/tinmail/drop"), "an empty drop directory")

    def test_mailq_that_has_no_place(self):
        """Nobody waits for a socket to which nobody can connect now: not the run, not other users, and no mail."""
        name = "/var/spool/tinmail/drop/ask.00000000000000"
        asks = socket.socket(socket.AF_UNIX)
        self.addCleanup(asks.close)
        asks.bind(name)
        # The kernel lets nobody connect whom it has no place for.
        asks.listen(0)
        for _ in range(2):
            full = socket.socket(socket.AF_UNIX)
            self.addCleanup(full.close)
            full.setblocking(False)
            with contextlib.suppress(BlockingIOError):
                full.connect(name)
        os.chown(name, 23456, 23456)
        self.assertIn("none of your", self.as_bert("mailq").stdout)
        self.as_bert("sendmail", "anna", input="Subject: beside them\n\nx\n")
        self.arrives(b"Subject: beside them")

    def test_mailq_that_is_not_read(self):
        """Who does not read his answer makes nobody else wait for theirs."""
        self.long_list(self.as_anna)
        drop = pathlib.Path("/var/spool/tinmail/drop")
        self.asks(23456, 3, "time.sleep(600)")
        wait_until(lambda: len(list(drop.iterdir())) == 3, "somebody asks")
        self.assertIn("none of your", self.as_bert("mailq").stdout)
        # Anna's answer goes on.
        self.assertEqual([path.name[:5] for path in drop.iterdir() if path.stat().st_uid == 23456], ["told."] * 3)
        wait_until(lambda: not any(drop.iterdir()), "an empty drop directory")

    def test_mailq_whose_name_is_another_s_by_then(self):
        """The list is for who asked, not for who has the name when it is told."""
        drop = pathlib.Path("/var/spool/tinmail/drop")
        heard = self.asks(23457, 1, "print(len(asks[0].accept()[0].recv(100)), flush=True)")
        [name] = wait_until(lambda: list(drop.iterdir()), "somebody asks")
        os.chown(name, 23456, 23456)
        self.as_bert("mailq")
        self.assertEqual(heard.communicate(timeout=60)[0], b"0\n")

    def test_mailq_at_the_same_time(self):
        self.long_list(self.as_bert)
        for _ in range(4):
            all_ask = [subprocess.Popen(["mailq"], user=23457, group=23457, extra_groups=[], cwd="/home/bert", stdout=subprocess.PIPE)
                       for _ in range(3)]
            for one in all_ask:
                self.addCleanup(harness.stop, one)
            lists = [one.communicate(timeout=60)[0] for one in all_ask]
            self.assertEqual([one.returncode for one in all_ask], [0] * 3)
            self.assertEqual([each.count(b".far.example") for each in lists], [1000] * 3)

    def test_mailq_while_the_same_user_is_answered(self):
        """Whoever finds the lock taken is seen by the run that has it."""
        self.long_list(self.as_bert)
        self.asks(23457, 1, "time.sleep(600)")
        drop = pathlib.Path("/var/spool/tinmail/drop")
        wait_until(lambda: any(drop.iterdir()), "somebody asks")
        queue_run = subprocess.Popen(["/usr/local/sbin/smtpd", "-q"], start_new_session=True)
        self.addCleanup(harness.stop, queue_run)
        wait_until(lambda: [path.name[:5] for path in drop.iterdir()] == ["told."], "it is being answered")
        self.assertEqual(self.as_bert("mailq").stdout.count(".far.example"), 1000)

    def test_input_without_an_end(self):
        """Also such as no message is made of: NUL is left out, and so is a mailbox file's first line."""
        for endless in ("cat /dev/zero", "yes a: b", "(printf 'From '; tr '\\0' x </dev/zero)"):
            for options in ("-i anna", "-t"):
                command = f"{endless} | sendmail -o message_size_limit=2m {options}"
                done = self.as_bert("sh", "-c", command, check=False)
                self.assertEqual(done.returncode, 65, (command, done))
                self.assertRegex(done.stderr, "larger than message_size_limit|the header is too long")
                self.assertEqual(os.listdir("/var/spool/tinmail/drop"), [])

    def test_php(self):
        """With nothing set: php.ini names no sendmail_path, and PHP has found /usr/sbin/sendmail when it was built."""
        code = "exit(mail('anna@example.org', 'from php', \"hello\\r\\nworld\", \"From: shop@example.org\\r\\nX-A: b\") ? 0 : 1);"
        self.as_bert(program("php"), "-n", "-r", code)
        self.arrives(b"\nSubject: from php\n", b"\nFrom: shop@example.org\n", b"\nX-A: b\n", b"\nhello\nworld\n",
                     b"Return-Path: <bert@example.org>\n")

    def test_php_with_a_sender_of_its_own(self):
        code = "exit(mail('anna@example.org', 'x', 'y', '', '-fbounces@example.org') ? 0 : 1);"
        self.as_bert(program("php"), "-n", "-d", "sendmail_path=/usr/sbin/sendmail -t -i", "-r", code)
        self.arrives(b"Return-Path: <bounces@example.org>\n")

    def test_a_configuration_that_cannot_be_used(self):
        """The caller keeps the message, and the administrator hears of it: from the log, and from --check."""
        conf = pathlib.Path("/etc/tinmail.conf")
        good = conf.read_text()
        for text, mode, said in ((good, 0o600, "/etc/tinmail.conf: Permission denied"), (good + "x = y\n", 0o644, 'unknown setting "x"')):
            conf.write_text(text)
            conf.chmod(mode)
            harness.syslog.lines.clear()
            for options in (["-i", "anna"], ["-t"], ["-bs"]):
                done = self.as_bert("sendmail", *options, input="To: anna\n\nhello\n", check=False)
                self.assertEqual(done.returncode, 75, done)
                self.assertIn(said, done.stderr)
            line = re.compile(f"postfix/sendmail.*: uid=23457: mail is not taken: .*{said}")
            wait_until(lambda line=line: sum(bool(line.search(one)) for one in harness.syslog.lines) == 3, "three lines in the log")
        self.assertEqual(os.listdir("/var/spool/tinmail/drop"), [])
        # What the caller chose is the caller's to mend.
        for options in (["-C", "/nonexistent", "anna"], ["-o", "xx=y", "anna"], ["-bi"]):
            self.assertEqual(self.as_bert("sendmail", *options, input="x\n", check=False).returncode, 78, options)
        conf.write_text(good)
        checked = lambda: run("/usr/local/sbin/smtpd", "--check", check=False).stdout
        self.assertNotIn("cannot be read by everybody", checked())
        conf.chmod(0o640)
        self.assertRegex(checked(), "(?m)^warning: /etc/tinmail.conf cannot be read by everybody: Permission denied.*: chmod o[+]r")

    def test_what_addresses_mean(self):
        with open("/etc/aliases", "a", encoding="ascii") as file:
            file.write("both: anna, x@far.example, nobody-here\nwork: |/bin/true a b\nwww: www-data\n")
        nobody = "<nobody-here@example.org>: "
        for code, asked in ((0, [("anna", "deliverable: mailbox, user anna"), ("root", "deliverable: mailbox, user anna"),
                                 ("bert@example.org", "deliverable: mailbox, user bert"),
                                 ("x@far.example", "deliverable: other host, x@far.example"),
                                 ("work", "deliverable: program, /bin/true a b")]),
                            (67, [("both", "deliverable: mailbox, user anna"), ("both", "deliverable: other host, x@far.example"),
                                  ("both", f"undeliverable: 550 5.1.1 {nobody}User unknown"),
                                  ("www", "undeliverable: 550 5.2.1 This user gets no mail here"),
                                  ("nobody-here", f"undeliverable: 550 5.1.1 {nobody}Recipient address rejected: User unknown")]),
                            (65, [("a@b..c", "it is malformed")])):
            for who in (self.as_bert, run):
                done = who("sendmail", "-bv", *dict(asked), check=False)
                self.assertEqual((done.returncode, done.stdout), (code, "".join(f"{name}... {said}\n" for name, said in asked)), done.stderr)
        self.assertEqual(os.listdir("/var/spool/tinmail/queue"), [])
        self.assertIn("4 aliases", self.as_bert("sendmail", "-I", check=False).stdout)

    def test_cron(self):
        """What a job says goes to MAILTO. @reboot is the one time that need not be waited for."""
        self.cron("MAILTO=anna@example.org", "@reboot echo out; echo error >&2; printf '.\\n'")
        self.arrives(b"\nout\nerror\n.\n", b"\nSubject: Cron <bert@", b"Cron Daemon", b"Return-Path: <bert@example.org>\n")

    def test_cron_without_mailto(self):
        """It goes to the user, whose ~/.forward sends it on."""
        forward = pathlib.Path("/home/bert/.forward")
        forward.write_text("anna\n")
        os.chown(forward, 23457, 23457)
        self.cron("@reboot echo out")
        self.arrives(b"\nout\n", b"Delivered-To: bert@example.org\n")


if __name__ == "__main__":
    harness.main()
