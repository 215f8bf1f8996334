//! One connection with a server: the server's process on one end of a socket pair, the test on the other.

use crate::place::Place;
use crate::program::{as_user, pop3d};
use std::io::{self, Read, Write};
use std::net::Shutdown;
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::{Arc, Condvar, Mutex};
use std::time::{Duration, Instant};

/// How long a test waits for something that should come at once. Long, because others compute beside it.
pub const PATIENCE: Duration = Duration::from_secs(60);

/// How to start a server.
#[derive(Debug, Clone)]
pub struct Server {
    /// pop3d, unless it is said.
    program: Option<PathBuf>,
    arguments: Vec<String>,
    environment: Vec<(String, String)>,
    wrapper: Option<(Vec<String>, bool)>,
}

impl Server {
    /// A pop3d that logs into the place and knows no configuration but its arguments.
    pub fn new(place: &Place) -> Server {
        let config = place.path().join("empty.conf");
        let server = Server {
            program: None,
            arguments: vec!["-c".into(), config.display().to_string()],
            environment: Vec::new(),
            wrapper: None,
        };
        server
            .client_at("127.0.0.1")
            .set(&format!("log_path={}", place.log_path().display()))
            .set("ssl=no")
            .set("auth_failure_delay=0")
            .set("fsync_disable=yes")
    }

    /// One that begins in the TRANSACTION state of the place's Maildir.
    pub fn preauth(place: &Place) -> Server {
        Server::new(place)
            .set(&format!("mail_location=maildir:{}", place.maildir().display()))
            .argument("--preauth")
    }

    /// One that wants alice to log in with the password `secret`.
    pub fn login(place: &Place) -> Server {
        Server::new(place).set(&place.passdb("alice", "{PLAIN}secret", ""))
    }

    /// With another program.
    pub fn program(mut self, path: &std::path::Path) -> Server {
        self.program = Some(path.to_owned());
        self
    }

    /// With a setting.
    pub fn set(self, setting: &str) -> Server {
        self.argument("-o").argument(setting)
    }

    /// With an argument.
    pub fn argument(mut self, argument: &str) -> Server {
        self.arguments.push(argument.to_owned());
        self
    }

    /// As if the client had this address.
    pub fn client_at(mut self, address: &str) -> Server {
        self.environment.retain(|(name, _)| name != "TCPREMOTEIP");
        self.environment.push(("TCPREMOTEIP".into(), address.into()));
        self
    }

    /// Through another program, which the server's command line is given to. `as_root`: it changes the user itself.
    pub fn through(mut self, wrapper: &[&str], as_root: bool) -> Server {
        self.wrapper = Some((wrapper.iter().map(|&word| word.to_owned()).collect(), as_root));
        self
    }

    /// Starts it with these as standard input and output.
    pub fn start_on(&self, input: OwnedFd, output: OwnedFd) -> Child {
        let program = self.program.as_deref().unwrap_or_else(|| pop3d());
        let (mut command, as_root) = match &self.wrapper {
            None => (Command::new(program), false),
            Some((words, as_root)) => {
                let mut words = words.iter();
                let mut command = Command::new(words.next().expect("a program"));
                command.args(words).arg(program);
                (command, *as_root)
            }
        };
        command.args(&self.arguments).env_clear().envs(self.environment.iter().cloned());
        command.env("PATH", "/usr/sbin:/usr/bin:/sbin:/bin");
        if !as_root {
            as_user(&mut command);
        }
        command.stdin(input).stdout(output).stderr(Stdio::null());
        command.spawn().expect("the server starts")
    }

    /// Starts it on one end of a socket pair; the other is returned.
    pub fn start_raw(&self) -> (Child, UnixStream) {
        let (ours, theirs) = UnixStream::pair().expect("a socket pair");
        let theirs = OwnedFd::from(theirs);
        let input = theirs.try_clone().expect("dup");
        (self.start_on(input, theirs), ours)
    }

    /// Starts it for a client whose replies are read as they come.
    pub fn start(&self) -> Client {
        let (child, socket) = self.start_raw();
        Client::new(child, socket)
    }
}

#[derive(Debug, Default)]
struct Received {
    octets: Vec<u8>,
    used: usize,
    ended: bool,
}

/// A client. What the server sends is read at all times, so that nobody waits for a buffer.
#[derive(Debug)]
pub struct Client {
    /// The process that was started.
    pub child: Child,
    socket: UnixStream,
    received: Arc<(Mutex<Received>, Condvar)>,
    patience: Duration,
}

impl Client {
    /// On a connection that exists.
    pub fn new(child: Child, socket: UnixStream) -> Client {
        let received = Arc::<(Mutex<Received>, Condvar)>::default();
        let shared = received.clone();
        let mut reader = socket.try_clone().expect("dup");
        std::thread::spawn(move || {
            let mut buffer = vec![0; 64 * 1024];
            loop {
                let n = match reader.read(&mut buffer) {
                    Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                    Ok(n) => n,
                    Err(_) => 0,
                };
                let mut state = shared.0.lock().unwrap();
                state.octets.extend_from_slice(&buffer[..n]);
                state.ended = n == 0;
                shared.1.notify_all();
                if n == 0 {
                    return;
                }
            }
        });
        Client { child, socket, received, patience: PATIENCE }
    }

