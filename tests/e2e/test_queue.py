"""The queue run and sendmail: kill -9 at any point, many runs at once, hostile files in the drop directory, disk full, and the
programs that call sendmail.

Where something is random, it is the same in every run: the seed is in the message of every failure.
"""

import collections
import contextlib
import os
import pathlib
import random
import re
import shutil
import signal
import socket
import subprocess
import time
import unittest

from harness import (HOST, IN_NAMESPACE, IS_ROOT, Case, all_processes, needs_root, processes_of, program, run, status_of,
                     uid_of, wait_until)
from smtp_box import Sink, SmtpBox


def own_memory(pid):
    """KiB that no file is behind."""
    with open(f"/proc/{pid}/smaps_rollup", encoding="ascii") as file:
        return max(int(line.split()[1]) for line in file if line.startswith(("Anonymous:", "Swap:")))


@needs_root
class QueueCase(Case):
    """A host with a queue, a user, and another host that takes everything."""

    def setUp(self):
        self.sink = Sink()
        self.addCleanup(self.sink.close)
        self.box = SmtpBox(tls=False)
        self.addCleanup(self.box.close)
        self.addCleanup(self.keep_log)
        for name in ("sendmail", "tinmail"):
            source = pathlib.Path(os.environ["E2E_SMTPD"]).with_name(name)
            if source.exists():
                shutil.copy(source, self.box.dir / name)
                os.chmod(self.box.dir / name, 0o755)
        os.chmod(self.box.conf, 0o644)
        os.chmod(self.box.dir, 0o755)
        self.box.log_path.chmod(0o666)
        self.user = self.box.user
        self.configure()

    def configure(self, **more):
        more.setdefault("relayhost", f"[{HOST}]:{self.sink.port}")
        more.setdefault("myorigin", "example.org")
        self.box.write_settings(**{"minimal_backoff_time": "1s", "maximal_backoff_time": "1s"} | more)
        os.chmod(self.box.conf, 0o644)

    def as_user(self, *command, **more):
        return run(*command, user=self.user.uid, group=self.user.gid, extra_groups=[], cwd="/", **more)

    def sendmail(self, *options, text=b"Subject: x\n\nhello\n", check=True, **more):
        command = [self.box.dir / "sendmail", "-C", self.box.conf, *options]
        return self.as_user(*command, input=text, text=False, check=check, **more)

    def queue_run(self, *words, wait=True):
        command = [str(self.box.binary), "-c", str(self.box.conf), "-q", *words]
        return run(*command) if wait else subprocess.Popen(command, stdin=subprocess.DEVNULL)

    def kill_all(self):
        for pid in processes_of(self.box.binary):
            with contextlib.suppress(OSError):
                os.kill(pid, signal.SIGKILL)

    def silent(self):
        """A server that takes connections and says nothing."""
        server = socket.create_server((HOST, 0), backlog=100)
        self.addCleanup(server.close)
        self.addCleanup(self.kill_all)
        return server, f"smtp:[{HOST}]:{server.getsockname()[1]}"

    def names(self, place):
        return [name for name in os.listdir(self.box.dir / "queue" / place) if not name.endswith(".log")]


