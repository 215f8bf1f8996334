"""peers.py - the servers that are measured: their users, certificates, settings, and how they are started.

Each server runs in a control group of its own, so that its CPU time is counted exactly, ended processes included,
and all its processes are found. All listen on 127.0.0.1, on high ports. Everything that is made lies in STATE.
"""
import os
import pwd
import shutil
import signal
import socket
import subprocess
import time

import corpus

HERE = os.path.dirname(os.path.abspath(__file__))
STATE = os.environ.get("BENCH_STATE", "/tmp/tinmail-bench")
PASSWORD = "secret"
NICE = -10
REALTIME = False                                            # see README.md: for a machine that is never quiet
ONE = "tinbench"                                            # the user of all rows but memory and many clients
TWIN = "tinbench2"                                          # the same uid, another home: a mailbox for each server
MANY = ["tb%02d" % i for i in range(1, 51)]
CORPORA = {"c10000": (10000, "mixed"), "s1000": (1000, "small"), "s100000": (100000, "small"), "empty": (0, "small")}

# protocol -> peer -> port in clear, port of TLS with an RSA key, port of TLS with an ECDSA key
PORTS = {
    "pop3": {
        "tinmail": (31110, 31995, 31996),
        "dovecot": (32110, 32995, None),
        "dovecot-ec": (33110, None, 33996),
        "popa3d": (34110, None, None),
        "hello": (35110, None, None),
    },
    "imap": {
        "tinmail": (31143, 31993, 31994),
        "dovecot": (32143, 32993, None),
        "dovecot-ec": (33143, None, 33994),
    },
    "smtp": {
        "tinmail": (31025, 31465, 31466),
        "tinmail-tcpserver": (36025, None, None),
        "postfix": (37025, 37465, None),
        "floor": (35025, None, None),
    },
}
SINK = 38025                                                # where smtp-sink listens when a row needs it
PROGRAMS = {"pop3": "pop3d", "imap": "imapd", "smtp": "smtpd"}
running = []                                                # the names of the servers that have been started
listeners = {}                                              # their first processes


def sh(*command, **more):
    return subprocess.run(command, check=True, **more)


def write(path, text, mode=0o644):
    os.makedirs(os.path.dirname(path), exist_ok=True)
    with open(path, "w") as f:
        f.write(text)
    os.chmod(path, mode)


# --- control groups ---------------------------------------------------------------------------------------------------

def groups(name):
    """The directories of a server's control group: version 1 has one for each controller, version 2 one for all."""
    top = "/sys/fs/cgroup"
    if os.path.isdir(top + "/cpuacct"):
        return ["%s/%s/tinmail-bench/%s" % (top, c, name) for c in ("cpuacct", "memory")]
    return ["%s/tinmail-bench/%s" % (top, name)]


def pids(name):
    try:
        with open(groups(name)[0] + "/cgroup.procs") as f:
            return [int(x) for x in f.read().split()]
    except FileNotFoundError:
        return []


def prefer(nice=NICE):
    """Puts this process, and all it starts, before everything else on the machine."""
    if REALTIME:
        os.sched_setscheduler(0, os.SCHED_RR, os.sched_param(1))
    else:
        os.setpriority(os.PRIO_PROCESS, 0, nice)


def launch(name, argv, nice=NICE, listener=True):
    """Starts a program in the background, in the group; the one that listens, or another."""
    for d in groups(name):
        os.makedirs(d, exist_ok=True)

    def enter():
        for d in groups(name):
            with open(d + "/cgroup.procs", "w") as f:
                f.write(str(os.getpid()))
        os.setsid()
        prefer(nice)

    os.makedirs(STATE + "/log", exist_ok=True)
    with open("%s/log/%s.out" % (STATE, name), "ab") as out:
        server = subprocess.Popen(argv, cwd="/", preexec_fn=enter, stdin=subprocess.DEVNULL, stdout=out, stderr=out)
    if listener:
        listeners[name] = server.pid


def stop(name):
    """Ends the processes of the group, and no others."""
    for sig in (signal.SIGTERM, signal.SIGTERM, signal.SIGKILL):
        for p in pids(name):
            try:
                os.kill(p, sig)
            except ProcessLookupError:
                pass
        for _ in range(20):
            if not pids(name):
                break
            time.sleep(.1)
    for d in groups(name):
        try:
            os.rmdir(d)
        except OSError:
            pass


# --- preparation ------------------------------------------------------------------------------------------------------

