"""traced.py - a server's system calls, and its memory at its largest."""
import multiprocessing
import os
import re
import subprocess
import tempfile
import time

import measure
import peers

WRITING = ("write", "writev", "pwrite64", "pwritev", "pwritev2", "ftruncate", "truncate", "fallocate", "copy_file_range",
           "sendfile", "rename", "renameat", "renameat2", "link", "linkat", "symlink", "symlinkat", "unlink", "unlinkat",
           "mkdir", "mkdirat", "rmdir", "utimensat", "fchmod", "chmod", "fchmodat", "fchown", "chown", "fchownat")
FLUSHING = ("fsync", "fdatasync", "sync_file_range", "syncfs")
OPENING = ("open", "openat", "creat")
INDEX = re.compile(r"index|cache|uidlist")                  # files that say again what directories say
KEPT = re.compile(r"\.(log|lock)\b")


class Calls:
    """The calls of all of a server's processes that write below a directory, until the traced part has ended."""
    def __init__(self, name, directory):
        self.name, self.directory = name, directory

    def __enter__(self):
        self.out = tempfile.NamedTemporaryFile("r", suffix=".strace")
        command = ["strace", "-f", "-y", "-qq", "-s", "16", "-e", "signal=none", "-o", self.out.name,
                   "-e", "trace=" + ",".join("?" + x for x in WRITING + FLUSHING + OPENING)]
        for pid in peers.pids(self.name):
            command += ["-p", str(pid)]
        self.strace = subprocess.Popen(command, stdin=subprocess.DEVNULL)
        until = time.time() + 15
        while not all(tracer(pid) for pid in peers.pids(self.name)):
            if time.time() > until or self.strace.poll() is not None:
                raise measure.Failed("strace cannot attach to " + self.name)
            time.sleep(.05)
        return self

    def __exit__(self, *_):
        time.sleep(.5)                                      # what is done after the answer
        self.strace.terminate()
        self.strace.wait()
        lines = [line for line in complete(self.out) if self.directory in line[1]]
        self.writes = [x for x in lines if x[0] in WRITING or x[0] in OPENING and re.search("O_EXCL|O_TRUNC", x[1])]
        self.renames = [x for x in lines if x[0].startswith("rename")]
        made = lambda x: x[0] in OPENING or x[0].startswith(("rename", "truncate", "ftruncate"))
        self.index_files = [x for x in self.writes if made(x) and INDEX.search(x[1]) and not KEPT.search(x[1])]
        self.flushes = [x for x in lines if x[0] in FLUSHING]
        self.out.close()


def tracer(pid):
    """Whether a process is traced; one that has ended needs no tracer."""
    try:
        with open("/proc/%d/status" % pid) as f:
            return "TracerPid:\t0\n" not in f.read()
    except OSError:
        return True


def complete(out):
    """(name, text) of the calls that succeeded."""
    begun, found = {}, []
    for line in out:
        m = re.match(r"(\d+) +(.*)", line)
        if not m:
            continue
        pid, text = m.groups()
        if text.endswith("<unfinished ...>"):
            begun[pid] = text[:-len("<unfinished ...>")]
            continue
        m = re.match(r"<\.\.\. \w+ resumed>(.*)", text)
        if m:
            text = begun.pop(pid, "") + m.group(1)
        m = re.match(r"(\w+)\(.* = (-?\d+)", text)
        if m and not m.group(2).startswith("-"):
            found.append((m.group(1), text))
    return found


def _watch(name, together, connection):
    """Takes samples until told to end, then says the largest."""
    most = 0
    connection.send(None)
    while not connection.poll(.002):
        # What was forked and not yet executed is still this program, and its memory is not the server's.
        sizes = [private_dirty(pid) for pid in peers.pids(name) if pid != peers.listeners[name] and not is_ours(pid)]
        most = max(most, together(sizes or [0]))
    connection.send(most)


def is_ours(pid):
    try:
        return os.readlink("/proc/%d/exe" % pid) == os.readlink("/proc/self/exe")
    except OSError:
        return True


def private_dirty(pid):
    try:
        with open("/proc/%d/smaps_rollup" % pid) as f:
            return int(re.search(r"^Private_Dirty:\s+(\d+)", f.read(), re.M).group(1))
    except (OSError, AttributeError):
        return 0


class Peak:
    """KiB of Private_Dirty of all processes but the listener: of the only session, at its largest. Or that of one process, of
    the largest."""
    def __init__(self, name, largest=False):
        self.name, self.together = name, max if largest else sum

    def __enter__(self):
        self.ours, theirs = multiprocessing.Pipe()
        self.watcher = multiprocessing.Process(target=_watch, args=(self.name, self.together, theirs))
        self.watcher.start()
        self.ours.recv()
        return self

    def __exit__(self, *_):
        self.ours.send(None)
        self.kib = self.ours.recv()
        self.watcher.join()
