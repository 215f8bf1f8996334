"""A name server that answers as odd as a test wants it, over UDP and TCP."""

import contextlib
import socket
import struct
import threading

A, MX, AAAA = 1, 15, 28
FORMERR, SERVFAIL, NOTIMP, REFUSED = 1, 2, 4, 5
# Answers that are none: nothing, a message without records that is marked as truncated.
SILENCE, TRUNCATED = "silence", "truncated"


def wire(name):
    return b"".join(bytes([len(label)]) + label.encode() for label in name.split(".") if label) + b"\0"


def record(owner, kind, data):
    return wire(owner) + struct.pack(">HHIH", kind, 1, 60, len(data)) + data


def mx(owner, preference, host):
    return record(owner, MX, struct.pack(">H", preference) + wire(host))


def a(owner, address):
    return record(owner, A, socket.inet_aton(address))


def cname(owner, to):
    return record(owner, 5, wire(to))


class NameServer:
    """zone: (name, kind) -> records, a response code, one of the above, octets behind the number of the message, or a function
    of whether it is asked over TCP, which returns one of these. What is not in it does not exist."""

    def __init__(self, address, zone):
        self.zone = zone
        self.datagrams = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self.datagrams.bind((address, 53))
        self.listener = socket.create_server((address, 53))
        for serve in (self.serve_datagrams, self.serve_connections):
            threading.Thread(target=serve, daemon=True).start()

    def close(self):
        for one in (self.datagrams, self.listener):
            with contextlib.suppress(OSError):
                one.shutdown(socket.SHUT_RDWR)
            one.close()

    def serve_datagrams(self):
        with contextlib.suppress(OSError):
            while True:
                question, client = self.datagrams.recvfrom(600)
                if not question:
                    return
                if (answer := self.answer(question, False)) is not None:
                    self.datagrams.sendto(answer, client)

    def serve_connections(self):
        with contextlib.suppress(OSError):
            while True:
                client, _ = self.listener.accept()
                with client:
                    answer = self.answer(client.recv(struct.unpack(">H", client.recv(2))[0]), True)
                    if answer is not None:
                        client.sendall(struct.pack(">H", len(answer)) + answer)

    def answer(self, question, over_tcp):
        labels, at = [], 12
        while length := question[at]:
            labels.append(question[at + 1:at + 1 + length].decode().lower())
            at += 1 + length
        kind = struct.unpack(">H", question[at + 1:at + 3])[0]
        answer = self.zone.get((".".join(labels), kind))
        answer = answer(over_tcp) if callable(answer) else answer
        if answer == SILENCE:
            return None
        if isinstance(answer, bytes):
            return question[:2] + answer
        flags, records = 0x8180, []
        if answer is None:
            flags |= 3
        elif answer == TRUNCATED:
            flags |= 0x0200
        elif isinstance(answer, int):
            flags |= answer
        else:
            records = answer
        return question[:2] + struct.pack(">HHHHH", flags, 1, len(records), 0, 0) + question[12:at + 5] + b"".join(records)
