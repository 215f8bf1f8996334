"""Certificates of clients: EXTERNAL, the name in the certificate, and everything that must not count."""

import base64
import contextlib
import itertools
import pathlib
import re
import ssl
import subprocess
import time
import unittest

import harness
from harness import Case, message, run, wait_until

VERSIONS = {"1.2": ssl.TLSVersion.TLSv1_2, "1.3": ssl.TLSVersion.TLSv1_3}
CONFIG = """
[ca]
default_ca = this
[this]
dir = DIR
database = DIR/index
serial = DIR/serial
new_certs_dir = DIR/issued
certificate = DIR/ca.pem
private_key = DIR/ca-key.pem
default_md = sha256
policy = any
unique_subject = no
crlnumber = DIR/crlnumber
crl_extensions = crl
[any]
commonName = optional
organizationName = optional
emailAddress = optional
UID = optional
[crl]
authorityKeyIdentifier = keyid:always
[client]
basicConstraints = critical, CA:FALSE
extendedKeyUsage = clientAuth
[server]
basicConstraints = critical, CA:FALSE
extendedKeyUsage = serverAuth
"""


class Clients:
    """A CA that signs certificates of clients and revokes them."""

    def __init__(self, directory, name="clients"):
        self.dir = pathlib.Path(directory)
        self.dir.mkdir()
        (self.dir / "issued").mkdir()
        self.file("index").touch()
        self.file("serial").write_text("01\n")
        self.file("crlnumber").write_text("01\n")
        self.config = self.file("config")
        self.config.write_text(CONFIG.replace("DIR", str(self.dir)))
        self.ca = self.file("ca.pem")
        run("openssl", "genpkey", *harness.KEYS["ec"], "-out", self.file("ca-key.pem"))
        run("openssl", "req", "-x509", "-new", "-key", self.file("ca-key.pem"), "-subj", f"/CN={name}", "-days", "30",
            "-out", self.ca)
        self.ca.chmod(0o644)
        self.count = itertools.count()

    def file(self, name):
        return self.dir / name

    def issue(self, subject="/CN=demo", kind="ec", days=(-1, 30), extensions="client"):
        """Returns the paths of a certificate and its key."""
        name = f"client{next(self.count)}"
        cert, key, request = (self.file(f"{name}{end}") for end in (".pem", "-key.pem", ".csr"))
        begin, end = (time.strftime("%Y%m%d%H%M%SZ", time.gmtime(time.time() + day * 86400)) for day in days)
        run("openssl", "genpkey", *harness.KEYS[kind], "-out", key)
        run("openssl", "req", "-new", "-key", key, "-subj", subject, "-out", request)
        run("openssl", "ca", "-batch", "-config", self.config, "-in", request, "-out", cert, "-notext",
            "-startdate", begin, "-enddate", end, "-extensions", extensions, "-preserveDN", "-noemailDN"
            if "emailAddress" not in subject else "-preserveDN")
        return cert, key

    def revoke(self, cert):
        run("openssl", "ca", "-config", self.config, "-revoke", cert)

    def revocations(self, *more):
        run("openssl", "ca", "-config", self.config, "-gencrl", "-out", self.file("crl.pem"),
            *(more or ("-crldays", "7")))
        return self.file("crl.pem").read_text()


