//! The store beside a real Dovecot on the same Maildir: same UIDs, UIDVALIDITY, sizes, unique-ids and order, whoever
//! comes first. Passed over with a note where Dovecot's `doveadm` and `pop3` are not installed.
#![allow(clippy::print_stdout, clippy::unwrap_used, clippy::panic)]

use std::fs;
use std::io::Write;
use std::os::unix::fs::{MetadataExt, chown};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

/// Dovecot refuses root: both sides run as this user then.
const NOBODY: u32 = 65534;

/// One message as a server lists it: octets, unique-id.
type Listed = (u64, String);

struct Site {
    root: PathBuf,
    uid: u32,
}

impl Site {
    /// A scratch directory with a Dovecot configuration, or `None` without Dovecot.
    fn new(name: &str) -> Option<Site> {
        let help = Command::new("doveadm").arg("--help").stdout(Stdio::null()).stderr(Stdio::null()).status();
        if let Err(error) = help {
            // Where root runs the tests, what they need is installed.
            assert!(!common::sys::process::is_root(), "doveadm: {error}");
            println!("doveadm is not installed: nothing compared");
            return None;
        }
        let root = std::env::temp_dir().join(format!("tinmail-dovecot-{name}-{}", std::process::id()));
        let _ = fs::remove_dir_all(&root);
        for directory in ["m/cur", "m/new", "m/tmp"] {
            fs::create_dir_all(root.join(directory)).unwrap();
        }
        let conf = format!(
            "base_dir = {0}/run\nlog_path = /dev/stderr\nmail_location = maildir:{0}/m\nssl = no\n\
             first_valid_uid = 1\nprotocols = pop3 imap\nstats_writer_socket_path =\nmail_max_userip_connections = 0\n",
            root.display()
        );
        fs::write(root.join("conf"), conf).unwrap();
        let example = std::env::current_exe().unwrap().with_file_name("../examples/maildir_list");
        if !example.exists() {
            // `cargo test --test dovecot` alone builds no examples.
            let build = ["build", "--package", "common", "--example", "maildir_list"];
            assert!(Command::new(env!("CARGO")).args(build).status().unwrap().success());
        }
        // Another process copies: what is open here for writing, a child of another thread's has open too, and it cannot
        // be executed (ETXTBSY).
        let mut install = Command::new("install");
        install.args(["-m", "755"]).arg(example).arg(root.join("maildir_list"));
        assert!(install.status().unwrap().success());
        let own = fs::metadata(&root).unwrap().uid();
        let site = Site { root, uid: if own == 0 { NOBODY } else { own } };
        site.give_away();
        Some(site)
    }

    /// Everything belongs to the user both servers run as.
    fn give_away(&self) {
        let mut pending = vec![self.root.clone()];
        while let Some(path) = pending.pop() {
            let _ = chown(&path, Some(self.uid), Some(self.uid));
            if path.is_dir() {
                pending.extend(fs::read_dir(&path).unwrap().map(|entry| entry.unwrap().path()));
            }
        }
    }

    fn run(&self, program: impl AsRef<Path>, arguments: &[&str], input: &str) -> Output {
        let mut command = Command::new(program.as_ref());
        command.args(arguments).current_dir(&self.root).env_clear();
        command.env("HOME", &self.root).env("USER", "tester").env("PATH", std::env::var_os("PATH").unwrap());
        if fs::metadata("/proc/self").unwrap().uid() == 0 {
            command.uid(self.uid).gid(self.uid);
        }
        let pipes = command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = pipes.spawn().unwrap();
        let mut stdin = child.stdin.take().unwrap();
        let _ = stdin.write_all(input.as_bytes());
        drop(stdin);
        let output = child.wait_with_output().unwrap();
        let mut log = fs::File::options().append(true).create(true).open(self.root.join("stderr")).unwrap();
        log.write_all(&output.stderr).unwrap();
        output
    }

    fn dovecot(&self) -> Vec<Listed> {
        self.dovecot_with("")
    }

