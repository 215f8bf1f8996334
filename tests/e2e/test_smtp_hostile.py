"""Mail that comes in: what must never happen on the way, whatever happens."""

import concurrent.futures
import os
import pathlib
import random
import re
import signal
import smtplib
import socket
import threading
import time

import harness
from harness import HOST, IN_NAMESPACE, needs_root, processes_of, run, uid_of, wait_until
from smtp_box import DOMAIN, Smtp, SmtpBox

class NeverLost(Smtp):
    def send(self, number, seen):
        """Sends a message; notes whether it was acknowledged."""
        try:
            with smtplib.SMTP(HOST, self.server.port, timeout=60) as client:
                client.sendmail("a@client.example", [self.to], f"Subject: {number:04}\r\n\r\n" + "x" * 3000 + "\r\n")
                seen.add(number)
        except (OSError, smtplib.SMTPException):
            pass

    @needs_root
    def test_kill_at_any_time(self):
        """A message that was acknowledged is there once; any other at most once, and never half."""
        dice, seen, stop = random.Random(5), set(), threading.Event()

        def killer():
            while not stop.is_set():
                time.sleep(dice.random() * 0.06)
                pids = processes_of(self.box.binary)
                if pids:
                    try:
                        os.kill(dice.choice(pids), signal.SIGKILL)
                    except OSError:
                        pass
        thread = threading.Thread(target=killer)
        thread.start()
        try:
            with concurrent.futures.ThreadPoolExecutor(3) as pool:
                list(pool.map(lambda number: self.send(number, seen), range(200)))
        finally:
            stop.set()
            thread.join()
        self.box.wait_idle()
        there = [int(re.search(rb"Subject: (\d+)", raw)[1]) for raw in self.box.received(self.user)]
        self.assertEqual(len(there), len(set(there)), "a message is there twice")
        self.assertFalse(seen - set(there), "an acknowledged message is not there")
        self.assertTrue(all(raw.endswith(b"x" * 3000 + b"\n") for raw in self.box.received(self.user)))
        self.assertGreater(len(seen), 5)
        self.assertLess(len(seen), 200)

    @needs_root
    def test_a_writer_that_is_killed(self):
        """Its message is refused, and nothing of it gets into the next one."""
        with smtplib.SMTP(HOST, self.server.port, timeout=60) as client:
            client.ehlo()
            client.mail("a@client.example")
            client.rcpt(self.to)
            self.assertEqual(client.docmd("DATA")[0], 354)
            [writer] = self.box.servers_of(self.user)
            os.kill(writer, signal.SIGKILL)
            client.sock.sendall(b"Subject: lost\r\n\r\nfirst\r\n.\r\n")
            self.assertEqual(client.getreply()[0], 451)
            with self.assertRaises(smtplib.SMTPException):
                # MAIL is not asked about by itself.
                self.assertEqual(client.docmd("MAIL", "FROM:<>")[0], 250)
                self.assertEqual(client.docmd("RCPT", f"TO:<{self.to}>")[0], 421)
                client.docmd("NOOP")
        self.box.wait_idle()
        self.assertEqual(self.box.received(self.user), [])

    @needs_root
    def test_disk_full(self):
        if not IN_NAMESPACE:
            self.skipTest("needs a mount namespace of its own")
        run("mount", "-t", "tmpfs", "-o", f"size=256k,uid={self.user.uid},gid={self.user.gid},mode=0700", "tmpfs", self.user.home)
        self.addCleanup(run, "umount", self.user.home)
        with smtplib.SMTP(HOST, self.server.port, timeout=60) as client:
            client.sendmail("a@client.example", [self.to], "Subject: small\r\n\r\nx\r\n")
            with self.assertRaises(smtplib.SMTPDataError) as caught:
                client.sendmail("a@client.example", [self.to], "Subject: large\r\n\r\n" + ("x" * 70 + "\r\n") * 10000)
            self.assertEqual((caught.exception.smtp_code, caught.exception.smtp_error[:5]), (452, b"4.3.1"))
            # The same connection, the same writer.
            client.sendmail("a@client.example", [self.to], "Subject: small again\r\n\r\nx\r\n")
        self.assertEqual(len(self.box.received(self.user)), 2)
        self.assertEqual(os.listdir(self.user.home / "Maildir/tmp"), [])

    def test_a_client_that_vanishes_after_the_dot(self):
        for _ in range(20):
            with socket.create_connection((HOST, self.server.port)) as client:
                client.recv(1000)
                for line in ("EHLO a", "MAIL FROM:<>", f"RCPT TO:<{self.to}>", "DATA"):
                    client.sendall(line.encode() + b"\r\n")
                    client.recv(4000)
                client.sendall(b"Subject: x\r\n\r\n.\r\n")
        self.box.wait_idle()
        self.assertEqual(len(self.box.received(self.user)), 20)


