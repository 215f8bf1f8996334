"""What the tests of mail that goes out share: a name server, servers of others as odd as a test wants them, what is sent.

Everything listens on loopback in the namespace of the test's file, which has a resolv.conf of its own."""

import base64
import contextlib
import os
import pathlib
import re
import shutil
import socket
import subprocess
import tempfile
import threading
import unittest

from harness import IN_NAMESPACE, Authority, Case, program, run, stop, wait_until

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
    *(f"--mx-host=big.test,a-long-name-number-{n}.big.test,{n + 1}" for n in range(40)),
    "--host-record=a-long-name-number-0.big.test,192.0.2.3",
    "--txt-record=text.test,only text",
]


def beside(name):
    """A program of ours that was built together with pop3d."""
    return pathlib.Path(os.environ.get("E2E_SMTPD") or os.environ["E2E_POP3D"]).with_name(name)


def listens(address, port):
    with contextlib.suppress(OSError), socket.create_connection((address, port), 1):
        return True
    return False


class Server:
    """Somebody else's SMTP server, as odd as a test wants it: answers has what it says to a verb, or a function of the line, and at the
    end of a message of that; with None it breaks off, behind the handshake at TLS. What it is told is in .said, messages are in .messages."""

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
                answer = self.answers[verb]
                if answer is None:
                    return client.shutdown(socket.SHUT_RDWR)
                say(answer(line) if callable(answer) else answer)
            elif verb == "EHLO":
                extensions = self.extensions + (["STARTTLS"] if self.context and not encrypted else [])
                if self.users and (encrypted or not self.context):
                    extensions.append("AUTH PLAIN LOGIN CRAM-MD5")
                say("\r\n".join([*(f"250-{keyword}" for keyword in ["other.test", *extensions]), "250 HELP"]))
            elif verb == "STARTTLS":
                say("220 Go")
                client = self.context.wrap_socket(client, server_side=True)
                if self.answers.get("TLS", "") is None:
                    return client.shutdown(socket.SHUT_RDWR)
                stream, encrypted = client.makefile("rwb"), True
            elif verb == "AUTH":
                word = line.split(" ")
                ok = word[1] == "PLAIN" and any(
                    base64.b64decode(word[2]).decode() == f"\0{user}\0{secret}" for user, secret in self.users.items())
                say("235 2.7.0 Ok" if ok else "535 5.7.8 No")
            elif verb == "DATA":
                say("354 Go")
                lines = []
                while (more := stream.readline()) != b".\r\n":
                    if not more:
                        return
                    lines.append(more)
                self.messages.append(b"".join(lines).replace(b"\r\n..", b"\r\n."))
                self.encrypted.append(encrypted)
                end = self.answers.get("end", "250 2.0.0 Ok")
                end = end(self.messages[-1]) if callable(end) else end
                if end is None:
                    return client.shutdown(socket.SHUT_RDWR)
                say(end)
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
        wait_until(lambda: listens(NAME_SERVER, 53), "the name server listens")
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
