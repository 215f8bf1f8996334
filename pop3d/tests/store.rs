//! Whole sessions (`--preauth`) on Maildirs in which something is wrong.
#![allow(clippy::unwrap_used, clippy::panic)]

use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::os::unix::fs::{MetadataExt, chown};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::time::Duration;

/// Root is refused by `--preauth`; where the tests run as root, the sessions are this user's.
const NOBODY: u32 = 65534;

struct Mail(PathBuf);

impl Mail {
    fn new(name: &str) -> Mail {
        let path = std::env::temp_dir().join(format!("tinmail-store-{name}-{}", std::process::id()));
        let mail = Mail(path);
        for directory in ["", "cur", "new", "tmp"] {
            fs::create_dir(mail.0.join(directory)).unwrap();
            mail.give(directory);
        }
        mail
    }

    fn give(&self, name: &str) {
        if fs::metadata("/proc/self").unwrap().uid() == 0 {
            chown(self.0.join(name), Some(NOBODY), Some(NOBODY)).unwrap();
        }
    }

    fn write(&self, name: &str, text: &str) {
        fs::write(self.0.join(name), text).unwrap();
        self.give(name);
    }

    /// A copy: where it was built, in root's home directory say, nobody else may execute it. Another process
    /// copies: what another thread's child has open for writing cannot be executed (ETXTBSY), and a child has
    /// all that is open here until it executes.
    fn program(&self) -> PathBuf {
        let copy = self.0.with_extension("pop3d");
        if !copy.exists() {
            assert!(
                Command::new("cp").arg(env!("CARGO_BIN_EXE_pop3d")).arg(&copy).status().unwrap().success()
            );
        }
        copy
    }

    fn session(&self, settings: &[&str]) -> Session {
        let mut command = Command::new(self.program());
        command.arg("--preauth").args(["-c", "/dev/null", "-o", "log_path=/dev/stderr", "-o"]);
        command.arg(format!("mail_location=maildir:{}", self.0.display()));
        command.args(settings.iter().flat_map(|setting| ["-o", setting]));
        if fs::metadata("/proc/self").unwrap().uid() == 0 {
            command.uid(NOBODY).gid(NOBODY);
        }
        command.current_dir("/").stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().unwrap();
        let (input, output) = (child.stdin.take(), child.stdout.take());
        let mut session = Session { child, input: input.unwrap(), output: BufReader::new(output.unwrap()) };
        assert_eq!(session.line(), "+OK Logged in.");
        session
    }
}

impl Drop for Mail {
    fn drop(&mut self) {
        let _ = fs::remove_file(self.0.with_extension("pop3d"));
        let _ = fs::remove_dir_all(&self.0);
    }
}

struct Session {
    child: Child,
    input: ChildStdin,
    output: BufReader<ChildStdout>,
}

impl Session {
    fn line(&mut self) -> String {
        let mut line = String::new();
        self.output.read_line(&mut line).unwrap();
        line.trim_end().to_owned()
    }

    /// A command's one line of answer.
    fn ask(&mut self, command: &str) -> String {
        self.input.write_all(format!("{command}\r\n").as_bytes()).unwrap();
        self.line()
    }

    /// A command's multi-line answer without its first and last line.
    fn list(&mut self, command: &str) -> Vec<String> {
        let first = self.ask(command);
        assert!(first.starts_with("+OK"), "{first}");
        std::iter::from_fn(|| Some(self.line()).filter(|line| line != ".")).collect()
    }

    /// What is left to read, and the log.
    fn end(mut self) -> (String, String) {
        drop(self.input);
        let (mut rest, mut log) = (String::new(), String::new());
        self.output.read_to_string(&mut rest).unwrap();
        self.child.stderr.take().unwrap().read_to_string(&mut log).unwrap();
        self.child.wait().unwrap();
        (rest, log)
    }
}

fn exists(path: &Path, name: &str) -> bool {
    path.join(name).exists()
}