class Queue(QueueCase):
    def test_kill_at_any_point(self):
        seed = 4
        chance = random.Random(seed)
        self.queue_run()
        want = set()
        for number in range(40):
            to = [f"a{number}@far.example", f"b{number}@far.example", f"c{number}@other.example"]
            if number % 8 == 0:
                to.append(self.user.name + "@example.org")
            self.sendmail("-i", *to, text=f"Subject: m{number}\n\n{'line' * 500}\n".encode())
            want |= {(f"m{number}", one) for one in to if "@example.org" not in one}
        kills = 0
        for _ in range(200):
            process = self.queue_run(wait=False)
            time.sleep(chance.uniform(0, 0.12))
            if process.poll() is None:
                kills += 1
            self.kill_all()
            process.wait()
            if not self.names("drop") and not self.names("queue"):
                break
        # What was forked while it was being killed may still be at work.
        wait_until(lambda: self.queue_run() and not self.names("drop") and not self.names("queue"), f"an empty queue, seed {seed}", pause=0.3)
        self.assertEqual(self.names("corrupt"), [], f"seed {seed}")
        self.assertEqual(set(self.sink.got), want, f"seed {seed}")
        twice = sum(count - 1 for count in self.sink.got.values())
        local = sorted(re.search(rb"(?m)^Subject: (m\d+)", raw)[1] for raw in self.box.maildir_of(self.user).contents().values())
        print(f"    {kills} kills, {len(want)} deliveries, {twice} of them twice, seed {seed}")
        # On this host nothing comes twice.
        self.assertEqual(local, [b"m0", b"m16", b"m24", b"m32", b"m8"], f"seed {seed}")
        self.assertGreater(kills, 3, f"seed {seed}")
        # Only a kill between the other side's word and our mark can do that: a few calls of some hundred, but of two recipients at once.
        self.assertLessEqual(twice, 6 + kills, f"seed {seed}")

    def test_many_runs_at_once(self):
        self.queue_run()
        for number in range(30):
            self.sendmail("-i", f"u{number}@far.example", f"v{number}@far.example", text=f"Subject: m{number}\n\nx\n".encode())
        runs = [self.queue_run(wait=False) for _ in range(8)]
        self.assertEqual([process.wait() for process in runs], [0] * 8)
        self.queue_run()
        self.assertEqual(sorted(self.sink.got.values()), [1] * 60)
        self.assertEqual(self.names("queue"), [])

    def test_what_fails_comes_back_and_what_may_not_waits(self):
        self.queue_run()
        self.sendmail("-i", "-f", self.user.name, "bad@far.example", "later@far.example", "good@far.example")
        self.queue_run()
        self.assertEqual(self.sink.got, {("x", "good@far.example"): 1})
        mail = b"\n".join(self.box.maildir_of(self.user).contents().values())
        self.assertIn(b"Return-Path: <>\n", mail)
        self.assertIn(b"Final-Recipient: rfc822; bad@far.example\n", mail)
        self.assertNotIn(b"later@far.example", mail.split(b"message/rfc822")[0])
        listed = run(self.box.dir / "sendmail", "-C", self.box.conf, "-bp").stdout
        self.assertIn("later@far.example", listed)
        self.assertNotIn("good@far.example", listed)

    def test_a_postmaster_whom_nothing_reaches(self):
        """His ~/.forward leads nowhere: what he was to hear of is set aside, and does not go round."""
        (self.box.dir / "aliases").write_text(f"postmaster: {self.user.name}\n")
        self.configure(alias_maps=f"hash:{self.box.dir / 'aliases'}")
        self.queue_run()
        self.forward(self.user, "bad@far.example\n")
        self.sendmail("-i", "-f", "<>", "bad@far.example")
        wait_until(lambda: self.queue_run() and not self.names("drop") and not self.names("queue"), "an empty queue", pause=0.3)
        self.assertEqual(len(self.names("corrupt")), 1)
        self.assertEqual(self.box.log().count("said: 550"), 2, self.box.log())

    def forward(self, user, text):
        forward = user.home / ".forward"
        forward.write_text(text)
        os.chown(forward, user.uid, user.gid)

    def test_who_stops_his_delivery_waits_alone(self):
        """A program of a ~/.forward stops the process that delivers to it, which has the same uid."""
        other, started = self.box.add_user("other"), self.user.home / "started"
        self.configure(command_time_limit="2s")
        self.box.write_settings(minimal_backoff_time="1h", maximal_backoff_time="1h")
        self.queue_run()
        self.forward(self.user, f'"|/bin/sh -c \'echo >> {started}; kill -STOP $PPID; exec sleep 600\'"\n')
        for _ in range(3):
            self.sendmail("-i", f"{self.user.name}@example.org")
        slow = []
        self.addCleanup(lambda: [process.wait() for process in slow])
        self.addCleanup(self.kill_all)
        for hanging in (1, 2):
            slow.append(self.queue_run(wait=False))
            wait_until(lambda: started.exists() and len(started.read_text()) == hanging, f"{hanging} deliveries hang")
        # All of the user's places are taken; the third of them, and everybody's mail, does not wait for that.
        self.sendmail("-i", f"{other.name}@example.org", "far@far.example")
        self.sendmail("-i", f"{other.name}@example.org")
        self.queue_run()
        self.assertEqual(len(self.box.maildir_of(other).contents()), 2)
        self.assertEqual(sum(self.sink.got.values()), 1)
        self.assertEqual(len(started.read_text()), 2)
        self.assertEqual([process.poll() for process in slow], [None, None])
        self.forward(self.user, f"\\{self.user.name}\n")
        self.assertEqual([process.wait(60) for process in slow], [0, 0])
        # The third comes as the file says by then.
        self.assertEqual((len(self.names("queue")), len(self.box.maildir_of(self.user).contents())), (2, 1))
        self.assertRegex(self.box.log(), f"<{self.user.name}@example.org>: the delivery took too long")
        self.assertRegex(self.box.log(), r"status=deferred \(local error: the delivery took too long\)")
        wait_until(lambda: not [pid for pid in all_processes() if uid_of(pid) == self.user.uid], "the programs have ended")

    def test_a_table_that_is_wrong_stops_only_what_needs_it(self):
        table, here = self.box.dir / "transport", f"{self.user.name}@example.org"
        table.write_text("wrong.example local:\ngone.example error:5.1.6 they have moved\n")
        self.configure(transport_maps=f"hash:{table}")
        check = run(self.box.binary, "-c", self.box.conf, "--check", check=False)
        self.assertIn('error: transport_maps: wrong.example: "local:" is not accepted', check.stdout)
        self.queue_run()
        self.sendmail("-i", here, "a@wrong.example", "a@gone.example", "a@far.example")
        self.queue_run()
        mail = b"".join(self.box.maildir_of(self.user).contents().values())
        self.assertIn(b"\nhello\n", mail)
        self.assertIn(b"they have moved", mail)
        self.assertEqual(sum(self.sink.got.values()), 1)
        listed = run(self.box.dir / "sendmail", "-C", self.box.conf, "-bp").stdout
        self.assertIn("a@wrong.example", listed)
        self.assertIn("which domains are delivered here is said by mydestination", listed.replace("\n", " "))
        # Nothing can be sent to others without the table; those who are here need none.
        table.unlink()
        before = len(self.box.maildir_of(self.user).contents())
        self.sendmail("-i", here, "b@far.example")
        done = run(self.box.binary, "-c", self.box.conf, "-q", check=False)
        self.assertEqual(done.returncode, 111)
        self.assertIn(f"{table}: No such file", done.stderr)
        self.assertEqual(len(self.box.maildir_of(self.user).contents()), before + 1)
        table.write_text("")
        wait_until(lambda: self.queue_run() and self.names("queue") == [], "an empty queue")

    def test_programs_have_the_same_limits_whoever_started_the_run(self):
        out = self.user.home / "limits"
        self.queue_run()
        self.forward(self.user, f'"|/bin/sh -c \'(ulimit -v; ulimit -t; ulimit -n) > {out}\'"\n')
        self.sendmail("-i", f"{self.user.name}@example.org")
        # Hard limits are only raised by a root who may (CAP_SYS_RESOURCE), which root in a container often may not.
        powers = int(re.search(r"(?m)^CapEff:\s*(\S+)", pathlib.Path("/proc/self/status").read_text())[1], 16)
        # Without -H and -S both are meant; of the two together dash hears one.
        kind = "" if powers >> 24 & 1 else "-S"
        limited = f'ulimit {kind} -v 500000; ulimit {kind} -t 600; ulimit {kind} -n 64; exec "$0" "$@"'
        run("sh", "-c", limited, self.box.binary, "-c", self.box.conf, "-q")
        self.assertEqual(out.read_text().split(), ["unlimited", "unlimited", "1024"])

    def test_the_log_says_why_a_forward_is_not_followed(self):
        """All of it, however long the path is."""
        self.queue_run()
        self.forward(self.user, "other@far.example\n")
        (self.user.home / ".forward").chmod(0o664)
        self.sendmail("-i", f"{self.user.name}@example.org")
        self.queue_run()
        self.assertRegex(self.box.log(), rf"{self.user.home}/.forward: not followed: {self.user.home}/.forward can be written to by others\n")
        self.assertEqual(len(self.box.maildir_of(self.user).contents()), 1)

    def test_a_forward_that_names_somebody_else_s_alias(self):
        other = self.box.add_user("lists")
        aliases, out = self.box.dir / "aliases", other.home / "out"
        aliases.write_text(f'prog: "|/usr/bin/tee {out}"\n')
        aliases.chmod(0o644)
        os.chown(aliases, other.uid, other.gid)
        self.configure(alias_maps=f"hash:{aliases}")
        self.queue_run()
        self.forward(self.user, f"prog, \\{self.user.name}\n")
        self.sendmail("-i", f"{self.user.name}@example.org")
        self.queue_run()
        self.assertIn(b"\nhello\n", out.read_bytes())
        self.assertEqual(out.stat().st_uid, other.uid)
        self.assertEqual(len(self.box.maildir_of(self.user).contents()), 1)
        self.assertEqual(self.names("queue"), [])

    def test_who_speaks_with_other_hosts_is_walled_in(self):
        silent = socket.create_server((HOST, 0))
        self.addCleanup(silent.close)
        self.configure(relayhost=f"[{HOST}]:{silent.getsockname()[1]}")
        self.queue_run()
        self.sendmail("-i", "u@far.example")
        slow = self.queue_run(wait=False)
        self.addCleanup(slow.wait)
        self.addCleanup(self.kill_all)
        peer, _ = silent.accept()
        self.addCleanup(peer.close)
        [worker] = [pid for pid in self.box.servers_of(self.box.users["queue-owner"]) if status_of(pid)["Seccomp"] == "2"]
        status = status_of(worker)
        self.assertEqual(set(status["Uid"].split()), {str(self.box.users["queue-owner"].uid)})
        self.assertEqual((status["NoNewPrivs"], status["Seccomp_filters"]), ("1", "2"))
        limits = pathlib.Path(f"/proc/{worker}/limits").read_text(encoding="ascii")
        for name, limit in (("Max processes", 0), ("Max address space", 256 << 20), ("Max open files", 64), ("Max core file size", 0)):
            self.assertRegex(limits, rf"(?m)^{name} +{limit} +{limit} ")

    def test_programs_that_call_sendmail(self):
        self.queue_run()
        me = self.user.name + "@example.org"
        cron = [self.box.dir / "sendmail", "-C", self.box.conf, "-i", "-FCronDaemon", "-B8BITMIME", "-oem", self.user.name]
        environment = {"PATH": "/usr/bin:/bin", "LOGNAME": self.user.name, "HOME": "/", "SHELL": "/bin/sh"}
        self.as_user(*cron, input="From: root (Cron Daemon)\nTo: demo\nSubject: Cron\n\nout\n.\nput\n", env=environment)
        php = "exit(mail('php@far.example', 'from php', \"hello\\nworld\", 'X-A: b') ? 0 : 1);"
        path = f"{self.box.dir}/sendmail -C {self.box.conf} -t -i"
        self.as_user(program("php"), "-n", "-d", f"sendmail_path={path}", "-r", php)
        smtp = f"EHLO x\r\nMAIL FROM:<{me}>\r\nRCPT TO:<bs@far.example>\r\nDATA\r\nSubject: by smtp\r\n\r\n..dot\r\n.\r\nQUIT\r\n"
        said = self.as_user(self.box.dir / "sendmail", "-C", self.box.conf, "-bs", input=smtp).stdout
        self.assertIn("250 2.0.0 Ok: queued as", said)
        self.sendmail("-t", text=b"To: t@far.example\nBcc: hidden@far.example\nSubject: t\n\nx\n")
        self.queue_run()
        self.assertEqual(set(self.sink.got), {("from php", "php@far.example"), ("by smtp", "bs@far.example"),
                                              ("t", "t@far.example"), ("t", "hidden@far.example")})
        everything = b"".join(self.sink.messages)
        self.assertNotIn(b"hidden@", everything)
        self.assertIn(b"\r\n..dot\r\n", everything)
        self.assertEqual(everything.count(b"\r\nMessage-ID: "), 3)
        [raw] = self.box.maildir_of(self.user).contents().values()
        self.assertIn(b"out\n.\nput\n", raw)
        self.assertIn(f"Return-Path: <{self.user.name}@".encode(), raw)

    def test_what_programs_write_for_a_message(self):
        """No header, no empty line below it, a mailbox file's lines, recipients who are none of the others' business."""
        self.queue_run()
        me = self.user.name

        def arrives(*options, text):
            self.sendmail(*options, text=text)
            self.queue_run()
            maildir = self.box.maildir_of(self.user)
            [(path, raw)] = maildir.contents().items()
            for directory in ("new", "cur"):
                for file in (self.user.home / "Maildir" / directory).iterdir():
                    file.unlink()
            head, _, below = raw.partition(b"\n\n")
            return head, below
        for text, fields, below in ((b"hello\nworld\n", b"", b"hello\nworld\n"),
                                    (b"Subject: x\nhello: y z\nWell, then:\n\nend", b"Subject: x\nhello: y z\n", b"Well, then:\n\nend\n"),
                                    (b"  To: nobody\n", b"", b"  To: nobody\n"),
                                    (b"From x y\n>From z\nSubject: x\n\nFrom here\n", b"Subject: x\n", b"From here\n"),
                                    (b"Bcc: secret@x.example,\n z\nSubject: x\nReturn-Path: <a@b>\n\nBcc: y\n", b"Subject: x\n", b"Bcc: y\n")):
            head, rest = arrives("-i", me, text=text)
            self.assertEqual(rest, below)
            self.assertRegex(head, rb"(?s) userid \d+\)\n\tid [^\n]*\n" + re.escape(fields) + rb"Message-ID: [^\n]*\nDate: [^\n]*\nFrom: [^\n]*$")
        # What is no header names nobody.
        head, rest = arrives("-t", text=f"To: {me}\nhello\nTo: other@far.example\n".encode())
        self.assertEqual(rest, b"hello\nTo: other@far.example\n")
        # Those of the first time have it already.
        head, rest = arrives("-t", text=f"To: old@far.example\nResent-To: {me}\nCc: cc@far.example\n\nx\n".encode())
        self.assertIn(b"\nTo: old@far.example\n", head)
        self.assertEqual((sum(self.sink.got.values()), self.names("queue")), (0, []))

    def test_what_cannot_be_sent_comes_back(self):
        """Nobody waits for an answer any more when it is found that a message goes in circles."""
        self.queue_run()
        self.sendmail("-i", "u@far.example", "v@far.example", text=b"Received: x\n" * 51 + b"Subject: circle\n\nx\n")
        self.queue_run()
        [raw] = self.box.maildir_of(self.user).contents().values()
        for part in (b"Subject: Undelivered", b"Too many hops", b"u@far.example", b"v@far.example", b"Subject: circle"):
            self.assertIn(part, raw)
        self.assertEqual((sum(self.sink.got.values()), self.names("drop"), self.names("queue")), (0, [], []))
        # One that no file of the queue has room for is not taken.
        many = [f"{'x' * 60}{number}@far.example" for number in range(9000)]
        done = self.sendmail("-i", *many, check=False)
        self.assertEqual((done.returncode, self.names("drop")), (65, []))
        self.assertIn(b"too long together", done.stderr)

    def test_what_is_asked_about_each_recipient(self):
        """sendmail -bs offers DSN: NOTIFY and ORCPT are each recipient's own."""
        self.queue_run()
        me = f"{self.user.name}@example.org"
        lines = ["EHLO x", f"MAIL FROM:<{me}> SIZE=99999999999", f"MAIL FROM:<{me}> BODY=BINARYMIME",
                 f"MAIL FROM:<{me}> SIZE=100 SMTPUTF8 RET=HDRS ENVID=one", "RCPT TO:<bad1@far.example> NOTIFY=NEVER",
                 "RCPT TO:<bad2@far.example> NOTIFY=FAILURE ORCPT=rfc822;old@far.example", "RCPT TO:<bad3@far.example>", "DATA", "Subject: x",
                 "", "x", ".", "QUIT", ""]
        said = self.as_user(self.box.dir / "sendmail", "-C", self.box.conf, "-bs", input="\r\n".join(lines)).stdout
        self.assertRegex(said, r"250-PIPELINING\s+250-SIZE \d+\s+250-8BITMIME\s+250-SMTPUTF8\s+250-DSN\s")
        self.assertRegex(said, r"\n552 5\.3\.4 .*\s+555 5\.5\.4 .*\s+250 2\.1\.0 Ok\s")
        self.assertIn("250 2.0.0 Ok: queued as", said)
        self.queue_run()
        [raw] = self.box.maildir_of(self.user).contents().values()
        for part in (b"Original-Envelope-Id: one", b"Original-Recipient: rfc822; old@far.example", b"bad2@far.example", b"bad3@far.example"):
            self.assertIn(part, raw)
        self.assertNotIn(b"bad1@", raw)

    def test_wrong_calls(self):
        for options, text, code in ((("-bd",), b"", 64), ((), b"x", 64), (("-t",), b"Subject: nobody\n\n", 64),
                                    (("a@x..y",), b"x", 65), (("-Z", "x"), b"x", 64)):
            with self.subTest(options):
                self.queue_run()
                self.assertEqual(self.sendmail(*options, text=text, check=False).returncode, code)
        for maps, code in (("inline:{postmaster=demo}", 0), ("hash:/nonexistent inline:{a=b}", 78)):
            self.assertEqual(self.sendmail("-bi", "-o", f"alias_maps={maps}", check=False).returncode, code, maps)
        self.assertEqual(self.names("drop"), [])

    def test_whose_the_queue_is(self):
        self.queue_run()
        tinmail = (self.box.dir / "tinmail", "-c", self.box.conf, "queue")
        for command in ((*tinmail, "flush"), (*tinmail, "show", "1PJ7SZWNYQX383"), (*tinmail, "delete", "all"),
                        (self.box.binary, "-c", self.box.conf, "-q")):
            done = self.as_user(*command, check=False)
            self.assertEqual(done.returncode != 0 and done.stdout, "", done)
            self.assertIn("/queue/tmp: the queue is root's and mail_owner's", done.stderr)
            self.assertEqual(done.stderr.endswith(": try sudo\n"), command[0] == tinmail[0], done.stderr)
            self.assertNotIn("belongs to", done.stderr)

    def test_hostile_files_in_the_drop_directory(self):
        self.queue_run()
        drop = self.box.dir / "queue" / "drop"
        secret = self.box.dir / "secret"
        secret.write_bytes(b"tinmail drop 1\nB7\nFx\nGx\nRthief@far.example\n\nSubject: secret\r\n\r\nsecret\r\n")
        secret.chmod(0o600)
        with contextlib.suppress(OSError):
            os.link(secret, drop / "hardlink")
        os.symlink(secret, drop / "symlink")
        os.mkfifo(drop / "fifo")
        os.mkdir(drop / "directory")
        head = b"tinmail drop 1\nB7\nFx\nGx\nRu@far.example\n"
        files = {"empty": b"", "nohead": b"hello\n", "norecipient": b"tinmail drop 1\nB7\nFx\nGx\n\nx\r\n", "endless": head,
                 "longline": b"tinmail drop 1\nR" + b"x" * 3_000_000, "crlf": head + b"Rb@x%0d%0aX: y\n\nSubject: inj\r\n\r\n",
                 "nul": head + b"E\x00\n\n", "dotdot": head + b"R../../etc/passwd\n\nSubject: odd\r\n\r\nx\r\n",
                 "new.unfinished": head + b"\nSubject: unfinished\r\n\r\n"}
        for name, content in files.items():
            (drop / name).write_bytes(content)
            os.chown(drop / name, self.user.uid, self.user.gid)
        with open(drop / "huge", "wb") as file:
            file.write(head + b"\nSubject: huge\r\n\r\n")
            file.truncate(1 << 40)
        self.queue_run()
        self.queue_run()
        # One malformed recipient of two is left out.
        self.assertEqual({name for name, _ in self.sink.got}, {"inj", "odd"})
        self.assertNotIn(b"secret", b"".join(self.sink.messages))
        self.assertNotIn(b"X: y", b"".join(self.sink.messages))
        self.assertLessEqual(set(self.names("drop")), {"directory", "new.unfinished", "hardlink"})
        self.assertEqual(self.names("queue"), [])

    def small_disk(self, place, options, owner=(0, 0)):
        """A file system of its own. What fills it."""
        place.mkdir(exist_ok=True)
        run("mount", "-t", "tmpfs", "-o", f"{options},uid={owner[0]},gid={owner[1]}", "none", place)
        self.addCleanup(run, "umount", place)
        return place / "filler"

    def fill(self, filler):
        with contextlib.suppress(OSError), open(filler, "wb", buffering=0) as file:
            while True:
                file.write(b"x" * 4096)
        self.assertEqual(os.statvfs(filler).f_bavail, 0)

    def empty_queue(self):
        wait_until(lambda: self.queue_run() and not self.names("drop") and not self.names("queue"), "an empty queue", pause=0.3)

    @unittest.skipUnless(IN_NAMESPACE and IS_ROOT, "needs a namespace of its own")
    def test_a_full_disk_loses_nothing(self):
        filler = self.small_disk(self.box.dir / "queue", "size=500k,mode=755")
        self.queue_run()
        filler.write_bytes(b"x" * 200_000)
        accepted, line = collections.Counter(), b"x" * 99 + b"\n"
        for number in range(40):
            text = f"Subject: m{number}\n\n".encode() + line * 200
            status = self.sendmail("-i", "u@far.example", text=text, check=False).returncode
            self.assertIn(status, (0, 75))
            if status == 0:
                accepted[f"m{number}", "u@far.example"] += 1
        self.assertTrue(2 < len(accepted) < 40, accepted)
        self.queue_run()
        filler.unlink()
        self.empty_queue()
        self.assertEqual(self.sink.got, accepted)
        self.assertEqual({message.partition(b"\r\n\r\n")[2] for message in self.sink.messages}, {line.replace(b"\n", b"\r\n") * 200})
        self.assertEqual(self.names("corrupt"), [])

    @unittest.skipUnless(IN_NAMESPACE and IS_ROOT, "needs a namespace of its own")
    def test_a_bounce_that_the_disk_has_no_room_for(self):
        """It comes later, once; who has the message does not get it again."""
        filler = self.small_disk(self.box.dir / "queue", "size=500k,mode=755")
        self.queue_run()
        self.sendmail("-i", "good@far.example", "bad@far.example")
        self.configure(relayhost="[127.0.0.1]:1")
        self.queue_run()
        self.configure()
        self.fill(filler)
        time.sleep(1.1)
        self.queue_run()
        self.assertRegex(self.box.log(), "(?i)insufficient system storage|no space left")
        self.assertEqual((self.sink.got, len(self.names("queue"))), ({("x", "good@far.example"): 1}, 1))
        self.assertEqual(self.box.maildir_of(self.user).contents(), {})
        filler.unlink()
        self.empty_queue()
        [raw] = self.box.maildir_of(self.user).contents().values()
        self.assertIn(b"Final-Recipient: rfc822; bad@far.example\n", raw)
        self.assertEqual((self.sink.got, self.names("corrupt")), ({("x", "good@far.example"): 1}, []))

    @unittest.skipUnless(IN_NAMESPACE and IS_ROOT, "needs a namespace of its own")
    def test_a_full_home_directory(self):
        """Its owner's mail waits, all of it, and nobody else's."""
        other = self.box.add_user("other")
        self.queue_run()
        filler = self.small_disk(self.user.home, "size=200k,mode=700", (self.user.uid, self.user.gid))
        self.sendmail("-i", f"{self.user.name}@example.org", text=b"Subject: first\n\nx\n")
        self.queue_run()
        self.fill(filler)
        self.sendmail("-i", f"{self.user.name}@example.org", f"{other.name}@example.org", text=b"Subject: both\n\n" + b"x\n" * 10_000)
        self.queue_run()
        subjects = [re.search(rb"(?m)^Subject: (.*)$", raw)[1] for raw in self.box.maildir_of(other).contents().values()]
        self.assertEqual(subjects, [b"both"])
        self.assertEqual((len(self.names("queue")), len(self.box.maildir_of(self.user).contents())), (1, 1))
        self.assertRegex(self.box.log(), rf"to=<{self.user.name}@example.org>.* status=deferred ")
        self.assertEqual(os.listdir(self.user.home / "Maildir/tmp"), [])
        filler.unlink()
        self.empty_queue()
        mail = self.box.maildir_of(self.user).contents().values()
        self.assertEqual(sorted(re.search(rb"(?m)^Subject: (.*)$", raw)[1] for raw in mail), [b"both", b"first"])
        self.assertEqual([raw.endswith(b"\n\n" + b"x\n" * 10_000) for raw in mail if b"Subject: both" in raw], [True])
        self.assertEqual(len(self.box.maildir_of(other).contents()), 1)

    @unittest.skipUnless(IN_NAMESPACE and IS_ROOT, "needs a namespace of its own")
    def test_no_inodes_for_a_run(self):
        """It says that it could not do its work; what was to be sent is sent later."""
        filler = self.small_disk(self.box.dir / "queue", "size=1m,nr_inodes=60,mode=755")
        self.queue_run()
        self.sendmail("-i", "u@far.example")
        self.configure(relayhost="[127.0.0.1]:1")
        self.queue_run()
        # To a host that no run has had a lock for.
        self.configure()
        filler.mkdir()
        with contextlib.suppress(OSError):
            for number in range(60):
                (filler / str(number)).touch()
        self.assertEqual(os.statvfs(filler).f_favail, 0)
        self.box.clear_log()
        time.sleep(1.1)
        done = run(self.box.binary, "-c", self.box.conf, "-q", check=False)
        self.assertEqual((done.returncode, done.stderr), (111, "smtpd -q: 1 of its workers ended before their time\n"))
        self.assertIn("lock of a destination: No space left on device", self.box.log())
        self.assertEqual((self.sink.got, len(self.names("queue"))), ({}, 1))
        # What comes in meanwhile is refused.
        self.assertEqual(self.sendmail("-i", "v@far.example", check=False).returncode, 75)
        shutil.rmtree(filler)
        self.empty_queue()
        self.assertEqual(self.sink.got, {("x", "u@far.example"): 1})

    def test_a_wrong_clock_neither_expires_nor_keeps_back(self):
        """What came, or was put off, while the clock said 1970 or 2090 goes out at once, and is as old as is certain."""
        self.configure(maximal_queue_lifetime="1d", minimal_backoff_time="300s", maximal_backoff_time="4000s")
        self.queue_run()
        queue = self.box.dir / "queue" / "queue"
        for name, clock in (("early", 100), ("ahead", 3_800_000_000), ("beyond", 99_000_000_000)):
            for to in ("good", "later"):
                self.sendmail("-i", f"{to}-{name}@far.example", text=f"Subject: {name}\n\nx\n".encode())
        # They are taken in without being tried.
        self.configure(relayhost="[127.0.0.1]:1", minimal_backoff_time="300s")
        self.queue_run()
        for path in list(queue.iterdir()):
            if path.suffix == ".log":
                path.unlink()
                continue
            raw = path.read_bytes()
            clock = 100 if b"early" in raw else 3_800_000_000 if b"ahead" in raw else 99_000_000_000
            raw, count = re.subn(rb"C \d{8} \d{10} \d{12} \d{12} -\n", b"C 00000003 0000000500 %012d %012d -\n" % (clock, clock + 300),
                                 raw, count=1)
            self.assertEqual(count, 1)
            path.write_bytes(raw)
            os.utime(path, (clock, min(clock + 300, 0xFFFFFFFF)))
        self.configure(maximal_queue_lifetime="1d", minimal_backoff_time="300s", maximal_backoff_time="4000s")
        self.queue_run()
        self.assertEqual(set(self.sink.got), {(name, f"good-{name}@far.example") for name in ("early", "ahead", "beyond")})
        left = [path.read_bytes() for path in queue.iterdir() if path.suffix != ".log"]
        self.assertEqual(len(left), 3)
        for raw in left:
            attempts, age, last, due = map(int, re.search(rb"C (\d{8}) (\d{10}) (\d{12}) (\d{12}) -\n", raw).groups())
            # At most twice maximal_backoff_time is added, and the next time is near.
            self.assertEqual((attempts, age), (4, 8500 if b"early" in raw else 500))
            self.assertTrue(abs(last - time.time()) < 100 and 300 <= due - last <= 4000, raw[:200])

    def test_ten_thousand_messages_in_little_memory(self):
        """No process of a run grows with the queue. What counts is memory that is the process's own (heap, stack, data): pages of
        the program's file are "private", too, in /proc as long as no second process has mapped them, and a program that was not
        stripped, and copied just now, has megabytes of those at the beginning and at the end of a run.

        A list of 10,000 names would be half a megabyte, a list of heads several. The messages are for a hundred hosts."""
        sink = Sink("0.0.0.0")
        self.addCleanup(sink.close)
        hops = ", ".join(f"d{number:02}.example=smtp:[127.0.0.{number + 2}]:{sink.port}" for number in range(100))
        self.queue_run()
        self.sendmail("-i", "u@dxx.example", text=b"Subject: number xxxxx\n\n" + b"line\n" * 100)
        self.configure(relayhost="[127.0.0.1]:1")
        self.queue_run()
        queue = self.box.dir / "queue" / "queue"
        [name] = self.names("queue")
        template = (queue / name).read_bytes()
        meta = (queue / name).stat()
        for number in range(10_000):
            path = queue / f"T{number:05}"
            # Of the same length, as the sizes in front of it say.
            path.write_bytes(template.replace(b"@dxx.example", b"@d%02d.example" % (number % 100)).replace(b"number xxxxx", b"number %05d" % number))
            os.chown(path, meta.st_uid, meta.st_gid)
            os.utime(path, (1, 1))
        (queue / name).unlink()
        (queue / f"{name}.log").unlink(missing_ok=True)
        want = {(f"number {number:05}", f"u@d{number % 100:02}.example"): 1 for number in range(10_000)}
        self.look_at_the_list([to for _, to in want])
        self.configure(transport_maps=f"inline:{{{hops}}}")
        time.sleep(1.1)
        most, looks, begun, process = 0, 0, time.monotonic(), self.queue_run(wait=False)
        while process.poll() is None:
            for pid in processes_of(self.box.binary):
                with contextlib.suppress(OSError):
                    most = max(most, own_memory(pid))
                    looks += 1
            time.sleep(0.05)
        self.assertEqual(process.returncode, 0)
        self.assertEqual(sink.got, want)
        self.assertEqual(self.names("queue"), [])
        print(f"    10,000 messages in {time.monotonic() - begun:.1f} s, at most {most} KiB of its own in a process, {looks} looks")
        self.assertTrue(0 < most < 384, most)

    def look_at_the_list(self, recipients):
        """mailq has each of them once, the oldest first. It has the names in memory, and no more."""
        lines, most = [], 0
        with subprocess.Popen([self.box.dir / "sendmail", "-C", self.box.conf, "-bp"], stdout=subprocess.PIPE, text=True) as process:
            # It waits for us: what is in the pipe is little.
            for number, line in enumerate(process.stdout):
                lines.append(line.strip())
                if number % 1000 == 500:
                    most = max(most, own_memory(process.pid))
        self.assertEqual(process.returncode, 0)
        self.assertEqual([line for line in lines if line.startswith("u@d")], recipients)
        self.assertEqual([line[:6] for line in lines if re.match(r"T\d{5} ", line)], [f"T{number:05}" for number in range(len(recipients))])
        # The headings, for each its own and its recipient, and the sum.
        self.assertEqual(len(lines), 1 + 2 * len(recipients) + 1)
        self.assertRegex(lines[-1], rf"^{len(recipients)} messages, \d+ KiB$")
        self.assertTrue(0 < most < 1024, most)
        print(f"    mailq: {len(lines)} lines, at most {most} KiB of its own")
