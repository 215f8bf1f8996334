#!/usr/bin/env python3
"""Runs the end-to-end tests: run.py [-j JOBS] [FILE...], where FILE is test_x.py or test_x.py:Class.test.

Each file runs in a process of its own; as root in mount, network and process namespaces of its own, with its own
/dev/log. The last line is `N passed, N failed`, with `, N skipped` where tests were left out for want of root.
"""

import argparse
import concurrent.futures
import importlib.util
import os
import pathlib
import re
import subprocess
import sys
import time
import unittest

HERE = pathlib.Path(__file__).resolve().parent
# Those that take longest begin first, so that the last one does not run alone.
SLOW = ("test_sync.py", "test_dovecot.py", "test_security.py", "test_courier.py", "test_queue.py", "test_queue_kill.py", "test_blocking.py",
        "test_imap_odd_files.py", "test_cli.py", "test_imap_clients.py", "test_imap_hostile.py", "test_smtp.py",
        "test_smtp_hostile.py", "test_clients.py", "test_imap_many.py", "test_launchers.py")
# A file that takes longer hangs.
FILE_SECONDS = 900
NAMESPACES = ["unshare", "--mount", "--propagation", "private", "--net", "--pid", "--fork", "--mount-proc", "--kill-child"]


class Result(unittest.TestResult):
    """One line for each test, as soon as it is over."""

    passed = failed = left_out = 0

    def startTest(self, test):
        super().startTest(test)
        self.started = time.monotonic()
        self.bad = len(self.failures) + len(self.errors)
        self.reason = None

    def addSkip(self, test, reason):
        super().addSkip(test, reason)
        self.reason = reason
        if isinstance(test, unittest.suite._ErrorHolder):
            self.left_out += 1
            print(f"skipped {test.id()}: {reason}", flush=True)

    def addError(self, test, err):
        super().addError(test, err)
        # A class that could not be set up: none of its tests runs.
        if isinstance(test, unittest.suite._ErrorHolder):
            self.failed += 1
            print(f"FAILED  {test.id()}", flush=True)

    def stopTest(self, test):
        super().stopTest(test)
        name, seconds = ".".join(test.id().split(".")[-3:]), time.monotonic() - self.started
        if len(self.failures) + len(self.errors) > self.bad:
            self.failed += 1
            print(f"FAILED  {name}  {seconds:.1f} s", flush=True)
        elif self.reason is not None:
            self.left_out += 1
            print(f"skipped {name}: {self.reason}", flush=True)
        else:
            self.passed += 1
            print(f"ok      {name}  {seconds:.1f} s", flush=True)


def private_places():
    """A /dev whose log is this file's own, so that what goes to syslog can be read, and an empty /run, where installed programs
    have their places."""
    here = "/tmp"
    subprocess.run(["mount", "-t", "tmpfs", "-o", "mode=755", "e2e", "/run"], check=True)
    subprocess.run(["mount", "-t", "tmpfs", "-o", "mode=1777", "e2e", "/mnt"], check=True)
    os.mkdir("/mnt/dev", 0o755)
    for name in os.listdir("/dev"):
        source, target = f"/dev/{name}", f"/mnt/dev/{name}"
        if name == "log":
            continue
        if name == "ptmx":
            os.symlink("pts/ptmx", target)
        elif os.path.islink(source):
            os.symlink(os.readlink(source), target)
        elif os.path.isdir(source):
            os.mkdir(target)
            subprocess.run(["mount", "--rbind", source, target], check=True)
        else:
            pathlib.Path(target).touch()
            subprocess.run(["mount", "--bind", source, target], check=True)
    subprocess.run(["mount", "--rbind", "/mnt/dev", "/dev"], check=True)
    os.chdir(here)


