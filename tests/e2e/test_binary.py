"""BINARYMIME (RFC 3030): what was sent in binary is read back octet for octet, whichever way it took."""

import email
import imaplib
import os
import smtplib

import harness
from harness import HOST, needs_root, wait_until
from smtp_box import DOMAIN, Smtp

OCTETS = bytes(range(256)) * 20 + b"A\nB\r\nC\rD\0E\r\n\r\n.\r\nF\n\n\n--in\r\r\n--i\r\n"
FILE = b"%PDF-1.7\r%\xe2\xe3\xcf\xd3\r\n\0\r\n" + os.urandom(100_000).replace(b"\r\n--", b"\r\n++") + b"\r\n\r\n"
INNER = b"A letter\r\nwith lines.\r\n"
MESSAGE = (b"From: a@client.example\r\nSubject: binary\r\nMIME-Version: 1.0\r\nContent-Transfer-Encoding: binary\r\n"
           b"Content-Type: multipart/mixed;\r\n boundary=\"out\"\r\n\r\npreamble\r\n--out\r\n"
           b"Content-Type: text/plain; charset=utf-8\r\nContent-Transfer-Encoding: 8bit\r\n\r\nGr\xc3\xbc\xc3\x9fe\r\n--out\r\n"
           b"Content-Type: application/pdf\r\ncontent-transfer-encoding: Binary\r\nContent-Disposition: attachment; filename=a.pdf\r\n\r\n"
           + FILE + b"\r\n--out\r\nContent-Type: message/rfc822\r\nContent-Transfer-Encoding: binary\r\n\r\n"
           b"Subject: within\r\nContent-Transfer-Encoding: binary\r\nContent-Type: multipart/mixed; boundary=in\r\n\r\n--in\r\n"
           b"Content-Type: text/plain\r\nContent-Transfer-Encoding: binary\r\n\r\n" + INNER + b"\r\n--in\r\n"
           b"Content-Type: application/octet-stream\r\nContent-Transfer-Encoding: binary\r\n\r\n" + OCTETS + b"\r\n--in--\r\n\r\n--out--\r\n")


class Binary(Smtp):
    def send(self, *to, message=MESSAGE, kind=smtplib.SMTP, port=None):
        """In chunks that end anywhere. The last codes: by LMTP there is one for each recipient."""
        with kind(HOST, port or self.server.port, timeout=60) as client:
            client.ehlo()
            self.assertTrue(client.has_extn("binarymime"))
            self.assertEqual(client.mail("a@client.example", ["BODY=BINARYMIME"])[0], 250)
            for address in to:
                self.assertEqual(client.rcpt(address)[0], 250)
            for start, end in ((0, 401), (401, 50_000), (50_000, len(message))):
                piece = message[start:end]
                client.sock.sendall(b"BDAT %d%s\r\n" % (len(piece), b" LAST" if end == len(message) else b"") + piece)
                if end != len(message):
                    self.assertEqual(client.getreply()[0], 250)
            return [client.getreply()[0] for _ in (to if kind is smtplib.LMTP else "1")]

    def check_message(self, raw):
        """As any program reads it that knows MIME."""
        self.assertFalse(b"\0" in raw or max(map(len, raw.splitlines())) > 998)
        message = email.message_from_bytes(raw)
        self.assertEqual(message["Content-Transfer-Encoding"], "8bit")
        text, pdf, letter = message.get_payload()
        self.assertEqual((text["Content-Transfer-Encoding"], text.get_payload(decode=True).strip()), ("8bit", "Grüße".encode()))
        self.assertEqual((pdf["Content-Transfer-Encoding"], pdf.get_filename()), ("base64", "a.pdf"))
        self.assertTrue(pdf.get_payload(decode=True) == FILE)
        self.assertEqual(letter["Content-Transfer-Encoding"], "8bit")
        inner, octets = letter.get_payload(0).get_payload()
        self.assertEqual((inner.get_payload(decode=True), octets.get_payload(decode=True)), (INNER, OCTETS))

    def check_mailbox(self, user):
        """As clients of imapd see it: the message, and its parts alone."""
        wait_until(lambda: self.box.received(user), f"mail for {user.name}")
        client = imaplib.IMAP4_stream(self.box.tunnel(user=user))
        self.assertEqual(client.select("INBOX"), ("OK", [b"1"]))
        fetch = lambda what: client.fetch("1", f"({what})")[1][0][1]
        self.check_message(fetch("BODY.PEEK[]").replace(b"\r\n", b"\n"))
        for part, octets in (("2", FILE), ("3.1", INNER), ("3.2", OCTETS)):
            header, body = fetch(f"BODY.PEEK[{part}.MIME]"), fetch(f"BODY.PEEK[{part}]")
            self.assertTrue(email.message_from_bytes(header + body).get_payload(decode=True) == octets, part)
        client.logout()

    def test_straight_into_the_mailbox(self):
        self.assertEqual(self.send(self.to), [250])
        self.check_mailbox(self.user)

    def test_a_message_that_is_one_file(self):
        head = b"Content-Type: application/pdf\r\nContent-Transfer-Encoding: binary\r\n\r\n"
        self.assertEqual(self.send(self.to, message=head + FILE), [250])
        message = email.message_from_bytes(self.only_message()[1])
        self.assertTrue(message.get_payload(decode=True) == FILE)

    def test_through_the_queue(self):
        other = self.box.add_user(f"u{len(self.box.users)}")
        self.assertEqual(self.send(self.to, f"{other.name}@{DOMAIN}"), [250])
        self.check_mailbox(self.user)
        self.check_mailbox(other)

    def test_by_lmtp(self):
        other = self.box.add_user(f"u{len(self.box.users)}")
        port = self.box.serve(arguments=["--lmtp"]).port
        self.assertEqual(self.send(self.to, f"{other.name}@{DOMAIN}", kind=smtplib.LMTP, port=port), [250, 250])
        self.check_mailbox(self.user)
        self.check_mailbox(other)

    @needs_root
    def test_a_program_and_a_file(self):
        forward, out, mbox = (self.user.home / name for name in (".forward", "out", "mbox"))
        forward.write_text(f'"|/usr/bin/tee {out}", {mbox}, \\{self.user.name}\n')
        os.chown(forward, self.user.uid, self.user.gid)
        self.assertEqual(self.send(self.to), [250])
        self.check_mailbox(self.user)
        wait_until(lambda: not list((self.box.dir / "queue/queue").iterdir()), "an empty queue")
        for path in (out, mbox):
            self.check_message(path.read_bytes().split(b"\n", 1)[1])


if __name__ == "__main__":
    harness.main()
