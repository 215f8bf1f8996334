//! What the front cannot do, tried from inside: with all walls, the system call filter kills; without the filter, the
//! other walls refuse.
//!
//! The test runs itself again for each attempt, because a process behind the walls has no way back.

use common::process::walls::{RootWalls, SenderWalls, Walls};
use common::sys::{fd, process};
use std::io;
use std::net::TcpStream;
use std::os::unix::net::UnixStream;
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode, ExitStatus, Stdio};

const SIGSYS: i32 = 31;
const MEMORY: u64 = 64 << 20;

/// A name and something that only a process without walls can do.
type Attempt = (&'static str, fn(&Target) -> io::Result<()>);

/// What the attempts are aimed at.
struct Target {
    key: PathBuf,
    parent: i32,
    port: u16,
}

const ATTEMPTS: [Attempt; 12] = [
    ("open a file", |_| std::fs::File::open("/etc/passwd").map(drop)),
    ("read the key", |target| std::fs::read(&target.key).map(drop)),
    ("write a file", |target| std::fs::write(target.key.with_file_name("written"), b"x")),
    ("list a directory", |_| std::fs::read_dir("/").and_then(|mut list| list.next().transpose()).map(drop)),
    ("connect by TCP", |target| TcpStream::connect(("127.0.0.1", target.port)).map(drop)),
    ("connect to the log", |_| UnixStream::connect("/dev/log").map(drop)),
    ("fork", |_| match process::fork()? {
        process::Fork::Child => process::exit_now(0),
        process::Fork::Parent(_) => Ok(()),
    }),
    ("trace the guard", |target| process::trace(target.parent)),
    ("read the guard's memory", |target| {
        std::fs::File::open(format!("/proc/{}/mem", target.parent)).map(drop)
    }),
    ("kill the guard", |target| {
        process::terminate(target.parent);
        // Whether it worked is for the parent to see: it is there to ask us.
        Err(io::Error::other("no answer"))
    }),
    ("become root", |_| process::become_user(1, 1, &[])),
    ("take more memory than allowed", |_| fd::Pages::new(2 * MEMORY as usize).map(drop)),
];

/// What a process that speaks with other hosts cannot do, and what it has to be able to do.
const SENDER_CANNOT: [&str; 6] = [
    "fork",
    "execute a program",
    "trace the guard",
    "kill the guard",
    "become root",
    "take more memory than allowed",
];
const SENDER_CAN: [&str; 4] = ["open a file", "write a file", "list a directory", "connect by TCP"];

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().collect();
    if let [_, probe, name, filter, key, port] = arguments.as_slice() {
        if probe == "probe" {
            return match filter.as_str() {
                "sender" => inside_sender(name, key, port),
                filter => inside(name, filter == "filter", key, port),
            };
        }
    }
    let (mut failed, mut ignored) = (0, 0);
    let Ok(run) = Run::new() else { return ExitCode::FAILURE };
    for filter in [true, false] {
        for (name, _) in &ATTEMPTS {
            // Without root front and guard are one user: only the filter stands between them.
            if !filter && !process::is_root() && name.ends_with("the guard") {
                ignored += 1;
                continue;
            }
            let outcome = run.attempt(name, filter);
            let with = if filter { "with" } else { "without" };
            match outcome {
                Ok(how) => outln(&format!("test {name}, {with} filter ... ok ({how})")),
                Err(what) => {
                    failed += 1;
                    outln(&format!("test {name}, {with} filter ... FAILED: {what}"));
                }
            }
        }
    }
    for (name, can) in
        SENDER_CANNOT.map(|name| (name, false)).into_iter().chain(SENDER_CAN.map(|name| (name, true)))
    {
        match run.attempt_of_sender(name, can) {
            Ok(how) => outln(&format!("test {name}, as a sender ... ok ({how})")),
            Err(what) => {
                failed += 1;
                outln(&format!("test {name}, as a sender ... FAILED: {what}"));
            }
        }
    }
    let passed = 2 * ATTEMPTS.len() + SENDER_CAN.len() + SENDER_CANNOT.len() - failed - ignored;
    let word = if failed == 0 { "ok" } else { "FAILED" };
    outln(&format!(
        "\ntest result: {word}. {passed} passed; {failed} failed; {ignored} ignored; 0 measured; 0 filtered out"
    ));
    ExitCode::from(u8::from(failed > 0))
}