def run_here(path, only):
    """Runs one file's tests in this process."""
    sys.path.insert(0, str(HERE))
    if os.environ.get("E2E_NAMESPACE") == "yes":
        subprocess.run(["ip", "link", "set", "lo", "up"], check=True)
        private_places()
    spec = importlib.util.spec_from_file_location(path.stem, path)
    module = importlib.util.module_from_spec(spec)
    sys.modules[path.stem] = module
    spec.loader.exec_module(module)
    loader = unittest.defaultTestLoader
    suite = loader.loadTestsFromName(only, module) if only else loader.loadTestsFromModule(module)
    result = Result()
    suite.run(result)
    for kind, collected in (("FAILED", result.failures), ("ERROR", result.errors)):
        for test, trace in collected:
            print(f"\n--- {kind} {test.id()}\n{trace}", flush=True)
    print(f"RESULT {result.passed} {result.failed} {result.left_out}", flush=True)
    return 1 if result.failed else 0


def can_unshare():
    return os.geteuid() == 0 and subprocess.run([*NAMESPACES, "true"], capture_output=True, check=False).returncode == 0


def run_apart(argument, namespaces):
    """Runs one file in a process of its own and returns its output and counts."""
    # bash is the namespace's first process, because it collects orphans that have ended.
    command = [sys.executable, __file__, "--here", argument]
    environment = dict(os.environ)
    if namespaces:
        command = [*NAMESPACES, "bash", "-c", '"$@"; exit $?', "bash", *command]
        environment["E2E_NAMESPACE"] = "yes"
    started = time.monotonic()
    with subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
                          env=environment, text=True, errors="replace", start_new_session=True) as process:
        try:
            output = process.communicate(timeout=FILE_SECONDS)[0]
        except subprocess.TimeoutExpired:
            process.kill()
            output = process.communicate()[0] + f"\nFAILED  {argument}: still running after {FILE_SECONDS} s\n"
    counts = re.findall(r"^RESULT (\d+) (\d+) (\d+)$", output, re.M)
    output = re.sub(r"(?m)^RESULT .*\n", "", output)
    if counts:
        passed, failed, skipped = map(int, counts[-1])
    else:
        passed, failed, skipped = output.count("\nok  "), 1 + output.count("\nFAILED  "), 0
    return output, passed, failed, skipped, time.monotonic() - started


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("-j", "--jobs", type=int, default=3)
    parser.add_argument("--here", action="store_true", help="run one file in this process")
    parser.add_argument("files", nargs="*")
    options = parser.parse_args()
    if options.here:
        name, _, only = options.files[0].partition(":")
        sys.exit(run_here(HERE / pathlib.Path(name).name, only))
    for variable in ("E2E_POP3D", "E2E_IMAPD", "E2E_SMTPD"):
        if variable not in os.environ:
            sys.exit(f"run.py: {variable} must name a program to test; tests/run sets it")
    namespaces = can_unshare()
    if os.geteuid() == 0 and not namespaces:
        print("FAILED  namespaces: root here may not make them (CAP_SYS_ADMIN)")
    files = options.files or sorted((path.name for path in HERE.glob("test_*.py")), key=lambda name: (SLOW.index(name) if name in SLOW else len(SLOW), name))
    missing = [name for name in files if not (HERE / pathlib.Path(name.partition(":")[0]).name).exists()]
    for name in missing:
        print(f"FAILED  {name}: there is no such file")
    totals = [0, len(missing) + (os.geteuid() == 0 and not namespaces), 0]
    with concurrent.futures.ThreadPoolExecutor(options.jobs) as pool:
        jobs = {pool.submit(run_apart, name, namespaces): name for name in files if name not in missing}
        for job in concurrent.futures.as_completed(jobs):
            output, passed, failed, skipped, seconds = job.result()
            print(f"=== {jobs[job]}  {seconds:.0f} s\n{output.rstrip()}", flush=True)
            totals = [total + count for total, count in zip(totals, (passed, failed, skipped), strict=True)]
    passed, failed, skipped = totals
    print(f"{passed} passed, {failed} failed" + (f", {skipped} skipped" if skipped else ""))
    sys.exit(1 if failed or not passed else 0)


if __name__ == "__main__":
    main()
