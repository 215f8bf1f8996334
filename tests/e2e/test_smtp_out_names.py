"""Mail that goes out where the name service is broken, slow or hostile: no mail is returned that somebody would have taken."""

import struct

import harness
from odd_dns import A, AAAA, FORMERR, MX, NOTIMP, REFUSED, SERVFAIL, SILENCE, TRUNCATED, NameServer, a, cname, mx, wire
from smtp_out import Out

HERE = "127.0.0.77"
HOST = "192.0.2.3"


def header(answers, name):
    """Of a message with one question about a mail host and so many answers."""
    return struct.pack(">HHHHH", 0x8180, 1, answers, 0, 0) + wire(name) + struct.pack(">HH", MX, 1)


def to_host(name):
    return [mx(name, 1, "host.test")]


ZONE = {
    ("host.test", A): [a("host.test", HOST)], ("host.test", AAAA): [],
    # What nobody knows for now.
    ("servfail.test", MX): SERVFAIL, ("formerr.test", MX): FORMERR, ("notimp.test", MX): NOTIMP, ("refused.test", MX): REFUSED,
    ("silent.test", MX): SILENCE, ("truncated.test", MX): TRUNCATED,
    ("cut.test", MX): lambda over_tcp: SILENCE if over_tcp else TRUNCATED,
    ("circle.test", MX): [cname("circle.test", "two.circle.test"), cname("two.circle.test", "circle.test")],
    ("counts.test", MX): struct.pack(">HHHHH", 0x8180, 1, 0xFFFF, 0, 0) + wire("counts.test") + struct.pack(">HH", MX, 1),
    ("pointer.test", MX): header(1, "pointer.test") + b"\xc0\x1e" * 20,
    ("half.test", MX): header(1, "half.test") + mx("half.test", 1, "host.test")[:-3],
    ("noaddress.test", MX): [mx("noaddress.test", 1, "h.noaddress.test")],
    ("h.noaddress.test", A): SERVFAIL, ("h.noaddress.test", AAAA): [],
    # What is known all the same.
    ("tcp.test", MX): lambda over_tcp: to_host("tcp.test") if over_tcp else TRUNCATED,
    ("nosix.test", MX): [mx("nosix.test", 1, "h.nosix.test")], ("h.nosix.test", A): [a("h.nosix.test", HOST)],
    ("h.nosix.test", AAAA): SERVFAIL,
    ("slowsix.test", MX): [mx("slowsix.test", 1, "h.slowsix.test")], ("h.slowsix.test", A): [a("h.slowsix.test", HOST)],
    ("h.slowsix.test", AAAA): SILENCE,
    ("alias.test", MX): [cname("alias.test", "real.test"), mx("real.test", 1, "host.test")],
    ("nodata.test", MX): [], ("nodata.test", A): [a("nodata.test", HOST)], ("nodata.test", AAAA): [],
    ("many.test", MX): lambda over_tcp: [mx("many.test", n, f"no{n}.test") for n in range(40, 1, -1)] + to_host("many.test")
    if over_tcp else TRUNCATED,
    # Records that nobody has asked for: the address of the host is not there.
    ("more.test", MX): [mx("other.test", 1, "no.test"), a("host.test", "192.0.2.9"), *to_host("more.test")],
    ("nullandmore.test", MX): [mx("nullandmore.test", 0, ""), *to_host("nullandmore.test")],
    ("ownlast.test", MX): [mx("ownlast.test", 20, "me.test"), *to_host("ownlast.test")],
    # A name that no host has, beside one that a host has.
    ("oddandmore.test", MX): [mx("oddandmore.test", 0, "a b.test"), *to_host("oddandmore.test")],
    ("oddandmore.test", A): [a("oddandmore.test", "192.0.2.9")], ("oddandmore.test", AAAA): [],
    # What is known to be none. With an MX the domain's own address is not used.
    ("odd.test", MX): [mx("odd.test", 10, "a b.test"), mx("odd.test", 20, "*.test")],
    ("odd.test", A): [a("odd.test", HOST)], ("odd.test", AAAA): [],
    ("null.test", MX): [mx("null.test", 0, "")],
    ("nothing.test", MX): [], ("nothing.test", A): [], ("nothing.test", AAAA): [],
    ("own.test", MX): [mx("own.test", 10, "ME.test"), mx("own.test", 10, "host.test")],
}
DEFERRED = "servfail formerr notimp refused silent truncated cut circle counts pointer half noaddress".split()
SENT = "tcp nosix slowsix alias nodata many more nullandmore ownlast oddandmore".split()
BOUNCED = "odd null nothing own nowhere".split()


class Broken(Out):
    def test_answers(self):
        server = NameServer(HERE, ZONE)
        self.addCleanup(server.close)
        conf = self.dir / "resolv.conf"
        self.addCleanup(conf.write_text, conf.read_text())
        conf.write_text(f"nameserver {HERE}\noptions timeout:1 attempts:1\n")
        self.assertEqual({name for name, _ in ZONE if name.count(".") == 1} - {"host.test"},
                         {f"{name}.test" for name in [*DEFERRED, *SENT, *BOUNCED] if name != "nowhere"})
        other = self.server(HOST)
        for names, want in ((DEFERRED, "deferred"), (SENT, "sent"), (BOUNCED, "bounced")):
            for name in names:
                with self.subTest(name):
                    status, said = self.send(f"a@{name}.test")
                    self.assertEqual(status, want, said)
        self.assertEqual(len(other.messages), len(SENT))


if __name__ == "__main__":
    harness.main()