class Certificates(Case):
    SETTINGS = {"ssl_verify_client_cert": "yes", "ssl_username_from_cert": "yes",
                "auth_mechanisms": "plain login external"}

    def setUp(self):
        self.new_box()
        self.clients = Clients(self.box.dir / "clients")
        self.box.write_settings(ssl_ca_file=self.clients.ca, **self.SETTINGS)
        self.server = self.box.serve()
        self.box.maildir.add(message("one"))

    def context(self, certificate=None, version=None):
        context = self.box.authority.context()
        if version:
            context.minimum_version = context.maximum_version = VERSIONS[version]
        if certificate:
            context.load_cert_chain(*map(str, certificate))
        return context

    def imap(self):
        if not hasattr(self, "imap_server"):
            self.imap_server = self.box.serve(protocol="imap")
        return self.imap_server

    @staticmethod
    def mechanisms(pop):
        return next((line.split()[1:] for line in pop.lines("CAPA") if line.startswith("SASL")), [])

    def external(self, pop, authzid=""):
        return pop.say("AUTH EXTERNAL " + (base64.b64encode(authzid.encode()).decode() or "="))

    def is_good(self, certificate, version=None, authzid=""):
        """Whether EXTERNAL is on offer with this certificate, and succeeds; both or none."""
        with self.server.connect(tls=True, context=self.context(certificate, version)) as pop:
            offered = "EXTERNAL" in self.mechanisms(pop)
            reply = self.external(pop, authzid)
            if reply.startswith("+OK"):
                self.assertTrue(offered)
                self.assertTrue(pop.ok("STAT").startswith("+OK "))
                pop.quit()
                return True
            if not offered:
                # It is not there, so it is no failed login either.
                pop.login()
                pop.quit()
            return False


