"""Ends a process, or all of them, at one system call: a tracer (ptrace) that counts the calls of each process of a program.

A Killer is a process of its own, because a tracer waits for everything it traces. It starts a program, follows all
its children, and names each by its place in the tree: () is the program, (0,) its first child, (0, 2) the third child of
that. A point is (place, number of the call). The process at the point is killed before the call is made, so all calls
before it have been made and none after it. Calls count from the start, or from a mark that whoever speaks with the
program sets while it waits for more: what it did before depends on more than what it is told (an inode that comes again, the second).

Only calls that others can see are counted, or that wait for others: between two of those a kill has no other effect than
at the second one. KILL_AT_ALL_CALLS=1 counts every one.
"""

import contextlib
import ctypes
import mmap
import os
import pickle
import platform
import signal
import socket
import struct
import subprocess
import sys

SEIZE, SYSCALL, LISTEN, GETEVENTMSG, GET_SYSCALL_INFO = 0x4206, 24, 0x4208, 0x4201, 0x420E
# PTRACE_O_TRACESYSGOOD, TRACEFORK, TRACEVFORK, TRACECLONE, TRACEEXEC, EXITKILL
OPTIONS = 0x1 | 0x2 | 0x4 | 0x8 | 0x10 | 0x100000
EVENT_FORKS, EVENT_STOP, ENTRY = (1, 2, 3), 128, 1
WALL = 0x40000000
AT_ALL = os.environ.get("KILL_AT_ALL_CALLS") == "1" or platform.machine() != "x86_64"
COUNTING, UNMARKED, MARKED = range(3)
OPEN, OPENAT, CREATE, POLL = 2, 257, 0o100, 7
# On x86_64: what changes nothing outside of the process, and waits for nobody.
SILENT = frozenset((
    3,  # close: what its end means to others comes with the next call, or with the kill
    4, 5, 6, 262, 332,  # stat and its relatives
    8, 9, 10, 11, 12, 25, 28,  # lseek, memory
    13, 14, 15, 131,  # signal handlers
    16, 17, 21, 269, 439,  # ioctl, pread64, access
    22, 293, 32, 33, 292,  # pipe, dup
    39, 110, 186, 102, 104, 107, 108, 111, 115, 124,  # who am I
    41, 53, 50, 51, 52, 54, 55, 49,  # sockets before anybody is at their other end
    63, 72, 73, 79, 80, 89, 95, 96, 97, 98, 99, 201, 202, 217, 218, 228, 230, 273, 302, 318, 334,  # names, limits, time, random
    105, 106, 113, 114, 116, 117, 119, 157, 158, 317,  # rights, prctl, seccomp
    24, 141, 160, 161, 221, 435,
))

libc = ctypes.CDLL(None, use_errno=True)
libc.ptrace.argtypes = [ctypes.c_long, ctypes.c_long, ctypes.c_void_p, ctypes.c_void_p]
libc.ptrace.restype = ctypes.c_long


def ptrace(request, pid, address=0, data=0):
    return libc.ptrace(request, pid, address, data)


class Killer:
    """Starts programs and kills them. Only one at a time."""

    def __init__(self):
        self.ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        shared = os.memfd_create("mark")
        os.truncate(shared, 1)
        self.marked = mmap.mmap(shared, 1)
        with theirs:
            fds = theirs.fileno(), shared
            self.process = subprocess.Popen([sys.executable, __file__, *map(str, fds)], pass_fds=fds)
        os.close(shared)

    def close(self):
        self.ours.close()
        self.process.wait()

    def mark(self):
        self.marked[0] = MARKED

    def start(self, command, point=None, everybody=False, stdio=None, user=None, seconds=60, from_mark=False):
        """stdio: a descriptor to read from and write to. user: (uid, gid) to run as. With a point the process there is
        killed, or everybody. from_mark: calls count from mark() on."""
        self.marked[0] = UNMARKED if from_mark else COUNTING
        order = pickle.dumps(([str(word) for word in command], point, everybody, user, seconds))
        with open(os.devnull, "r+b", buffering=0) as null:
            socket.send_fds(self.ours, [order], [null.fileno() if stdio is None else stdio])

    def result(self):
        """(exit status or -signal of the program, was the point reached, did they hang, the points there were)"""
        length = struct.unpack("I", self.ours.recv(4))[0]
        octets = b""
        while len(octets) < length:
            octets += self.ours.recv(1 << 16)
        return pickle.loads(octets)


class WithKiller:
    """Test cases that have a Killer; it is made before there are threads. They have a command, and a user (uid, gid) to run it as."""

    @classmethod
    def setUpClass(cls):
        cls.killer = Killer()
        cls.addClassCleanup(cls.killer.close)
        super().setUpClass()

    @contextlib.contextmanager
    def spoken_with(self):
        """The other end of the command's standard input and output. It is left alone, and ends well."""
        ours, theirs = socket.socketpair()
        with ours, theirs:
            process = subprocess.Popen([str(word) for word in self.command], stdin=theirs, stdout=theirs, stderr=subprocess.DEVNULL,
                                       user=self.user[0], group=self.user[1], extra_groups=[], env={})
            theirs.close()
            yield ours
        self.assertEqual(process.wait(30), 0)

    @contextlib.contextmanager
    def killed_at(self, point, everybody, from_mark=False):
        """The same where the killer runs it: then it has a result."""
        ours, theirs = socket.socketpair()
        with ours:
            with theirs:
                self.killer.start(self.command, point, everybody, stdio=theirs.fileno(), user=self.user, from_mark=from_mark)
            yield ours


