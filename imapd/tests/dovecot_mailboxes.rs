//! Mailboxes beside a real Dovecot on the same Maildir: what one of the two makes, deletes, renames and subscribes to, the
//! other one sees in the same way, with the same UIDVALIDITY. A plain user may be without Dovecot: then they are passed over with a note.
#![allow(clippy::print_stdout, clippy::unwrap_used, clippy::panic)]

use std::collections::BTreeMap;
use std::fs;
use std::io::{ErrorKind, Write};
use std::os::unix::fs::{MetadataExt, chown};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

/// Both refuse root: they run as this user then.
const NOBODY: u32 = 65534;

struct Site {
    root: PathBuf,
    uid: u32,
    /// Behind `maildir:PATH`, for both.
    location: String,
    /// The prefix and the separator of the namespace.
    namespace: Option<(&'static str, &'static str)>,
}

/// What a server says: untagged lines, and of each command whether it was done.
#[derive(Debug)]
struct Said {
    lines: Vec<String>,
    done: Vec<bool>,
}

impl Site {
    fn new(name: &str) -> Option<Site> {
        let help = Command::new("doveadm").arg("--help").stdout(Stdio::null()).stderr(Stdio::null()).status();
        if let Err(error) = help {
            // Where root runs the tests, what they need is installed.
            assert!(!common::sys::process::is_root(), "doveadm: {error}");
            println!("doveadm is not installed: nothing compared");
            return None;
        }
        static COUNTER: AtomicU32 = AtomicU32::new(0);
        let count = COUNTER.fetch_add(1, Ordering::Relaxed);
        let root = format!("tinmail-mailboxes-{name}-{}-{count}", std::process::id());
        let root = std::env::temp_dir().join(root);
        let _ = fs::remove_dir_all(&root);
        fs::create_dir_all(root.join("m")).unwrap();
        // Another process copies: what is open here for writing, a child of another thread's has open too, and it cannot
        // be executed (ETXTBSY).
        let mut install = Command::new("install");
        install.args(["-m", "755", env!("CARGO_BIN_EXE_imapd")]).arg(root.join("imapd"));
        assert!(install.status().unwrap().success());
        let own = fs::metadata(&root).unwrap().uid();
        let uid = if own == 0 { NOBODY } else { own };
        for path in [&root, &root.join("m")] {
            chown(path, Some(uid), Some(uid)).unwrap();
        }
        Some(Site { root, uid, location: String::new(), namespace: None })
    }

    fn mail_location(&self) -> String {
        let root = self.root.display().to_string();
        format!("maildir:{root}/m{}", self.location.replace('%', &root))
    }

    fn run(&self, program: &Path, arguments: &[String], commands: &[&str]) -> Said {
        let mut command = Command::new(program);
        command.args(arguments).current_dir(&self.root).env_clear();
        command.env("HOME", &self.root).env("USER", "tester").env("PATH", std::env::var_os("PATH").unwrap());
        if fs::metadata("/proc/self").unwrap().uid() == 0 {
            command.uid(self.uid).gid(self.uid);
        }
        let pipes = command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = spawn(pipes);
        let mut input = String::new();
        for line in commands.iter().chain(&["LOGOUT"]) {
            input += &format!("a {line}\r\n");
        }
        let mut stdin = child.stdin.take().unwrap();
        stdin.write_all(input.as_bytes()).unwrap();
        drop(stdin);
        let output = child.wait_with_output().unwrap();
        let text = String::from_utf8(output.stdout).unwrap();
        let lines: Vec<String> = text.split("\r\n").map(str::to_owned).collect();
        let done: Vec<bool> =
            lines.iter().filter_map(|l| l.strip_prefix("a ")).map(|l| l.starts_with("OK")).collect();
        let log = String::from_utf8_lossy(&output.stderr);
        assert_eq!(done.len(), commands.len() + 1, "{program:?} {text} {log}");
        assert!(!log.contains("Error") && !log.contains("Panic"), "{program:?}: {log}");
        Said { lines, done }
    }