class NoOpenRelay(Smtp):
    def test_a_server_that_would_be_one_does_not_start(self):
        box = SmtpBox(settings={"smtpd_relay_restrictions": "permit"})
        self.addCleanup(box.close)
        done = run(box.binary, "-c", box.conf, "--check", check=False)
        self.assertEqual(done.returncode, 100)
        self.assertRegex(done.stdout, r"(?m)^error: .*open relay")
        ours, theirs = socket.socketpair()
        with ours, theirs:
            done = run(box.binary, "-c", box.conf, check=False, stdin=theirs)
            self.assertEqual(done.returncode, 100)
        server = box.serve()
        with socket.create_connection((HOST, server.port), timeout=60) as client:
            self.assertTrue(client.makefile("rb").read().startswith(b"421 4.3.0 "))
        self.assertIn("open relay", box.log_path.read_text())

    def test_known_tricks(self):
        """None of these gets out, whoever asks from elsewhere."""
        tricks = ["<victim@other.example>", "<victim%other.example@example.org>", "<victim%other.example>", "<victim@other.example@example.org>",
                  "<\"victim@other.example\">", "<\"victim@other.example\"@example.org>", "<@example.org:victim@other.example>",
                  "<@example.org,@mx.example.org:victim@other.example>", "<other.example!victim@example.org>", "<other.example!victim>",
                  "<victim@OTHER.EXAMPLE>", "<victim@other.example.>", "<victim@[203.0.113.9]>", "<victim@other.example\0@example.org>",
                  "<victim@example.org.other.example>", "<victim@xexample.org>", "<victim@[127.0.0.1]>", "<victim@[IPv6:::1]>",
                  "victim@other.example", "<\"\"@other.example>", "<victim @other.example>", "<victim@other.example>\n<a@example.org>",
                  "<\"victim\\@other.example\"@example.org>", "<victim@other.example,a@example.org>", "<victim@%s>" % ("x" * 60)]
        # A client from elsewhere, as a trusted proxy tells it.
        box = SmtpBox(settings={"haproxy_trusted_networks": "127.0.0.1"})
        self.addCleanup(box.close)
        server = box.serve()
        with socket.create_connection((HOST, server.port)) as client:
            file = client.makefile("rb")
            client.sendall(b"PROXY TCP4 203.0.113.7 192.0.2.1 4000 25\r\n")
            self.assertTrue(file.readline().startswith(b"220 "))
        for trick in tricks:
            with self.subTest(trick), socket.create_connection((HOST, server.port)) as client:
                client.settimeout(60)
                file = client.makefile("rb")

                def say(line, client=client, file=file):
                    client.sendall(line.encode() + b"\r\n")
                    reply = file.readline()
                    while reply[3:4] == b"-":
                        reply = file.readline()
                    return reply
                client.sendall(b"PROXY TCP4 203.0.113.7 192.0.2.1 4000 25\r\n")
                file.readline()
                say("EHLO a")
                self.assertTrue(say("MAIL FROM:<a@example.org>").startswith(b"250"))
                reply = say(f"RCPT TO:{trick}")
                self.assertRegex(reply, rb"^5\d\d 5\.\d\.\d")
        self.assertEqual(list((box.dir / "queue").rglob("queue/*")) if (box.dir / "queue").exists() else [], [])


