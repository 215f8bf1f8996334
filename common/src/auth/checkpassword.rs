//! The checkpassword interface (cr.yp.to/checkpwd/interface.html): another program knows the passwords.
//!
//! The program gets `user NUL password NUL timestamp NUL` on descriptor 3 and, as arguments, what to run if the
//! password is right: this program again, with [`REPLY_ARGUMENT`]. That one says on descriptor 4 which environment
//! the program set up, and the kernel says which user and group it had become. So the uid of a session is never a
//! matter of what somebody wrote: a process that already runs as that uid may tamper with the answer (by ptrace,
//! say), but only the kernel's word counts. One exception, Dovecot's: a program that stays what it is may name
//! another uid and gid with `EXTRA="userdb_uid userdb_gid"`, and that is believed because nobody of lesser rights
//! can have touched it.
//!
//! Exit codes: 0 with an answer is success, 1 a wrong password or an unknown user, anything else a temporary
//! failure (2: wrongly called; 111: the program's own trouble). Credentials look-ups (Dovecot's `AUTHORIZED=1`) are
//! not made, so CRAM-MD5, APOP and SCRAM do not reach a checkpassword program.

use crate::exit::Exit;
use crate::sys::child::{Credentials, effective, receive, socket_on_4, spawn_with_3_and_4, want_credentials};
use std::ffi::OsStr;
use std::io::Write;
use std::net::IpAddr;
use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};
use zeroize::Zeroizing;

/// The hidden argument with which this program is run by a checkpassword program.
pub const REPLY_ARGUMENT: &str = "--checkpassword-reply";

/// Most octets on descriptor 3 (the interface's own bound).
pub const MAX_REQUEST: usize = 512;

/// Most octets of an answer.
pub const MAX_REPLY: usize = 8192;

/// Longest time a program may be given.
const MAX_TIMEOUT: Duration = Duration::from_secs(3600);

/// How often a program that has answered is looked at until it has exited.
const EXIT_PAUSE: Duration = Duration::from_millis(2);

/// Most variables that `EXTRA` may name.
const MAX_EXTRA: usize = 32;

/// First and last field of an answer.
const HEAD: &str = "checkpassword-reply";
const END: &str = "end";

/// What to run and what to tell it.
#[derive(Debug, Clone)]
pub struct Call<'a> {
    /// The program; it has no arguments of its own.
    pub command: &'a str,
    /// This program's own file, which every user must be able to execute.
    pub reply: &'a Path,
    /// The protocol's name, for `SERVICE`.
    pub service: &'a str,
    /// The client's address, for `TCPREMOTEIP`.
    pub remote: Option<IpAddr>,
    /// The server's address, for `TCPLOCALIP`.
    pub local: Option<IpAddr>,
    /// Time after which the program is killed.
    pub timeout: Duration,
}

/// The account that the program set up.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reply {
    /// User id the session is to run with.
    pub uid: u32,
    /// Group id likewise.
    pub gid: u32,
    /// `USER`, if it was set. Only a name: the rights are in `uid`.
    pub user: Option<String>,
    /// `HOME`.
    pub home: Option<String>,
    /// `userdb_mail`, else `MAIL`.
    pub mail: Option<String>,
    /// The other variables that `EXTRA` named, names in lower case.
    pub extra: Vec<(String, String)>,
}

/// What became of a call.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Outcome {
    /// The password is right.
    Right(Reply),
    /// It is not, or there is no such user.
    Wrong,
    /// The program could not say.
    Failed(String),
}

/// Asks the program about a name and a password. Both must be without NUL; what does not fit [`MAX_REQUEST`] is
/// wrong.
pub fn call(call: &Call<'_>, user: &str, password: &[u8]) -> Outcome {
    let mut request = Zeroizing::new(Vec::with_capacity(MAX_REQUEST));
    // The timestamp is for APOP, which is not passed on.
    for field in [user.as_bytes(), password, b""] {
        if field.contains(&0) || request.len() + field.len() + 1 > MAX_REQUEST {
            return Outcome::Wrong;
        }
        request.extend_from_slice(field);
        request.push(0);
    }
    let deadline = Instant::now() + call.timeout.min(MAX_TIMEOUT);
    match start(call, &request) {
        Err(error) => Outcome::Failed(format!("cannot run {}: {error}", call.command)),
        Ok((mut child, socket)) => {
            let answer = read_answer(&socket, deadline);
            let status = wait(&mut child, deadline);
            match (answer, status) {
                (_, Err(problem)) | (Err(problem), _) => {
                    Outcome::Failed(format!("{}: {problem}", call.command))
                }
                (Ok(answer), Ok(status)) => judge(call.command, answer, status),
            }
        }
    }
}

