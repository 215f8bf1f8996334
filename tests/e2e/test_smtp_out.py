"""Mail that goes out: real name servers, real servers of others, TLS with right and wrong certificates, passwords.

Everything listens on loopback in the namespace of this file, which has a resolv.conf of its own."""

import base64
import contextlib
import os
import pathlib
import re
import shutil
import socket
import ssl
import subprocess
import tempfile
import threading
import time
import unittest

from harness import IN_NAMESPACE, Authority, Case, free_port, program, run, stop, wait_until

NAME_SERVER = "127.0.0.53"
ZONE = [
    "--mx-host=good.test,mx1.good.test,10", "--mx-host=good.test,mx2.good.test,20",
    "--host-record=mx1.good.test,192.0.2.2", "--host-record=mx2.good.test,192.0.2.3",
    "--host-record=plain.test,192.0.2.3",
    "--mx-host=six.test,mx.six.test,10", "--host-record=mx.six.test,fd00::25",
    "--dns-rr=null.test,15,000000",
    "--cname=alias.test,plain.test",
    "--mx-host=loop.test,me.test,10", "--mx-host=loop.test,mx2.good.test,20",
    "--mx-host=here.test,mx.here.test,10", "--host-record=mx.here.test,127.0.0.1",
    "--mx-host=there.test,mx.there.test,10", "--host-record=mx.there.test,127.0.0.9",
    "--host-record=unspecified.test,0.0.0.0", "--host-record=second.test,198.51.100.7",
    "--mx-host=dangling.test,nowhere.test,10",
    *(f"--mx-host=big.test,a-long-name-number-{n}.big.test,{n + 1}" for n in range(30)),
    "--host-record=a-long-name-number-0.big.test,192.0.2.3",
    "--txt-record=text.test,only text",
]


def beside(name):
    """A program of ours that was built together with pop3d."""
    return pathlib.Path(os.environ.get("E2E_SMTPD") or os.environ["E2E_POP3D"]).with_name(name)


class Server:
    """Somebody else's SMTP server, as odd as a test wants it. What it is told is in .said, messages are in .messages."""

    def __init__(self, address, port=25, extensions=(), context=None, wrapped=False, answers=None, users=None):
        family = socket.AF_INET6 if ":" in address else socket.AF_INET
        self.listener = socket.socket(family)
        # IP_FREEBIND: an address that only a route has.
        for level, option in ((socket.SOL_SOCKET, socket.SO_REUSEADDR), (socket.IPPROTO_IP, 15)):
            self.listener.setsockopt(level, option, 1)
        self.listener.bind((address, port))
        self.listener.listen()
        self.port = self.listener.getsockname()[1]
        self.extensions, self.context, self.wrapped = list(extensions), context, wrapped
        self.answers, self.users = answers or {}, users or {}
        self.said, self.messages, self.encrypted = [], [], []
        self.thread = threading.Thread(target=self.listen, daemon=True)
        self.thread.start()

    def close(self):
        # The port is free only once nobody waits for a connection any more.
        with contextlib.suppress(OSError):
            self.listener.shutdown(socket.SHUT_RDWR)
        self.thread.join()
        self.listener.close()

    def listen(self):
        with contextlib.suppress(OSError):
            while True:
                client, _ = self.listener.accept()
                threading.Thread(target=self.serve, args=(client,), daemon=True).start()

    def serve(self, client):
        with contextlib.suppress(OSError, ValueError):
            client.settimeout(60)
            if self.wrapped:
                client = self.context.wrap_socket(client, server_side=True)
            self.talk(client, self.wrapped)

    def talk(self, client, encrypted):
        stream = client.makefile("rwb")

        def say(text):
            stream.write(text.encode() + b"\r\n")
            stream.flush()
        say(self.answers.get("greeting", "220 other.test ESMTP"))
        while line := stream.readline():
            line = line.decode().rstrip("\r\n")
            self.said.append(line)
            verb = line.split(" ")[0].upper().split(":")[0]
            if verb in self.answers:
                say(self.answers[verb])
            elif verb == "EHLO":
                extensions = self.extensions + (["STARTTLS"] if self.context and not encrypted else [])
                if self.users and (encrypted or not self.context):
                    extensions.append("AUTH PLAIN LOGIN CRAM-MD5")
                say("\r\n".join([*(f"250-{keyword}" for keyword in ["other.test", *extensions]), "250 HELP"]))
            elif verb == "STARTTLS":
                say("220 Go")
                client = self.context.wrap_socket(client, server_side=True)
                stream, encrypted = client.makefile("rwb"), True
            elif verb == "AUTH":
                word = line.split(" ")
                ok = word[1] == "PLAIN" and any(
                    base64.b64decode(word[2]).decode() == f"\0{user}\0{secret}" for user, secret in self.users.items())
                say("235 2.7.0 Ok" if ok else "535 5.7.8 No")
            elif verb == "DATA":
                say("354 Go")
                octets = b""
                while not octets.endswith(b"\r\n.\r\n") and octets != b".\r\n":
                    octets += stream.readline()
                self.messages.append(octets.removesuffix(b".\r\n").replace(b"\r\n..", b"\r\n."))
                self.encrypted.append(encrypted)
                say(self.answers.get("end", "250 2.0.0 Ok"))
            elif verb == "QUIT":
                say("221 Bye")
                return
            else:
                say("250 2.0.0 Ok")


