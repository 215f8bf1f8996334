//! What strangers must never see: each case starts this test program again with other descriptors.
#![allow(clippy::unwrap_used)]

use common::config::Config;
use common::log::{Log, guard_stderr};
use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::process::{Command, Stdio};

/// Says in the child which part to play.
const ROLE: &str = "TINMAIL_TEST_ROLE";

/// The child's part; without the variable it is a test without content.
#[test]
fn child() {
    match std::env::var(ROLE).as_deref() {
        Ok("guard") => {
            let was_client = guard_stderr().unwrap();
            std::io::stderr().write_all(b"secret").unwrap();
            std::process::exit(if was_client { 10 } else { 20 });
        }
        Ok("panic") => {
            Log::open(&Config::DEFAULT, "pop3-login").catch_panics();
            let attempts = std::env::args().map(|argument| argument.len()).collect::<Vec<_>>();
            std::process::exit(attempts[1000] as i32);
        }
        Ok("hello") => {
            let log = Log::open(&Config::DEFAULT, "pop3-login");
            log.info(format_args!("hello"));
            std::process::exit(0);
        }
        _ => {}
    }
}

fn run(role: &str, stdio: [Stdio; 3]) -> std::process::Output {
    let [stdin, stdout, stderr] = stdio;
    Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "child", "--nocapture", "--quiet"])
        .env(ROLE, role)
        .env_remove("JOURNAL_STREAM")
        .stdin(stdin)
        .stdout(stdout)
        .stderr(stderr)
        .spawn()
        .unwrap()
        .wait_with_output()
        .unwrap()
}

fn tcp() -> (TcpStream, TcpStream) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let client = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
    (client, listener.accept().unwrap().0)
}

fn text_from(mut stream: impl Read) -> String {
    let mut text = String::new();
    stream.read_to_string(&mut text).unwrap();
    text
}

fn copy(fd: &OwnedFd) -> Stdio {
    fd.try_clone().unwrap().into()
}

#[test]
fn a_client_on_all_three_descriptors_gets_nothing_from_the_third() {
    let (client, server) = tcp();
    let server = OwnedFd::from(server);
    let output = run("guard", [copy(&server), copy(&server), copy(&server)]);
    drop(server);
    assert_eq!(output.status.code(), Some(10));
    assert!(!text_from(client).contains("secret"));
}

#[test]
fn another_internet_socket_counts_as_the_client_too() {
    let (client, server) = tcp();
    let output = run("guard", [Stdio::null(), Stdio::null(), OwnedFd::from(server).into()]);
    assert_eq!(output.status.code(), Some(10));
    assert_eq!(text_from(client), "");
}

#[test]
fn a_unix_socket_counts_only_if_it_is_the_connection() {
    let (client, server) = UnixStream::pair().unwrap();
    let server = OwnedFd::from(server);
    let output = run("guard", [copy(&server), Stdio::null(), copy(&server)]);
    assert_eq!(output.status.code(), Some(10));
    let output = run("guard", [Stdio::null(), Stdio::null(), copy(&server)]);
    assert_eq!(output.status.code(), Some(20));
    drop(server);
    assert_eq!(text_from(client), "secret");
}

#[test]
fn files_and_pipes_are_left_alone() {
    let output = run("guard", [Stdio::null(), Stdio::null(), Stdio::piped()]);
    assert_eq!((output.status.code(), output.stderr.as_slice()), (Some(20), b"secret".as_slice()));
}

/// Whether somebody reads /dev/log; a socket that a syslogd left behind is there too, but nobody is.
fn syslog_runs() -> bool {
    let socket = std::os::unix::net::UnixDatagram::unbound().unwrap();
    socket.connect("/dev/log").is_ok()
}

/// Where syslog runs, the line goes there and standard error has nothing.
fn expect_on_stderr(output: &std::process::Output, is_right: impl Fn(&str) -> bool) {
    let text = String::from_utf8(output.stderr.clone()).unwrap();
    if syslog_runs() {
        assert_eq!(text, "");
    } else {
        assert!(is_right(&text), "{text}");
        assert_eq!(text.lines().count(), 1, "{text}");
    }
}

#[test]
fn a_panic_is_one_line_without_foreign_text() {
    let output = run("panic", [Stdio::null(), Stdio::piped(), Stdio::piped()]);
    expect_on_stderr(&output, |text| {
        text.starts_with("pop3-login: panic at ") && text.contains("index out of bounds")
    });
}

#[test]
fn without_syslog_the_log_is_standard_error() {
    let output = run("hello", [Stdio::null(), Stdio::null(), Stdio::piped()]);
    expect_on_stderr(&output, |text| text == "pop3-login: hello\n");
}