class Expired(Exception):
    pass


def expire(*_):
    raise Expired


class Run:
    """One program and all its children, until the last of them has ended."""

    def __init__(self, command, point, everybody, user, stdio, marked):
        self.point, self.everybody, self.marked = point, everybody, marked
        self.places, self.children, self.counts = {}, {}, {}
        self.points, self.reached, self.status, self.early = [], False, None, set()
        release_read, release = os.pipe()
        self.root = os.fork()
        if self.root == 0:
            try:
                os.setsid()
                os.read(release_read, 1)
                for fd in range(3):
                    os.dup2(stdio, fd)
                os.closerange(3, 64)
                if user:
                    os.setgroups([])
                    os.setgid(user[1])
                    os.setuid(user[0])
                os.execv(command[0], command)
            finally:
                os._exit(127)
        if ptrace(SEIZE, self.root, 0, OPTIONS) != 0:
            raise OSError(ctypes.get_errno(), "ptrace")
        self.places[self.root] = ()
        os.write(release, b"x")
        os.close(release)
        os.close(release_read)

    def kill_all(self):
        for pid in list(self.places):
            try:
                os.kill(pid, signal.SIGKILL)
            except ProcessLookupError:
                pass

    def go_on(self, pid, signal_number=0):
        ptrace(SYSCALL, pid, 0, signal_number)

    def loop(self):
        while True:
            try:
                pid, status = os.waitpid(-1, WALL)
            except ChildProcessError:
                return
            if os.WIFSTOPPED(status):
                self.stopped(pid, status)
            else:
                if pid == self.root:
                    self.status = os.waitstatus_to_exitcode(status)
                self.places.pop(pid, None)

    def stopped(self, pid, status):
        number, event = os.WSTOPSIG(status), status >> 16
        if pid not in self.places:
            # A child may be seen before its parent says that it has made one.
            self.early.add(pid)
        elif number == signal.SIGTRAP | 0x80:
            self.call(pid)
        elif event in EVENT_FORKS:
            message = ctypes.c_ulong()
            ptrace(GETEVENTMSG, pid, 0, ctypes.addressof(message))
            child, place = message.value, self.places[pid]
            self.children[place] = self.children.get(place, -1) + 1
            self.places[child] = (*place, self.children[place])
            if child in self.early:
                self.early.discard(child)
                self.go_on(child)
            self.go_on(pid)
        elif event == EVENT_STOP:
            if number in (signal.SIGSTOP, signal.SIGTSTP, signal.SIGTTIN, signal.SIGTTOU):
                ptrace(LISTEN, pid)
            else:
                self.go_on(pid)
        else:
            # SIGTRAP with any other event is an exec; it is no signal.
            self.go_on(pid, 0 if event else number)

    def call(self, pid):
        info = (ctypes.c_uint64 * 12)()
        ptrace(GET_SYSCALL_INFO, pid, ctypes.sizeof(info), ctypes.addressof(info))
        if info[0] & 0xFF != ENTRY:
            return self.go_on(pid)
        # struct ptrace_syscall_info: op and arch, ip, sp, then number and arguments of the call.
        number = info[3]
        flags = info[6] if number == OPENAT else info[5]
        if not AT_ALL and (number in SILENT or number in (OPEN, OPENAT) and not flags & CREATE):
            return self.go_on(pid)
        # Whether it had begun to wait when the mark was set is a matter of chance.
        if self.marked[0] == UNMARKED or self.marked[0] == MARKED and number == POLL:
            return self.go_on(pid)
        self.marked[0] = COUNTING
        place = self.places[pid]
        count = self.counts[place] = self.counts.get(place, -1) + 1
        if self.point is None:
            self.points.append((place, count, number))
        elif self.point == (place, count):
            self.reached = True
            if self.everybody:
                self.kill_all()
            else:
                os.kill(pid, signal.SIGKILL)
            return None
        return self.go_on(pid)


def serve(control, marked):
    signal.signal(signal.SIGALRM, expire)
    while True:
        order, fds, _, _ = socket.recv_fds(control, 1 << 20, 1)
        if not order:
            return
        command, point, everybody, user, seconds = pickle.loads(order)
        run, hung = Run(command, point, everybody, user, fds[0], marked), False
        os.close(fds[0])
        signal.setitimer(signal.ITIMER_REAL, seconds)
        try:
            run.loop()
        except Expired:
            hung = True
            run.kill_all()
            run.loop()
        signal.setitimer(signal.ITIMER_REAL, 0)
        result = pickle.dumps((run.status, run.reached, hung, run.points))
        control.send(struct.pack("I", len(result)))
        for at in range(0, len(result), 1 << 15):
            control.send(result[at:at + (1 << 15)])


if __name__ == "__main__":
    serve(socket.socket(fileno=int(sys.argv[1])), mmap.mmap(int(sys.argv[2]), 1))