def make_user(name, twin_of=None):
    home = "%s/home/%s" % (STATE, name)
    try:
        pwd.getpwnam(name)
    except KeyError:
        same = pwd.getpwnam(twin_of) if twin_of else None
        ids = ["-o", "-u", str(same.pw_uid), "-N", "-g", str(same.pw_gid)] if same else ["-U"]
        sh("useradd", "-M", *ids, "-d", home, "-s", "/bin/sh", name)
        # MD5-crypt, cheap on purpose: logins are to measure the servers, not the hash.
        pw = subprocess.check_output(["openssl", "passwd", "-1", "-salt", "bench123", PASSWORD], text=True).strip()
        sh("usermod", "-p", pw, name)
    os.makedirs(home, exist_ok=True)
    user = pwd.getpwnam(name)
    os.chown(home, user.pw_uid, user.pw_gid)
    os.chmod(home, 0o700)


def make_certificate(kind, *key):
    base = "%s/tls/%s" % (STATE, kind)
    if not os.path.exists(base + ".crt"):
        sh("openssl", "req", "-x509", "-nodes", "-days", "3650", "-subj", "/CN=bench.test", "-newkey", *key,
           "-keyout", base + ".key", "-out", base + ".crt", stderr=subprocess.DEVNULL)
    os.chmod(base + ".key", 0o600)


