"""xinetd/demo, the README's first command: as root and as a plain user, and what it leaves behind, which is nothing."""

import contextlib
import os
import pathlib
import re
import shutil
import signal
import subprocess

import harness
from harness import IN_NAMESPACE, IS_ROOT, TREE, Case, needs_root, program, run, wait_until

FETCH = """
set -e
cd "$HOME"
test -n "$DEMO_LOG"
for url in "pop3://localhost:$DEMO_POP3_PORT" "pop3s://localhost:$DEMO_POP3S_PORT"; do
    curl -sS --ssl-reqd --cacert "$DEMO_CA" -u "$DEMO_USER:$DEMO_PASSWORD" "$url/" >list
    n=0
    while read -r number size; do
        curl -sS --ssl-reqd --cacert "$DEMO_CA" -u "$DEMO_USER:$DEMO_PASSWORD" "$url/$number" >message
        test "$(wc -c <message)" = "$(printf %s "$size" | tr -d '\\r')"
        n=$((n + 1))
    done <list
    test "$n" -ge 8
done
for url in "imap://localhost:$DEMO_IMAP_PORT" "imaps://localhost:$DEMO_IMAPS_PORT"; do
    curl -sS --ssl-reqd --cacert "$DEMO_CA" -u "$DEMO_USER:$DEMO_PASSWORD" "$url/" >list
    for name in INBOX Drafts Sent Trash; do grep -q " $name" list; done
    curl -sS --ssl-reqd --cacert "$DEMO_CA" -u "$DEMO_USER:$DEMO_PASSWORD" "$url/INBOX?ALL" >found
    test "$(wc -w <found)" = "$((n + 2))"
done
echo "fetched $n"
id -u
"""

SEND = """
set -e
cd "$HOME"
send() {
    subject=$1
    shift
    curl -sS --cacert "$DEMO_CA" --mail-from "$DEMO_ADDRESS" -H "Subject: $subject" -F '=Hello.' "$@"
}
send one --mail-rcpt "$DEMO_ADDRESS" "smtp://localhost:$DEMO_SMTP_PORT"
send two --mail-rcpt postmaster@demo.example --ssl-reqd "smtp://localhost:$DEMO_SMTP_PORT"
send three --mail-rcpt "$DEMO_ADDRESS" -u "$DEMO_USER:$DEMO_PASSWORD" --ssl-reqd "smtp://localhost:$DEMO_SUBMISSION_PORT"
# One through the queue, and one that stays there.
send four --mail-rcpt "$DEMO_ADDRESS" --mail-rcpt a@elsewhere.example -u "$DEMO_USER:$DEMO_PASSWORD" \
    "smtps://localhost:$DEMO_SUBMISSIONS_PORT"
for subject in one two three four; do
    tries=200
    until curl -sS --cacert "$DEMO_CA" -u "$DEMO_USER:$DEMO_PASSWORD" \
        "imaps://localhost:$DEMO_IMAPS_PORT/INBOX?HEADER%20Subject%20$subject" | grep -q '[0-9]'; do
        tries=$((tries - 1))
        if [ $tries = 0 ]; then cat "$DEMO_LOG"; exit 1; fi
        sleep 0.1
    done
done
echo "sent"
"""