    fn ours(&self, commands: &[&str]) -> Said {
        let mut settings = vec![
            format!("mail_location={}", self.mail_location()),
            "log_path=/dev/stderr".to_owned(),
            "first_valid_uid=1".to_owned(),
        ];
        if let Some((prefix, separator)) = self.namespace {
            settings.push(format!("namespace_prefix={prefix}"));
            settings.push(format!("namespace_separator={separator}"));
        }
        let mut arguments = vec!["--preauth".to_owned()];
        for setting in settings {
            arguments.extend(["-o".to_owned(), setting]);
        }
        self.run(&self.root.join("imapd"), &arguments, commands)
    }

    fn theirs(&self, commands: &[&str]) -> Said {
        let mut conf = format!(
            "base_dir = {}/run\nlog_path = /dev/stderr\nmail_location = {}\nssl = no\nfirst_valid_uid = 1\n\
             protocols = imap\nmailbox_list_index = no\nstats_writer_socket_path =\nmail_max_userip_connections = 0\n",
            self.root.display(),
            self.mail_location()
        );
        if let Some((prefix, separator)) = self.namespace {
            conf += &format!(
                "namespace inbox {{\n inbox = yes\n prefix = {prefix}\n separator = {separator}\n}}\n"
            );
        }
        fs::write(self.root.join("conf"), conf).unwrap();
        let arguments = ["-c", "conf", "exec", "imap"].map(str::to_owned);
        self.run(Path::new("doveadm"), &arguments, commands)
    }

    /// Both see the same mailboxes, subscriptions and UIDVALIDITYs. Returns the names of the mailboxes.
    fn compare(&self) -> Vec<String> {
        let levels = ["LIST \"\" %", "LIST INBOX. %", "LIST a. %", "LIST a/ %", "LIST x. %", "LIST x/ %"];
        assert_eq!(self.ours(&levels).mailboxes(), self.theirs(&levels).mailboxes());
        let look = ["LIST \"\" * RETURN (CHILDREN)", "LSUB \"\" *", "LSUB \"\" %"];
        let (ours, theirs) = (self.ours(&look), self.theirs(&look));
        assert_eq!(ours.existing(), theirs.existing());
        assert_eq!(ours.subscribed(), theirs.subscribed());
        let there: Vec<String> = ours.existing().into_keys().collect();
        let ask: Vec<String> =
            there.iter().map(|name| format!("STATUS \"{name}\" (UIDVALIDITY UIDNEXT MESSAGES)")).collect();
        let ask: Vec<&str> = ask.iter().map(String::as_str).collect();
        let status = |said: Said| -> Vec<String> {
            let is_status = |line: &&String| line.starts_with("* STATUS");
            said.lines.iter().filter(is_status).map(|line| line.replace('"', "")).collect()
        };
        // Whoever comes first gives those that have none.
        assert_eq!(status(self.ours(&ask)), status(self.theirs(&ask)));
        there
    }

    fn uid_validity(&self, said: Said) -> u32 {
        let line = said.lines.iter().find(|line| line.starts_with("* STATUS")).unwrap();
        line.split("UIDVALIDITY ").nth(1).unwrap().trim_end_matches(')').parse().unwrap()
    }
}

/// A child of another test may still have the program open for writing, between fork and exec.
fn spawn(command: &mut Command) -> Child {
    for _ in 0..100 {
        match command.spawn() {
            Err(error) if error.kind() == ErrorKind::ExecutableFileBusy => {
                std::thread::sleep(Duration::from_millis(20));
            }
            outcome => return outcome.unwrap(),
        }
    }
    panic!("{command:?} stays busy");
}

impl Drop for Site {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.root);
    }
}

impl Said {
    /// The names in all LIST responses with those attributes that both servers tell.
    fn mailboxes(&self) -> BTreeMap<String, String> {
        let mut found = BTreeMap::new();
        for line in &self.lines {
            let Some((attributes, name)) = response(line, "* LIST (") else { continue };
            let attributes = attributes.replace("\\NonExistent", "\\Noselect");
            let known = ["\\Noselect", "\\HasChildren", "\\HasNoChildren"];
            let attributes: Vec<&str> =
                known.into_iter().filter(|known| attributes.split(' ').any(|a| a == *known)).collect();
            found.insert(name, attributes.join(" "));
        }
        found
    }

    /// The same without levels: for `*` Dovecot tells of them or not, as it has an index of the list or not.
    fn existing(&self) -> BTreeMap<String, String> {
        let mut found = self.mailboxes();
        found.retain(|_, attributes| !attributes.contains("\\Noselect"));
        found
    }