class Injection(Smtp):
    @needs_root
    def test_nothing_in_an_address_is_executed_or_expanded(self):
        """As senders, recipients and extensions: for a mailbox, a program and its shell, luser_relay and a notification."""
        box = SmtpBox(settings={"recipient_delimiter": "+", "luser_relay": f"demo+$local@{DOMAIN}", "local_recipient_maps": "",
                                "mynetworks": "127.0.0.0/8"})
        self.addCleanup(box.close)
        self.box = box
        catcher, collector = box.user, box.add_user("collector")
        os.chmod(box.dir, 0o755)
        seen, proof = collector.home / "seen", box.dir / "proof"
        proof.mkdir()
        proof.chmod(0o777)
        forward = collector.home / ".forward"
        forward.write_text(f'"|/bin/sh -c \'eval echo $SENDER $LOCAL $EXTENSION $RECIPIENT >>{seen}\'"\n')
        os.chown(forward, collector.uid, collector.gid)
        server = box.serve(change={"cps": "1000 1"})
        words = ["${run{/usr/bin/touch %s}}", "$(touch %s)", "`touch %s`", ";touch %s;", "|touch %s", "&touch %s&", "\\\"touch %s",
                 ";for i in 0 1 2;do read r;done;sh;exit 0;", "%%s%%n", "() { :; }; touch %s", ":include:%s", "/%s", "$domain"]
        words = [word.replace("%s", f"{proof}/{number}") for number, word in enumerate(words)]
        accepted = 0
        for word in words:
            quoted = word.replace("\\", "\\\\").replace('"', '\\"')
            for sender, to in ((f'"{quoted}"@client.example', f"collector@{DOMAIN}"), ("a@client.example", f'"collector+{quoted}"@{DOMAIN}'),
                               ("a@client.example", f'"{quoted}"@{DOMAIN}'), (f'"{quoted}"@{DOMAIN}', f"nobody@nowhere.invalid")):
                with smtplib.SMTP(HOST, server.port, timeout=60) as client:
                    client.ehlo("a")
                    self.assertIn(client.docmd("MAIL", f"FROM:<{sender}>")[0], (250, 501, 553))
                    if client.docmd("RCPT", f"TO:<{to}>")[0] == 250 and client.docmd("DATA")[0] == 354:
                        client.send(b"Subject: x\r\n\r\nx\r\n.\r\n")
                        accepted += client.getreply()[0] == 250
        box.wait_idle()
        run(box.binary, "-c", box.conf, "-q")
        self.assertGreater(accepted, len(words))
        self.assertEqual(os.listdir(proof), [])
        self.assertRegex(seen.read_text(), r"(?m)^_")
        self.assertTrue(box.received(catcher), box.log())