class External(Certificates):
    def test_every_kind_of_key_in_both_versions_of_tls(self):
        for kind, version in itertools.product(("ec", "rsa", "ed25519"), VERSIONS):
            for server in ("ec", "rsa", "ed25519"):
                cert, key = self.box.authority.issue(server, name=f"server-{server}")
                self.box.write_settings(ssl_cert_file=cert, ssl_key_file=key)
                with self.subTest(f"client {kind}, server {server}, TLS {version}"):
                    self.box.clear_log()
                    self.assertTrue(self.is_good(self.clients.issue(kind=kind), version))
                    self.box.wait_log(r"pop3-login: Login: user=<demo>, method=EXTERNAL, rip=127\.0\.0\.1, .*, TLS, session=")

    def test_after_stls(self):
        with self.server.connect() as pop:
            self.assertNotIn("EXTERNAL", self.mechanisms(pop))
            pop.err("AUTH EXTERNAL =")
            pop.stls(self.context(self.clients.issue()))
            self.assertEqual(self.mechanisms(pop), ["EXTERNAL", "PLAIN", "LOGIN"])
            self.assertIn("EXTERNAL", pop.lines("AUTH"))
            # Without an initial response: an empty challenge, an empty answer (RFC 4422 A.1).
            self.assertEqual(pop.say("AUTH EXTERNAL"), "+ ")
            pop.ok("")
            pop.quit()

    def test_imap(self):
        self.box.binary = self.box.binaries["imap"]
        certificate = self.clients.issue()
        for version in VERSIONS:
            with self.imap().connect(context=self.context(certificate, version)) as imap:
                self.assertNotIn("AUTH=EXTERNAL", imap.greeting)
                imap.start_tls_command(self.context(certificate, version))
                [capability] = imap.ok("CAPABILITY")
                self.assertIn(b" AUTH=EXTERNAL ", capability)
                imap.ok("AUTHENTICATE EXTERNAL =")
                imap.ok("SELECT INBOX")
                imap.quit()
            with self.imap().connect(tls=True, context=self.context(certificate, version)) as imap:
                self.assertIn(" AUTH=EXTERNAL ", imap.greeting)
                imap.send(b"x AUTHENTICATE EXTERNAL\r\n")
                self.assertEqual(imap.response(), b"+ ")
                imap.send(base64.b64encode(b"demo") + b"\r\n")
                completion, _ = imap.completion(b"x")
                self.assertTrue(completion.startswith("OK"), completion)
                imap.quit()
            with self.imap().connect(tls=True, context=self.context(version=version)) as imap:
                self.assertNotIn("EXTERNAL", imap.greeting)
                imap.no("AUTHENTICATE EXTERNAL =")
        self.box.wait_log(r"imap-login: Login: user=<demo>, method=EXTERNAL, ")

    def test_curl_and_openssl(self):
        for kind, version in itertools.product(("ec", "rsa"), VERSIONS):
            cert, key = self.clients.issue(kind=kind)
            with self.subTest(f"{kind} {version}"):
                got = run("curl", "-sS", "--cacert", self.box.authority.ca, "--cert", cert, "--key", key,
                          "--tlsv" + version, "--tls-max", version, "-u", "demo:", "--login-options", "AUTH=EXTERNAL",
                          f"pop3s://localhost:{self.server.tls_port}/1")
                self.assertIn("one", got.stdout)
                got = run("openssl", "s_client", "-connect", f"127.0.0.1:{self.server.port}", "-starttls", "pop3",
                          "-CAfile", self.box.authority.ca, "-cert", cert, "-key", key, "-quiet", "-crlf",
                          "-tls" + version.replace(".", "_"), input="AUTH EXTERNAL =\nSTAT\nQUIT\n", check=False)
                self.assertRegex(got.stdout, r"(?s)\+OK.*\+OK 1 \d+")

    def test_the_server_names_its_cas(self):
        got = run("openssl", "s_client", "-connect", f"127.0.0.1:{self.server.tls_port}", "-CAfile",
                  self.box.authority.ca, input="QUIT\n", check=False)
        self.assertRegex(got.stdout, r"Acceptable client certificate CA names\nCN ?= ?clients")

    def test_a_chain_of_cas(self):
        self.assertTrue(self.is_good(self.with_intermediate()))

    def with_intermediate(self):
        """A certificate whose CA is signed by ours, with that in the same file."""
        between = Clients(self.box.dir / f"between{time.monotonic_ns()}", "between")
        request = between.file("ca.csr")
        run("openssl", "req", "-new", "-key", between.file("ca-key.pem"), "-subj", "/CN=between", "-out", request)
        extensions = between.file("extensions")
        extensions.write_text("basicConstraints = critical, CA:TRUE\nsubjectKeyIdentifier = hash\n")
        run("openssl", "x509", "-req", "-in", request, "-CA", self.clients.ca, "-CAkey", self.clients.file("ca-key.pem"),
            "-set_serial", "4711", "-days", "30", "-extfile", extensions, "-out", between.ca)
        cert, key = between.issue()
        cert.write_text(cert.read_text() + between.ca.read_text())
        return cert, key

    def test_whom_to_act_as(self):
        certificate = self.clients.issue()
        self.box.add_user("other")
        self.assertTrue(self.is_good(certificate, authzid="demo"))
        self.assertTrue(self.is_good(certificate, authzid="DEMO"))
        for authzid in ("other", "nobody-here", "demo\0other", "\udcff".encode("utf-8", "surrogateescape").decode("latin-1")):
            with self.subTest(authzid):
                self.assertFalse(self.is_good(certificate, authzid=authzid))
        self.box.wait_log(r"login refused: user=<demo>, rip=127.0.0.1: the certificate is another user's")
        self.box.wait_log(r"pop3-login: Aborted login \(auth failed, 1 attempts in \d+ secs\): user=<demo>, "
                          r"method=EXTERNAL, rip=127\.0\.0\.1, lip=127\.0\.0\.1, TLS, session=")

    def test_helo_retry(self):
        """A client that guesses another group says hello twice."""
        cert, key = self.clients.issue()
        got = run("openssl", "s_client", "-connect", f"127.0.0.1:{self.server.tls_port}", "-CAfile", self.box.authority.ca,
                  "-cert", cert, "-key", key, "-quiet", "-crlf", "-tls1_3", "-groups", "P-521:P-256",
                  input="AUTH EXTERNAL =\nQUIT\n", check=False)
        self.assertRegex(got.stdout, r"(?s)\+OK tinmail.*\+OK ")
        self.box.wait_log("method=EXTERNAL")


