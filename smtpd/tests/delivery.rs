//! What a delivery costs, and what kill -9 at each of its system calls and a full disk leave behind. The program that is
//! watched is this one, called with `deliver HOME [NAME=VALUE]...`: it takes standard input into a mailbox and prints the
//! name once it is safe, or the refusal.
#![allow(clippy::print_stdout, clippy::unwrap_used, clippy::panic)]

use common::auth::Account;
use common::cli::Program;
use common::config::Config;
use common::sys::process::is_root;
use smtpd::address::Address;
use smtpd::deliver::{self, Delivery, Trace};
use smtpd::envelope::{Recipient, Target};
use smtpd::status::Status;
use std::io::Read;

use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

/// Calls that a delivery could be killed in.
const CALLS: &str = "openat,write,fsync,renameat2,unlink,mkdir,statx,newfstatat,fstat,close,chmod";

struct Home(PathBuf);

impl Home {
    fn new(name: &str) -> Home {
        let path = std::env::temp_dir().join(format!("tinmail-delivery-{name}-{}", std::process::id()));
        fs::create_dir_all(&path).unwrap();
        Home(path)
    }

    fn list(&self, below: &str) -> Vec<PathBuf> {
        let Ok(entries) = fs::read_dir(self.0.join("Maildir").join(below)) else { return Vec::new() };
        entries.map(|entry| entry.unwrap().path()).collect()
    }
}

