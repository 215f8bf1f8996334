"""What users of this host and strangers may not do to the queue: read its passwords, fill the process table, lose or multiply
mail."""

import contextlib
import os
import re
import select
import signal
import socket
import subprocess
import threading
import time

from harness import HOST, all_processes, arguments_of, processes_of, run, wait_until
from test_queue import QueueCase

SECRET = "c0rrect-horse"


class Hostile(QueueCase):
    def test_settings_are_in_no_arguments(self):
        silent, hop = self.silent()
        self.configure(transport_maps=f"inline:{{far.example={hop}}}", smtp_sasl_password_maps=f"static:user:{SECRET}")
        self.queue_run()
        server = self.box.serve(change={"cps": "1000 1"})
        # By SMTP, and by root's sendmail.
        with socket.create_connection((HOST, server.port)) as client:
            stream = client.makefile("rwb")
            for line in (b"", b"EHLO x", b"MAIL FROM:<>", b"RCPT TO:<u@far.example>", b"DATA", b"Subject: x\r\n\r\n.", b"QUIT"):
                if line:
                    stream.write(line + b"\r\n")
                    stream.flush()
                while not re.match(rb"\d{3} ", answer := stream.readline()):
                    self.assertTrue(answer)
        silent.settimeout(60)
        first, _ = silent.accept()
        subprocess.run([self.box.dir / "sendmail", "-C", self.box.conf, "-i", "v@far.example"], input=b"x\n", check=True)
        second, _ = silent.accept()
        lines = [arguments_of(pid) for pid in all_processes()]
        for line in lines:
            self.assertNotIn(SECRET.encode(), line)
            self.assertNotIn(b"static:", line)
        self.assertTrue(any(b"--handed-over" in line.split(b"\0") for line in lines))
        first.close()
        second.close()

    def test_no_umask_loses_mail(self):
        self.queue_run()
        for umask in (0o477, 0o777, 0o077, 0):
            self.sendmail("-i", "u@far.example", text=f"Subject: umask {umask:o}\n\nx\n".encode(), umask=umask)
        # A program that leaves such a file by itself.
        self.sendmail("-i", "u@far.example", text=b"Subject: by itself\n\nx\n")
        [*_, last] = sorted((self.box.dir / "queue" / "drop").iterdir())
        last.chmod(0)
        self.queue_run()
        self.assertEqual(sorted(name for name, _ in self.sink.got), ["by itself", "umask 0", "umask 477", "umask 77", "umask 777"])
        self.assertEqual(self.names("drop"), [])

    def test_twelve_thousand_recipients_are_refused_with_words(self):
        self.queue_run()
        text = b"To: " + b",\n ".join(b"u%d@far.example" % number for number in range(12_000)) + b"\nSubject: many\n\nx\n"
        done = self.sendmail("-t", "-i", text=text, check=False)
        self.assertEqual(done.returncode, 65)
        self.assertIn(b"more than 10000 recipients", done.stderr)
        self.assertEqual(self.names("drop"), [])

    def test_each_recipient_gets_one_copy(self):
        self.queue_run()
        me = self.user.name
        self.sendmail("-i", *[f"{me}@example.org"] * 500, me, me.upper(), "u@far.example", "u@far.example")
        self.queue_run()
        self.assertEqual(len(self.box.maildir_of(self.user).contents()), 1)
        self.assertEqual(list(self.sink.got.values()), [1])

    def test_what_is_not_known_yet_waits_in_the_queue(self):
        aliases = self.box.dir / "aliases"
        aliases.write_text("other: nobody\n")
        aliases.chmod(0o644)
        self.configure(alias_maps=f"hash:{aliases}")
        self.queue_run()
        self.sendmail("-i", "postmaster", "u@far.example")
        self.queue_run()
        self.assertEqual((self.names("drop"), len([name for name in self.names("queue") if not name.endswith(".log")])), ([], 1))
        self.assertEqual(list(self.sink.got.values()), [1])
        self.assertRegex(self.box.log(), "to=<postmaster@example.org>.*status=deferred .*There is no postmaster yet")
        aliases.write_text(f"postmaster: {self.user.name}\n")
        time.sleep(1.1)
        self.queue_run()
        self.assertEqual(self.names("queue"), [])
        self.assertEqual(len(self.box.maildir_of(self.user).contents()), 1)
        self.assertEqual(list(self.sink.got.values()), [1])

    def test_no_stranger_fills_the_process_table(self):
        """Each message is for another domain, whose server is silent; then there is one for a server that is not."""
        silent, hop = self.silent()
        domains = [f"s{number}.example" for number in range(70)]
        self.configure(transport_maps="inline:{" + ", ".join(f"{domain}={hop}" for domain in domains) + "}", default_process_limit="12")
        self.queue_run()
        started = []
        self.addCleanup(lambda: [process.wait() for process in started])
        self.addCleanup(self.kill_all)
        for domain in domains[:20]:
            self.sendmail("-i", f"u@{domain}")
            started.append(self.queue_run(wait=False))
        wait_until(lambda: len([process for process in started if process.poll() is None]) <= 8, "the other runs leave it to them", 30)
        # 8 runs, each with a guard, and 12 workers for all of them; those that find no place are about to end.
        wait_until(lambda: len(processes_of(self.box.binary)) <= 8 * 2 + 12, "no more processes than there may be")
        # Deliveries on this host have places of their own; all runs there may be are busy with silent servers.
        self.sendmail("-i", f"{self.user.name}@example.org")
        self.queue_run()
        wait_until(lambda: len(self.box.maildir_of(self.user).contents()) == 1, "a run with free workers delivers it", 30)
        self.assertTrue(any(process.poll() is None for process in started))

    def test_who_stops_the_reader_of_his_mail_keeps_nobody_waiting(self):
        other, third = self.box.add_user("other"), self.box.add_user("third")
        self.queue_run()
        self.sendmail("-i", f"{third.name}@example.org", text=b"Subject: large\n\n" + (b"x" * 900 + b"\n") * 8000)
        over = threading.Event()
        stopped = []

        def stop_readers():
            while not over.is_set():
                for pid in set(self.box.servers_of(self.user)) - set(stopped):
                    with contextlib.suppress(OSError):
                        os.kill(pid, signal.SIGSTOP)
                        stopped.append(pid)

        hostile = threading.Thread(target=stop_readers)
        hostile.start()
        self.addCleanup(hostile.join)
        self.addCleanup(over.set)
        slow = self.queue_run(wait=False)
        self.addCleanup(slow.wait)
        self.addCleanup(self.kill_all)
        wait_until(lambda: stopped, "the reader has been stopped")
        begun = time.monotonic()
        self.as_other(other, "-i", f"{other.name}@example.org")
        self.queue_run()
        wait_until(lambda: self.box.maildir_of(other).contents(), "mail of somebody else")
        self.assertLess(time.monotonic() - begun, 20)
        self.assertIsNone(slow.poll())
        over.set()
        # When it is no longer stopped, it goes.
        wait_until(lambda: self.box.maildir_of(third).contents(), "the large message", 60)
        self.assertEqual(slow.wait(30), 0)
        self.assertEqual(len(self.box.maildir_of(third).contents()), 1)

    def as_other(self, user, *options):
        command = [self.box.dir / "sendmail", "-C", self.box.conf, *options]
        return run(*command, user=user.uid, group=user.gid, extra_groups=[], cwd="/", input="Subject: x\n\nx\n")

    def test_what_is_dropped_beside_a_slow_run_is_taken_in(self):
        silent, hop = self.silent()
        self.configure(transport_maps=f"inline:{{slow.example={hop}}}")
        self.queue_run()
        self.sendmail("-i", "u@slow.example")
        slow = self.queue_run(wait=False)
        self.addCleanup(slow.wait)
        self.addCleanup(self.kill_all)
        peer, _ = silent.accept()
        self.addCleanup(peer.close)
        # Nothing starts another run.
        self.sendmail("-i", f"{self.user.name}@example.org")
        wait_until(lambda: self.box.maildir_of(self.user).contents(), "the run that is under way takes it in", 40)
        self.assertIsNone(slow.poll())

    def test_a_silent_host_keeps_no_other_destination_waiting(self):
        """It has another turn when the others have had theirs, and then all the time of the settings."""
        silent, hop = self.silent()
        program, aliases = self.box.dir / "program", self.box.dir / "aliases"
        program.write_text("#!/bin/sh\ncat >/dev/null\nsleep 2\n")
        program.chmod(0o755)
        aliases.write_text(f"slow: |{program}\n")
        self.configure(transport_maps=f"inline:{{slow.example={hop}}}", alias_maps=f"hash:{aliases}", default_privs=self.user.name)
        self.queue_run()
        self.sendmail("-i", "u@slow.example", "w@far.example", "slow@example.org")
        process = self.queue_run(wait=False)
        self.addCleanup(process.wait)
        self.addCleanup(self.kill_all)
        silent.settimeout(60)
        first, _ = silent.accept()
        wait_until(lambda: self.sink.got, "the other host has it, long before the time for a greeting is over", 60)
        first.settimeout(60)
        self.assertEqual(first.recv(1), b"")
        first.close()
        second, _ = silent.accept()
        self.assertRegex(self.box.log(), r"to=<slow@example\.org>.*status=sent", "how the program ended is known before")
        # Longer than others are kept waiting.
        self.assertFalse(select.select([second], [], [], 12)[0], "the host had less time than the settings give it")
        with second, second.makefile("rwb") as stream:
            for code, ends in ((b"220", b"EHLO "), (b"250", b"MAIL "), (b"250", b"RCPT TO:<u@slow.example>"), (b"250", b"DATA"), (b"354", b".\r\n"),
                               (b"250", b"QUIT")):
                stream.write(code + b" slow.example\r\n")
                stream.flush()
                while not (line := stream.readline()).startswith(ends):
                    self.assertTrue(line, ends)
        self.assertEqual(process.wait(30), 0)
        self.assertEqual(self.names("queue"), [])
        self.assertEqual(list(self.sink.got.values()), [1])
        self.assertEqual(re.findall(r"to=<(\w*)@.*status=(\w*)", self.box.log()), [("w", "sent"), ("slow", "sent"), ("u", "sent")])

    def test_one_destination_has_all_the_time_at_once(self):
        """Nobody waits for it, however many transactions there are."""
        silent, hop = self.silent()
        self.configure(transport_maps=f"inline:{{slow.example={hop}}}", smtp_helo_timeout="12s")
        self.queue_run()
        self.sendmail("-i", *(f"u{number}@slow.example" for number in range(101)), f"{self.user.name}@example.org")
        self.queue_run()
        silent.setblocking(False)
        with silent.accept()[0]:
            self.assertRaises(BlockingIOError, silent.accept)
        self.assertEqual(self.box.log().count("status=deferred"), 101)

    def test_rubbish_in_the_drop_directory_goes(self):
        self.queue_run()
        drop = self.box.dir / "queue" / "drop"
        for number in range(3000):
            os.symlink("/etc/passwd", drop / f"link{number}")
        self.queue_run()
        self.assertEqual(self.names("drop"), [])
