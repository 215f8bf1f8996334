"""Mail that comes in: real clients and a real Postfix, in clear and under TLS, and the places that it goes to."""

import concurrent.futures
import contextlib
import os
import re
import shutil
import smtplib
import socket
import subprocess
import threading
import time
import unittest
from unittest import mock

import harness
import opensmtpd
from harness import HOST, needs_root, plain, program, run, wait_until, wire
from smtp_box import DOMAIN, Smtp, added_lines
from smtp_out import listens


class Clients(Smtp):
    TEXT = b"Subject: test\nFrom: a@client.example\nMessage-ID: <1@client.example>\nDate: Sat, 21 Nov 2026 10:00:00 +0000\n\n.\n..\nGr\xc3\xbc\xc3\x9fe\n"

    def ways(self):
        """Port 25 in clear and with STARTTLS, 587 with STARTTLS and 465, each with a login where there is one."""
        yield "smtp", self.server.port
        yield "starttls", self.server.port
        yield "submission", self.server.submission_port
        yield "submissions", self.server.tls_port

    def check(self, way):
        trace, text = self.only_message()
        with_tls, login = way != "smtp", way.startswith("submission")
        self.assertIn(b" with ESMTP" + b"S" * with_tls + b"A" * login + b" id ", trace)
        self.assertEqual(b"(using TLSv1." in trace, with_tls)
        self.assertIn(b"for <" + self.to.encode() + b">;", trace)
        for line in self.TEXT.splitlines():
            self.assertIn(line, text.splitlines())
        for name in self.box.maildir_of(self.user).files():
            os.unlink(self.user.home / "Maildir" / name)

    def test_swaks(self):
        for way, port in self.ways():
            with self.subTest(way):
                more = {"smtp": [], "starttls": ["--tls"], "submission": ["--tls"], "submissions": ["--tls-on-connect"]}[way]
                if way.startswith("submission"):
                    more += ["--auth", "PLAIN", "--auth-user", self.user.name, "--auth-password", self.user.password]
                run(program("swaks"), "--server", HOST, "--port", port, "--ehlo", "client.example", "--from", "a@client.example",
                    "--to", self.to, "--data", "-", *more, input=self.TEXT.decode())
                self.check(way)

    def test_msmtp(self):
        for way, port in self.ways():
            with self.subTest(way):
                tls = {"smtp": ["--tls=off"], "submissions": ["--tls=on", "--tls-starttls=off"]}.get(way, ["--tls=on"])
                auth = ["--auth=off"]
                if way.startswith("submission"):
                    auth = ["--auth=plain", f"--user={self.user.name}", f"--passwordeval=echo {self.user.password}"]
                run(program("msmtp"), "--file=/dev/null", f"--host={HOST}", f"--port={port}", "--from=a@client.example", *tls, *auth,
                    f"--tls-trust-file={self.ca}", self.to, input=self.TEXT.decode())
                self.check(way)

    def test_curl(self):
        file = self.box.dir / "curl-mail"
        file.write_bytes(self.TEXT.replace(b"\n", b"\r\n"))
        for way, port in self.ways():
            with self.subTest(way):
                url = f"smtps://localhost:{port}" if way == "submissions" else f"smtp://localhost:{port}/client.example"
                more = [] if way in ("smtp", "submissions") else ["--ssl-reqd"]
                if way.startswith("submission"):
                    more += ["--user", f"{self.user.name}:{self.user.password}"]
                run("curl", "--silent", "--show-error", "--fail", "--cacert", self.ca, "--mail-from", "a@client.example",
                    "--mail-rcpt", self.to, "--upload-file", file, *more, url)
                self.check(way)

    def test_smtplib(self):
        for way, port in self.ways():
            with self.subTest(way):
                context = self.box.authority.context()
                kind = smtplib.SMTP_SSL if way == "submissions" else smtplib.SMTP
                more = {"context": context} if way == "submissions" else {}
                with kind("localhost", port, local_hostname="client.example", timeout=60, **more) as client:
                    if way in ("starttls", "submission"):
                        client.starttls(context=context)
                    if way.startswith("submission"):
                        client.login(self.user.name, self.user.password)
                    client.sendmail("a@client.example", [self.to], wire(self.TEXT), mail_options=["BODY=8BITMIME"])
                self.check(way)

    def test_a_login_in_clear_is_forgotten_under_tls(self):
        """RFC 3207 section 4.2: who said it may have been somebody on the way."""
        context = self.box.authority.context()
        with smtplib.SMTP("localhost", self.server.submission_port, local_hostname="client.example", timeout=60) as client:
            client.login(self.user.name, self.user.password)
            self.assertEqual(client.mail("a@client.example")[0], 250)
            self.assertEqual(client.starttls(context=context)[0], 220)
            client.ehlo()
            self.assertEqual(client.mail("a@client.example")[0], 530)
            client.login(self.user.name, self.user.password)
            client.sendmail("a@client.example", [self.to], wire(self.TEXT))
        self.check("submission")

    def test_odd_messages_arrive_octet_for_octet(self):
        with smtplib.SMTP(HOST, self.server.port, timeout=60) as client:
            for name, raw in harness.odd_messages():
                with self.subTest(name):
                    refused = name == "long-line"
                    try:
                        client.sendmail("a@client.example", [self.to], wire(raw), mail_options=["BODY=8BITMIME"])
                        self.assertFalse(refused)
                    except smtplib.SMTPDataError as error:
                        self.assertTrue(refused, error)
                        self.assertEqual(error.smtp_code, 554)
                        continue
                    _, text = self.only_message()
                    # Return-Path is ours.
                    self.assertEqual(plain(text), plain(raw).replace(b"Return-Path: <sender@example.org>\n", b"", 1))
                    for file in self.box.maildir_of(self.user).files():
                        os.unlink(self.user.home / "Maildir" / file)

    def test_there_is_one_return_path(self):
        other = self.box.add_user(f"o{len(self.box.users)}")
        raw = b"Return-Path: <b@client.example>\r\nSubject: x\r\nreturn-path:\r\n <c@client.example>\r\n\r\nReturn-Path: text\r\n"
        # Straight into the mailbox, and through the queue.
        for recipients in ([self.to], [self.to, f"{other.name}@{DOMAIN}"]):
            with smtplib.SMTP(HOST, self.server.port, timeout=60) as client:
                client.sendmail("a@client.example", recipients, raw)
        wait_until(lambda: len(self.box.received(self.user)) == 2 and self.box.received(other), "they are there")
        for stored in self.box.received(self.user) + self.box.received(other):
            trace, text = added_lines(stored)
            self.assertTrue(trace.startswith(b"Return-Path: <a@client.example>\n"))
            self.assertEqual(text, b"Subject: x\n\nReturn-Path: text\n")

    def from_smtp_source(self, *options, port=None, users=None, sessions=5, messages=100, protocol="SMTP"):
        """Every message that it sends arrives once, as it was: each has a Message-ID of its own, and so many octets."""
        users = users or [self.user]
        run(program("smtp-source"), "-s", sessions, "-m", messages, "-l", 4096, "-f", "a@client.example", "-t", self.to, *options,
            f"{HOST}:{port or self.server.port}")
        for user in users:
            ids, bodies = [], set()
            for raw in self.box.received(user):
                trace, text = added_lines(raw)
                self.assertIn(f" with {protocol} id ".encode(), trace)
                self.assertIn(f"Delivered-To: {user.name}@{DOMAIN}\n".encode(), trace)
                head, _, body = text.partition(b"\n\n")
                fields = re.fullmatch(rb"From: <a@client.example>\nTo: <%s>\nDate: [^\n]*\nMessage-Id: (<[^\n]*>)" % self.to.encode(), head)
                self.assertTrue(fields, head)
                ids.append(fields[1])
                bodies.add(wire(body))
            self.assertEqual((len(ids), len(set(ids))), (messages, messages))
            [body] = bodies
            # With the end of its last line.
            self.assertEqual((len(body), body.replace(b"X", b"")[:6]), (4096 + 2, b"1\r\n2\r\n"))
            shutil.rmtree(user.home / "Maildir")

    def test_smtp_source(self):
        self.from_smtp_source()
        # All over one connection.
        self.from_smtp_source("-d", sessions=1, messages=50)

    def test_smtp_source_over_lmtp(self):
        """Two recipients in each transaction, each with an answer of his own; -r puts a number in front of the second one."""
        second = self.box.add_user(f"2{self.user.name}")
        listener, servers = socket.create_server((HOST, 0), backlog=100), []
        self.addCleanup(lambda: [server.wait(60) for server in servers])

        def serve():
            with contextlib.suppress(OSError):
                while True:
                    client, _ = listener.accept()
                    with client:
                        servers.append(subprocess.Popen([str(self.box.binary), "-c", str(self.box.conf), "--lmtp"], stdin=client, stdout=client))
        threading.Thread(target=serve, daemon=True).start()
        self.from_smtp_source("-L", "-r", "2", port=listener.getsockname()[1], users=[self.user, second], sessions=4, messages=40, protocol="LMTP")
        self.assertGreaterEqual(len(servers), 4)
        listener.shutdown(socket.SHUT_RDWR)
        listener.close()

    def test_bdat_by_hand(self):
        with smtplib.SMTP(HOST, self.server.port, timeout=60) as client:
            client.ehlo("client.example")
            client.mail("a@client.example")
            client.rcpt(self.to)
            client.sock.sendall(b"BDAT 14\r\nSubject: x\r\n\r\nBDAT 5 LAST\r\n.\r\na\n")
            self.assertEqual([client.getreply()[0] for _ in range(2)], [250, 554])
            client.mail("a@client.example")
            client.rcpt(self.to)
            client.sock.sendall(b"BDAT 14\r\nSubject: x\r\n\r\nBDAT 3 LAST\r\n.\r\n")
            self.assertEqual([client.getreply()[0] for _ in range(2)], [250, 250])
        self.assertEqual(self.only_message()[1], b"Subject: x\n\n.\n")