impl Drop for Home {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

fn main() {
    let mut arguments = std::env::args().skip(1);
    if arguments.next().as_deref() == Some("deliver") {
        let home = arguments.next().unwrap();
        let pairs: Vec<String> = arguments.collect();
        let program = Program { name: "smtpd", version: "0", summary: "", flags: &[] };
        let config = Config::from_pairs(&program, pairs.iter().map(String::as_str)).unwrap();
        println!("{}", deliver(&config, &home).unwrap_or_else(|status| status.to_string()));
        return;
    }
    what_the_first_delivery_makes_is_on_the_disk_before_it_is_used();
    one_file_and_two_calls_of_fsync_however_much_mail_there_is();
    kill_9_at_every_call_leaves_all_of_a_message_or_nothing();
    a_full_disk_refuses_and_leaves_nothing();
    quota_by_setting();
    the_name_of_a_new_file_is_on_the_disk_too();
    println!("deliveries: ok");
}

fn deliver(config: &Config, home: &str) -> Result<String, Status> {
    let (uid, gid) = common::sys::process::user_and_group();
    let (name, home) = ("anna".to_owned(), home.into());
    let account = Account { name, uid, gid, groups: vec![], home, mail: None, master: None };
    let address = Address::parse(b"anna@example.org").unwrap();
    let (to, original) = (address.clone(), address.clone());
    let target = match std::env::var("INTO") {
        Ok(path) => Target::File { path, owner: None },
        Err(_) => Target::Mailbox { user: "anna".into(), extension: String::new(), direct: false },
    };
    let recipient =
        Recipient { address, original: to.clone(), orcpt: None, notify: None, owner: None, target };
    let trace = Trace {
        reverse_path: None,
        original,
        delivered_to: to,
        received: String::new(),
        is_binary: false,
        once: None,
    };
    let begun = deliver::begin(config, &account, &recipient, &trace, &mut |line| println!("{line}"))?;
    let Delivery::Begun(mut sink) = begun else { panic!("forwarded") };
    let mut buffer = [0; 4096];
    loop {
        match std::io::stdin().read(&mut buffer).unwrap() {
            0 => return sink.finish(),
            count => sink.write(&buffer[..count])?,
        }
    }
}

fn program() -> PathBuf {
    std::env::current_exe().unwrap()
}

fn message(octets: usize) -> String {
    format!("Subject: x\r\n\r\n{}", "0123456789abcdef0123456789abcdef\r\n".repeat(octets / 34))
}

fn run(mut command: Command, message: &str) -> Output {
    let mut child =
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    // One that was killed reads no more.
    let _ = child.stdin.take().unwrap().write_all(message.as_bytes());
    child.wait_with_output().unwrap()
}

/// A plain user may be without it. Where root runs the tests, what they need is installed.
fn has_strace() -> bool {
    let found = Command::new("strace").arg("-V").output();
    if let Err(error) = &found {
        assert!(!is_root(), "strace: {error}");
        println!("no strace: not tested");
    }
    found.is_ok()
}

fn strace(options: &[&str], home: &Path, message: &str) -> Option<Output> {
    strace_with(options, home, &[], message)
}

fn strace_with(options: &[&str], home: &Path, pairs: &[&str], message: &str) -> Option<Output> {
    if !has_strace() {
        return None;
    }
    let mut command = Command::new("strace");
    command.args(["-qq", "-o"]).arg(home.join("trace")).args(options).arg(program()).arg("deliver").arg(home);
    command.args(pairs);
    Some(run(command, message))
}

fn what_the_first_delivery_makes_is_on_the_disk_before_it_is_used() {
    let home = Home::new("first");
    let calls = |options: &[&str], pairs: &[&str]| -> Option<String> {
        let options = [&["-y", "-e", "trace=mkdir,fsync,openat"], options].concat();
        strace_with(&options, &home.0, pairs, &message(100))?;
        let trace = fs::read_to_string(home.0.join("trace")).unwrap();
        let mut calls = vec![];
        for line in trace.lines().filter(|line| !line.contains("openat") || line.contains("O_CREAT")) {
            let call = line.split('(').next().unwrap().replace("openat", "create");
            let Some((_, path)) = line.split_once(home.0.to_str().unwrap()) else { continue };
            let path = path.split(['"', '>']).next().unwrap();
            // The name of the message itself is made up.
            let path = path.rfind("tmp/").map_or(path, |at| &path[..at + 3]);
            calls.push(format!("{call} ~{path}"));
        }
        // Levels that are missing are tried before those above them.
        calls.dedup();
        Some(calls.join(", "))
    };
    let message = "create ~/Maildir/tmp, fsync ~/Maildir/tmp, fsync ~/Maildir/new";
    let filled = "mkdir ~/Maildir/cur, mkdir ~/Maildir/new, fsync ~/Maildir, mkdir ~/Maildir/tmp";
    let Some(first) = calls(&[], &[]) else { return };
    assert_eq!(first, format!("mkdir ~/Maildir, fsync ~, {filled}, {message}"));
    assert_eq!(calls(&[], &[]).unwrap(), message);
    // However much of the way to it is missing, and wherever the one before was killed: the next one sees to the rest. The first call
    // is for the directory that has our home.
    for (killed_at, want) in [
        (
            0,
            "mkdir ~/a, fsync ~, mkdir ~/a/b, fsync ~/a, mkdir ~/a/b/cur, mkdir ~/a/b/new, fsync ~/a/b, mkdir ~/a/b/tmp",
        ),
        (
            2,
            "fsync ~, mkdir ~/a/b, fsync ~/a, mkdir ~/a/b/cur, mkdir ~/a/b/new, fsync ~/a/b, mkdir ~/a/b/tmp",
        ),
        (3, "fsync ~/a, mkdir ~/a/b/cur, mkdir ~/a/b/new, fsync ~/a/b, mkdir ~/a/b/tmp"),
        (4, "fsync ~/a, fsync ~/a/b, mkdir ~/a/b/tmp"),
    ] {
        let _ = fs::remove_dir_all(home.0.join("a"));
        let pairs = ["home_mailbox=a/b/"];
        if killed_at > 0 {
            calls(&["-e", &format!("inject=fsync:signal=SIGKILL:when={killed_at}")], &pairs).unwrap();
        }
        let deep = calls(&[], &pairs).unwrap();
        assert!(deep.starts_with(&format!("{want}, create ~/a/b/tmp")), "{killed_at}: {deep}");
    }
    let trusting = calls(&[], &["home_mailbox=c/", "fsync_disable=yes"]).unwrap();
    assert!(trusting.contains("create ~/c/tmp") && !trusting.contains("fsync"), "{trusting}");
}

fn one_file_and_two_calls_of_fsync_however_much_mail_there_is() {
    let home = Home::new("cost");
    for name in ["cur", "new", "tmp"] {
        fs::create_dir_all(home.0.join("Maildir").join(name)).unwrap();
    }
    let mut before = None;
    for round in 0..3 {
        let options = ["-e", "trace=openat,fsync,fdatasync,renameat2,rename,write"];
        let Some(output) = strace(&options, &home.0, &message(4000)) else { return };
        assert!(String::from_utf8_lossy(&output.stdout).contains(",S="), "{output:?}");
        let trace = fs::read_to_string(home.0.join("trace")).unwrap();
        let count = |text: &str| trace.lines().filter(|line| line.contains(text)).count();
        assert_eq!((count("fsync(") + count("fdatasync("), count("O_CREAT")), (2, 1), "{trace}");
        // A thousand messages more make no difference.
        let calls = trace.lines().filter(|line| line.contains("Maildir")).count();
        assert_eq!(*before.get_or_insert(calls), calls, "{trace}");
        for n in 0..1000 {
            fs::write(home.0.join(format!("Maildir/cur/{round}.{n}:2,S")), "x").unwrap();
        }
    }
}

fn kill_9_at_every_call_leaves_all_of_a_message_or_nothing() {
    let home = Home::new("kill");
    let text = message(100_000);
    let want = text.replace("\r\n", "\n");
    let mut delivered = 0;
    for call in CALLS.split(',') {
        // strace counts each call by itself.
        for at in 1.. {
            let inject = format!("inject={call}:signal=SIGKILL:when={at}");
            let Some(output) = strace(&["-e", &format!("trace={call}"), "-e", &inject], &home.0, &text)
            else {
                return;
            };
            let new = home.list("new");
            for path in &new {
                assert!(fs::read_to_string(path).unwrap().ends_with(&want), "killed in {call} {at}");
            }
            let said = String::from_utf8_lossy(&output.stdout).contains(",S=");
            // Once it was said to be there it is, and never twice.
            assert!(new.len() <= 1 && (!said || new.len() == 1), "killed in {call} {at}: {new:?}");
            new.iter().for_each(|path| fs::remove_file(path).unwrap());
            if output.status.success() {
                assert!(said, "{output:?}");
                break;
            }
            delivered += new.len();
            assert!(at < 1000);
        }
    }
    assert!(delivered > 0, "the kills behind the rename were not reached");
    // What is left in tmp is not in the way, and is never taken for mail.
    assert!(home.list("cur").is_empty());
}

fn a_full_disk_refuses_and_leaves_nothing() {
    let home = Home::new("full");
    let script = format!(
        "set -e; mount -t tmpfs -o size=256k,mode=700 tmpfs {0}; mkdir {0}/Maildir; \
         {1} deliver {0}; find {0} -type f | wc -l; dd if=/dev/zero of={0}/fill bs=4096 2>/dev/null || true; \
         printf 'Subject: x\\r\\n\\r\\nbody\\r\\n' | {1} deliver {0}; find {0} -type f | wc -l",
        home.0.display(),
        program().display()
    );
    let mut command = Command::new("unshare");
    command.args(["-m", "sh", "-c", &script]);
    let output = run(command, &message(400_000));
    if !output.status.success() {
        assert!(!is_root(), "{output:?}");
        println!("no namespace of our own: {}", String::from_utf8_lossy(&output.stderr));
        return;
    }
    let said = String::from_utf8(output.stdout).unwrap();
    let lines: Vec<&str> = said.lines().map(str::trim).collect();
    assert_eq!(
        lines,
        ["452 4.3.1 Insufficient system storage", "0", "452 4.3.1 Insufficient system storage", "1"]
    );
}

fn quota_by_setting() {
    let home = Home::new("quota");
    for (setting, want) in [("no", "552 5.2.2"), ("yes", "452 4.2.2")] {
        let mut command = Command::new(program());
        command
            .arg("deliver")
            .arg(&home.0)
            .args(["mailbox_size_limit=1k", &format!("quota_full_tempfail={setting}")]);
        let said = String::from_utf8(run(command, &message(4000)).stdout).unwrap();
        assert!(said.starts_with(want), "{said}");
        assert!(home.list("tmp").is_empty() && home.list("new").is_empty());
    }
}

fn the_name_of_a_new_file_is_on_the_disk_too() {
    let home = Home::new("file");
    let flushed = || {
        let mut command = Command::new("strace");
        command.args(["-qq", "-y", "-e", "trace=fsync", "-o"]).arg(home.0.join("trace"));
        command.arg(program()).arg("deliver").arg(&home.0).env("INTO", home.0.join("mbox"));
        run(command, &message(100));
        let trace = fs::read_to_string(home.0.join("trace")).unwrap();
        let path = |line: &str| line.split(['<', '>']).nth(1).unwrap().to_owned();
        trace.lines().map(path).collect::<Vec<String>>()
    };
    let place = |below: &str| home.0.join(below).to_str().unwrap().trim_end_matches('/').to_owned();
    if has_strace() {
        assert_eq!(flushed(), [place("mbox"), place("")]);
        assert_eq!(flushed(), [place("mbox")]);
    }
}