    /// Sends octets as they are. That the server has gone is no failure: its last words say why.
    pub fn send(&mut self, octets: impl AsRef<[u8]>) {
        let _ = self.socket.write_all(octets.as_ref());
    }

    /// Sends a command.
    pub fn command(&mut self, line: &str) {
        self.send(format!("{line}\r\n"));
    }

    /// Sends a command and returns the first line of its reply.
    pub fn ask(&mut self, line: &str) -> String {
        self.command(line);
        self.line()
    }

    /// The next line, which must end with CR LF; `None`: the server has closed the connection instead.
    ///
    /// Errors: the line so far, when it did not come to its end in time.
    pub fn try_line(&mut self) -> Result<Option<Vec<u8>>, String> {
        let until = Instant::now() + self.patience;
        let mut state = self.received.0.lock().unwrap();
        loop {
            let unused = &state.octets[state.used..];
            if let Some(at) = unused.iter().position(|&octet| octet == b'\n') {
                let line = unused[..at].strip_suffix(b"\r").map(<[u8]>::to_vec);
                let shown = unused[..=at].escape_ascii().to_string();
                state.used += at + 1;
                return line.map(Some).ok_or(format!("a line without CR: {shown}"));
            }
            if state.ended {
                return match unused.is_empty() {
                    true => Ok(None),
                    false => Err(format!("the connection ended within a line: {}", unused.escape_ascii())),
                };
            }
            let left = until.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Err(format!("nothing in time; so far: \"{}\"", unused.escape_ascii()));
            }
            state = self.received.1.wait_timeout(state, left).unwrap().0;
        }
    }

    /// The next line.
    pub fn line(&mut self) -> String {
        match self.try_line() {
            Ok(Some(line)) => String::from_utf8_lossy(&line).into_owned(),
            Ok(None) => panic!("the server has closed the connection"),
            Err(why) => panic!("{why}"),
        }
    }

    /// The lines up to a single dot, which is not among them; dots at the begin of a line are left doubled.
    pub fn lines_to_dot(&mut self) -> Vec<String> {
        std::iter::from_fn(|| Some(self.line()).filter(|line| line != ".")).collect()
    }

    /// The same, but an end of the connection or a refusal among the lines ends it too; that is left in `last`.
    pub fn lines_to_dot_or_end(&mut self, last: &mut String) {
        while let Ok(Some(line)) = self.try_line() {
            *last = String::from_utf8_lossy(&line).into_owned();
            if last == "." || last.starts_with("-ERR") {
                return;
            }
        }
    }

    /// Whether the server has closed the connection.
    pub fn has_ended(&self) -> bool {
        self.received.0.lock().unwrap().ended
    }

    /// Everything from here to the end.
    pub fn rest(&mut self) -> Vec<u8> {
        let until = Instant::now() + self.patience;
        let mut state = self.received.0.lock().unwrap();
        while !state.ended {
            let left = until.saturating_duration_since(Instant::now());
            assert!(!left.is_zero(), "the server does not close the connection");
            state = self.received.1.wait_timeout(state, left).unwrap().0;
        }
        let rest = state.octets[state.used..].to_vec();
        state.used = state.octets.len();
        rest
    }

    /// Everything that has come so far, used or not.
    pub fn received(&self) -> Vec<u8> {
        self.received.0.lock().unwrap().octets.clone()
    }

    /// Waits until this many octets have come in all and returns whether they did.
    pub fn wait_for_octets(&self, octets: usize) -> bool {
        let until = Instant::now() + self.patience;
        let mut state = self.received.0.lock().unwrap();
        while state.octets.len() < octets && !state.ended {
            let left = until.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return false;
            }
            state = self.received.1.wait_timeout(state, left).unwrap().0;
        }
        state.octets.len() >= octets
    }

    /// Waits at most so long from now on.
    pub fn set_patience(&mut self, patience: Duration) {
        self.patience = patience;
    }

    /// Sends nothing more.
    pub fn end(&mut self) {
        let _ = self.socket.shutdown(Shutdown::Write);
    }

    /// Closes the connection and waits for the server's process.
    pub fn finish(mut self) -> ExitStatus {
        let _ = self.socket.shutdown(Shutdown::Both);
        let until = Instant::now() + self.patience;
        loop {
            if let Some(status) = self.child.try_wait().expect("wait") {
                return status;
            }
            assert!(Instant::now() < until, "the server does not end");
            std::thread::sleep(Duration::from_millis(1));
        }
    }

    /// Reads the greeting and logs in as alice.
    pub fn log_in(&mut self) {
        assert!(self.line().starts_with("+OK"));
        self.log_in_after_greeting();
    }

    /// Logs in as alice.
    pub fn log_in_after_greeting(&mut self) {
        assert_eq!(self.ask("USER alice"), "+OK");
        assert_eq!(self.ask("PASS secret"), "+OK Logged in.");
    }
}

impl Drop for Client {
    fn drop(&mut self) {
        if let Ok(None) = self.child.try_wait() {
            let _ = self.child.kill();
            let _ = self.child.wait();
        }
        let _ = self.socket.shutdown(Shutdown::Both);
    }
}