def setup(programs, protocols):
    """Users, certificates, corpora, the small tools; the programs to measure, of a directory. What is there stays."""
    for d in ("home", "bin", "tls", "corpus"):
        os.makedirs("%s/%s" % (STATE, d), exist_ok=True)
    for protocol in protocols:
        shutil.copy("%s/%s" % (programs, PROGRAMS[protocol]), STATE + "/bin/")
    if "smtp" in protocols:
        shutil.copy(programs + "/tinmail", STATE + "/bin/")
    # Pages of a file that was just written are dirty: they would count as a process's own.
    os.sync()
    for name in [ONE] + MANY:
        make_user(name)
    make_user(TWIN, ONE)
    make_certificate("rsa", "rsa:2048")
    make_certificate("ec", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1")
    tools = [("hello", ["-Os", "-static", "-s"]), ("floor", ["-O2", "-static", "-s"]), ("directory", ["-O2", "-static", "-s"]),
             ("logsink", ["-O2"])]
    if os.uname().machine == "x86_64":
        tools.append(("cpuid", ["-O2"]))
    for tool, how in tools:
        sh("gcc", *how, "-o", "%s/bin/%s" % (STATE, tool), "%s/tools/%s.c" % (HERE, tool))
    for name, (count, profile) in CORPORA.items():
        directory = "%s/corpus/%s" % (STATE, name)
        if not os.path.exists(directory + "/complete"):
            shutil.rmtree(directory, ignore_errors=True)
            corpus.generate(directory, count, profile, seed=1, user=ONE, new_percent=10)
            write(directory + "/complete", "")
    if "pop3" in protocols:
        fetch_popa3d()


def fetch_popa3d():
    """popa3d conflicts with Dovecot's package: it is unpacked, not installed."""
    try:
        pwd.getpwnam("popa3d")
    except KeyError:
        sh("useradd", "--system", "--user-group", "-d", "/var/lib/popa3d", "-s", "/usr/sbin/nologin", "popa3d")
    os.makedirs("/var/lib/popa3d", exist_ok=True)
    os.chmod("/var/lib/popa3d", 0o755)
    if not os.path.exists(STATE + "/popa3d/usr/sbin/popa3d"):
        sh("apt-get", "-q", "download", "popa3d", cwd=STATE + "/bin", stdout=subprocess.DEVNULL)
        package = [f for f in os.listdir(STATE + "/bin") if f.startswith("popa3d_")][0]
        sh("dpkg", "-x", STATE + "/bin/" + package, STATE + "/popa3d")


def maildir(user):
    return "%s/home/%s/Maildir" % (STATE, user)


def reset(users, name, copy=False):
    """A fresh Maildir for each user: hard links to the corpus, or copies. No server's index is in it."""
    for user in users:
        corpus.mirror("%s/corpus/%s" % (STATE, name), maildir(user), user, copy)


def deliver(user):
    """One more message, as a delivery agent brings it."""
    t = time.time_ns()
    name = "%d.M%dP%d.bench" % (t // 10 ** 9, t // 1000 % 10 ** 6, os.getpid())
    path = maildir(user) + "/tmp/" + name
    write(path, "From: a@example.com\nSubject: delivered\n\nHello.\n", 0o600)
    os.chown(path, *corpus.owner(user))
    os.rename(path, maildir(user) + "/new/" + name)


def warm(user):
    """Reads a user's mail into the page cache, without leaving a trace in the files' times."""
    for sub in ("cur", "new"):
        directory = "%s/%s" % (maildir(user), sub)
        for name in os.listdir(directory):
            fd = os.open("%s/%s" % (directory, name), os.O_RDONLY | os.O_NOATIME)
            while os.read(fd, 1 << 20):
                pass
            os.close(fd)


def reset_mbox(users, name):
    """The same messages as mbox, which is all that popa3d reads."""
    for user in users:
        corpus.to_mbox("%s/corpus/%s" % (STATE, name), "/var/mail/" + user, user)


# --- the servers ------------------------------------------------------------------------------------------------------

def xinetd(name, services):
    """One xinetd that starts a server for each connection; all servers get the same xinetd settings: those that ours are
    shipped with. With `groups = yes`, which none of them needs, each child of xinetd would load the modules of nsswitch.conf
    first, and half a millisecond of every connection would be theirs."""
    text = ("defaults\n{\n\tinstances = UNLIMITED\n\tper_source = UNLIMITED\n\tcps = 100000 1\n"
            "\tlog_type = SYSLOG daemon\n}\n")
    for n, (port, user, server, arguments) in enumerate(services):
        text += ("service s%d\n{\n\ttype = UNLISTED\n\tsocket_type = stream\n\tprotocol = tcp\n\twait = no\n"
                 "\tbind = 127.0.0.1\n\tport = %d\n\tuser = %s\n\tserver = %s\n%s\tdisable = no\n}\n"
                 % (n, port, user, server, "\tserver_args = %s\n" % arguments if arguments else ""))
    base = "%s/xinetd/%s" % (STATE, name)
    write(base + ".conf", text)
    launch(name, ["/usr/sbin/xinetd", "-f", base + ".conf", "-dontfork", "-pidfile", base + ".pid"])


def write_settings():
    """What both launchers of smtpd have in common with the other programs."""
    os.makedirs(STATE + "/tinmail/spool", exist_ok=True)
    for kind in ("rsa", "ec"):
        write("%s/tinmail/%s.conf" % (STATE, kind), """ssl_cert_file = %(tls)s/%(kind)s.crt
ssl_key_file = %(tls)s/%(kind)s.key
myhostname = bench.test
mydestination = bench.test, localhost
home_mailbox = Maildir/
alias_maps =
message_size_limit = 0
queue_directory = %(state)s/tinmail/spool
relayhost = [127.0.0.1]:%(sink)d
smtp_tls_security_level = none
""" % {"tls": STATE + "/tls", "kind": kind, "state": STATE, "sink": SINK})


def start_tinmail(protocols):
    write_settings()
    conf, services = STATE + "/tinmail/", []
    for protocol in protocols:
        program = "%s/bin/%s" % (STATE, PROGRAMS[protocol])
        clear, rsa, ec = PORTS[protocol]["tinmail"]
        # STARTTLS is measured with ECDSA.
        services += [(clear, "root", program, "-c %s%s.conf" % (conf, "ec" if protocol == "smtp" else "rsa")),
                     (rsa, "root", program, "-c %srsa.conf --tls" % conf),
                     (ec, "root", program, "-c %sec.conf --tls" % conf)]
    xinetd("tinmail", services)


def start_tinmail_tcpserver(_):
    write_settings()
    launch("tinmail-tcpserver", ["/usr/bin/tcpserver", "-RHl0", "-c", "1000", "-b", "100", "127.0.0.1",
                                 str(PORTS["smtp"]["tinmail-tcpserver"][0]), STATE + "/bin/smtpd", "-c",
                                 STATE + "/tinmail/rsa.conf"])


def start_postfix(_):
    """As Debian packages it, without chroot (the queue lies in STATE), delivering into Maildirs."""
    base = STATE + "/postfix"
    for d in ("etc", "spool", "data"):
        os.makedirs("%s/%s" % (base, d), exist_ok=True)
    owner = pwd.getpwnam("postfix")
    os.chown(base + "/data", owner.pw_uid, owner.pw_gid)
    clear, rsa, _ = PORTS["smtp"]["postfix"]
    write(base + "/etc/main.cf", """compatibility_level = 3.6
queue_directory = %(base)s/spool
data_directory = %(base)s/data
command_directory = /usr/sbin
daemon_directory = /usr/lib/postfix/sbin
shlib_directory = /usr/lib/postfix
inet_interfaces = 127.0.0.1
inet_protocols = ipv4
myhostname = bench.test
mydestination = bench.test, localhost
mynetworks = 127.0.0.0/8
home_mailbox = Maildir/
mailbox_command =
alias_maps =
local_recipient_maps = unix:passwd.byname
message_size_limit = 0
mailbox_size_limit = 0
relayhost = [127.0.0.1]:%(sink)d
smtpd_tls_cert_file = %(tls)s/rsa.crt
smtpd_tls_key_file = %(tls)s/rsa.key
smtpd_tls_security_level = may
smtpd_relay_restrictions = permit_mynetworks, reject_unauth_destination
biff = no
smtpd_client_connection_rate_limit = 0
""" % {"base": base, "tls": STATE + "/tls", "sink": SINK})
    services = ["127.0.0.1:%d inet n - n - - smtpd" % clear,
                "127.0.0.1:%d inet n - n - - smtpd -o smtpd_tls_wrappermode=yes" % rsa]
    with open("/usr/share/postfix/master.cf.dist") as f:
        for line in f.read().split("\n"):
            fields = line.split()
            if fields[:2] == ["smtp", "inet"]:
                continue
            if len(fields) >= 8 and not line.startswith(("#", " ")):
                fields[4] = "n"
                line = " ".join(fields)
            services.append(line)
    write(base + "/etc/master.cf", "\n".join(services) + "\n")
    for name in ("dynamicmaps.cf", "postfix-files"):
        if os.path.exists("/etc/postfix/" + name):
            shutil.copy("/etc/postfix/" + name, base + "/etc/" + name)
    launch("postfix", ["/usr/sbin/postfix", "-c", base + "/etc", "start"])


def start_popa3d(_):
    xinetd("popa3d", [(PORTS["pop3"]["popa3d"][0], "root", STATE + "/popa3d/usr/sbin/popa3d", "")])


def start_hello(_):
    xinetd("hello", [(PORTS["pop3"]["hello"][0], "nobody", STATE + "/bin/hello", "")])


def start_floor(_):
    xinetd("floor", [(PORTS["smtp"]["floor"][0], ONE, STATE + "/bin/floor", maildir(ONE))])


def start_dovecot(protocols, name="dovecot", kind="rsa"):
    """As Debian 12 packages it (PAM, process model, limits of memory), but for ports, Maildir, paths, and one limit."""
    base = "%s/%s" % (STATE, name)
    for d in ("run", "lib"):
        os.makedirs("%s/%s" % (base, d), exist_ok=True)
    listeners = ""
    for protocol in protocols:
        clear, rsa, ec = PORTS[protocol][name]
        listeners += """service %(protocol)s-login {
  inet_listener %(protocol)s {
    port = %(clear)d
  }
  inet_listener %(protocol)ss {
    port = %(secure)d
    ssl = yes
  }
}
""" % {"protocol": protocol, "clear": clear, "secure": rsa or ec}
    write(base + "/dovecot.conf", """protocols = %(protocols)s
listen = 127.0.0.1
base_dir = %(base)s/run
state_dir = %(base)s/lib
mail_location = maildir:~/Maildir
mail_privileged_group = mail
ssl = yes
ssl_cert = <%(tls)s/%(kind)s.crt
ssl_key = <%(tls)s/%(kind)s.key
auth_mechanisms = plain
passdb {
  driver = pam
}
userdb {
  driver = passwd
}
namespace inbox {
  inbox = yes
}
%(listeners)s# A limit only: 10 connections of one user from one address would stop the measurements.
mail_max_userip_connections = 1000
""" % {"protocols": " ".join(protocols), "base": base, "tls": STATE + "/tls", "kind": kind, "listeners": listeners})
    launch(name, ["/usr/sbin/dovecot", "-F", "-c", base + "/dovecot.conf"])


def start_dovecot_ec(protocols):
    start_dovecot(protocols, "dovecot-ec", "ec")


def start(name, protocols):
    """Starts a server for all the protocols that it has, and waits until it answers."""
    stop(name)
    protocols = [protocol for protocol in protocols if name in PORTS[protocol]]
    globals()["start_" + name.replace("-", "_")](protocols)
    running.append(name)
    until = time.time() + 15
    for port in (port for protocol in protocols for port in PORTS[protocol][name] if port):
        while True:
            try:
                socket.create_connection(("127.0.0.1", port), 1).close()
                break
            except OSError:
                if time.time() > until:
                    raise SystemExit("%s: port %d does not answer, see %s/log" % (name, port, STATE))
                time.sleep(.1)
    time.sleep(.5)


def start_log():
    """What servers log goes to a sink of our own, as quick as they are. Only in a mount namespace of our own."""
    if os.environ.get("BENCH_OUTSIDE", "") in ("", os.readlink("/proc/self/ns/mnt")):
        raise SystemExit("start_log: the machine's own /dev/log is not ours: unshare --mount")
    stop("logsink")
    own = STATE + "/log/socket"
    if os.path.exists(own):
        os.unlink(own)
    launch("logsink", [STATE + "/bin/logsink", STATE + "/log/syslog", own])
    until = time.time() + 15
    while not os.path.exists(own):
        if time.time() > until:
            raise SystemExit("the log sink does not start")
        time.sleep(.1)
    if not os.path.exists("/dev/log"):                      # a place to mount on
        write("/dev/log", "")
    sh("mount", "--bind", own, "/dev/log")


def start_all(protocols):
    start_log()
    for name in dict.fromkeys(name for protocol in protocols for name in PORTS[protocol]):
        start(name, protocols)


def stop_all():
    for name in running + ["logsink"]:
        stop(name)
    running.clear()
