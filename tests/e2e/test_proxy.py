"""The PROXY protocol: from a real HAProxy, and by hand from peers that are not trusted."""

import struct
import subprocess

import harness
from harness import HOST, Case, Pop, message, program

# What the front has in front of it when a header is there.
V2 = b"\r\n\r\n\0\r\nQUIT\n"


class Haproxy:
    """One frontend for each version of the header, both in front of the launcher."""

    def __init__(self, server):
        self.box, self.bind = server.box, HOST
        self.ports = {version: harness.free_port() for version in ("send-proxy", "send-proxy-v2")}
        lines = ["global", "defaults", "  mode tcp", "  timeout connect 60s", "  timeout client 60s", "  timeout server 60s"]
        for version, port in self.ports.items():
            lines += [f"listen {version}", f"  bind 127.0.0.1:{port}",
                      f"  server pop3 {HOST}:{server.port} source 127.0.0.9 {version}"]
        configuration = self.box.dir / "haproxy.cfg"
        harness.write(configuration, lines, 0o644)
        self.process = subprocess.Popen([program("haproxy"), "-db", "-f", str(configuration)], stdin=subprocess.DEVNULL,
                                        stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        self.box.closers.append(lambda: harness.stop(self.process))
        harness.wait_until(lambda: set(self.ports.values()) <= harness.listening_ports(), "haproxy listens")


class Real(Case):
    def setUp(self):
        self.server = self.serve(settings={"haproxy_trusted_networks": "127.0.0.9/32"})
        self.expected = self.box.maildir.fill()
        self.haproxy = Haproxy(self.server)

    def connect(self, version, source):
        pop = Pop(address=(HOST, self.haproxy.ports[version]), source=source)
        pop.server = self.server
        return pop

    def test_both_versions_of_the_header(self):
        for at, version in enumerate(("send-proxy", "send-proxy-v2"), 21):
            with self.subTest(version):
                source = f"127.0.0.{at}"
                with self.connect(version, source) as pop:
                    pop.login()
                    for number, octets in enumerate(self.expected, 1):
                        self.assertEqual(pop.retrieve(number), octets)
                    pop.quit()
                self.box.wait_log(rf"Login: user=<demo>, method=PLAIN, rip={source}, lip=127\.0\.0\.1")
                self.assertNotIn("127.0.0.9", self.box.log())
                self.box.wait_idle()

    def test_tls_through_the_proxy(self):
        with self.connect("send-proxy-v2", "127.0.0.30") as pop:
            pop.stls()
            pop.login()
            self.assertEqual(pop.retrieve(1), self.expected[0])
            pop.quit()
        self.box.wait_log(r"Login: user=<demo>, method=PLAIN, rip=127\.0\.0\.30, .*, TLS")

    def test_a_failed_login_names_the_client_and_not_the_proxy(self):
        with self.connect("send-proxy", "127.0.0.31") as pop:
            pop.ok("USER demo")
            pop.err("PASS wrong", "[AUTH]")
        line = self.box.wait_log(r"auth failed")
        self.assertIn("rip=127.0.0.31", line)

    def test_a_health_check_of_the_proxy_itself(self):
        """LOCAL and UNKNOWN: the connection is the proxy's own."""
        for header in (b"PROXY UNKNOWN\r\n", V2 + b"\x20\x00" + struct.pack(">H", 0)):
            with Pop(self.server, source="127.0.0.9", greeting=False) as pop:
                pop.send(header)
                self.assertTrue(pop.line().startswith("+OK"))
                pop.quit()


class ByHand(Case):
    def setUp(self):
        self.server = self.serve(settings={"haproxy_trusted_networks": "127.0.0.9", "haproxy_timeout": "1s"})
        self.box.maildir.add(message("one"))

    def test_a_header_from_an_untrusted_peer_is_a_bad_command(self):
        """The address in it is believed nowhere."""
        with Pop(self.server, source="127.0.0.10") as pop:
            pop.err("PROXY TCP4 192.0.2.77 192.0.2.1 1 110")
            pop.login()
            pop.quit()
        self.box.wait_log(r"Login: .*rip=127\.0\.0\.10")
        self.assertNotIn("192.0.2.77", self.box.log())

    def test_a_foreign_client_behind_the_proxy_may_not_send_passwords_in_clear(self):
        with Pop(self.server, source="127.0.0.9", greeting=False) as pop:
            pop.send("PROXY TCP4 192.0.2.77 192.0.2.1 4711 110\r\n")
            self.assertTrue(pop.line().startswith("+OK"))
            capabilities = pop.lines("CAPA")
            self.assertNotIn("USER", capabilities)
            self.assertIn("STLS", capabilities)
            self.assertFalse([c for c in capabilities if c.startswith("SASL") and "PLAIN" in c])
            pop.err("USER demo")
            pop.err("AUTH PLAIN AGRlbW8AZGVtbw==")
            pop.stls()
            pop.login()
            pop.quit()
        self.box.wait_log(r"Login: .*rip=192\.0\.2\.77, lip=192\.0\.2\.1.*TLS")

    def test_a_trusted_proxy_that_sends_no_header_is_not_served(self):
        for octets in (b"USER demo\r\n", b"PROXY nonsense\r\n", b"PROXY TCP4 192.0.2.7 192.0.2.1 1 110" + b" " * 200 + b"\r\n",
                       V2[:11] + b"X", V2 + b"\x21\x11" + struct.pack(">H", 3) + b"abc", b""):
            with self.subTest(octets), Pop(self.server, source="127.0.0.9", greeting=False) as pop:
                pop.send(octets)
                # With nothing at all haproxy_timeout ends it.
                rest = pop.rest()
                self.assertFalse(rest.startswith(b"+OK"), rest)
        self.box.wait_idle()

    def test_a_header_in_pieces_and_with_commands_behind_it(self):
        header = b"PROXY TCP6 2001:db8::7 2001:db8::1 4711 110\r\n"
        with Pop(self.server, source="127.0.0.9", greeting=False) as pop:
            for at in range(len(header)):
                pop.send(header[at:at + 1])
            self.assertTrue(pop.line().startswith("+OK"))
            pop.quit()
        self.box.wait_log(r"rip=2001:db8::7, lip=2001:db8::1")
        with Pop(self.server, source="127.0.0.9", greeting=False) as pop:
            pop.send(header + b"CAPA\r\nQUIT\r\n")
            self.assertTrue(pop.line().startswith("+OK"))
            self.assertIn(b"UIDL\r\n", pop.rest())


if __name__ == "__main__":
    harness.main()
