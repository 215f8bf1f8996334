"""Mail that goes out to real servers of others: smtp-sink, Postfix, OpenSMTPD."""

import os
import pathlib
import re
import shutil
import subprocess

import harness
import opensmtpd
from harness import HOST, free_port, program, run, stop, wait_until
from smtp_out import Out, listens

class RealServers(Out):
    def spawn(self, *command):
        process = subprocess.Popen([str(word) for word in command], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        self.addCleanup(stop, process)
        return process

    def wait_for(self, port):
        wait_until(lambda: listens(HOST, port), f"port {port} is listened to")

    def arrives(self, message, new):
        wait_until(lambda: new.is_dir() and list(new.iterdir()), f"a message in {new}")
        delivered = next(new.iterdir()).read_bytes()
        self.assertTrue(delivered.endswith(message.partition(b"\r\n\r\n")[2].replace(b"\r\n", b"\n")))

    def test_smtp_sink(self):
        """It gets what was sent, by whichever command it wants to."""
        port, dumps = free_port(), self.dir / "dumps"
        dumps.mkdir()
        os.chmod(self.dir, 0o755)
        os.chmod(dumps, 0o777)
        message = b"Subject: hello\r\nMessage-ID: <1@me.test>\r\nDate: Mon, 23 Nov 2026 10:00:00 +0000\r\nFrom: anna@me.test\r\n\r\n.dot\r\n..\r\n" \
            + b"line\r\n" * 2000 + b"\r\n"
        for number, options in enumerate(([], ["-p"], ["-e"], ["-8"], ["-a"])):
            sink = self.spawn(program("smtp-sink"), "-u", "nobody", *options, "-d", f"{dumps}/{number}.", f"127.0.0.1:{port}", "100")
            self.wait_for(port)
            self.configure(relayhost=f"[127.0.0.1]:{port}")
            recipient = f"sink{''.join(options)}@anywhere.example"
            self.assertEqual(self.send(recipient, message=message)[0], "sent", options)
            stop(sink)
            [dump] = [path.read_bytes() for path in dumps.glob(f"{number}.*") if b"X-Rcpt-Args" in path.read_bytes()]
            # Its own lines, ours, the message, and an empty line of its own.
            envelope, _, sent = dump.partition(b"\nReceived: by me.test")
            self.assertIn(b"\nX-Mail-Args: <anna@me.test>", envelope)
            self.assertIn(b"\nX-Rcpt-Args: <%s>" % recipient.encode(), envelope)
            self.assertTrue(sent.endswith(b"\n" + message.replace(b"\r\n", b"\n") + b"\n"), sent[:600])

    def test_smtp_sink_that_fails(self):
        port = free_port()
        for options, want in ((["-q", "DATA"], "deferred"), (["-r", "rcpt"], "deferred"), (["-f", "rcpt"], "bounced"),
                              (["-r", "."], "deferred"), (["-f", "."], "bounced"), (["-q", "."], "deferred")):
            sink = self.spawn(program("smtp-sink"), "-u", "nobody", *options, f"127.0.0.1:{port}", "100")
            self.wait_for(port)
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
        self.wait_for(port)
        self.configure(relayhost=f"[localhost]:{port}", inet_protocols="ipv4", smtp_tls_security_level="verify",
                       smtp_tls_CAfile=self.authority.ca)
        message = b"Subject: hello\r\n\r\n.dot\r\n" + b"line\r\n" * 20000
        self.assertEqual(self.send("user@postfix.test", message=message)[0], "sent")
        self.assertEqual(self.send("nobody@postfix.test")[0], "bounced")
        self.arrives(message, base / "mail/user/new")

    def test_opensmtpd(self):
        base, port = self.dir / "opensmtpd", free_port()
        cert, key = self.authority.issue("rsa", "opensmtpd")
        opensmtpd.start(self, base, f'pki os.test cert "{cert}"\npki os.test key "{key}"\n'
                        f"listen on 127.0.0.1 port {port} tls pki os.test hostname os.test\n"
                        'action "local" maildir "~/Maildir"\nmatch from any for domain "os.test" action "local"\n')
        self.wait_for(port)
        # Debian 12's breaks off its own handshakes ("internal error", also with OpenSSL's client): mail goes in clear then.
        self.configure(relayhost=f"[localhost]:{port}", inet_protocols="ipv4")
        message = b"Subject: hello\r\n\r\n.dot\r\n" + b"line\r\n" * 20000
        self.assertEqual(self.send("osuser@os.test", message=message)[0], "sent")
        self.assertEqual(self.send("stranger@os.test")[0], "bounced")
        self.arrives(message, base / "home/Maildir/new")
        # TLS was tried first, whichever became of it.
        said = (base / "log").read_text()
        sessions = re.findall(r"(?m)^(\w+) smtp connected", said)
        [taken] = re.findall(r"(?m)^(\w+) smtp message ", said)
        [raw] = [path.read_bytes() for path in (base / "home/Maildir/new").iterdir()]
        broken = re.findall(r'(?m)^(\w+) smtp disconnected reason="io-error: .*SSL routines', said)
        if broken:
            self.assertEqual(sessions.index(broken[0]) + 1, sessions.index(taken), said)
            self.assertIn(b"\n\tby os.test (OpenSMTPD) with ESMTP id ", raw)
        else:
            self.assertRegex(said, rf"(?m)^{taken} smtp tls ")
            self.assertIn(b"\n\tby os.test (OpenSMTPD) with ESMTPS id ", raw)


if __name__ == "__main__":
    harness.main()
