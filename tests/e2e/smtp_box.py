"""What the tests of smtpd share: a box with a domain and a queue, cases that use one for all their tests, a server to send to."""

import collections
import contextlib
import os
import pathlib
import re
import shutil
import socketserver
import threading
import time

from harness import HOST, IS_ROOT, Box, Case, run, wait_until

DOMAIN = "example.org"


class SmtpBox(Box):
    """A box whose smtpd has a domain, a queue and somebody who owns it."""

    def __init__(self, settings=None, tls=True):
        more = {"myhostname": "mx.example.org", "mydestination": DOMAIN, "max_bad_commands": "20"}
        super().__init__(settings=more | (settings or {}), tls=tls, protocol="smtp")
        owner = self.add_user("queue-owner").name if IS_ROOT else ""
        self.write_settings(queue_directory=self.dir / "queue", **({"mail_owner": owner} if owner else {}))

    def received(self, user=None):
        """The messages of a user, sorted by subject: header fields that were added taken away."""
        maildir = self.maildir_of(user or self.user)
        return sorted(raw for raw in maildir.contents().values())


def added_lines(raw):
    """What the server put in front, and the message behind it."""
    match = re.match(rb"(Return-Path: <[^\n]*>\nX-Original-To: [^\n]*\nDelivered-To: [^\n]*\n"
                     rb"Received: [^\n]*\n(?:\t[^\n]*\n)+)", raw)
    return match[1], raw[match.end():]


class Smtp(Case):
    """One server for all tests of a class; each test has a user of its own."""

    settings = None

    @classmethod
    def setUpClass(cls):
        cls.shared = SmtpBox(settings=cls.settings)
        cls.addClassCleanup(cls.shared.close)
        # No pause for clients that come one after the other.
        cls.server = cls.shared.serve(change={"cps": "1000 1"})
        cls.ca = cls.shared.authority.ca

    def setUp(self):
        self.box = self.shared
        self.addCleanup(self.keep_log)
        self.user = self.box.add_user(f"u{len(self.box.users)}")
        self.to = f"{self.user.name}@{DOMAIN}"

    def only_message(self):
        messages = self.box.received(self.user)
        self.assertEqual(len(messages), 1)
        return added_lines(messages[0])


class OneBox(Case):
    """One box without TLS for all tests of a class; what it cannot deliver itself goes to .sink."""

    @classmethod
    def setUpClass(cls):
        cls.sink = Sink()
        cls.addClassCleanup(cls.sink.close)
        cls.shared = SmtpBox(tls=False)
        cls.addClassCleanup(cls.shared.close)

    @classmethod
    def prepare(cls, aliases):
        """Writes aliases and settings; a first run makes the queue."""
        (cls.shared.dir / "aliases").write_text(aliases)
        cls.configure()
        run(cls.shared.binary, "-c", cls.shared.conf, "-q")

    @classmethod
    def configure(cls, **more):
        box = cls.shared
        box.write_settings(**{"relayhost": f"[{HOST}]:{cls.sink.port}", "myorigin": DOMAIN,
                              "alias_maps": f"hash:{box.dir / 'aliases'}", "minimal_backoff_time": "1s",
                              "maximal_backoff_time": "1s"} | more)

    def setUp(self):
        self.box = self.shared
        self.addCleanup(self.keep_log)


class BoxAndSink(Case):
    """A box without TLS for each test, with sendmail; what it cannot deliver itself goes to .sink."""

    more = {}

    def setUp(self):
        self.sink = Sink()
        self.addCleanup(self.sink.close)
        self.box = box = SmtpBox(tls=False)
        self.addCleanup(box.close)
        self.addCleanup(self.keep_log)
        self.program = box.dir / "sendmail"
        shutil.copy(pathlib.Path(os.environ["E2E_SMTPD"]).with_name("sendmail"), self.program)
        box.write_settings(**{"relayhost": f"[{HOST}]:{self.sink.port}", "myorigin": DOMAIN, "mynetworks": "127.0.0.0/8"} | self.more)
        run(box.binary, "-c", box.conf, "-q")

    def sendmail(self, *words, **more):
        return run(self.program, "-C", self.box.conf, *words, check=False, **more)

    def queue(self):
        return [name for name in os.listdir(self.box.dir / "queue/queue") if not name.endswith(".log")]


class Sink:
    """An SMTP server that counts who got what. RCPT for bad@ is refused for good, for what begins as .later says for now. Each message
    takes it .pause seconds; .most is how many connections there were at once."""

    def __init__(self, host=HOST):
        outer = self
        self.pause, self.most, self.live, lock = 0, 0, [], threading.Lock()
        self.got = collections.Counter()
        self.messages = []
        self.later = ("later",)

        class Handler(socketserver.StreamRequestHandler):
            def handle(self):
                with lock:
                    outer.live.append(self)
                    outer.most = max(outer.most, len(outer.live))
                with contextlib.suppress(OSError):
                    self.serve()
                with lock:
                    outer.live.remove(self)

            def say(self, text):
                self.wfile.write(text.encode() + b"\r\n")

            def serve(self):
                self.say("220 sink ESMTP")
                recipients = []
                for line in self.rfile:
                    verb = line[:4].upper()
                    if verb == b"EHLO":
                        self.say("250-sink\r\n250-PIPELINING\r\n250-8BITMIME\r\n250 SIZE 0")
                    elif verb == b"MAIL":
                        recipients = []
                        self.say("250 ok")
                    elif verb == b"RCPT":
                        to = re.search(rb"<([^>]*)>", line)[1].decode()
                        if to.startswith("bad"):
                            self.say("550 5.1.1 nobody")
                        elif to.startswith(outer.later):
                            self.say("450 4.2.0 later")
                        else:
                            recipients.append(to)
                            self.say("250 ok")
                    elif verb == b"DATA" and not recipients:
                        # RFC 5321 section 3.3; RFC 2920 section 3.1: who has sent it ahead sends no message then.
                        self.say("554 5.5.1 nobody to take it for")
                    elif verb == b"DATA":
                        self.say("354 go on")
                        text = b""
                        for more in self.rfile:
                            if more == b".\r\n":
                                break
                            text += more
                        else:
                            return
                        subject = re.search(rb"(?mi)^subject: (.*?)\r$", text)
                        name = subject[1].decode() if subject else ""
                        time.sleep(outer.pause)
                        outer.messages.append(text)
                        outer.got.update((name, to) for to in recipients)
                        self.say("250 2.0.0 taken")
                    elif verb == b"QUIT":
                        self.say("221 bye")
                        return
                    else:
                        self.say("250 ok")

        class Server(socketserver.ThreadingTCPServer):
            allow_reuse_address = daemon_threads = True
            request_queue_size = 100

        self.server = Server((host, 0), Handler)
        self.port = self.server.server_address[1]
        threading.Thread(target=self.server.serve_forever, daemon=True).start()

    def settle(self):
        """Waits until it has read everything from clients that have ended."""
        wait_until(lambda: not self.live, "the sink's connections have ended", pause=0.001)

    def close(self):
        self.server.shutdown()
        self.server.server_close()