class Walls(Smtp):
    @needs_root
    def test_who_runs_as_whom_and_what_they_know(self):
        context = self.box.authority.context()
        with smtplib.SMTP("localhost", self.server.submission_port, timeout=60) as client:
            client.starttls(context=context)
            client.login(self.user.name, self.user.password)
            client.mail("a@example.org")
            client.rcpt(self.to)
            self.assertEqual(client.docmd("DATA")[0], 354)
            client.sock.sendall(b"Subject: half\r\n")
            # Those of earlier tests may be about to end.
            wait_until(lambda: len(self.box.servers()) == 3, "three processes")
            uids = {uid_of(pid): pid for pid in self.box.servers()}
            self.assertEqual(set(uids), {0, 65534, self.user.uid})
            writer, front = uids[self.user.uid], uids[65534]
            secret = self.user.password.encode()
            self.assertNotIn(secret, self.memory(writer))
            self.assertEqual(os.readlink(f"/proc/{front}/root"), str(self.box.dir / "run/empty"))
            self.assertEqual(harness.status_of(front)["NoNewPrivs"], "1")
            self.assertEqual(harness.status_of(front)["Seccomp"], "2")
            self.assertEqual(sorted(os.listdir(f"/proc/{front}/fd")), ["0", "1", "2", "3", "4"])
            # The writer has no way to the client.
            links = [os.readlink(f"/proc/{writer}/fd/{fd}") for fd in os.listdir(f"/proc/{writer}/fd")]
            mine = os.readlink(f"/proc/{front}/fd/0")
            self.assertNotIn(mine, links)
            client.sock.sendall(b"\r\n.\r\n")
            self.assertEqual(client.getreply()[0], 250)
        self.box.wait_idle()

    @staticmethod
    def memory(pid):
        octets = b""
        with open(f"/proc/{pid}/maps") as maps, open(f"/proc/{pid}/mem", "rb", 0) as mem:
            for line in maps:
                if "rw" in line.split()[1]:
                    start, end = (int(part, 16) for part in line.split()[0].split("-"))
                    mem.seek(start)
                    try:
                        octets += mem.read(end - start)
                    except OSError:
                        pass
        return octets

    @needs_root
    def test_fail2ban(self):
        """Debian's own filter for Postfix finds guessed passwords, and those who would relay."""
        with smtplib.SMTP(HOST, self.server.submission_port, timeout=60) as client:
            client.ehlo()
            with self.assertRaises(smtplib.SMTPAuthenticationError):
                client.login(self.user.name, "wrong")
        box = SmtpBox(settings={"haproxy_trusted_networks": "127.0.0.1"})
        self.addCleanup(box.close)
        server = box.serve()
        with socket.create_connection((HOST, server.port)) as client:
            client.sendall(b"PROXY TCP4 203.0.113.7 192.0.2.1 4000 25\r\n")
            file = client.makefile("rb")
            file.readline()
            for line in ("HELO a", "MAIL FROM:<a@b.example>", "RCPT TO:<victim@other.example>", "QUIT"):
                client.sendall(line.encode() + b"\r\n")
                file.readline()
        box.wait_idle()
        for log, mode, address in ((self.box.log_path, "auth", HOST), (box.log_path, "more", "203.0.113.7")):
            found = run("fail2ban-regex", "-o", "<ip>", log, f"/etc/fail2ban/filter.d/postfix.conf[mode={mode}]").stdout.split()
            self.assertIn(address, found, pathlib.Path(log).read_text())


class Large(Smtp):
    settings = {"message_size_limit": "300m"}

    @needs_root
    def test_memory_with_a_message_of_200_megabytes(self):
        line = b"x" * 998 + b"\r\n"
        with socket.create_connection((HOST, self.server.port)) as client:
            client.recv(1000)
            for command in ("EHLO a", "MAIL FROM:<>", f"RCPT TO:<{self.to}>", "DATA"):
                client.sendall(command.encode() + b"\r\n")
                client.recv(4000)
            most = 0
            for round_ in range(200):
                client.sendall(line * 1000)
                if round_ % 20 == 10:
                    most = max(most, *(private(pid) for pid in processes_of(self.box.binary)))
            client.sendall(b".\r\n")
            client.settimeout(60)
            self.assertTrue(client.recv(1000).startswith(b"250 "))
        self.assertLess(most, 1024, "KiB of one process")
        self.assertGreater(sum(len(raw) for raw in self.box.received(self.user)), 199_000_000)


def private(pid):
    try:
        rollup = pathlib.Path(f"/proc/{pid}/smaps_rollup").read_text()
    except OSError:
        return 0
    return sum(int(line.split()[1]) for line in rollup.splitlines() if line.startswith(("Private_Clean", "Private_Dirty")))


if __name__ == "__main__":
    harness.main()
