"""Mail that goes out: real name servers, TLS with right and wrong certificates, relayhosts and passwords, what arrives."""

import base64
import contextlib
import re
import socket
import ssl
import threading
import time

import harness
from harness import free_port, run, wait_until
from smtp_out import NAME_SERVER, Out, beside

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

    def test_a_name_server_of_one_link(self):
        """As routers announce themselves; this one asks the usual name server."""
        run("ip", "address", "add", "fe80::53/64", "dev", "lo", "nodad")
        self.addCleanup(run, "ip", "address", "del", "fe80::53/64", "dev", "lo")
        router = socket.socket(socket.AF_INET6, socket.SOCK_DGRAM)
        router.bind(("fe80::53", 53, 0, 1))
        self.addCleanup(router.close)
        asked = []

        def forward():
            with contextlib.suppress(OSError), socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as ours:
                ours.connect((NAME_SERVER, 53))
                while True:
                    question, client = router.recvfrom(600)
                    asked.append(question)
                    ours.send(question)
                    router.sendto(ours.recv(600), client)
        threading.Thread(target=forward, daemon=True).start()
        conf = self.dir / "resolv.conf"
        self.addCleanup(conf.write_text, conf.read_text())
        conf.write_text("nameserver fe80::53%lo\noptions timeout:2 attempts:1\n")
        self.server("192.0.2.3")
        status, said = self.send("a@plain.test")
        self.assertEqual(status, "sent", said)
        self.assertTrue(asked)

    def test_a_silent_name_server(self):
        self.configure(inet_protocols="ipv4")
        self.names.send_signal(19)
        try:
            status, said = self.send("a@good.test")
        finally:
            self.names.send_signal(18)
        self.assertEqual(status, "deferred")
        self.assertIn("no answer in time", said)


