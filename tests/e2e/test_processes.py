"""Guard, front and session: who runs as whom, behind which walls, and knows what."""

import hashlib
import os
import pathlib
import re

import harness
from harness import Case, message, needs_root, parent_of, run, status_of, uid_of, wait_until


def memory_of(pid):
    """Everything that a process has mapped and that can be read."""
    found = []
    with open(f"/proc/{pid}/mem", "rb", 0) as memory:
        for line in pathlib.Path(f"/proc/{pid}/maps").read_text().splitlines():
            limits, rights = line.split()[:2]
            start, end = (int(number, 16) for number in limits.split("-"))
            if "r" not in rights or line.endswith(("[vvar]", "[vsyscall]")):
                continue
            try:
                memory.seek(start)
                found.append(memory.read(end - start))
            except OSError:
                pass
    return b"".join(found)


def secrets_of_key(path):
    """What would betray the private key: its number, its DER, the lines of its PEM file."""
    text = run("openssl", "pkey", "-in", path, "-noout", "-text").stdout
    der = run("openssl", "pkey", "-in", path, "-outform", "DER", text=False).stdout
    pem = [line.encode() for line in pathlib.Path(path).read_text().splitlines() if len(line) == 64]
    numbers = []
    for _, digits in re.findall(r"(priv|privateExponent|prime1|prime2|exponent1|exponent2):\s+((?:\s*[0-9a-f:]+\n)+)", text):
        number = bytes.fromhex(re.sub(r"[^0-9a-f]", "", digits)).lstrip(b"\0")
        # Some libraries keep numbers with the least octet first.
        numbers += [number[-31:], number[::-1][:31]]
    assert numbers and all(len(number) >= 30 for number in numbers)
    if "ED25519" in text:
        # What is kept of the seed is its hash: the scalar and the prefix of RFC 8032.
        seed = bytes.fromhex(re.sub(r"[^0-9a-f]", "", re.search(r"priv:\s+((?:\s*[0-9a-f:]+\n)+)", text)[1]))
        expanded = hashlib.sha512(seed).digest()
        numbers += [expanded[1:31], expanded[32:]]
    return [*numbers, der[:64], *pem]