@needs_root
class Postfix(Smtp):
    """A real Postfix delivers over LMTP, to the shipped service files, and sends by SMTP."""

    def test_smtp(self):
        """With PIPELINING, SIZE and DSN as it likes; in clear, and under TLS with a certificate that it verifies."""
        transport = f"smtp:[{HOST}]:{self.server.port}"
        self.check(transport, lambda conf: None, "ESMTP")
        self.user = self.box.add_user(f"u{len(self.box.users)}")
        self.check(transport, lambda conf: None, "ESMTPS",
                   f"smtp_tls_security_level = verify\nsmtp_tls_verify_cert_match = localhost\nsmtp_tls_CAfile = {self.ca}\n")

    def test_lmtp_under_xinetd(self):
        lmtp, port = self.box.dir / "lmtp.conf", harness.free_port()
        text = (harness.TREE / "xinetd/lmtp").read_text()
        for name, value in (("disable", "no"), ("port", port), ("server", self.box.binary),
                            ("server_args", f"-c {self.box.conf} --lmtp"), ("log_type", f"FILE {self.box.dir}/lmtp.log")):
            text, count = re.subn(rf"(?m)^(\s*{name}\s*)=.*$", rf"\1= {value}", text)
            self.assertEqual(count, 1, name)
        lmtp.write_text(text)
        self.start(program("xinetd"), "-f", lmtp, "-dontfork", "-pidfile", self.box.dir / "lmtp.pid")
        self.check(f"lmtp:inet:{HOST}:{port}", lambda conf: None)

    def test_lmtp_under_s6(self):
        """On the Unix socket below Postfix's queue directory."""
        def serve(conf):
            script = self.box.dir / "lmtp-run"
            text = (harness.TREE / "s6/lmtp/run").read_text()
            self.assertIn("/var/spool/postfix/", text)
            text = text.replace("/var/spool/postfix/", f"{conf}/queue/")
            text = text.replace("/usr/local/sbin/smtpd -o log_path=/dev/stderr", f"{self.box.binary} -c {self.box.conf}")
            script.write_text(text)
            program("s6-ipcserverd")
            self.start("sh", script)
            path = conf / "queue/private/tinmail-lmtp"
            owner = int(run("id", "-u", "postfix").stdout)
            wait_until(lambda: path.exists() and path.stat().st_uid == owner, "the socket")
            self.assertEqual(path.stat().st_mode & 0o777, 0o600)
        self.check("lmtp:unix:private/tinmail-lmtp", serve)

    def start(self, *command):
        process = subprocess.Popen([str(word) for word in command], stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL,
                                   stderr=subprocess.DEVNULL, start_new_session=True)
        self.addCleanup(harness.stop, process)

    def check(self, transport, serve, protocol="LMTP", more=""):
        conf = self.box.dir / f"postfix-{self.user.name}"
        for directory in ("", "queue", "data"):
            (conf / directory).mkdir(mode=0o755)
        run("chown", "postfix", conf / "data")
        (conf / "main.cf").write_text(
            f"compatibility_level = 3.6\nqueue_directory = {conf}/queue\ndata_directory = {conf}/data\nmydestination =\n"
            f"myhostname = postfix.example.net\ninet_interfaces = loopback-only\nmaillog_file = {conf}/queue/log\n"
            f"maillog_file_prefixes = {conf}\nlocal_recipient_maps =\nrelay_domains = {DOMAIN}\nsmtputf8_enable = no\n"
            f"transport_maps = inline:{{{DOMAIN}={transport}}}\nalias_maps =\nmynetworks = 127.0.0.0/8\n"
            f"lmtp_destination_recipient_limit = 10\n{more}")
        services = ["pickup unix n - n 60 1 pickup", "cleanup unix n - n - 0 cleanup", "qmgr unix n - n 300 1 qmgr",
                    "rewrite unix - - n - - trivial-rewrite", "bounce unix - - n - 0 bounce", "defer unix - - n - 0 bounce",
                    "trace unix - - n - 0 bounce", "lmtp unix - - n - - lmtp", "postlog unix-dgram n - n - 1 postlogd",
                    "smtp unix - - n - - smtp", "tlsmgr unix - - n 1000? 1 tlsmgr",
                    "flush unix n - n 1000? 0 flush", "proxymap unix - - n - - proxymap", "error unix - - n - - error",
                    "retry unix - - n - - error", "anvil unix - - n - 1 anvil", "scache unix - - n - 1 scache"]
        (conf / "master.cf").write_text("".join(f"{line}\n" for line in services))
        run(program("postfix"), "-c", conf, "start", timeout=60)
        self.addCleanup(lambda: run(program("postfix"), "-c", conf, "stop", check=False))
        serve(conf)
        other = self.box.add_user(f"u{len(self.box.users)}")
        users = [self.user, other]
        for number in range(3):
            run("/usr/sbin/sendmail", "-i", "-C", conf, "-f", "a@client.example", *(f"{user.name}@{DOMAIN}" for user in users),
                f"nobody-{number}@{DOMAIN}", input=f"Subject: {number}\n\n.\n.a\n")
        for user in users:
            try:
                wait_until(lambda user=user: len(self.box.received(user)) == 3, "three messages")
            except AssertionError as error:
                raise AssertionError(f"{error}\n{(conf / 'queue/log').read_text()}") from None
            for raw in self.box.received(user):
                trace, text = added_lines(raw)
                self.assertIn(f"Delivered-To: {user.name}@{DOMAIN}\n".encode(), trace)
                self.assertIn(f" with {protocol} id ".encode(), trace)
                self.assertTrue(text.endswith(b"\n\n.\n.a\n"), text)
        wait_until(lambda: len(re.findall(r"status=bounced", (conf / "queue/log").read_text())) >= 3, "bounces")


