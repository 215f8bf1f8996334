"""BINARYMIME (RFC 3030) and 8BITMIME (RFC 6152): what was sent is read back octet for octet, whichever way it took."""

import email
import imaplib
import os
import pathlib
import re
import shutil
import smtplib
import subprocess
import tempfile

import harness
from harness import HOST, free_port, needs_root, program, stop, wait_until
from smtp_box import DOMAIN, BoxAndSink, Smtp
from smtp_out import Server, listens

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


class Sender:
    def send(self, *to, message=MESSAGE, kind=smtplib.SMTP, port=None):
        """In chunks that end anywhere. The last codes: by LMTP there is one for each recipient."""
        with kind(HOST, port or self.port, timeout=60) as client:
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

    def check_message(self, raw, composite="8bit", text_encoding="8bit"):
        """As any program reads it that knows MIME."""
        self.assertFalse(b"\0" in raw or max(map(len, raw.splitlines())) > 998)
        message = email.message_from_bytes(raw)
        self.assertEqual(message["Content-Transfer-Encoding"], composite)
        text, pdf, letter = message.get_payload()
        self.assertEqual((text["Content-Transfer-Encoding"], text.get_payload(decode=True).strip()), (text_encoding, "Grüße".encode()))
        self.assertEqual((pdf["Content-Transfer-Encoding"], pdf.get_filename()), ("base64", "a.pdf"))
        self.assertTrue(pdf.get_payload(decode=True) == FILE)
        self.assertEqual(letter["Content-Transfer-Encoding"], composite)
        inner, octets = letter.get_payload(0).get_payload()
        self.assertEqual((inner.get_payload(decode=True), octets.get_payload(decode=True)), (INNER, OCTETS))


class Binary(Sender, Smtp):
    def setUp(self):
        super().setUp()
        self.port = self.server.port

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


TEXT = (b"From: a@client.example\r\nSubject: eight\r\nMIME-Version: 1.0\r\nContent-Type: text/plain; charset=utf-8\r\n"
        b"Content-Transfer-Encoding: 8bit\r\n\r\nGr\xc3\xbc\xc3\x9fe = \r\n.\r\n")


class ToOthers(Sender, BoxAndSink):
    """Servers that do not offer what a message would need."""

    def relayed(self, extensions, message=MESSAGE, options=("BODY=8BITMIME",), **settings):
        """What such a server gets, and the MAIL before it."""
        server = Server(HOST, port=0, extensions=extensions)
        self.addCleanup(server.close)
        self.box.write_settings(relayhost=f"[{HOST}]:{server.port}", mynetworks="127.0.0.0/8", **settings)
        self.port = self.box.serve().port
        if message == MESSAGE:
            self.assertEqual(self.send("x@other.example"), [250])
        else:
            self.submit("x@other.example", message, options)
        wait_until(lambda: not self.queue(), "an empty queue")
        mail = [line for line in server.said if line.startswith("MAIL")]
        return (server.messages or [None])[0], mail[0] if mail else None

    def submit(self, to, message, options=("BODY=8BITMIME",)):
        with smtplib.SMTP(HOST, self.port, timeout=60) as client:
            client.sendmail("a@client.example", [to], message, options)

    def test_binary_for_eight_bits(self):
        message, mail = self.relayed(("SIZE 0", "8BITMIME"))
        self.check_message(message)
        self.assertEqual(mail, f"MAIL FROM:<a@client.example> SIZE={len(message)} BODY=8BITMIME")

    def test_binary_for_seven_bits(self):
        for extensions in (("SIZE 0",), ("SIZE 0", "CHUNKING", "BINARYMIME")):
            message, mail = self.relayed(extensions)
            self.assertTrue(message.isascii())
            self.check_message(message, "7bit", "quoted-printable")
            self.assertEqual(mail, f"MAIL FROM:<a@client.example> SIZE={len(message)}")

    def test_eight_bits_for_seven(self):
        message, mail = self.relayed(("SIZE 0",), TEXT)
        self.assertEqual(mail, f"MAIL FROM:<a@client.example> SIZE={len(message)}")
        header, _, body = message.partition(b"\r\n\r\n")
        self.assertEqual((header.count(b"Content-Transfer-Encoding: quoted-printable"), header.count(b"Content-Transfer-Encoding")), (1, 1))
        self.assertEqual(body, b"Gr=C3=BC=C3=9Fe =3D=20\r\n.\r\n")

    def test_what_its_client_has_not_said(self):
        plain = TEXT.replace(b"\xc3\xbc\xc3\x9f", b"ue")
        for extensions, text, parameter, body in ((("8BITMIME",), TEXT, " BODY=8BITMIME", TEXT), (("8BITMIME",), plain, "", plain),
                                                  ((), TEXT, "", b"Gr=C3=BC=C3=9Fe =3D=20\r\n.\r\n"), ((), plain, "", plain)):
            message, mail = self.relayed(extensions, text, options=())
            self.assertEqual(mail, f"MAIL FROM:<a@client.example>{parameter}")
            self.assertTrue(message.endswith(body), message)

    def test_what_need_not_be_touched(self):
        plain = TEXT.replace(b"\xc3\xbc\xc3\x9f", b"ue")
        for extensions, text in ((("8BITMIME",), TEXT), ((), plain), ((), TEXT.replace(b"Content-Transfer-Encoding: 8bit\r\n", b""))):
            message, _ = self.relayed(extensions, text)
            self.assertTrue(message.endswith(text), message)

    def test_where_it_is_not_wanted(self):
        message, _ = self.relayed((), TEXT, disable_mime_output_conversion="yes")
        self.assertTrue(message.endswith(TEXT), message)
        # That is the notification.
        self.assertEqual(self.relayed(("8BITMIME",), disable_mime_output_conversion="yes")[1], "MAIL FROM:<>")
        self.assertRegex(self.box.log(), r"dsn=5\.6\.3, status=bounced \(host .* does not take BINARYMIME\)")

    @needs_root
    def test_smtp_sink(self):
        directory = pathlib.Path(tempfile.mkdtemp(prefix="tinmail-e2e."))
        self.addCleanup(shutil.rmtree, directory)
        directory.chmod(0o777)
        port, taken = free_port(), directory / "taken"
        sink = subprocess.Popen([program("smtp-sink"), "-u", "nobody", "-8", "-D", taken, f"{HOST}:{port}", "100"],
                                stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        self.addCleanup(stop, sink)
        wait_until(lambda: listens(HOST, port), "smtp-sink listens")
        self.box.write_settings(relayhost=f"[{HOST}]:{port}", mynetworks="127.0.0.0/8")
        self.port = self.box.serve().port
        self.assertEqual(self.send("x@other.example"), [250])
        wait_until(lambda: not self.queue(), "an empty queue")
        raw = taken.read_bytes()
        # Before the message it writes what it was told of it.
        self.check_message(re.sub(rb"\A(.*\n)*?(?=Received: )", b"", raw), "7bit", "quoted-printable")


if __name__ == "__main__":
    harness.main()