    /// With further lines of configuration.
    fn dovecot_with(&self, settings: &str) -> Vec<Listed> {
        let conf = fs::read_to_string(self.root.join("conf")).unwrap();
        fs::write(self.root.join("conf.pop3"), conf + settings).unwrap();
        let arguments = ["-c", "conf.pop3", "exec", "pop3"];
        let output = self.run("doveadm", &arguments, "LIST\r\nUIDL\r\nQUIT\r\n");
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        let mut lists = text.split("\r\n.\r\n");
        let mut list = || -> Vec<String> {
            let lines = lists.next().unwrap_or_else(|| panic!("{output:?}")).lines();
            let second = |line: &str| line.split_once(' ').map(|(_, rest)| rest.to_owned());
            lines.filter(|line| !line.starts_with(['+', '-'])).filter_map(second).collect()
        };
        let (sizes, unique_ids) = (list(), list());
        assert_eq!(sizes.len(), unique_ids.len(), "{text}");
        sizes.iter().map(|size| size.parse().unwrap()).zip(unique_ids).collect()
    }

    fn ours_with(&self, commands: &[&str]) -> Vec<Listed> {
        let output = self.run(self.root.join("maildir_list"), &[&["m"], commands].concat(), "");
        assert!(output.status.success(), "{output:?}");
        let text = String::from_utf8(output.stdout).unwrap();
        let mut lines = text.lines();
        let uid_validity: u32 = lines.next().unwrap().split(' ').next().unwrap().parse().unwrap();
        let message = |line: &str| {
            let words: Vec<&str> = line.splitn(4, ' ').collect();
            let uid: u32 = words[0].parse().unwrap();
            let usual = format!("{uid:08x}{uid_validity:08x}");
            (words[1].parse().unwrap(), if words[2] == "-" { usual } else { words[2].to_owned() })
        };
        lines.map(message).collect()
    }

    fn ours(&self) -> Vec<Listed> {
        self.ours_with(&[])
    }

    fn write(&self, name: &str, content: &[u8]) {
        let path = self.root.join("m").join(name);
        fs::write(&path, content).unwrap();
        chown(&path, Some(self.uid), Some(self.uid)).unwrap();
    }

    fn read(&self, name: &str) -> String {
        String::from_utf8_lossy(&fs::read(self.root.join("m").join(name)).unwrap()).into_owned()
    }

    /// Messages of every kind; `from` makes the names of a second delivery differ from those of the first.
    fn deliver(&self, from: u64) {
        for i in 0..40u64 {
            let body = [&b"text\n"[..], b"text\r\n", b"\r\r\n\n\r", b""][i as usize % 4];
            let mut content = format!("Subject: {i}\nDate: x\n\n").into_bytes();
            content.extend(body.repeat(i as usize * 37));
            content.extend_from_slice([&b"\n"[..], b"\r\n", b"no line end"][i as usize % 3]);
            let bare = |at: &usize| content[*at] == b'\n' && (*at == 0 || content[*at - 1] != b'\r');
            let octets = content.len() + (0..content.len()).filter(bare).count();
            let seconds = from + (i * 7919) % 13;
            let base = match i % 8 {
                0 => format!("{seconds}.M{}P{i}.host", (i * 31) % 1000),
                1 => format!("{seconds}.M{}P{i}Q2.host,S={},W={octets}", i * 10, content.len()),
                2 => format!("{seconds}.{i}_0.host,W={octets}"),
                3 => format!("{seconds}.{i}_0.host,S={}", content.len()),
                4 => format!("{seconds}.V8I{i}M{}.host", 1000 - i),
                5 => format!("odd name {i} with blanks {from}"),
                6 => format!("{seconds}.{i}.h\u{f6}st,x=1"),
                _ => format!("{seconds}.M{}R{i}.host,Q=1,S={}", i % 3, content.len()),
            };
            match i % 5 {
                0 | 1 => self.write(&format!("new/{base}"), &content),
                2 => self.write(&format!("cur/{base}:2,S"), &content),
                3 => self.write(&format!("cur/{base}:2,FRab"), &content),
                _ => self.write(&format!("cur/{base}:2,"), &content),
            }
        }
    }