class NotGood(Certificates):
    def refused(self, certificate, why):
        for version in VERSIONS:
            self.box.clear_log()
            self.assertFalse(self.is_good(certificate, version))
            self.box.wait_log(rf"Received invalid SSL certificate: {why}.*, rip=127\.0\.0\.1")

    def test_none(self):
        for version in VERSIONS:
            self.assertFalse(self.is_good(None, version))
        self.assertNotIn("invalid", self.box.log())

    def test_expired_and_early(self):
        self.refused(self.clients.issue(days=(-9, -2)), "certificate has expired: /CN=demo")
        self.refused(self.clients.issue(days=(2, 9)), "certificate is not yet valid: /CN=demo")

    def test_another_ca(self):
        other = Clients(self.box.dir / "other", name="others")
        self.refused(other.issue(), "unable to get local issuer certificate: /CN=demo")
        # Of the same name, too.
        same = Clients(self.box.dir / "same", name="clients")
        self.refused(same.issue(), "(certificate signature failure|unable to get local issuer)")

    def test_self_signed(self):
        cert, key = self.box.dir / "self.pem", self.box.dir / "self-key.pem"
        run("openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-keyout", key,
            "-subj", "/CN=demo", "-days", "9", "-out", cert)
        self.refused((cert, key), "")

    def test_for_servers_only(self):
        self.refused(self.clients.issue(extensions="server"), "unsuitable certificate purpose: /CN=demo")

    def test_revoked(self):
        good, bad = self.clients.issue(), self.clients.issue()
        self.clients.revoke(bad[0])
        self.box.write_settings(ssl_ca_file=self.box.dir / "ca-and-crl.pem")
        both = self.box.dir / "ca-and-crl.pem"
        both.write_text(self.clients.ca.read_text() + self.clients.revocations())
        self.assertTrue(self.is_good(good))
        self.refused(bad, "certificate revoked: /CN=demo")
        # A list that is out of date says nothing, so nobody counts.
        both.write_text(self.clients.ca.read_text() + self.clients.revocations("-crlsec", "1"))
        wait_until(lambda: not self.is_good(good), "the list is out of date")
        self.box.wait_log("CRL has expired")

    def test_a_list_is_required(self):
        certificate = self.clients.issue()
        self.box.write_settings(ssl_require_crl="yes")
        self.refused(certificate, "unable to get certificate CRL")
        self.clients.ca.write_text(self.clients.ca.read_text() + self.clients.revocations())
        self.assertTrue(self.is_good(certificate))


    def test_names_that_are_none(self):
        for subject, why in (("/O=nobody", "not in the subject"), ("/CN=demo/CN=other", "more than once")):
            self.box.clear_log()
            self.assertFalse(self.is_good(self.clients.issue(subject)))
            self.box.wait_log(f"certificate without a user name: commonName: {why}")

    def test_a_user_that_does_not_exist(self):
        self.assertFalse(self.is_good(self.clients.issue("/CN=nobody-here")))
        self.box.wait_log(r"\(auth failed, 1 attempts in \d+ secs\): user=<nobody-here>, method=EXTERNAL, ")
        self.assertFalse(self.is_good(self.clients.issue("/CN=..\\/demo")))

    def test_a_ca_file_that_cannot_be_used(self):
        broken = self.box.dir / "broken.pem"
        for text, why in (("", "no certificate in it"), ("-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n",
                                                        "certificate 1: "),
                          (self.clients.ca.read_text() + "-----BEGIN X509 CRL-----\nAAAA\n-----END X509 CRL-----\n",
                           "revocation list 1: ")):
            broken.write_text(text)
            self.box.write_settings(ssl_ca_file=broken)
            self.box.clear_log()
            with self.server.connect() as pop:
                pop.err("STLS", "[SYS/TEMP]")
            self.box.wait_log(rf"TLS: ssl_ca_file = .*/broken\.pem: {why}")
            checked = run(self.box.binary, "-c", self.box.conf, "--check", check=False)
            self.assertEqual(checked.returncode, 100)
            self.assertRegex(checked.stdout, rf"error: ssl_ca_file = .*/broken\.pem: {why}")