fn start(call: &Call<'_>, request: &[u8]) -> std::io::Result<(Child, UnixStream)> {
    let mut command = Command::new(call.command);
    command.arg(call.reply).arg(REPLY_ARGUMENT);
    command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).current_dir("/").env_clear();
    command.env("PATH", "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin");
    command.env("PROTO", "TCP").env("SERVICE", call.service);
    for (name, address) in [("TCPREMOTEIP", call.remote), ("TCPLOCALIP", call.local)] {
        if let Some(address) = address {
            command.env(name, address.to_string());
        }
    }
    let (mut secret, three) = UnixStream::pair()?;
    let (socket, four) = UnixStream::pair()?;
    want_credentials(&socket)?;
    // It fits the socket's buffer, so nobody waits for anybody.
    secret.write_all(request)?;
    drop(secret);
    let child = spawn_with_3_and_4(&mut command, &OwnedFd::from(three), &OwnedFd::from(four))?;
    Ok((child, socket))
}

/// Everything up to the end of the stream, and who wrote it. `None`: nothing came.
fn read_answer(
    socket: &UnixStream,
    deadline: Instant,
) -> Result<Option<(Vec<u8>, Credentials)>, &'static str> {
    let mut answer = Vec::new();
    let mut writer: Option<Credentials> = None;
    let mut buffer = [0; 1024];
    loop {
        let left = deadline.saturating_duration_since(Instant::now());
        if left.is_zero() || socket.set_read_timeout(Some(left)).is_err() {
            return Err("timed out");
        }
        match receive(socket, &mut buffer) {
            Ok((0, _)) => return Ok(writer.map(|writer| (answer, writer))),
            Ok((_, None)) => return Err("answer from nobody"),
            Ok((length, Some(from))) => {
                if *writer.get_or_insert(from) != from {
                    return Err("answer from two users");
                }
                answer.extend_from_slice(buffer.get(..length).unwrap_or_default());
                if answer.len() > MAX_REPLY {
                    return Err("answer is too long");
                }
            }
            Err(error) if error.kind() == std::io::ErrorKind::Interrupted => {}
            Err(error) if matches!(error.kind(), std::io::ErrorKind::WouldBlock) => return Err("timed out"),
            Err(_) => return Err("answer cannot be read"),
        }
    }
}

/// Waits for the end of the program; kills it when its time is over.
fn wait(child: &mut Child, deadline: Instant) -> Result<ExitStatus, &'static str> {
    loop {
        match child.try_wait() {
            Ok(Some(status)) => return Ok(status),
            Ok(None) if Instant::now() < deadline => std::thread::sleep(EXIT_PAUSE),
            Ok(None) => {
                let _ = child.kill();
                let _ = child.wait();
                return Err("timed out");
            }
            Err(_) => return Err("cannot be waited for"),
        }
    }
}

fn judge(command: &str, answer: Option<(Vec<u8>, Credentials)>, status: ExitStatus) -> Outcome {
    match (status.code(), answer) {
        (Some(0), Some((answer, writer))) => match parse_reply(&answer, writer, effective()) {
            Some(reply) => Outcome::Right(reply),
            None => Outcome::Failed(format!("{command}: damaged answer")),
        },
        (Some(0), None) => Outcome::Failed(format!("{command}: exited with 0 without running its arguments")),
        (Some(1), _) => Outcome::Wrong,
        (Some(code), _) => Outcome::Failed(format!("{command}: exit code {code}")),
        (None, _) => Outcome::Failed(format!("{command}: {status}")),
    }
}

/// Reads an answer. `writer` is whom the kernel saw writing it, `caller` who asked.
fn parse_reply(answer: &[u8], writer: Credentials, caller: Credentials) -> Option<Reply> {
    let text = std::str::from_utf8(answer).ok()?;
    let mut fields = text.strip_suffix('\0')?.split('\0');
    if fields.next() != Some(HEAD) || fields.next_back() != Some(END) {
        return None;
    }
    let mut reply =
        Reply { uid: writer.uid, gid: writer.gid, user: None, home: None, mail: None, extra: Vec::new() };
    for field in fields {
        let (name, value) = field.split_once('=')?;
        if value.chars().any(char::is_control) {
            return None;
        }
        let value = value.to_owned();
        match name {
            "USER" => reply.user = Some(value),
            "HOME" => reply.home = reply.home.or(Some(value)),
            "MAIL" => reply.mail = reply.mail.or(Some(value)),
            "userdb_home" => reply.home = Some(value),
            "userdb_mail" => reply.mail = Some(value),
            "userdb_uid" | "userdb_gid" => {
                let id = super::lines::number(&value)?;
                if writer != caller {
                    continue;
                }
                if name == "userdb_uid" { reply.uid = id } else { reply.gid = id }
            }
            _ => reply.extra.push((name.to_owned(), value)),
        }
    }
    Some(reply)
}