    fn compare(&self, first: impl Fn(&Site) -> Vec<Listed>, second: impl Fn(&Site) -> Vec<Listed>) -> usize {
        let (a, b) = (first(self), second(self));
        assert_eq!(a, b, "\n{}\n{}", self.read("dovecot-uidlist"), self.log());
        a.len()
    }

    fn log(&self) -> String {
        fs::read_to_string(self.root.join("stderr")).unwrap_or_default()
    }

    /// Dovecot found nothing to complain about.
    fn assert_quiet(&self) {
        let log = self.log();
        let complaints: Vec<&str> =
            log.lines().filter(|l| l.contains("Error") || l.contains("Warning")).collect();
        assert!(complaints.is_empty(), "{complaints:#?}");
    }
}

impl Drop for Site {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.root);
    }
}

#[test]
fn dovecot_first() {
    let Some(site) = Site::new("dovecot-first") else { return };
    site.deliver(1_000_000_000);
    assert_eq!(site.compare(Site::dovecot, Site::ours), 40);
    site.deliver(1_200_000_000);
    assert_eq!(site.compare(Site::ours, Site::dovecot), 80);
    site.deliver(1_100_000_000);
    assert_eq!(site.compare(Site::dovecot, Site::ours), 120);
    site.assert_quiet();
}

#[test]
fn ours_first() {
    let Some(site) = Site::new("ours-first") else { return };
    site.deliver(1_000_000_000);
    let before = site.ours();
    assert_eq!(site.compare(Site::dovecot, Site::ours), 40);
    site.deliver(1_200_000_000);
    assert_eq!(site.compare(Site::dovecot, Site::ours), 80);
    site.deliver(1_100_000_000);
    assert_eq!(site.compare(Site::ours, Site::dovecot), 120);
    assert_eq!(site.ours()[..40], before[..]);
    site.assert_quiet();
}

#[test]
fn both_number_a_new_mailbox_alike() {
    let (Some(a), Some(b)) = (Site::new("alike-a"), Site::new("alike-b")) else { return };
    for site in [&a, &b] {
        site.deliver(1_000_000_000);
    }
    let uids = |listed: Vec<Listed>| -> Vec<(u64, String)> {
        listed.into_iter().map(|(octets, id)| (octets, id[..8].to_owned())).collect()
    };
    assert_eq!(uids(a.ours()), uids(b.dovecot()));
    let names = |site: &Site| -> Vec<String> {
        let list = site.read("dovecot-uidlist");
        list.lines().skip(1).map(|line| line.split_once(':').unwrap().1.to_owned()).collect()
    };
    assert_eq!(names(&a), names(&b));
}

#[test]
fn overrides_and_order() {
    let Some(site) = Site::new("overrides") else { return };
    for (name, content) in
        [("1.a", "a\n"), ("2.b", "bb\n"), ("3.c", "ccc\n"), ("4.d", "dddd\n"), ("5.e", "e\n")]
    {
        site.write(&format!("cur/{name}:2,S"), content.as_bytes());
    }
    let list = "3 V77 N9 G0123456789abcdef0123456789abcdef P%v.%u\n1 PUID1-5 O3 :1.a\n2 P :2.b:2,S\n4 O1 :3.c\n\
                6 Xunknown W6 :4.d\n";
    site.write("dovecot-uidlist", list.as_bytes());
    assert_eq!(site.compare(Site::ours, Site::dovecot), 5);
    let listed = site.ours();
    assert_eq!(listed[1].1, "UID1-5");
    assert_eq!(listed[2], (4, "2.b".to_owned()));
    for kept in ["6 Xunknown W6 :4.d", " P%v.%u"] {
        assert!(site.read("dovecot-uidlist").contains(kept), "{}", site.read("dovecot-uidlist"));
    }
    assert_eq!(site.compare(Site::dovecot, Site::ours), 5);
}