fn outln(line: &str) {
    let _ = fd::write(fd::STDOUT, format!("{line}\n").as_bytes());
}

struct Run {
    directory: PathBuf,
    listener: std::net::TcpListener,
}

impl Run {
    fn new() -> io::Result<Run> {
        let directory = std::env::temp_dir().join(format!("tinmail-walls-{}", std::process::id()));
        let made = std::fs::create_dir_all(directory.join("empty"));
        made.and_then(|()| std::fs::write(directory.join("key.pem"), "secret"))?;
        Ok(Run { directory, listener: std::net::TcpListener::bind("127.0.0.1:0")? })
    }

    /// How the attempt was stopped; `Err`: it was not.
    fn attempt(&self, name: &str, filter: bool) -> Result<String, String> {
        let status = self.probe(name, if filter { "filter" } else { "bare" })?;
        match (status.signal(), status.code()) {
            (Some(SIGSYS), _) if filter => Ok("killed".to_owned()),
            (_, Some(0)) if !filter => Ok("refused".to_owned()),
            // Memory is a limit, not a call: it is refused in both ways.
            (_, Some(0)) if name.starts_with("take more memory") => Ok("refused".to_owned()),
            (_, Some(3)) => Err("it worked".to_owned()),
            _ => Err(format!("{status}")),
        }
    }

    fn attempt_of_sender(&self, name: &str, can: bool) -> Result<String, String> {
        let status = self.probe(name, "sender")?;
        match (status.signal(), status.code()) {
            (Some(SIGSYS), _) if !can => Ok("killed".to_owned()),
            (_, Some(0)) if !can && name.starts_with("take more memory") => Ok("refused".to_owned()),
            (_, Some(3)) if can => Ok("it works".to_owned()),
            _ => Err(format!("{status}")),
        }
    }

    fn probe(&self, name: &str, walls: &str) -> Result<ExitStatus, String> {
        let port = self.listener.local_addr().map_err(|error| error.to_string())?.port().to_string();
        let program = std::env::current_exe().map_err(|error| error.to_string())?;
        let mut command = Command::new(program);
        command.args(["probe", name, walls]);
        command.arg(&self.directory).arg(port);
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        // In a group of its own, so that an attempt to kill the parent cannot hit more than this process.
        command.process_group(0).status().map_err(|error| error.to_string())
    }
}

impl Drop for Run {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.directory);
    }
}

fn target(directory: &Path, port: &str) -> Target {
    Target {
        key: directory.join("key.pem"),
        parent: std::os::unix::process::parent_id() as i32,
        port: port.parse().unwrap_or(0),
    }
}

/// Behind a sender's walls. 0: the attempt was refused. 3: it worked. Others: the walls could not be put up.
fn inside_sender(name: &str, directory: &str, port: &str) -> ExitCode {
    let target = target(Path::new(directory), port);
    if SenderWalls::prepare(MEMORY).and_then(|walls| walls.enter()).is_err() {
        return ExitCode::from(5);
    }
    let worked = match ATTEMPTS.iter().find(|(known, _)| *known == name) {
        Some((_, attempt)) => attempt(&target).is_ok(),
        None if name == "execute a program" => {
            let _ = Command::new("/bin/sh").args(["-c", "exit 3"]).exec();
            false
        }
        None => return ExitCode::from(6),
    };
    process::exit_now(if worked { 3 } else { 0 })
}

/// Behind the walls. 0: the attempt was refused. 3: it worked. Others: the walls could not be put up.
fn inside(name: &str, filter: bool, directory: &str, port: &str) -> ExitCode {
    let directory = Path::new(directory);
    let target = target(directory, port);
    let root = process::is_root().then(|| RootWalls {
        uid: 65_534,
        gid: 65_534,
        empty_directory: directory.join("empty"),
    });
    let Ok(walls) = Walls::prepare(root, MEMORY) else { return ExitCode::from(4) };
    let walls = if filter { walls } else { walls.without_filter() };
    let closed = fd::close_from(3);
    // The front has a fourth descriptor, the guard's, so that the limit on descriptors is reached.
    if closed.is_err() || fd::replace(3, &fd::STDIN).is_err() || walls.enter().is_err() {
        return ExitCode::from(5);
    }
    let Some((_, attempt)) = ATTEMPTS.iter().find(|(known, _)| *known == name) else {
        return ExitCode::from(6);
    };
    let worked = attempt(&target).is_ok();
    process::exit_now(if worked { 3 } else { 0 })
}
