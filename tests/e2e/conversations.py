"""Clients that do what they are told: a test says exactly what it wants to say, in POP3 and in IMAP."""

import contextlib
import re
import socket
import ssl

from ground import HOST, SOON
from mail import crlf


class Pop:
    """A connection on which a test says exactly what it wants to say."""

    def __init__(self, server=None, tls=False, address=None, greeting=True, source=None, timeout=SOON, context=None):
        if address is None:
            address = (server.bind if server.bind != "0.0.0.0" else HOST, server.tls_port if tls else server.port)
        self.server = server
        self.socket = socket.create_connection(address, timeout=timeout, source_address=source and (source, 0))
        self.socket.settimeout(timeout)
        self.plain_socket = self.socket
        self.buffer = b""
        if tls:
            self.start_tls(context)
        self.greeting = self.line() if greeting else None

    def start_tls(self, context=None):
        context = context or self.server.box.authority.context()
        self.socket = context.wrap_socket(self.socket, server_hostname="localhost")

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()

    def close(self):
        with contextlib.suppress(OSError):
            self.socket.close()

    def send(self, octets):
        self.socket.sendall(octets.encode() if isinstance(octets, str) else octets)

    def receive(self):
        """More octets; nothing is the end."""
        try:
            octets = self.socket.recv(65536)
        except (ConnectionResetError, ssl.SSLEOFError, BrokenPipeError):
            octets = b""
        self.buffer += octets
        return octets

    def line(self):
        """A reply's line without CRLF; nothing at the end of the connection."""
        while b"\n" not in self.buffer:
            if not self.receive():
                rest, self.buffer = self.buffer, b""
                return rest.decode(errors="replace")
        line, self.buffer = self.buffer.split(b"\n", 1)
        assert line.endswith(b"\r"), f"a line without CR: {line!r}"
        return line[:-1].decode(errors="replace")

    def rest(self):
        """Everything up to the end of the connection."""
        while self.receive():
            pass
        rest, self.buffer = self.buffer, b""
        return rest

    def say(self, command):
        self.send(command + "\r\n" if isinstance(command, str) else command + b"\r\n")
        return self.line()

    def ok(self, command):
        reply = self.say(command)
        assert reply.startswith("+OK"), f"{command[:200]!r}: {reply!r}"
        return reply

    def err(self, command, code=""):
        reply = self.say(command)
        assert reply.startswith(f"-ERR {code}".rstrip()), f"{command[:200]!r}: {reply!r}"
        return reply

    def octets(self):
        """The octets of a reply of several lines, dots unstuffed."""
        while not (self.buffer.startswith(b".\r\n") or b"\r\n.\r\n" in self.buffer):
            assert self.receive(), f"the connection ended inside a reply: {self.buffer[-200:]!r}"
        if self.buffer.startswith(b".\r\n"):
            self.buffer = self.buffer[3:]
            return b""
        reply, self.buffer = self.buffer.split(b"\r\n.\r\n", 1)
        return re.sub(rb"(?m)^\.", b"", reply + b"\r\n")

    def lines(self, command):
        """The lines of a reply of several lines."""
        self.ok(command)
        return self.octets().decode(errors="replace").splitlines()

    def retrieve(self, number):
        self.ok(f"RETR {number}")
        return self.octets()

    def login(self, user=None, password=None):
        if user is None:
            user, password = self.server.box.user
        self.ok(f"USER {user}")
        return self.ok(f"PASS {password}")

    def stls(self, context=None):
        self.ok("STLS")
        self.start_tls(context)

    def quit(self):
        reply = self.ok("QUIT")
        assert self.rest() == b""
        self.close()
        return reply

    def listing(self):
        """What a client remembers: unique-ids and sizes in their order."""
        sizes = [line.split()[1] for line in self.lines("LIST")]
        ids = [line.split()[1] for line in self.lines("UIDL")]
        return list(zip(ids, sizes, strict=True))


class Imap(Pop):
    """The same for IMAP: a reply is the untagged responses with their literals, and the tagged completion."""

    def __init__(self, *arguments, **more):
        self.count = 0
        super().__init__(*arguments, **more)

    def response(self):
        """One response without its CRLF, literals included; nothing at the end of the connection."""
        response = b""
        while True:
            while b"\n" not in self.buffer:
                if not self.receive():
                    return response
            line, self.buffer = self.buffer.split(b"\n", 1)
            assert line.endswith(b"\r"), f"a line without CR: {line!r}"
            response += line[:-1]
            literal = re.search(rb"\{(\d+)\}$", response)
            if not literal:
                return response
            wanted = int(literal[1])
            while len(self.buffer) < wanted:
                assert self.receive(), f"the connection ended inside a literal: {response[-200:]!r}"
            response += b"\r\n" + self.buffer[:wanted]
            self.buffer = self.buffer[wanted:]

    def say(self, command):
        """The tagged completion without its tag, and the untagged responses before it."""
        self.count += 1
        tag = b"a%d" % self.count
        self.send(tag + b" " + (command.encode() if isinstance(command, str) else command) + b"\r\n")
        return self.completion(tag)

    def completion(self, tag):
        untagged = []
        while True:
            response = self.response()
            assert response, f"the connection ended: {untagged[-3:]!r}"
            if response.startswith(tag + b" "):
                return response[len(tag) + 1:].decode(errors="replace"), untagged
            untagged.append(response)

    def ok(self, command):
        """The untagged responses of a command that is obeyed."""
        completion, untagged = self.say(command)
        assert completion.startswith("OK"), f"{command[:200]!r}: {completion!r}"
        return untagged

    def no(self, command, code=""):
        completion, _ = self.say(command)
        assert completion.startswith(f"NO {code}".rstrip()), f"{command[:200]!r}: {completion!r}"
        return completion

    def login(self, user=None, password=None):
        if user is None:
            user, password = self.server.box.user
        return self.ok(f'LOGIN {user} "{password}"')

    def start_tls_command(self, context=None):
        self.ok("STARTTLS")
        self.start_tls(context)

    def append(self, raw, mailbox="INBOX", flags=""):
        octets = crlf(raw)
        return self.ok(b"APPEND %s (%s) {%d+}\r\n%s" % (mailbox.encode(), flags.encode(), len(octets), octets))

    def bodies(self, what="1:*"):
        """The messages of the mailbox that is open, whole, by UID."""
        found = {}
        for response in self.ok(f"UID FETCH {what} (UID BODY.PEEK[])"):
            match = re.match(rb"\* \d+ FETCH \(UID (\d+) BODY\[\] (?:\{\d+\}\r\n(.*)|\"(.*)\")\)$", response, re.S)
            if match:
                found[int(match[1])] = match[2] if match[2] is not None else match[3]
        return found

    def quit(self):
        self.ok("LOGOUT")
        assert self.rest() == b""
        self.close()