@unittest.skipUnless(IN_NAMESPACE, "needs root: ports below 1024 and a resolv.conf of its own")
class Out(Case):
    settings = {}

    @classmethod
    def setUpClass(cls):
        cls.dir = pathlib.Path(tempfile.mkdtemp(prefix="tinmail-e2e."))
        cls.addClassCleanup(shutil.rmtree, cls.dir, ignore_errors=True)
        os.chmod(cls.dir, 0o711)
        (cls.dir / "resolv.conf").write_text(f"nameserver {NAME_SERVER}\noptions timeout:2 attempts:1\n")
        target = os.path.realpath("/etc/resolv.conf")
        run("mount", "--bind", cls.dir / "resolv.conf", target)
        cls.addClassCleanup(run, "umount", target)
        cls.names = subprocess.Popen(
            [program("dnsmasq"), "--keep-in-foreground", "--no-resolv", "--no-hosts", "--conf-file=/dev/null", "--user=root",
             "--pid-file=", f"--listen-address={NAME_SERVER}", "--bind-interfaces", "--local=/test/", *ZONE],
            stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        cls.addClassCleanup(stop, cls.names)
        time.sleep(0.5)
        # Hosts of others: addresses that lead here without being any of this host's, and that are reached from another one.
        run("ip", "route", "replace", "local", "192.0.2.0/24", "dev", "lo", "src", "127.0.0.1")
        run("ip", "-6", "route", "replace", "local", "fd00::25/128", "dev", "lo")
        cls.authority = Authority(cls.dir / "tls")

    def setUp(self):
        self.box = None
        self.log_path = self.dir / f"log-{self._testMethodName}"
        self.log_path.touch(mode=0o600)
        self.queue = self.dir / f"queue-{self._testMethodName}"
        self.conf = self.dir / "tinmail.conf"
        self.configure()
        self.addCleanup(self.keep_out_log)

    def keep_out_log(self):
        self.final_log = "".join(f"    log: {line}\n" for line in self.log_path.read_text().splitlines()[-12:])

    def configure(self, **settings):
        base = {"log_path": self.log_path, "queue_directory": self.queue, "mail_owner": "mail", "myhostname": "me.test",
                "mydestination": "me.test", "base_dir": self.dir / "run", "ssl": "no", "smtp_connect_timeout": "5s",
                "smtp_helo_timeout": "10s", "minimal_backoff_time": "1h"}
        (self.dir / "run").mkdir(exist_ok=True)
        self.conf.write_text("".join(f"{name} = {value}\n" for name, value in (base | settings).items()))

    def server(self, address, **more):
        server = Server(address, **more)
        self.addCleanup(server.close)
        return server

    def submit(self, *recipients, message=b"Subject: hello\r\n\r\nHello.\r\n", sender="anna@me.test", options=()):
        # Whether sendmail starts a queue run itself is not looked at here: there is one afterwards in any case.
        done = subprocess.run([beside("sendmail"), "-C", self.conf, "-f", sender, "-oi", *options, "--", *recipients],
                              input=message, capture_output=True, check=False, timeout=60)
        self.assertEqual((done.returncode, done.stderr), (0, b""))
        run(beside("smtpd"), "-q", "-c", self.conf, timeout=120)

    def outcome(self, recipient):
        """`sent`, `deferred` or `bounced`, and what stands behind it in the log."""
        def find():
            found = re.findall(rf"to=<{re.escape(recipient)}>.*status=(\w+) \((.*)\)", self.log_path.read_text())
            return found and found[-1]
        return wait_until(find, f"a line about {recipient}")

    def send(self, recipient, **more):
        self.submit(recipient, **more)
        return self.outcome(recipient)


class Names(Out):
    def test_mail_hosts(self):
        first = self.server("192.0.2.2", answers={"greeting": "421 4.3.2 Busy"})
        second, six = self.server("192.0.2.3"), self.server("fd00::25")
        # From another address than it goes to: else it would be this host.
        self.configure(smtp_bind_address6="::1")
        for recipient, want, text in [
                ("a@good.test", "sent", "Ok"),
                ("a@plain.test", "sent", "Ok"),
                ("a@alias.test", "sent", "Ok"),
                ("a@six.test", "sent", "Ok"),
                ("a@big.test", "sent", "Ok"),
                ("a@[192.0.2.3]", "sent", "Ok"),
                ("a@null.test", "bounced", "null MX"),
                ("a@nowhere.test", "bounced", "no domain nowhere.test"),
                ("a@dangling.test", "bounced", "nowhere.test not found"),
                ("a@text.test", "bounced", "no address"),
                ("a@loop.test", "bounced", "loops back to myself"),
                ("a@elsewhere.example", "deferred", "REFUSED"),
        ]:
            with self.subTest(recipient):
                status, said = self.send(recipient)
                self.assertEqual(status, want, said)
                self.assertIn(text, said)
        self.assertEqual((len(first.messages), len(second.messages), len(six.messages)), (0, 5, 1))

    def test_a_mail_host_that_turns_out_to_be_this_one(self):
        server = self.server("127.0.0.1")
        other = self.server("127.0.0.9")
        run("ip", "address", "add", "198.51.100.7/32", "dev", "lo")
        self.addCleanup(run, "ip", "address", "del", "198.51.100.7/32", "dev", "lo")
        third = self.server("198.51.100.7")
        # An address of any interface, and every one that leads to this host whatever its number.
        for recipient in ("a@here.test", "a@[127.0.0.1]", "a@[127.0.0.9]", "a@there.test", "a@unspecified.test", "a@second.test"):
            with self.subTest(recipient):
                status, said = self.send(recipient)
                self.assertEqual(status, "bounced")
                # Whom an address literal of this host does not know is nobody's.
                self.assertRegex(said, "loops back to myself" if "[" not in recipient else "loops back to myself|User unknown")
        self.assertEqual((server.said, other.said, third.said), ([], [], []))
        self.configure(relayhost="[127.0.0.1]")
        self.assertEqual(self.send("b@here.test")[0], "sent")
        # What the administrator names is no mail host that turns out to be this one.
        self.configure(transport_maps="inline:{there.test=smtp:[127.0.0.9]}")
        self.assertEqual(self.send("b@there.test")[0], "sent")

    def test_a_silent_name_server(self):
        self.configure(inet_protocols="ipv4")
        self.names.send_signal(19)
        try:
            status, said = self.send("a@good.test")
        finally:
            self.names.send_signal(18)
        self.assertEqual(status, "deferred")
        self.assertIn("no answer in time", said)


class Tls(Out):
    """What each level makes of each certificate."""

    def context(self, kind):
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        if kind == "broken":
            # rustls has no TLS this old.
            context.minimum_version, context.maximum_version = ssl.TLSVersion.TLSv1, ssl.TLSVersion.TLSv1_1
            context.set_ciphers("ALL:@SECLEVEL=0")
        cert, key = self.certificate(kind)
        context.load_cert_chain(cert, key)
        return context

    def certificate(self, kind):
        directory = self.dir / "tls"
        key, cert, request = directory / f"{kind}-key.pem", directory / f"{kind}.pem", directory / f"{kind}.csr"
        extensions = directory / f"{kind}.ext"
        name = {"other": "other.test"}.get(kind, "mx1.good.test")
        run("openssl", "genpkey", "-algorithm", "EC", "-pkeyopt", "ec_paramgen_curve:P-256", "-out", key)
        run("openssl", "req", "-new", "-key", key, "-subj", f"/CN={name}", "-out", request)
        extensions.write_text(f"subjectAltName = DNS:{name}, IP:192.0.2.2\nbasicConstraints = critical, CA:FALSE\n")
        if kind == "self":
            run("openssl", "x509", "-req", "-in", request, "-signkey", key, "-days", "30", "-extfile", extensions, "-out", cert)
        else:
            dates = ["-not_before", "20200101000000Z", "-not_after", "20200201000000Z"] if kind == "expired" else ["-days", "30"]
            if kind == "expired" and not self.has_dates():
                dates = ["-days", "-1"]
            run("openssl", "x509", "-req", "-in", request, "-CA", self.authority.ca, "-CAkey", self.authority.key,
                "-set_serial", str(time.time_ns()), *dates, "-extfile", extensions, "-out", cert)
        return cert, key

    @staticmethod
    def has_dates():
        return "-not_before" in run("openssl", "x509", "-help", check=False).stderr

    def test_certificates(self):
        for kind, want in [
                # none, may, encrypt, verify, secure: whether it is sent, and whether encrypted
                ("good", [False, True, True, True, True]),
                ("self", [False, True, True, None, None]),
                ("other", [False, True, True, None, None]),
                ("expired", [False, True, True, None, None]),
                ("broken", [False, False, None, None, None]),
                (None, [False, False, None, None, None]),
        ]:
            server = self.server("192.0.2.2", context=kind and self.context(kind))
            for level, encrypted in zip(("none", "may", "encrypt", "verify", "secure"), want):
                with self.subTest(certificate=kind, level=level):
                    server.encrypted.clear()
                    self.configure(smtp_tls_security_level=level, smtp_tls_CAfile=self.authority.ca, smtp_mx_address_limit=1)
                    recipient = f"{kind}-{level}@good.test".lower()
                    status, said = self.send(recipient)
                    self.assertEqual(status, "deferred" if encrypted is None else "sent", said)
                    self.assertEqual(server.encrypted, [] if encrypted is None else [encrypted])
            server.close()

    def test_policy_by_destination(self):
        self.server("192.0.2.2")
        (self.dir / "policy").write_text("good.test encrypt\n")
        self.configure(smtp_tls_policy_maps=f"hash:{self.dir / 'policy'}", smtp_mx_address_limit=1)
        status, said = self.send("a@good.test")
        self.assertEqual(status, "deferred")
        self.assertIn("TLS is required, but was not offered", said)

    def test_words_in_clear_behind_starttls(self):
        server = self.server("192.0.2.2", context=self.context("good"), answers={"STARTTLS": "220 Go\r\n250 PIPELINED"})
        self.configure(smtp_tls_security_level="encrypt", smtp_mx_address_limit=1)
        status, said = self.send("a@good.test")
        self.assertEqual((status, server.messages), ("deferred", []))
        self.assertIn("went on in clear", said)


class Relayhosts(Out):
    def passwords(self, text):
        path = self.dir / "sasl_passwd"
        path.write_text(text)
        path.chmod(0o600)
        return f"hash:{path}"

    def test_with_a_password_over_tls(self):
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(*self.authority.issue())
        port = free_port()
        for wrapped in (False, True):
            with self.subTest(wrapped=wrapped):
                server = self.server("127.0.0.1", port=port, context=context, wrapped=wrapped, users={"anna": "s3cret:x"})
                self.configure(relayhost=f"[localhost]:{port}", smtp_tls_security_level="verify", inet_protocols="ipv4",
                               smtp_tls_CAfile=self.authority.ca, smtp_tls_wrappermode="yes" if wrapped else "no",
                               smtp_sasl_password_maps=self.passwords(f"[localhost]:{port} anna:s3cret:x\n"))
                recipient = f"wrapped-{wrapped}@anywhere.example".lower()
                status, said = self.send(recipient)
                self.assertEqual((status, len(server.messages), server.encrypted), ("sent", 1, [True]), said)
                server.close()
        self.assertNotIn("s3cret", self.log_path.read_text())

    def test_passwords_do_not_go_in_clear_and_wrong_ones_return_nothing(self):
        port = free_port()
        server = self.server("127.0.0.1", port=port, users={"anna": "right"})
        wrong = self.passwords(f"[127.0.0.1]:{port} anna:wrong\n")
        self.configure(relayhost=f"[127.0.0.1]:{port}", smtp_sasl_password_maps=wrong)
        status, said = self.send("clear@anywhere.example")
        self.assertEqual(status, "deferred", said)
        self.assertFalse([line for line in server.said if line.startswith(("AUTH PLAIN", "AUTH LOGIN"))])
        self.configure(relayhost=f"[127.0.0.1]:{port}", smtp_sasl_password_maps=wrong,
                       smtp_sasl_security_options="noanonymous")
        status, said = self.send("wrong@anywhere.example")
        self.assertEqual(status, "deferred", said)
        self.assertIn("authentication failed", said)
        self.assertEqual(server.messages, [])

    def test_several_accounts(self):
        ports = [free_port(), free_port()]
        servers = [self.server("127.0.0.1", port=port, users={"anna": "a", "bert": "b"}) for port in ports]
        (self.dir / "by_sender").write_text(f"anna@me.test [127.0.0.1]:{ports[0]}\n@other.test [127.0.0.1]:{ports[1]}\n")
        self.configure(sender_dependent_relayhost_maps=f"hash:{self.dir / 'by_sender'}",
                       smtp_sasl_password_maps=self.passwords("anna@me.test anna:a\n@other.test bert:b\n"),
                       smtp_sender_dependent_authentication="yes", smtp_sasl_security_options="noanonymous")
        for sender, server in (("anna@me.test", servers[0]), ("bert@other.test", servers[1])):
            user, _, domain = sender.partition("@")
            self.assertEqual(self.send(f"{user}@anywhere.example", sender=sender)[0], "sent")
            login = base64.b64encode(f"\0{user}\0{user[0]}".encode()).decode()
            self.assertIn(f"AUTH PLAIN {login}", server.said)
            self.assertEqual(len(server.messages), 1, domain)


class Messages(Out):
    def test_what_arrives_is_what_was_sent(self):
        server = self.server("192.0.2.3", extensions=["PIPELINING", "SIZE 0", "8BITMIME", "DSN"])
        message = b"Subject: dots\r\n\r\n.\r\n..\r\n.a\r\nGr\xc3\xbc\xc3\x9fe\r\n" + b"x" * 900 + b"\r\n"
        self.assertEqual(self.send("a@plain.test", message=message, options=["-N", "success", "-R", "hdrs"])[0], "sent")
        self.assertTrue(server.messages[0].endswith(message.partition(b"\r\n\r\n")[2]), server.messages[0])
        said = "\n".join(server.said)
        self.assertRegex(said, r"MAIL FROM:<anna@me.test> SIZE=\d+.* RET=HDRS")
        self.assertRegex(said, r"RCPT TO:<a@plain.test> NOTIFY=SUCCESS")

    def test_refusals(self):
        server = self.server("192.0.2.3", answers={"RCPT": "550-5.1.1 \x1b[2JNo such\r\n550 5.1.1 user"})
        status, said = self.send("a@plain.test")
        self.assertEqual(status, "bounced")
        self.assertIn("said: 550 5.1.1 ?[2JNo such user (in reply to RCPT TO)", said)
        server.answers = {"RCPT": "451 4.7.1 Greylisted"}
        self.assertEqual(self.send("b@plain.test")[0], "deferred")
        server.answers = {"end": "250-2.0.0 Ok\r\n251 what"}
        status, said = self.send("c@plain.test")
        self.assertEqual(status, "deferred")
        self.assertIn("different codes", said)


@unittest.skipUnless(IN_NAMESPACE, "needs root: ports below 1024 and a resolv.conf of its own")
class RealServers(Out):
    def spawn(self, *command):
        process = subprocess.Popen([str(word) for word in command], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        self.addCleanup(stop, process)
        return process

    def listens(self, address, port):
        def connect():
            with contextlib.suppress(OSError), socket.create_connection((address, port), 1):
                return True
            return False
        wait_until(connect, f"{address}:{port} listens")

    def test_smtp_sink(self):
        port = free_port()
        for options in ([], ["-p"], ["-e"], ["-8"], ["-a"]):
            sink = self.spawn(program("smtp-sink"), "-u", "nobody", *options, f"127.0.0.1:{port}", "100")
            self.listens("127.0.0.1", port)
            self.configure(relayhost=f"[127.0.0.1]:{port}")
            recipient = f"sink{''.join(options)}@anywhere.example"
            self.assertEqual(self.send(recipient)[0], "sent", options)
            stop(sink)

    def test_smtp_sink_that_fails(self):
        port = free_port()
        for options, want in ((["-q", "DATA"], "deferred"), (["-r", "rcpt"], "deferred"), (["-f", "rcpt"], "bounced"),
                              (["-r", "."], "deferred"), (["-f", "."], "bounced"), (["-q", "."], "deferred")):
            sink = self.spawn(program("smtp-sink"), "-u", "nobody", *options, f"127.0.0.1:{port}", "100")
            self.listens("127.0.0.1", port)
            self.configure(relayhost=f"[127.0.0.1]:{port}")
            recipient = f"fails{''.join(options)}@anywhere.example".replace("..", ".").lower()
            recipient = recipient.replace(".@", "dot@")
            self.assertEqual(self.send(recipient)[0], want, options)
            stop(sink)

    def test_postfix(self):
        port, base = free_port(), self.dir / "postfix"
        for name in ("etc", "queue", "data", "mail"):
            (base / name).mkdir(parents=True)
        os.chmod(base, 0o755)
        shutil.chown(base / "data", "postfix")
        os.chmod(base / "mail", 0o777)
        cert, key = self.authority.issue()
        for name in ("postfix-files", "dynamicmaps.cf"):
            if os.path.exists(f"/etc/postfix/{name}"):
                shutil.copy(f"/etc/postfix/{name}", base / "etc")
        (base / "etc/main.cf").write_text(
            f"queue_directory = {base}/queue\ndata_directory = {base}/data\ncommand_directory = /usr/sbin\n"
            "daemon_directory = /usr/lib/postfix/sbin\nshlib_directory = /usr/lib/postfix\ncompatibility_level = 3.6\n"
            f"myhostname = postfix.test\nmydestination =\nlocal_recipient_maps =\nvirtual_mailbox_domains = postfix.test\n"
            f"virtual_mailbox_base = {base}/mail\nvirtual_mailbox_maps = inline:{{user@postfix.test=user/}}\n"
            "virtual_uid_maps = static:65534\nvirtual_gid_maps = static:65534\nvirtual_minimum_uid = 1\n"
            f"inet_interfaces = 127.0.0.1\ninet_protocols = ipv4\nmaillog_file = {base}/log\nmaillog_file_prefixes = /tmp\n"
            f"smtpd_tls_cert_file = {cert}\nsmtpd_tls_key_file = {key}\nsmtpd_tls_security_level = encrypt\n")
        master = pathlib.Path("/usr/share/postfix/master.cf.dist").read_text()
        master = re.sub(r"(?m)^smtp +inet.*$", f"127.0.0.1:{port} inet n - n - - smtpd", master)
        (base / "etc/master.cf").write_text(re.sub(r"(?m)^(\w+\s+\w+\s+\S+\s+\S+\s+)y", r"\1n", master))
        run(program("postfix"), "-c", base / "etc", "start", check=False)
        self.addCleanup(run, program("postfix"), "-c", base / "etc", "stop", check=False)
        self.listens("127.0.0.1", port)
        self.configure(relayhost=f"[localhost]:{port}", inet_protocols="ipv4", smtp_tls_security_level="verify",
                       smtp_tls_CAfile=self.authority.ca)
        message = b"Subject: hello\r\n\r\n.dot\r\n" + b"line\r\n" * 20000
        self.assertEqual(self.send("user@postfix.test", message=message)[0], "sent")
        self.assertEqual(self.send("nobody@postfix.test")[0], "bounced")
        new = base / "mail/user/new"
        wait_until(lambda: new.is_dir() and list(new.iterdir()), "Postfix has delivered")
        delivered = next(new.iterdir()).read_bytes()
        self.assertTrue(delivered.endswith(message.partition(b"\r\n\r\n")[2].replace(b"\r\n", b"\n")))

    def test_opensmtpd(self):
        unpacked = pathlib.Path(os.environ.get("E2E_OPENSMTPD", "/nonexistent"))
        self.assertTrue((unpacked / "usr/sbin/smtpd").exists(), "opensmtpd is not unpacked: tests/run does that")
        base, port = self.dir / "opensmtpd", free_port()
        (base / "empty").mkdir(parents=True)
        os.chmod(base, 0o755)
        os.chmod(base / "empty", 0o755)
        (base / "home").mkdir(mode=0o755)
        os.chown(base / "home", 30003, 30003)
        for file, lines in (("passwd", [f"opensmtpd:x:30001:30001::{base}/empty:/bin/false",
                                        f"opensmtpq:x:30002:30002::{base}/empty:/bin/false",
                                        f"osuser:x:30003:30003::{base}/home:/bin/sh"]),
                            ("group", ["opensmtpd:x:30001:", "opensmtpq:x:30002:", "osuser:x:30003:"])):
            names = {line.split(":")[0] for line in lines}
            kept = [line for line in pathlib.Path("/etc", file).read_text().splitlines() if line.split(":")[0] not in names]
            (base / file).write_text("\n".join([*kept, *lines, ""]))
            run("mount", "--bind", base / file, f"/etc/{file}")
            self.addCleanup(run, "umount", "-l", f"/etc/{file}")
        for directory in ("/var/spool", "/usr/libexec"):
            os.makedirs(directory, exist_ok=True)
            run("mount", "-t", "tmpfs", "e2e", directory)
            self.addCleanup(run, "umount", "-l", directory)
        os.mkdir("/var/spool/smtpd", 0o711)
        os.chmod("/var/spool/smtpd", 0o711)
        shutil.copytree(unpacked / "usr/libexec/opensmtpd", "/usr/libexec/opensmtpd")
        cert, key = self.authority.issue("rsa", "opensmtpd")
        (base / "smtpd.conf").write_text(
            f'pki os.test cert "{cert}"\npki os.test key "{key}"\n'
            f"listen on 127.0.0.1 port {port} tls pki os.test hostname os.test\n"
            'action "local" maildir "~/Maildir"\nmatch from any for domain "os.test" action "local"\n')
        self.spawn(unpacked / "usr/sbin/smtpd", "-F", "-f", base / "smtpd.conf")
        self.listens("127.0.0.1", port)
        # Debian 12's breaks off its own handshakes ("internal error", also with OpenSSL's client): mail goes in clear then.
        self.configure(relayhost=f"[localhost]:{port}", inet_protocols="ipv4")
        message = b"Subject: hello\r\n\r\n.dot\r\n" + b"line\r\n" * 20000
        self.assertEqual(self.send("osuser@os.test", message=message)[0], "sent")
        self.assertEqual(self.send("stranger@os.test")[0], "bounced")
        new = base / "home/Maildir/new"
        wait_until(lambda: new.is_dir() and list(new.iterdir()), "OpenSMTPD has delivered")
        delivered = next(new.iterdir()).read_bytes()
        self.assertTrue(delivered.endswith(message.partition(b"\r\n\r\n")[2].replace(b"\r\n", b"\n")))


if __name__ == "__main__":
    unittest.main()