@needs_root
class Processes(Case):
    def setUp(self):
        self.server = self.serve()
        self.box.maildir.add(message("one"))

    def settled(self, count):
        """The connection's processes, once there are so many."""
        return wait_until(lambda: (servers := self.box.servers()) and len(servers) == count and servers, f"{count} processes")

    def guard_and_front(self):
        one, other = self.settled(2)
        return (one, other) if parent_of(other) == one else (other, one)

    def check_front(self, pid):
        status = status_of(pid)
        self.assertEqual(status["NoNewPrivs"], "1")
        self.assertEqual(status["Seccomp"], "2")
        limits = pathlib.Path(f"/proc/{pid}/limits").read_text()
        address_space = re.search(r"Max address space\s+(\S+)", limits)[1]
        self.assertLessEqual(int(address_space), 64 << 20)
        self.assertRegex(limits, r"Max processes\s+0\s+0")
        self.assertRegex(limits, r"Max file size\s+0\s+0")
        self.assertRegex(limits, r"Max core file size\s+0\s+0")
        nobody = ["65534"] * 4
        self.assertEqual(status["Uid"].split(), nobody)
        self.assertEqual(status["Gid"].split(), nobody)
        self.assertLessEqual(set(status["Groups"].split()), {"65534"})
        for kind in ("CapEff", "CapPrm", "CapInh", "CapAmb"):
            self.assertEqual(int(status[kind], 16), 0, kind)
        root = os.readlink(f"/proc/{pid}/root")
        self.assertTrue(root.startswith(str(self.box.dir / "run")), root)
        self.assertEqual(os.listdir(f"/proc/{pid}/root"), [])
        self.assertEqual(os.stat(f"/proc/{pid}/root").st_uid, 0)
        self.assertFalse(os.stat(f"/proc/{pid}/root").st_mode & 0o022)
        self.assertEqual(os.readlink(f"/proc/{pid}/cwd"), root)
        self.assertLessEqual(set(os.listdir(f"/proc/{pid}/fd")), {"0", "1", "2", "3"})

    def check_session(self, pid, descriptors=None):
        status = status_of(pid)
        self.assertEqual(status["NoNewPrivs"], "1")
        user = self.box.user
        self.assertEqual(status["Uid"].split(), [str(user.uid)] * 4)
        self.assertEqual(status["Gid"].split(), [str(user.gid)] * 4)
        self.assertEqual(int(status["CapEff"], 16), 0)
        for file in ("cmdline", "environ"):
            content = pathlib.Path(f"/proc/{pid}/{file}").read_bytes()
            self.assertNotIn(user.password.encode(), content)
            self.assertNotIn(user.digest.encode(), content)
        names = {number: os.readlink(f"/proc/{pid}/fd/{number}") for number in os.listdir(f"/proc/{pid}/fd")}
        for target in names.values():
            self.assertNotRegex(target, "shadow|key|passwd", names)

    def test_before_the_login(self):
        with self.server.connect():
            guard, front = self.guard_and_front()
            self.check_front(front)
            self.assertEqual(status_of(guard)["Uid"].split()[1], str(os.geteuid()))
        self.box.wait_idle()
        with self.server.connect(tls=True):
            self.check_front(self.guard_and_front()[1])
        self.box.wait_idle()
        with self.server.connect() as pop:
            pop.stls()
            self.check_front(self.guard_and_front()[1])

    def test_after_the_login_in_clear_one_process_is_left(self):
        with self.server.connect() as pop:
            guard, _ = self.guard_and_front()
            pop.login()
            session, = self.settled(1)
            self.assertEqual(session, guard, "the launcher's process stays, so that it counts connections rightly")
            self.check_session(session)
            pop.retrieve(1)
            self.settled(1)

    def test_after_the_login_under_tls_two_are_left(self):
        for tls in (True, False):
            with self.subTest(tls), self.server.connect(tls=tls) as pop:
                if not tls:
                    pop.stls()
                guard, front = self.guard_and_front()
                pop.login()
                self.assertEqual(set(self.settled(2)), {guard, front})
                self.check_front(front)
                self.check_session(guard)
                pop.retrieve(1)
                self.check_front(front)
            self.box.wait_idle()

    def test_the_private_key_is_never_in_the_front(self):
        for kind in ("ec", "rsa", "ed25519"):
            with self.subTest(kind):
                cert, key = self.box.authority.issue(kind, name=kind)
                self.box.write_settings(ssl_cert_file=cert, ssl_key_file=key)
                secrets = secrets_of_key(key)
                with self.server.connect(tls=True) as pop:
                    guard, front = self.guard_and_front()
                    held = memory_of(guard)
                    # The control: the guard signs with it, so it is found there.
                    self.assertTrue(any(secret in held for secret in secrets), "the search finds nothing at all")
                    self.assert_absent(secrets, front)
                    pop.login()
                    wait_until(lambda: uid_of(guard) == self.box.user.uid, "the session")
                    self.assert_absent(secrets, guard)
                    self.assert_absent(secrets, front)
                self.box.wait_idle()

    def test_no_password_and_no_hash_is_in_the_session(self):
        for tls in (False, True):
            with self.subTest(tls), self.server.connect(tls=tls) as pop:
                pop.login()
                [session] = wait_until(lambda: self.box.servers_of(self.box.user), "the session")
                pop.retrieve(1)
                held = memory_of(session)
                # The control.
                self.assertIn(str(self.box.user.home).encode(), held)
                user = self.box.user
                salt_and_hash = user.digest.split("$")[-1].encode()
                for secret in (user.password.encode(), salt_and_hash, user.shadow.encode()):
                    self.assertFalse(secret in held, "a secret is in the session's memory")
            self.box.wait_idle()

    def test_the_front_cannot_be_traced_by_another_process_of_its_user(self):
        with self.server.connect():
            _, front = self.guard_and_front()
            done = run("setpriv", "--reuid", "65534", "--regid", "65534", "--clear-groups", "head", "-c", "1",
                       f"/proc/{front}/mem", check=False)
            self.assertNotEqual(done.returncode, 0)
            self.assertIn("Permission denied", done.stderr)

    def assert_absent(self, secrets, pid):
        held = memory_of(pid)
        self.assertGreater(len(held), 100000)
        self.assertFalse(any(secret in held for secret in secrets), f"process {pid} holds the private key")

    def test_no_process_is_left_whatever_the_client_does(self):
        for tls in (False, True):
            for behaviour in ("close", "reset", "half close", "quit"):
                with self.subTest(f"{behaviour} {tls}"):
                    pop = self.server.connect(tls=tls)
                    if behaviour == "reset":
                        pop.plain_socket.setsockopt(1, 13, b"\1\0\0\0\0\0\0\0") if not tls else None
                    if behaviour == "half close":
                        pop.socket.shutdown(1)
                        pop.rest()
                    if behaviour == "quit":
                        pop.quit()
                    pop.close()
                    self.box.wait_idle()

    def test_the_processes_of_another_connection_do_not_matter(self):
        """One connection's front is killed; the others live."""
        with self.server.connect() as one:
            _, front = self.guard_and_front()
            with self.server.connect() as other:
                self.settled(4)
                os.kill(front, 9)
                # In clear the guard may say why, in the protocol's words.
                self.assertRegex(one.rest(), rb"^(-ERR \[SYS/TEMP\] [^\r\n]*\r\n)?$")
                other.login()
                other.quit()

    def test_no_word_in_clear_when_a_front_under_tls_dies(self):
        for way in ("POP3S", "STLS", "after the login"):
            with self.subTest(way), self.server.connect(tls=way != "STLS") as pop:
                if way == "STLS":
                    pop.stls()
                _, front = self.guard_and_front()
                if way == "after the login":
                    pop.login()
                os.kill(front, 9)
                # Anything that is not TLS would be an error here.
                self.assertEqual(pop.rest(), b"")
            self.box.wait_idle()

    def test_proctitle(self):
        self.box.write_settings(verbose_proctitle="yes")
        with self.server.connect() as pop:
            pop.login()
            session, = self.settled(1)
            title = pathlib.Path(f"/proc/{session}/cmdline").read_bytes()
            self.assertIn(b"demo", title)
            self.assertIn(b"127.0.0.1", title)

    def test_a_connection_without_a_word_costs_nothing_afterwards(self):
        opened = [self.server.connect() for _ in range(8)]
        self.settled(16)
        for pop in opened:
            pop.close()
        self.box.wait_idle()


if __name__ == "__main__":
    harness.main()