class Elsewhere(Out):
    """What one mail host puts off, the next one may take."""

    def test_the_next_host_is_asked(self):
        for verb in ("MAIL", "RCPT", "DATA", "end"):
            with self.subTest(verb):
                first = self.server("192.0.2.2", answers={verb: "451 4.3.0 Not here"})
                second = self.server("192.0.2.3")
                status, said = self.send(f"{verb.lower()}@good.test")
                self.assertEqual((status, len(second.messages)), ("sent", 1), said)
                for server in (first, second):
                    server.close()
        for _, relay in self.relays():
            self.assertEqual(relay, "mx2.good.test[192.0.2.3]:25")

    def test_a_server_that_refuses_before_anything_is_sent(self):
        """The notification says which, and in which words."""
        sender = self.server("192.0.2.3")
        for greeting in ("421 4.3.2 go away", "554 5.7.1 no mail here"):
            with self.subTest(greeting):
                server = self.server("192.0.2.2", answers={"greeting": greeting})
                self.configure(maximal_queue_lifetime="0", smtp_skip_5xx_greeting="no")
                before = len(sender.messages)
                self.submit("a@[192.0.2.2]", sender="b@plain.test")
                [notification] = wait_until(lambda before=before: sender.messages[before:], "a notification")
                server.close()
                self.assertRegex(notification.decode(), r"(?m)^Remote-MTA: dns; \[?192\.0\.2\.2\]?\r\n"
                                 rf"Diagnostic-Code: smtp; {re.escape(greeting)}\r$")
                self.assertIn("relay=192.0.2.2[192.0.2.2]:25", self.log_path.read_text())

    def relays(self):
        return re.findall(r"to=<([^>]*)>, relay=([^,]*), .*status=sent", self.log_path.read_text())

    def test_only_for_those_who_were_put_off(self):
        def rcpt(line):
            return {"a": "250 Ok", "b": "450 4.2.0 Later"}.get(line[9], "550 5.1.1 No")
        first = self.server("192.0.2.2", answers={"RCPT": rcpt})
        second = self.server("192.0.2.3", answers={"RCPT": lambda line: "250 Ok" if line[9] == "b" else "550 5.1.1 No"})
        self.submit("a@good.test", "b@good.test", "c@good.test")
        self.assertEqual([self.outcome(f"{name}@good.test")[0] for name in "abc"], ["sent", "sent", "bounced"])
        self.assertEqual((len(first.messages), len(second.messages)), (1, 1))
        self.assertEqual([line for line in second.said if line.startswith("RCPT")], ["RCPT TO:<b@good.test>"])

    def test_a_temporary_failure_counts_more(self):
        self.server("192.0.2.2", answers={"RCPT": "450 4.2.0 Later"})
        self.server("192.0.2.3", answers={"RCPT": "550 5.7.1 No relaying"})
        status, said = self.send("a@good.test")
        self.assertEqual(status, "deferred")
        self.assertIn("Later", said)

    def test_who_greets_with_5xx(self):
        """It is passed over, and where there is nobody else the mail waits."""
        first = self.server("192.0.2.2", answers={"greeting": "554 5.7.1 No service"})
        second = self.server("192.0.2.3", answers={"greeting": "554 5.7.1 Nor here"})
        self.assertEqual(self.send("a@good.test")[0], "deferred")
        self.configure(smtp_skip_5xx_greeting="no")
        status, said = self.send("b@good.test")
        self.assertEqual(status, "bounced")
        self.assertIn("No", said)
        self.assertEqual((first.messages, second.messages), ([], []))

    def test_each_message_is_offered_to_both(self):
        """Of many messages of one worker, none of which either host takes."""
        servers = [self.server(address, answers={"RCPT": "450 4.2.0 Later"}) for address in ("192.0.2.2", "192.0.2.3")]
        times = {"minimal_backoff_time": "1s", "maximal_backoff_time": "1s"}
        self.configure(relayhost="[127.0.0.1]:1", **times)
        for number in range(3):
            self.submit(f"m{number}@good.test")
        time.sleep(1.1)
        self.configure(default_destination_concurrency_limit="1", **times)
        run(beside("smtpd"), "-q", "-c", self.conf, timeout=120)
        for server in servers:
            asked = {line for line in server.said if line.startswith("RCPT")}
            self.assertEqual(asked, {f"RCPT TO:<m{number}@good.test>" for number in range(3)})

    def test_as_many_as_may_answer(self):
        self.server("192.0.2.2", answers={"RCPT": "450 4.2.0 Later"})
        second = self.server("192.0.2.3")
        self.configure(smtp_mx_session_limit="1")
        self.assertEqual((self.send("a@good.test")[0], second.said), ("deferred", []))

    def test_who_may_have_it_is_not_passed_over(self):
        """A server that breaks off behind the final dot may have the message."""
        first = self.server("192.0.2.2", answers={"end": None})
        second = self.server("192.0.2.3")
        status, said = self.send("a@good.test")
        self.assertEqual((status, len(first.messages), second.said), ("deferred", 1, []))
        self.assertIn("may be sent more than once", said)

    def test_nor_is_it_sent_again_at_once(self):
        """On a connection that has brought a message before, which may have been closed because it was idle; this one was not."""
        last = {"end": lambda message: None if b"breaks" in message else "250 2.0.0 Ok"}
        server = self.server("127.0.0.1", port=free_port(), answers=last)
        times = {"minimal_backoff_time": "1s", "maximal_backoff_time": "1s"}
        # Their order is that of their names, which are nobody's choice: until one has come behind the other.
        for _ in range(20):
            for left in self.queue.glob("queue/*"):
                left.unlink()
            self.configure(relayhost="[127.0.0.1]:1", **times)
            for name in ("first", "breaks"):
                self.submit(f"{name}@anywhere.example", message=f"Subject: {name}\r\n\r\nx\r\n".encode())
            self.configure(relayhost=f"[127.0.0.1]:{server.port}", default_destination_concurrency_limit="1", **times)
            time.sleep(1.1)
            before = len(server.messages)
            run(beside("smtpd"), "-q", "-c", self.conf, timeout=120)
            new = [b"breaks" in message for message in server.messages[before:]]
            self.assertLessEqual(new.count(True), 1)
            if new == [False, True]:
                return
        self.fail("they never came on one connection")


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
        name = {"other": "other.test", "ca-other": "other.test"}.get(kind, "mx1.good.test")
        run("openssl", "genpkey", "-algorithm", "EC", "-pkeyopt", "ec_paramgen_curve:P-256", "-out", key)
        run("openssl", "req", "-new", "-key", key, "-subj", f"/CN={name}", "-out", request)
        is_ca = "TRUE" if kind.startswith("ca") else "FALSE"
        extensions.write_text(f"subjectAltName = DNS:{name}, IP:192.0.2.2\nbasicConstraints = critical, CA:{is_ca}\n")
        if kind.startswith(("self", "ca")):
            days = "-1" if kind == "ca-expired" else "30"
            run("openssl", "x509", "-req", "-in", request, "-signkey", key, "-days", days, "-extfile", extensions, "-out", cert)
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
        for kind, want, why in [
                # none, may, encrypt, verify, secure: whether it is sent, and whether encrypted
                ("good", [False, True, True, True, True], None),
                ("self", [False, True, True, None, None], "server's certificate: no trusted authority has signed it"),
                ("other", [False, True, True, None, None], "server's certificate: it is for another name"),
                ("expired", [False, True, True, None, None], "server's certificate: it, or one above it, has expired"),
                ("broken", [False, False, None, None, None], "TLS"),
                (None, [False, False, None, None, None], "TLS is required, but was not offered"),
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
                    if encrypted is None:
                        self.assertIn(why, said)
            server.close()

    def test_a_certificate_that_is_its_own_authority(self):
        """As `openssl req -x509` makes it, and as it is put into smtp_tls_CAfile by itself."""
        authorities = {kind: self.certificate(kind)[0] for kind in ("ca-else",)}
        for kind, trusted, want in (("ca", "ca", "sent"), ("self", "self", "sent"),
                                    ("ca", "ca-else", "it is an authority's, not a server's"),
                                    ("ca-other", "ca-other", "it is for another name"),
                                    ("ca-expired", "ca-expired", "it, or one above it, has expired")):
            with self.subTest(certificate=kind, trusted=trusted):
                server = self.server("192.0.2.2", context=self.context(kind))
                authorities[kind] = self.dir / "tls" / f"{kind}.pem"
                self.configure(smtp_tls_security_level="verify", smtp_tls_CAfile=authorities[trusted], smtp_mx_address_limit=1)
                status, said = self.send(f"{kind}-{trusted}@good.test")
                is_sent = want == "sent"
                self.assertEqual((status, server.encrypted), ("sent", [True]) if is_sent else ("deferred", []), said)
                if not is_sent:
                    self.assertIn(f"server's certificate: {want}", said)
                server.close()

    def test_who_breaks_off_at_tls_gets_mail_in_clear_if_it_may(self):
        for answers in ({"STARTTLS": None}, {"TLS": None}, {"STARTTLS": "454 4.7.0 Not now"}, {"STARTTLS": "220 Go\r\ngarbage"}):
            server = self.server("192.0.2.2", context=self.context("good"), answers=answers)
            for level, want in (("may", "sent"), ("encrypt", "deferred")):
                with self.subTest(answers=answers, level=level):
                    self.configure(smtp_tls_security_level=level, smtp_mx_address_limit=1)
                    number = len(self.log_path.read_text())
                    status, said = self.send(f"breaks{number}@good.test")
                    self.assertEqual((status, server.encrypted), (want, [False]), said)
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
    def test_one_that_there_is_not_returns_nothing(self):
        """Whichever setting names it."""
        for number, settings in enumerate([{"relayhost": "[nowhere.test]:587"}, {"relayhost": "nowhere.test"},
                                           {"sender_dependent_relayhost_maps": "inline:{anna@me.test=[nowhere.test]:587}"},
                                           {"transport_maps": "inline:{anywhere.example=smtp:[nowhere.test]}"}]):
            with self.subTest(settings):
                self.configure(**settings)
                self.assertEqual(self.send(f"nowhere{number}@anywhere.example")[0], "deferred")
        server = self.server("127.0.0.1", port=free_port(), answers={"greeting": "554 5.7.1 Client host rejected: Access denied"})
        self.configure(relayhost=f"[127.0.0.1]:{server.port}")
        self.assertEqual(self.send("denied@anywhere.example")[0], "deferred")

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

    def test_an_address_without_brackets(self):
        """As Postfix takes it, with a password under the same name."""
        port = free_port()
        server = self.server("127.0.0.1", port=port, users={"anna": "a"})
        self.configure(relayhost=f"127.0.0.1:{port}", smtp_sasl_password_maps=self.passwords(f"127.0.0.1:{port} anna:a\n"),
                       smtp_sasl_security_options="noanonymous")
        status, said = self.send("bare@anywhere.example")
        self.assertEqual((status, len(server.messages)), ("sent", 1), said)

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


if __name__ == "__main__":
    harness.main()