@unittest.skipUnless(harness.IN_NAMESPACE and harness.IS_ROOT, "needs a namespace of its own")
class OpenSmtpd(Smtp):
    """A real OpenSMTPD sends to us."""

    def test_smtp(self):
        other = self.box.add_user(f"u{len(self.box.users)}")
        base, port = self.box.dir / "opensmtpd", harness.free_port()
        actions = "".join(f'action "{name}" relay host {scheme}://localhost:{self.server.port}{more}\n'
                          f'match from any mail-from "{name}@client.example" for any action "{name}"\n'
                          for name, scheme, more in (("clear", "smtp+notls", ""), ("tls", "smtp+tls", " tls no-verify")))
        opensmtpd.start(self, base, f"listen on {HOST} port {port} hostname os.test\n{actions}")
        wait_until(lambda: listens(HOST, port), "OpenSMTPD listens")
        text = b"Subject: from OpenSMTPD\r\n\r\n.\r\n..a\r\nGr\xc3\xbc\xc3\x9fe\r\n" + b"line\r\n" * 20000
        for sender in ("clear", "tls"):
            with smtplib.SMTP(HOST, port, timeout=60) as client:
                client.sendmail(f"{sender}@client.example", [self.to, f"{other.name}@{DOMAIN}", f"absent@{DOMAIN}"], text)
        for user in (self.user, other):
            try:
                wait_until(lambda user=user: len(self.box.received(user)) == 2, "two messages")
            except AssertionError as error:
                raise AssertionError(f"{error}\n{(base / 'log').read_text()}") from None
            traces = []
            for raw in self.box.received(user):
                trace, message = added_lines(raw)
                traces.append(trace)
                self.assertTrue(message.endswith(text.partition(b"\r\n\r\n")[2].replace(b"\r\n", b"\n")))
            for sender, protocol in (("clear", b"ESMTP"), ("tls", b"ESMTPS")):
                [trace] = [trace for trace in traces if f"Return-Path: <{sender}@".encode() in trace]
                self.assertIn(b" with " + protocol + b" id ", trace)
        self.assertIn(b"550 5.1.1", (base / "log").read_bytes())