class Rules(Certificates):
    def test_locks_dates_and_uids(self):
        harness.needs_root("users of other uids")
        day = int(time.time()) // 86400
        for name, shadow, uid, good in (
                ("locked", lambda digest: f"!{digest}:{day}:0:99999:7:::", None, True),
                ("nopassword", f"*:{day}:0:99999:7:::", None, True),
                ("oldpassword", lambda digest: f"{digest}:{day - 99}:0:9:7:::", None, True),
                ("expired", lambda digest: f"{digest}:{day}:0:99999:7::{day - 1}:", None, False),
                ("system", None, 499, False)):
            with self.subTest(name):
                self.box.add_user(name, shadow=shadow, uid=uid)
                self.assertEqual(self.is_good(self.clients.issue(f"/CN={name}")), good)
        self.box.wait_log(r"user=<expired>.*account has expired|user=<expired>.*expired")
        self.box.wait_log(r"user=<system>.*below first_valid_uid")

    def test_other_fields(self):
        for field, subject in (("UID", "/CN=Demo User/UID=demo"), ("emailAddress", "/CN=x/emailAddress=demo")):
            self.box.write_settings(ssl_cert_username_field=field)
            with self.subTest(field):
                self.assertTrue(self.is_good(self.clients.issue(subject)))
                self.assertFalse(self.is_good(self.clients.issue("/CN=demo")))

    def test_not_on_offer_without_its_settings(self):
        certificate = self.clients.issue()
        for settings in ({"auth_mechanisms": "plain"}, {"ssl_username_from_cert": "no"}, {"ssl_verify_client_cert": "no"}):
            self.box.write_settings(**(self.SETTINGS | settings))
            with self.subTest(settings):
                self.assertFalse(self.is_good(certificate))

    def test_the_name_in_the_certificate_counts_for_passwords_too(self):
        """As Dovecot's: whatever name the client says."""
        other = self.box.add_user("other")
        self.box.maildir_of(other).add(message("of other"))
        context = self.context(self.clients.issue("/CN=other"))
        with self.server.connect(tls=True, context=context) as pop:
            pop.ok(f"USER {self.box.user.name}")
            pop.err(f"PASS {self.box.user.password}")
            pop.ok(f"USER {self.box.user.name}")
            pop.ok(f"PASS {other.password}")
            self.assertIn(b"of other", pop.retrieve(1))
            pop.quit()
        self.box.wait_log(r"Login: user=<other>, method=PLAIN")
        # Who has no certificate is who he says.
        with self.server.connect(tls=True) as pop:
            pop.login()
            pop.quit()

    def test_a_certificate_can_be_required(self):
        self.box.write_settings(auth_ssl_require_client_cert="yes")
        with self.server.connect() as pop:
            self.assertEqual(self.mechanisms(pop), [])
            pop.err(f"USER {self.box.user.name}")
            pop.quit()
        good, bad = self.clients.issue(), self.clients.issue(days=(-9, -2))
        for certificate, words in ((None, "client didn't send a cert"), (bad, "client sent an invalid cert")):
            with self.server.connect(tls=True, context=self.context(certificate)) as pop:
                pop.ok(f"USER {self.box.user.name}")
                pop.err(f"PASS {self.box.user.password}", "[AUTH]")
                pop.quit()
            self.box.wait_log(rf"Aborted login \({words}\): user=<>, method=PLAIN, rip=127")
        with self.server.connect(tls=True, context=self.context(good)) as pop:
            pop.login()
            pop.quit()

    def test_check(self):
        def check():
            return run(self.box.binary, "-c", self.box.conf, "--check", check=False)
        self.assertNotIn("ssl_ca_file", check().stdout)
        self.box.write_settings(ssl_require_crl="yes")
        self.assertIn("error: ssl_require_crl = yes, but no revocation list", check().stdout)
        self.box.write_settings(ssl_require_crl="no", ssl_ca_file=self.box.dir / "none.pem")
        checked = check()
        self.assertRegex(checked.stdout, r"error: .*/none\.pem: No such file")
        self.assertEqual(checked.returncode, 100)


if __name__ == "__main__":
    harness.main()