    fn subscribed(&self) -> Vec<(String, String)> {
        let mut found: Vec<(String, String)> =
            self.lines.iter().filter_map(|line| response(line, "* LSUB (")).collect();
        found.sort();
        found
    }
}

/// Attributes and name.
fn response(line: &str, start: &str) -> Option<(String, String)> {
    let (attributes, rest) = line.strip_prefix(start)?.split_once(") ")?;
    let name = rest.split_once("\" ")?.1;
    let name = name.strip_prefix('"').and_then(|name| name.strip_suffix('"')).unwrap_or(name);
    Some((attributes.to_owned(), name.to_owned()))
}

/// Says the same to both, each with a Maildir of its own.
fn same_answers(namespace: Option<(&'static str, &'static str)>, commands: &[&str]) {
    let Some(mut ours) = Site::new("ours") else { return };
    let Some(mut theirs) = Site::new("theirs") else { return };
    (ours.namespace, theirs.namespace) = (namespace, namespace);
    let commands = [commands, &["LIST \"\" *", "LSUB \"\" *", "LSUB \"\" %"]].concat();
    let (we, they) = (ours.ours(&commands), theirs.theirs(&commands));
    for (command, (we, they)) in commands.iter().zip(we.done.iter().zip(&they.done)) {
        assert_eq!(we, they, "{command}");
    }
    assert_eq!(we.existing(), they.existing());
    assert_eq!(we.subscribed(), they.subscribed());
}

#[test]
fn the_same_is_done_and_refused() {
    same_answers(
        None,
        &[
            "CREATE a.b.c",
            "CREATE inbox",
            "CREATE INBOX.x",
            "CREATE inbox.X",
            "CREATE \"Entw&APw-rfe\"",
            "CREATE \"bad&x\"",
            "CREATE \"bad&AGE-\"",
            "CREATE \"&AC8-\"",
            "CREATE \"&AAE-\"",
            "CREATE \"&2D0-\"",
            "CREATE a/b",
            "CREATE ~a",
            "CREATE a..b",
            "CREATE .a",
            "CREATE \"\"",
            "CREATE \"x y*z%\"",
            "CREATE \" a \"",
            "CREATE cur",
            "CREATE a.b.c",
            "STATUS a (MESSAGES)",
            "DELETE a",
            "DELETE inbox",
            "DELETE none",
            "RENAME a.b x",
            "RENAME none y",
            "RENAME cur \"Entw&APw-rfe\"",
            "RENAME x x.y",
            "SUBSCRIBE x.c",
            "SUBSCRIBE INBOX",
            "SUBSCRIBE none",
            "SUBSCRIBE \"Entw&APw-rfe\"",
            "UNSUBSCRIBE none",
            "DELETE \"Entw&APw-rfe\"",
            "RENAME x.c INBOX.c",
        ],
    );
}

#[test]
fn the_same_with_a_prefix() {
    same_answers(
        Some(("INBOX/", "/")),
        &[
            "CREATE INBOX/a/b",
            "CREATE a",
            "CREATE inbox/C",
            "CREATE INBOX/a.b",
            "CREATE INBOX/a",
            "SUBSCRIBE INBOX/a/b",
            "SUBSCRIBE INBOX",
            "DELETE INBOX/a",
            "RENAME INBOX/C INBOX/d/e",
            "STATUS a (MESSAGES)",
            "RENAME INBOX/a/b b",
        ],
    );
}

fn both_ways(site: &Site, prefix: &str, separator: &str) {
    let say = |by: &dyn Fn(&[&str]) -> Said, commands: &[&str]| {
        let at_home = |command: &&str| command.replace('>', prefix).replace('/', separator).replace("|", "/");
        let commands: Vec<String> = commands.iter().map(at_home).collect();
        let said = by(&commands.iter().map(String::as_str).collect::<Vec<_>>());
        assert!(said.done.iter().all(|done| *done), "{commands:?} {said:?}");
    };
    let (ours, theirs) = (|c: &[&str]| site.ours(c), |c: &[&str]| site.theirs(c));
    say(&ours, &["CREATE >a/b/c", "CREATE >a", "CREATE \">Entw&APw-rfe\"", "CREATE >d", "SUBSCRIBE >a/b/c"]);
    assert_eq!(site.compare().len(), 5);
    say(
        &theirs,
        &["RENAME >a >x", "DELETE >d", "CREATE >e", "SUBSCRIBE \">Entw&APw-rfe\"", "UNSUBSCRIBE >a/b/c"],
    );
    assert_eq!(site.compare().len(), 5);
    say(&ours, &["RENAME >e >f/g", "DELETE >x", "SUBSCRIBE >x/b/c", "UNSUBSCRIBE \">Entw&APw-rfe\""]);
    assert_eq!(site.compare().len(), 4);
    say(&theirs, &["RENAME >f >h", "RENAME >x/b/c \">&ANY-\"", "SUBSCRIBE INBOX"]);
    assert_eq!(site.compare().len(), 4);
}