class NewMaildirs(Smtp):
    """Several connections deliver at once to users who have no Maildir yet, while somebody looks whether it came."""

    ROUNDS, CONNECTIONS = 10, 4

    def deliver(self, port, number, users):
        """To all of them in one message; the replies."""
        with smtplib.LMTP(HOST, port, timeout=60) as client:
            client.ehlo()
            client.mail("a@client.example")
            for user in users:
                self.assertEqual(client.rcpt(f"{user.name}@{DOMAIN}")[0], 250)
            self.assertEqual(client.docmd("DATA")[0], 354)
            client.send(f"Subject: {number}\r\n\r\nx\r\n.\r\n")
            return [client.getreply() for _ in users]

    @needs_root
    def test_lmtp_to_new_users(self):
        # More than a connection keeps writers for.
        users = [self.user, *(self.box.add_user(f"u{len(self.box.users)}") for _ in range(6))]
        server = self.box.serve(arguments=["--lmtp"])
        over, there, chown = threading.Event(), threading.Lock(), os.chown

        def slow_chown(*arguments, **more):
            time.sleep(0.005)
            chown(*arguments, **more)

        def look():
            while not over.is_set():
                for user in users:
                    with there:
                        self.box.received(user)
        with mock.patch.object(os, "chown", slow_chown), concurrent.futures.ThreadPoolExecutor(self.CONNECTIONS + 1) as pool:
            looking = pool.submit(look)
            try:
                for number in range(self.ROUNDS):
                    for user in users:
                        with there:
                            shutil.rmtree(user.home / "Maildir", ignore_errors=True)
                    for replies in pool.map(lambda _: self.deliver(server.port, number, users), range(self.CONNECTIONS)):
                        self.assertEqual({code for code, _ in replies}, {250}, f"round {number}: {replies}")
                    for user in users:
                        self.assertEqual(len(self.box.received(user)), self.CONNECTIONS)
            finally:
                over.set()
            looking.result()

    @needs_root
    def test_a_mailbox_that_cannot_be_written(self):
        """The client hears that it is so, the log why; the other recipient gets the message."""
        other, server = self.box.add_user(f"u{len(self.box.users)}"), self.box.serve(arguments=["--lmtp"])
        os.chown(other.home, 0, 0)
        os.chmod(other.home, 0o755)
        for users, codes in ([[self.user, other], [250, 451]], [[other], None]):
            if codes:
                self.assertEqual([code for code, _ in self.deliver(server.port, 1, users)], codes)
                self.box.wait_log(rf"NOQUEUE: reject: END-OF-MESSAGE from .*: 451 4\.3\.0 The mailbox cannot be written now; .*to=<{other.name}@")
            else:
                with smtplib.LMTP(HOST, server.port, timeout=60) as client, self.assertRaises(smtplib.SMTPDataError) as caught:
                    client.sendmail("a@client.example", f"{other.name}@{DOMAIN}", "x\r\n")
                self.assertEqual((caught.exception.smtp_code, caught.exception.smtp_error), (451, b"4.3.0 The mailbox cannot be written now"))
            self.box.wait_log(rf"The mailbox cannot be written now: mkdir\({other.home}/Maildir[^ ]*\): Permission denied")
            self.box.clear_log()
        self.assertEqual(len(self.box.received(self.user)), 1)