#[test]
fn what_is_not_synced_is_not_said_to_be_deleted() {
    let mail = Mail::new("sync");
    mail.write("cur/1.a:2,S", "a\n");
    let mut session = mail.session(&[]);
    assert!(session.ask("DELE 1").starts_with("+OK"));
    fs::remove_dir(mail.0.join("new")).unwrap();
    assert!(session.ask("QUIT").starts_with("-ERR [SYS/TEMP]"));
    assert!(session.end().1.contains("fsync("));
    assert!(!exists(&mail.0, "cur/1.a:2,S"));
}

#[test]
fn one_unreadable_message_does_not_hide_the_others() {
    let mail = Mail::new("unreadable");
    mail.write("cur/1.a:2,S", "a\n");
    mail.write("cur/2.a:2,S", "a\n");
    assert!(Command::new("mkfifo").arg(mail.0.join("cur/3.a:2,S")).status().unwrap().success());
    mail.give("cur/3.a:2,S");
    std::os::unix::fs::symlink(".", mail.0.join("cur/4.a:2,S")).unwrap();
    let mut session = mail.session(&[]);
    assert_eq!(session.ask("STAT"), "+OK 4 6");
    assert_eq!(session.list("LIST"), ["1 3", "2 3", "3 0", "4 0"]);
    assert_eq!(session.ask("NOOP"), "+OK");
    assert_eq!(session.ask("RETR 3"), "-ERR [SYS/TEMP] This message cannot be read now.");
    assert_eq!(session.ask("RETR 4"), "-ERR [SYS/TEMP] This message cannot be read now.");
    assert!(session.ask("DELE 1").starts_with("+OK"));
    assert_eq!(session.ask("STAT"), "+OK 3 3");
    assert!(session.ask("RSET").starts_with("+OK"));
    assert_eq!(session.list("RETR 2"), ["a"]);
    let (_, log) = session.end();
    assert!(log.matches("cur/3.a:2,S").count() == 2 && log.matches("cur/4.a:2,S").count() == 2, "{log}");
}

#[test]
fn unique_ids_made_of_messages_are_unique_and_there() {
    let mail = Mail::new("uidl");
    for (name, text) in [
        ("1.a:2,S", "Message-ID: <1>\n\na\n"),
        ("2.a:2,S", "Message-ID: <1>\n\nb\n"),
        ("3.a:2,S", "Subject: nothing that counts\n\nc\n"),
        ("4.a:2,S", "Message-ID: <4>\n\nd\n"),
        ("5.a:2,S", "X-UIDL: mine\nMessage-ID: <5>\n\nd\n"),
        ("6.a:2,S", "X-UIDL: mine\nMessage-ID: <6>\n\nd\n"),
    ] {
        mail.write(&format!("cur/{name}"), text);
    }
    let mut session = mail.session(&["pop3_uidl_format=%m", "pop3_reuse_xuidl=yes"]);
    let first = session.ask("UIDL 2");
    let list = session.list("UIDL");
    assert_eq!(first, format!("+OK {}", list[1]));
    let lengths: Vec<usize> = list.iter().map(|line| line.len() - 2).collect();
    assert_eq!(lengths, [32, 16, 16, 32, 4, 16]);
    assert!(list[1].starts_with("2 00000002") && list[2].starts_with("3 00000003"));
    session.ask("DELE 1");
    assert_eq!(session.list("UIDL"), list[1..]);
    fs::remove_file(mail.0.join("cur/4.a:2,S")).unwrap();
    assert_eq!(session.ask("UIDL 4"), "-ERR This message is no longer there.");
    let now = session.list("UIDL");
    assert!(now.len() == 5 && now[2].starts_with("4 00000004"), "{now:?}");
    assert_eq!(session.ask("NOOP"), "+OK");
    session.end();
}