#[test]
fn after_courier() {
    let Some(site) = Site::new("courier") else { return };
    for (name, content) in [("1.a", "a\n"), ("2.b", "bb\n"), ("3.c", "ccc\n")] {
        site.write(&format!("cur/{name}:2,S"), content.as_bytes());
    }
    site.write("courierimapuiddb", b"1 4242 9\n3 1.a\n5 2.b\n8 3.c\n");
    site.write("courierpop3dsizelist", b"/3 9 4242\n2.b:2,S 4 2:4242:0\n1.a:2,S 3 1:4242:0\n");
    assert_eq!(site.compare(Site::ours, Site::dovecot), 3);
    let ids: Vec<String> = site.ours().into_iter().map(|(_, id)| id).collect();
    assert_eq!(ids, ["UID2-4242", "UID1-4242", "0000000800001092"]);
    site.assert_quiet();
}

#[test]
fn flags_removals_and_sizes_written_by_either_side() {
    let Some(site) = Site::new("changes") else { return };
    site.deliver(1_000_000_000);
    site.compare(Site::ours, Site::dovecot);
    site.ours_with(&["seen", "1", "remove", "5", "remove", "40"]);
    assert_eq!(site.compare(Site::dovecot, Site::ours), 38);
    // In two sessions: in one, this Dovecot does not expunge what it has just renamed.
    for commands in ["b STORE 1:10 +FLAGS (\\Flagged kw)", "b STORE 3 +FLAGS \\Deleted\r\nc EXPUNGE"] {
        let imap = format!("a SELECT INBOX\r\n{commands}\r\ne LOGOUT\r\n");
        let output = site.run("doveadm", &["-c", "conf", "exec", "imap"], &imap);
        assert!(String::from_utf8_lossy(&output.stdout).contains("b OK"), "{output:?}");
    }
    assert_eq!(site.compare(Site::ours, Site::dovecot), 37);
    for file in ["dovecot.index.log", "dovecot.index", "dovecot.index.cache"] {
        let _ = fs::remove_file(site.root.join("m").join(file));
    }
    assert_eq!(site.compare(Site::dovecot, Site::ours), 37);
    site.assert_quiet();
}

/// Dovecot computes them for mbox only: the same messages are given to it in that form.
#[test]
fn header_fingerprints() {
    let Some(site) = Site::new("md5") else { return };
    let messages = [
        "Date: Mon, 1 Jan 2024\nMessage-ID: <1@x>\nSubject: s\n\nbody\n",
        "Received: from a\n\tby b;\n  Mon\nReceived: from c\nDate: x\nMessage-ID: <2@x>\n\nx\n",
        "Return-Path: <r>\nDelivered-To:   u@x  \nDelivered-To: v@x\nX-Delivery-ID: 5\nreceived:z\n\nDate: b\n",
        "date : spaced\nMESSAGE-ID:\n <folded@x>\n\nx\n",
        "Date:\t tab\n\t\nMessage-ID: \n\nx\n",
        "Subject: none\n\nDate: body\n",
        "Received: a\n b\nX-Delivery-ID: 1\n\t2 \nReceived: c\n d\nDelivered-To: e\n\nx\n",
    ];
    let mut mbox = String::new();
    for (i, text) in messages.iter().enumerate() {
        site.write(&format!("cur/{i}.h:2,"), text.as_bytes());
        mbox += &format!("From x@y Mon Jan  1 00:00:0{i} 2024\n{text}\n");
    }
    fs::create_dir(site.root.join("mbox")).unwrap();
    fs::write(site.root.join("mbox/inbox"), mbox).unwrap();
    site.give_away();
    let settings = format!(
        "mail_location = mbox:{0}/mbox:INBOX={0}/mbox/inbox\npop3_uidl_format = %m\nmbox_write_locks = fcntl\n",
        site.root.display()
    );
    let ids = |listed: Vec<Listed>| -> Vec<String> { listed.into_iter().map(|(_, id)| id).collect() };
    assert_eq!(ids(site.dovecot_with(&settings)), ids(site.ours_with(&["md5"])), "{}", site.log());
}