class Queued(Smtp):
    """What does not go straight into one mailbox goes through the queue, at once."""

    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        aliases = cls.shared.dir / "aliases"
        aliases.write_text("")
        cls.shared.write_settings(alias_maps=f"texthash:{aliases}")
        cls.aliases = aliases

    def send(self, *to):
        with smtplib.SMTP(HOST, self.server.port, timeout=60) as client:
            client.sendmail("a@client.example", [f"{name}@{DOMAIN}" for name in to], "Subject: x\r\n\r\nbody\r\n")

    def arrives(self, user, count=1):
        wait_until(lambda: len(self.box.received(user)) == count, f"{count} messages of {user.name}")
        queue = self.box.dir / "queue/queue"
        wait_until(lambda: not list(queue.iterdir()), "an empty queue")

    def test_two_recipients(self):
        other = self.box.add_user(f"u{len(self.box.users)}")
        self.send(self.user.name, other.name)
        self.arrives(self.user)
        self.arrives(other)

    def test_an_alias_of_two(self):
        other = self.box.add_user(f"u{len(self.box.users)}")
        self.aliases.write_text(f"both: {self.user.name}, {other.name}\n")
        self.send("both")
        self.arrives(self.user)
        self.arrives(other)

    @needs_root
    def test_forward(self):
        other = self.box.add_user(f"u{len(self.box.users)}")
        forward = self.user.home / ".forward"
        forward.write_text(f"{other.name}@{DOMAIN}, \\{self.user.name}\n")
        os.chown(forward, self.user.uid, self.user.gid)
        self.send(self.user.name)
        self.arrives(other)
        self.arrives(self.user)

    def forward(self, user, text):
        forward = user.home / ".forward"
        forward.write_text(text)
        os.chown(forward, user.uid, user.gid)

    @needs_root
    def test_forward_of_one_of_two_recipients(self):
        """The copy is marked as forwarded, and the user's own mailbox and file take it all the same."""
        other = self.box.add_user(f"u{len(self.box.users)}")
        file = self.user.home / "file"
        self.forward(self.user, f"{other.name}@{DOMAIN}, \\{self.user.name}, {file}\n")
        third = self.box.add_user(f"u{len(self.box.users)}")
        self.send(self.user.name, third.name)
        for user in (third, other, self.user):
            self.arrives(user)
        self.assertIn(f"Delivered-To: {self.to}\n".encode(), self.box.received(other)[0])
        self.assertIn("Subject: x\n", file.read_text())

    @needs_root
    def test_a_circle_of_two_forwards(self):
        """It ends where it comes back to, and the sender hears of it."""
        sender, other = (self.box.add_user(f"u{len(self.box.users)}") for _ in range(2))
        self.forward(self.user, f"{other.name}@{DOMAIN}\n")
        self.forward(other, f"{self.user.name}@{DOMAIN}\n")
        with smtplib.SMTP(HOST, self.server.port, timeout=60) as client:
            client.sendmail(f"{sender.name}@{DOMAIN}", [self.to], "Subject: x\r\n\r\nbody\r\n")
        self.arrives(sender)
        bounce = self.box.received(sender)[0]
        self.assertIn(b"5.4.6", bounce)
        self.assertIn(f"mail forwarding loop for {self.to}".encode(), bounce)
        # Once to each, and no further.
        self.assertEqual(len(re.findall(rb"(?m)^Delivered-To: " + re.escape(self.to.encode()), bounce)), 1)
        self.assertEqual(self.box.received(self.user) + self.box.received(other), [])

    @needs_root
    def test_forward_to_a_program_and_a_file(self):
        forward, out = self.user.home / ".forward", self.user.home / "out"
        forward.write_text(f'"|/usr/bin/tee {out}", {self.user.home}/mbox, ~/own, "~/in quotes", \\{self.user.name}\n')
        os.chown(forward, self.user.uid, self.user.gid)
        self.send(self.user.name)
        self.arrives(self.user)
        for path in (out, self.user.home / "mbox", self.user.home / "own", self.user.home / "in quotes"):
            self.assertIn(b"\nbody\n", path.read_bytes())
            self.assertEqual(path.stat().st_uid, self.user.uid)


if __name__ == "__main__":
    harness.main()