#[test]
fn half_a_message_is_followed_by_nothing() {
    let mail = Mail::new("shrinks");
    mail.write("cur/1.a:2,S", &"0123456789\n".repeat(100_000));
    let mut session = mail.session(&[]);
    assert_eq!(session.ask("RETR 1"), "+OK 1200000 octets");
    fs::File::options().write(true).open(mail.0.join("cur/1.a:2,S")).unwrap().set_len(700_000).unwrap();
    let (rest, log) = session.end();
    assert!(!rest.contains("\n.") && !rest.contains("-ERR"), "{}", &rest[rest.len() - 100..]);
    assert!(
        log.contains("Disconnected: A message could not be read to its end: it has become shorter"),
        "{log}"
    );
}

#[test]
fn half_a_list_is_followed_by_nothing() {
    let mail = Mail::new("list");
    (0..20_000).for_each(|i| mail.write(&format!("cur/{i}.a,W=3:2,S"), "a\n"));
    let mut session = mail.session(&[]);
    assert!(session.ask("UIDL").starts_with("+OK"));
    // The index is damaged under the session.
    fs::File::options().write(true).open(mail.0.join("tinmail-index")).unwrap().set_len(5_000).unwrap();
    let (rest, log) = session.end();
    assert!(!rest.contains("\n.") && !rest.contains("-ERR"), "{}", &rest[rest.len() - 100..]);
    assert!(log.contains("Disconnected: A list could not be completed"), "{log}");
}

#[test]
fn a_session_keeps_its_own_uidlist_lock_while_it_counts() {
    let mail = Mail::new("lock");
    (0..200).for_each(|i| mail.write(&format!("cur/{i}.a:2,S"), "a\n"));
    let mut session = mail.session(&["pop3_lock_session=yes"]);
    // Only then a lock's process is asked for.
    std::thread::sleep(Duration::from_millis(2500));
    assert!(exists(&mail.0, "dovecot-uidlist.lock"));
    assert_eq!(session.ask("STAT"), "+OK 200 600");
    assert!(exists(&mail.0, "dovecot-uidlist.lock"));
    assert!(fs::read_to_string(mail.0.join("dovecot-uidlist")).unwrap().contains("1 W3 :0.a\n"));
    session.ask("QUIT");
    session.end();
    assert!(!exists(&mail.0, "dovecot-uidlist.lock"));
}

/// A FIFO in place of a control file never opens for one who waits for its other end: a session must not.
#[test]
fn fifos_in_place_of_control_files_hang_nobody() {
    for name in [
        "dovecot-uidlist",
        "dovecot-uidlist.lock",
        "dovecot-uidlist.tmp",
        "dovecot-uidvalidity",
        "courierimapuiddb",
        "courierpop3dsizelist",
        "tinmail-index",
        "tinmail-index.tmp",
    ] {
        let mail = Mail::new(&format!("fifo-{name}"));
        mail.write("new/1000000001.a.host", "Subject: a\n\nb\n");
        assert!(Command::new("mkfifo").arg(mail.0.join(name)).status().unwrap().success());
        mail.give(name);
        let mut command = Command::new("timeout");
        // Longer than a lock is waited for, which is what a FIFO in place of one is.
        command.arg("45").arg(mail.program());
        command.args(["--preauth", "-c", "/dev/null", "-o", "log_path=/dev/stderr", "-o"]);
        command.arg(format!("mail_location=maildir:{}", mail.0.display()));
        if fs::metadata("/proc/self").unwrap().uid() == 0 {
            command.uid(NOBODY).gid(NOBODY);
        }
        let mut child =
            command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::null()).spawn().unwrap();
        child.stdin.take().unwrap().write_all(b"STAT\r\nUIDL\r\nQUIT\r\n").unwrap();
        let output = child.wait_with_output().unwrap();
        assert_ne!(output.status.code(), Some(124), "{name}: still waiting");
        let said = String::from_utf8_lossy(&output.stdout).into_owned();
        assert!(said.starts_with("+OK") || said.starts_with("-ERR"), "{name}: {said:?}");
    }
}