/// What [`REPLY_ARGUMENT`] does: tells descriptor 4 about the environment. To be called first thing in `main`, with
/// nothing opened. The exit code is 0, or 111 if there is nobody to tell or the environment does not fit.
pub fn reply_main() -> Exit {
    let Some(mut socket) = socket_on_4() else { return Exit::Temporary };
    let extra = std::env::var_os("EXTRA").unwrap_or_default();
    let extra = extra.as_bytes().split(|&c| c == b' ').filter(|name| !name.is_empty()).take(MAX_EXTRA);
    let mut answer = [HEAD.as_bytes(), b"\0"].concat();
    for (name, shown) in [&b"USER"[..], b"HOME", b"MAIL"]
        .into_iter()
        .map(|name| (name, name.to_vec()))
        .chain(extra.map(lower_case))
    {
        if let Some(value) = std::env::var_os(OsStr::from_bytes(name)) {
            answer.extend([&shown, &b"="[..], value.as_bytes(), b"\0"].concat());
        }
    }
    answer.extend([END.as_bytes(), b"\0"].concat());
    let sent = answer.len() <= MAX_REPLY && socket.write_all(&answer).is_ok();
    if sent { Exit::Success } else { Exit::Temporary }
}

fn lower_case(name: &[u8]) -> (&[u8], Vec<u8>) {
    (name, name.to_ascii_lowercase())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::auth::testing::Scratch;
    use proptest::prelude::*;

    /// Writes an answer as [`reply_main`] does; the test binary itself has no such argument.
    const REPLY: &str = "#!/bin/sh\n[ \"$1\" = --checkpassword-reply ] || exit 111\n\
        printf 'checkpassword-reply\\0USER=%s\\0HOME=%s\\0' \"$USER\" \"$HOME\" >&4\n\
        for name in $EXTRA; do eval value=\\$$name; printf '%s=%s\\0' $name \"$value\" >&4; done\nprintf 'end\\0' >&4\n";

    /// A checkpassword program: reads descriptor 3 and obeys.
    const PROGRAM: &str = "#!/bin/sh\nIFS='|'; set -- \"$(tr '\\0' '|' <&3)\" \"$@\"; line=$1; shift\n\
        unset IFS\ncase $line in\n\
        'anna|geheim||') USER=anna HOME=/home/anna EXTRA='userdb_mail quota' userdb_mail='maildir:~/M' quota=\"$SERVICE $TCPREMOTEIP\";\n\
          export USER HOME EXTRA userdb_mail quota; exec \"$@\";;\n\
        'root|geheim||') USER=root EXTRA='userdb_uid userdb_gid' userdb_uid=4242 userdb_gid=4343; export USER EXTRA userdb_uid userdb_gid; exec \"$@\";;\n\
        slow*) exec sleep 60;;\n quiet*) exit 0;;\n misused*) exit 2;;\n broken*) exit 111;;\n\
        killed*) kill -9 $$;;\n long*) head -c 20000 /dev/zero >&4;;\n torn*) printf checkpassword >&4;;\n *) exit 1;; esac\n";

    /// One at a time: a script that another thread's child still holds open for writing cannot be run.
    static TURN: std::sync::Mutex<()> = std::sync::Mutex::new(());

    fn ask(user: &str, password: &[u8]) -> Outcome {
        let _turn = TURN.lock();
        let scratch = Scratch::new();
        let reply = scratch.program("reply", REPLY);
        let program = scratch.program("checkpassword", PROGRAM);
        call(
            &Call {
                command: program.to_str().unwrap(),
                reply: &reply,
                service: "pop3",
                remote: "192.0.2.1".parse().ok(),
                local: None,
                timeout: Duration::from_millis(if user == "slow" { 200 } else { 20_000 }),
            },
            user,
            password,
        )
    }

    #[test]
    fn a_right_password_brings_the_account() {
        let Outcome::Right(reply) = ask("anna", b"geheim") else { panic!("refused") };
        assert_eq!((reply.uid, reply.gid), (effective().uid, effective().gid));
        assert_eq!(reply.user.as_deref(), Some("anna"));
        assert_eq!(reply.home.as_deref(), Some("/home/anna"));
        assert_eq!(reply.mail.as_deref(), Some("maildir:~/M"));
        assert_eq!(reply.extra, [("quota".to_owned(), "pop3 192.0.2.1".to_owned())]);
    }

    /// Not a test but a part in the next ones: this binary as the program that replies.
    #[test]
    fn act_as_the_reply() {
        if std::env::var_os("TINMAIL_TEST_REPLY").is_some() {
            reply_main();
            std::process::exit(0);
        }
    }

    /// Runs a script as the checkpassword program and this binary's own [`reply_main`].
    fn ask_with_reply_main(script: &str) -> Outcome {
        let _turn = TURN.lock();
        let scratch = Scratch::new();
        // The test binary may lie where another user cannot execute it. cp has it open for writing, and no child of other threads.
        let own = scratch.path().join("own");
        let mut copy = std::process::Command::new("cp");
        assert!(copy.arg(std::env::current_exe().unwrap()).arg(&own).status().unwrap().success());
        let reply = scratch.program(
            "reply",
            &format!(
                "#!/bin/sh\nTINMAIL_TEST_REPLY=1 exec '{}' --exact auth::checkpassword::tests::act_as_the_reply\n",
                own.display()
            ),
        );
        let program = scratch.program("checkpassword", script);
        let (remote, local, timeout) = (None, None, Duration::from_secs(20));
        let command = program.to_str().unwrap();
        call(&Call { command, reply: &reply, service: "imap", remote, local, timeout }, "anna", b"x")
    }

    #[test]
    fn the_reply_tells_the_environment() {
        let script = "#!/bin/sh\nexport USER=anna HOME=/h MAIL=maildir:/m EXTRA='userdb_quota A_B gone' A_B=c\n\
                      export userdb_quota=1G\nexec \"$@\"\n";
        let Outcome::Right(reply) = ask_with_reply_main(script) else { panic!("refused") };
        assert_eq!((reply.user.as_deref(), reply.home.as_deref()), (Some("anna"), Some("/h")));
        assert_eq!(reply.mail.as_deref(), Some("maildir:/m"));
        let extra = [("userdb_quota", "1G"), ("a_b", "c")];
        assert_eq!(reply.extra, extra.map(|(name, value)| (name.to_owned(), value.to_owned())));
        assert_eq!((reply.uid, reply.gid), (effective().uid, effective().gid));
    }

    #[test]
    fn a_program_that_became_the_user_is_believed_by_its_rights_only() {
        if effective().uid != 0 {
            println!("skipped: needs root");
            return;
        }
        let script = "#!/bin/sh\nexport USER=anna HOME=/h EXTRA='userdb_uid userdb_gid' userdb_uid=4242 userdb_gid=0\n\
                      exec setpriv --reuid 1234 --regid 1235 --clear-groups \"$@\"\n";
        match ask_with_reply_main(script) {
            Outcome::Right(reply) => assert_eq!((reply.uid, reply.gid), (1234, 1235)),
            Outcome::Failed(problem) => panic!("{problem}"),
            Outcome::Wrong => panic!("refused"),
        }
    }

    #[test]
    fn a_program_that_kept_its_rights_may_name_the_user() {
        let Outcome::Right(reply) = ask("root", b"geheim") else { panic!("refused") };
        assert_eq!((reply.uid, reply.gid), (4242, 4343));
    }

    #[test]
    fn everything_else_is_no_login() {
        assert_eq!(ask("anna", b"falsch"), Outcome::Wrong);
        assert_eq!(ask("anna", &[b'x'; MAX_REQUEST]), Outcome::Wrong);
        assert_eq!(ask("anna", b"geheim\0"), Outcome::Wrong);
        for user in ["slow", "quiet", "misused", "broken", "killed", "long", "torn"] {
            assert!(matches!(ask(user, b"x"), Outcome::Failed(_)), "{user}");
        }
        let call_of = |command| Call {
            command,
            reply: Path::new("/bin/true"),
            service: "pop3",
            remote: None,
            local: None,
            timeout: Duration::from_secs(5),
        };
        for command in ["", " ", "/nonexistent/checkpassword"] {
            assert!(matches!(call(&call_of(command), "anna", b"x"), Outcome::Failed(_)), "{command}");
        }
    }

    #[test]
    fn only_the_caller_s_own_rights_make_a_named_user_credible() {
        let answer = b"checkpassword-reply\0userdb_uid=0\0userdb_gid=0\0end\0";
        let (root, anna) = (Credentials { uid: 0, gid: 0 }, Credentials { uid: 1000, gid: 1001 });
        let reply = parse_reply(answer, anna, root).unwrap();
        assert_eq!((reply.uid, reply.gid), (1000, 1001));
        for damaged in [
            &b""[..],
            b"\0",
            b"end\0",
            b"checkpassword-reply\0",
            b"checkpassword-reply\0x\0end\0",
            b"checkpassword-reply\0userdb_uid=-1\0end\0",
            b"checkpassword-reply\0HOME=a\nb\0end\0",
            b"checkpassword-reply\0end",
            b"checkpassword-reply\0HOME=\xff\0end\0",
        ] {
            assert_eq!(parse_reply(damaged, root, root), None);
        }
    }

    proptest! {
        #[test]
        fn no_answer_panics(answer: Vec<u8>) {
            let root = Credentials { uid: 0, gid: 0 };
            let _ = parse_reply(&answer, root, root);
        }
    }
}