class Demo(Case):
    def setUp(self):
        # A tree of its own, because the demo builds: with the program built already, build is only asked for its path.
        self.dir = pathlib.Path(harness.tempfile.mkdtemp(prefix="tinmail-demo-test."))
        self.addCleanup(shutil.rmtree, self.dir, True)
        self.tree, self.tmp = self.dir / "tree", self.dir / "tmp"
        self.tree.mkdir()
        self.tmp.mkdir(mode=0o1777)
        self.tmp.chmod(0o1777)
        shutil.copytree(TREE / "xinetd", self.tree / "xinetd")
        for name in harness.PROTOCOLS:
            shutil.copy(os.environ[f"E2E_{name.upper()}D"], self.tree / f"{name}d")
        (self.tree / "build").write_text(f"#!/bin/sh\necho {self.tree}/pop3d\necho {self.tree}/imapd\necho {self.tree}/smtpd\n")
        (self.tree / "build").chmod(0o755)
        self.dir.chmod(0o755)
        self.work = self.dir / "work"
        self.work.mkdir()
        self.work.chmod(0o777)
        self.before = self.fingerprint()

    def fingerprint(self):
        """What must be the same afterwards."""
        etc = {}
        for directory in ("/etc", "/etc/xinetd.d"):
            if os.path.isdir(directory):
                etc |= {entry.path: entry.stat(follow_symlinks=False).st_mtime_ns for entry in os.scandir(directory)}
        return etc, sorted(os.listdir(self.tmp)), sorted(path.name for path in pathlib.Path("/tmp").glob("tinmail-demo.*")), \
            self.processes(), os.path.exists("/run/tinmail")

    def processes(self):
        """Everything that runs with something of the demo's directory in its arguments."""
        found = []
        for entry in pathlib.Path("/proc").glob("[0-9]*/cmdline"):
            with contextlib.suppress(OSError):
                if f"{self.tmp}/tinmail-demo".encode() in entry.read_bytes():
                    found.append(entry.parent.name)
        return found

    def command(self, *arguments, user=None):
        prefix = []
        if user and IS_ROOT:
            prefix = [program("setpriv"), "--reuid", user, "--regid", "nogroup", "--clear-groups"]
        return [*prefix, str(self.tree / "xinetd" / "demo"), *arguments]

    def environment(self):
        return {**os.environ, "TMPDIR": str(self.tmp), "HOME": str(self.work)}

    def once(self, *arguments, user=None, check=True):
        done = run(*self.command("--once", *arguments, user=user), check=False, env=self.environment(), cwd=self.work,
                   timeout=120)
        if check:
            self.assertEqual(done.returncode, 0, done.stdout + done.stderr)
        self.assertEqual(self.fingerprint(), self.before)
        return done

    @needs_root
    def test_as_root(self):
        done = self.once(FETCH)
        self.assertIn("fetched", done.stdout)

    def test_as_a_plain_user(self):
        done = self.once(FETCH, user="nobody")
        self.assertIn("fetched", done.stdout)
        if IS_ROOT:
            self.assertEqual(done.stdout.split()[-1], "65534")

    @needs_root
    def test_mail_as_root(self):
        self.assertIn("sent", self.once(SEND).stdout)

    def test_mail_as_a_plain_user(self):
        self.assertIn("sent", self.once(SEND, user="nobody").stdout)

    @needs_root
    def test_what_is_missing_is_installed_by_root_and_named_to_others(self):
        """On a machine without xinetd: its place is covered by a directory with everything else in it."""
        if not IN_NAMESPACE:
            self.fail("needs a mount namespace of its own")
        place, real, tools = pathlib.Path(program("xinetd")).parent, self.dir / "real", self.dir / "tools"
        real.mkdir()
        tools.mkdir()
        run("mount", "--bind", place, real)
        self.addCleanup(run, "umount", "-l", real)
        run("mount", "-t", "tmpfs", "-o", "mode=755", "e2e", place)
        self.addCleanup(run, "umount", "-l", place)
        for file in real.iterdir():
            if file.name != "xinetd":
                (place / file.name).symlink_to(file)
        done = self.once("true", user="nobody", check=False)
        self.assertEqual((done.returncode, done.stderr), (1, "demo: xinetd is missing. As root: apt-get install xinetd\n"))
        (tools / "apt-get").write_text(f'#!/bin/sh\ncase "$*" in *" install xinetd") ln -s {real}/xinetd {place}/ ;; esac\n')
        (tools / "apt-get").chmod(0o755)
        done = run(*self.command("--once", "echo served"), check=False, cwd=self.work, timeout=120,
                   env=self.environment() | {"PATH": f"{tools}:{os.environ['PATH']}"})
        self.assertEqual((done.returncode, done.stdout), (0, "Installing xinetd ...\nserved\n"), done.stderr)

    def test_the_status_of_the_command_is_the_status(self):
        self.assertEqual(self.once("exit 42", check=False).returncode, 42)
        self.assertEqual(self.once("sh", "-c", "exit 7", check=False).returncode, 7)

    def interrupt(self, signal_number, user=None):
        def as_from_a_terminal():
            # Whoever runs the tests in the background ignores these, and bash traps nothing that was ignored when it started.
            for number in (signal.SIGINT, signal.SIGHUP):
                signal.signal(number, signal.SIG_DFL)

        process = subprocess.Popen(self.command(user=user), stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                                   stderr=subprocess.STDOUT, env=self.environment(), cwd=self.work, start_new_session=True,
                                   preexec_fn=as_from_a_terminal)
        self.addCleanup(harness.stop, process)
        text = b""
        while b"What the servers log" not in text:
            part = process.stdout.read1(65536)
            self.assertTrue(part, text.decode())
            text += part
        port, imap_port = (int(re.search(pattern, text)[1]) for pattern in
                           (rb"POP3 and STLS +localhost, port (\d+)", rb"IMAP and STARTTLS +localhost, port (\d+)"))
        # Connections that are open when it ends: before the login, and in IDLE.
        with harness.Pop(address=(harness.HOST, port)) as pop, harness.Imap(address=(harness.HOST, imap_port)) as imap:
            imap.login("demo", re.search(rb"password +(\w+)", text)[1].decode())
            imap.ok("SELECT INBOX")
            imap.send("i IDLE\r\n")
            os.killpg(process.pid, signal_number)
            process.wait(60)
            pop.rest()
            imap.rest()
        process.stdout.close()
        wait_until(lambda: self.fingerprint() == self.before, "nothing is left")
        return text.decode()

    def test_ctrl_c_leaves_nothing(self):
        text = self.interrupt(signal.SIGINT)
        for word in ("curl ", "openssl s_client", "mutt ", "fetchmail ", "mpop ", "swaks ", "Thunderbird"):
            self.assertIn(word, text)

    def test_sigterm_and_a_closed_terminal_leave_nothing(self):
        self.interrupt(signal.SIGTERM, user="nobody")
        self.interrupt(signal.SIGHUP)

    def test_the_commands_that_it_prints_work(self):
        """Those for curl, mpop, openssl and swaks, as a person would paste them."""
        script = self.work / "paste.py"
        script.write_text(
            "import os, re, subprocess, sys\n"
            "demo = open(sys.argv[1]).read()\n"
            "text = demo.split('instructions() {')[1].split('<<EOT')[1].split('EOT')[0]\n"
            "values = {'$ca': os.environ['DEMO_CA'], '$imaps_port': os.environ['DEMO_IMAPS_PORT'],\n"
            "          '$imap_port': os.environ['DEMO_IMAP_PORT'], '$pop3s_port': os.environ['DEMO_POP3S_PORT'],\n"
            "          '$pop3_port': os.environ['DEMO_POP3_PORT'], '$user': os.environ['DEMO_USER'],\n"
            "          '$smtp_port': os.environ['DEMO_SMTP_PORT'], '$submission_port': os.environ['DEMO_SUBMISSION_PORT'],\n"
            "          '$submissions_port': os.environ['DEMO_SUBMISSIONS_PORT'], '$domain': 'demo.example',\n"
            "          '$password': os.environ['DEMO_PASSWORD'], '/tmp/demo-': os.environ['HOME'] + '/demo-'}\n"
            "for name, value in values.items(): text = text.replace(name, value)\n"
            "for line in re.findall(r'(?m)^    ((?:curl|openssl|mpop|swaks) .*)$', text):\n"
            "    said = b'a LOGOUT\\n' if 'imap' in line or os.environ['DEMO_IMAPS_PORT'] in line else b'QUIT\\n'\n"
            "    done = subprocess.run(line, shell=True, input=said, capture_output=True, timeout=60)\n"
            "    print(done.returncode, line.split()[0])\n"
            "    if done.returncode: print(line, done.stdout[-500:], done.stderr[-500:])\n")
        done = self.once("python3", script, self.tree / "xinetd" / "demo")
        lines = done.stdout.splitlines()
        self.assertGreaterEqual(len([line for line in lines if line.startswith("0 ")]), 10, done.stdout)
        self.assertEqual([line for line in lines if line[:1].isdigit() and not line.startswith("0 ")], [], done.stdout)


if __name__ == "__main__":
    harness.main()