#[test]
fn one_after_the_other() {
    let Some(site) = Site::new("default") else { return };
    both_ways(&site, "", ".");
    let subscriptions = fs::read_to_string(site.root.join("m/subscriptions")).unwrap();
    assert_eq!(subscriptions, "V\t2\n\nx\tb\tc\nINBOX\n");
}

#[test]
fn one_after_the_other_with_a_prefix() {
    let Some(mut site) = Site::new("prefix") else { return };
    site.namespace = Some(("INBOX.", "."));
    both_ways(&site, "INBOX.", ".");
    let Some(mut site) = Site::new("slash") else { return };
    site.namespace = Some(("", "/"));
    both_ways(&site, "", "/");
}

#[test]
fn one_after_the_other_with_control_and_index_directories() {
    let Some(mut site) = Site::new("control") else { return };
    site.location = ":CONTROL=%/c:INDEX=%/i".to_owned();
    both_ways(&site, "", ".");
    assert!(site.root.join("c/.INBOX/dovecot-uidlist").exists());
    assert!(site.root.join("c/subscriptions").exists() && !site.root.join("m/subscriptions").exists());
}

#[test]
fn a_list_of_version_1_stays_one() {
    let Some(site) = Site::new("version1") else { return };
    site.ours(&["CREATE a.b", "CREATE c"]);
    let path = site.root.join("m/subscriptions");
    fs::write(&path, "gone\na.b\n").unwrap();
    chown(&path, Some(site.uid), Some(site.uid)).unwrap();
    site.compare();
    site.ours(&["SUBSCRIBE c", "UNSUBSCRIBE gone"]);
    site.compare();
    site.theirs(&["SUBSCRIBE INBOX"]);
    site.compare();
    assert_eq!(fs::read_to_string(&path).unwrap(), "a.b\nc\nINBOX\n");
}

#[test]
fn names_that_somebody_else_made() {
    let Some(site) = Site::new("names") else { return };
    for directory in ["m/.M\u{fc}ll", "m/.Trash-1000", "m/.~x", "m/.R&D", "m/.a..b", "m/nodot"] {
        fs::create_dir_all(site.root.join(directory)).unwrap();
        chown(site.root.join(directory), Some(site.uid), Some(site.uid)).unwrap();
    }
    let look = ["LIST \"\" *"];
    let (ours, theirs) = (site.ours(&look).existing(), site.theirs(&look).existing());
    assert_eq!(ours, theirs);
    // Dovecot tells of some that it then does not find.
    let said = site.ours(&["STATUS R&-D (MESSAGES)", "STATUS M&APw-ll (MESSAGES)", "SELECT Trash-1000"]);
    assert!(said.done.iter().all(|done| *done), "{said:?}");
}

#[test]
fn a_name_never_has_the_same_uid_validity_again() {
    let Some(site) = Site::new("validity") else { return };
    let ask = "STATUS a (UIDVALIDITY)";
    let mut last = 0;
    for turn in 0..4 {
        let ours_first = turn % 2 == 0;
        let first = |commands: &[&str]| if ours_first { site.ours(commands) } else { site.theirs(commands) };
        let second = |commands: &[&str]| if ours_first { site.theirs(commands) } else { site.ours(commands) };
        let value = site.uid_validity(first(&["CREATE a", ask]));
        assert!(value > last, "{value} {last}");
        assert_eq!(site.uid_validity(second(&[ask])), value);
        last = value;
        let said = if turn < 2 { second(&["DELETE a"]) } else { first(&["DELETE a"]) };
        assert!(said.done[0]);
    }
}
