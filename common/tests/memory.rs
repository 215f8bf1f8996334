//! What a session keeps in memory after it had to build the index: as much as one that found it, because a child built it.
//! And what it takes for changes of everything in a large mailbox.
#![allow(clippy::unwrap_used, clippy::panic)]

use std::fmt::Write;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

/// KiB of private dirty memory that a session which built the index may have more than one which found it: some pages
/// of the heap and of the stack.
const BUILDER_MORE: u64 = 48;

struct Scratch(PathBuf);

impl Scratch {
    /// A Maildir with so many messages of which nobody knows anything.
    fn maildir(name: &str, messages: u32) -> Scratch {
        let path = std::env::temp_dir().join(format!("tinmail-memory-{name}-{}", std::process::id()));
        for directory in ["cur", "new", "tmp"] {
            fs::create_dir_all(path.join(directory)).unwrap();
        }
        for i in 0..messages {
            let name = format!("cur/{}.M{i}P77Q1.some-host.example.org:2,S", 1_700_000_000 + i);
            fs::write(path.join(name), "Subject: a\n\nb\n").unwrap();
        }
        Scratch(path)
    }

    fn forget(&self, names: &[&str]) {
        names.iter().for_each(|name| fs::remove_file(self.0.join(name)).unwrap());
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

fn example(name: &str) -> PathBuf {
    let example = std::env::current_exe().unwrap().with_file_name(format!("../examples/{name}"));
    if !example.exists() {
        let build = ["build", "--package", "common", "--example", name];
        assert!(Command::new(env!("CARGO")).args(build).status().unwrap().success());
    }
    example
}

/// Opens the Maildir with the example program, started by a shell after `before`; what it printed.
fn list(before: &str, maildir: &Path, words: &str) -> String {
    let mut script = before.to_owned();
    write!(script, "; exec {} {} quiet {words}", example("maildir_list").display(), maildir.display())
        .unwrap();
    let output = Command::new("sh").args(["-c", &script]).output().unwrap();
    assert!(output.status.success(), "{output:?}");
    String::from_utf8(output.stdout).unwrap()
}

fn private_dirty(text: &str) -> u64 {
    let line = text.lines().find_map(|line| line.strip_prefix("Private_Dirty:")).unwrap();
    line.split_whitespace().next().unwrap().parse().unwrap()
}

#[test]
fn building_leaves_nothing_behind() {
    for messages in [1_000, 20_000] {
        let dir = Scratch::maildir(&format!("build-{messages}"), messages);
        let sums = format!(" {messages} {}\n", u64::from(messages) * 17);
        for words in ["memory", "memory later"] {
            let built = list("true", &dir.0, words);
            let found = list("true", &dir.0, words);
            assert!(built.contains(&sums) && found.contains(&sums), "{built} {found}");
            let (built, found) = (private_dirty(&built), private_dirty(&found));
            assert!(
                built <= found + BUILDER_MORE,
                "{messages} {words}: built {built} KiB, found {found} KiB"
            );
            assert!(!dir.0.join("tinmail-index.tmp").exists());
            dir.forget(&["tinmail-index", "dovecot-uidlist"]);
        }
    }
}

/// KiB that a session may have of its own at any moment while it changes all messages of a mailbox of 50,000. Half of
/// it is for reading the directories once more, the rest for the numbers of messages.
const CHANGES_MOST: u64 = 4096;
/// The same for one of 100,000 that half of them have just been copied into: there is twice as much to be read once more.
/// What the log says of each message is not kept.
const TWICE_MOST: u64 = 7168;

#[test]
fn changing_everything_takes_little_memory() {
    let messages = 50_000;
    let (from, to) = (Scratch::maildir("changes-from", messages), Scratch::maildir("changes-to", 1));
    let mut change = Command::new(example("mailbox_changes"));
    change.args([&from.0, &to.0]).args(["copy", "open", "store", "move", "open"]);
    let output = change.output().unwrap();
    assert!(output.status.success(), "{output:?}");
    let mut change = Command::new(example("mailbox_changes"));
    let again = change.args([&to.0, &from.0]).args(["expunge"]).output().unwrap();
    assert!(again.status.success(), "{again:?}");
    let text = String::from_utf8([output.stdout, again.stdout].concat()).unwrap();
    println!("{text}");
    for line in text.lines() {
        let peak: u64 = line.split(' ').nth(1).unwrap().parse().unwrap();
        assert!(peak <= CHANGES_MOST, "{text}");
    }
    // Into itself: what has come is read from the log, of each as much as of any other session's.
    let twice = Scratch::maildir("changes-twice", messages);
    let mut change = Command::new(example("mailbox_changes"));
    let copied = change.args([&twice.0, &twice.0]).args(["copy", "wait", "store"]).output().unwrap();
    assert!(copied.status.success(), "{copied:?}");
    let copied = String::from_utf8(copied.stdout).unwrap();
    println!("{copied}");
    for (line, length) in copied.lines().zip([2 * messages, 2 * messages]) {
        let [_, peak, _, left, _] = line.split(' ').collect::<Vec<_>>()[..] else { panic!("{line}") };
        assert!(peak.parse::<u64>().unwrap() <= TWICE_MOST, "{copied}");
        assert_eq!(left, length.to_string());
    }
    let lengths: Vec<&str> = text.lines().map(|line| line.split(' ').nth(3).unwrap()).collect();
    assert_eq!(lengths, ["50000", "50000", "50000", "0", "0", "50001"]);
}

/// KiB of the child that looks at a mailbox of 50,000 for the first time, with what it has of its parent.
const FIRST_LOOK_MOST: u64 = 4096;
/// KiB of one that reads everything anew, beside an index.
const BUILD_MOST: u64 = 16 << 10;

#[test]
fn what_takes_much_memory_is_done_by_a_child() {
    let messages = 50_000;
    let (small, large) = (Scratch::maildir("first-small", 1), Scratch::maildir("first-large", messages));
    let run = |from: &Scratch, to: &Scratch, commands: &[&str]| {
        let mut change = Command::new(example("mailbox_changes"));
        let output = change.args([&from.0, &to.0]).args(commands).output().unwrap();
        assert!(output.status.success(), "{output:?}");
        let text = String::from_utf8(output.stdout).unwrap();
        println!("{text}");
        let number = |line: &str, at| line.split(' ').nth(at).unwrap().parse::<u64>().unwrap();
        let (line, lines) = (text.lines().last().unwrap(), text.lines().count());
        assert_eq!((lines, line.split(' ').next()), (1, commands.last().copied()));
        (number(line, 1), number(line, 4))
    };
    let (session, child) = run(&small, &large, &["open"]);
    assert!(child > 0 && session <= 1024 && child <= FIRST_LOOK_MOST, "{session} {child}");
    // The uidlist is another one than the index's: whoever opens it, and whoever has it open.
    for (from, to, commands) in [(&small, &large, &["open"][..]), (&large, &small, &["wait", "uidlist"])] {
        if commands == ["open"] {
            let path = large.0.join("dovecot-uidlist");
            fs::copy(&path, large.0.join("tmp/uidlist")).unwrap();
            fs::rename(large.0.join("tmp/uidlist"), path).unwrap();
        }
        let (session, child) = run(from, to, commands);
        assert!(
            child > 0 && session <= CHANGES_MOST && child <= BUILD_MOST,
            "{commands:?} {session} {child}"
        );
    }
}

#[test]
fn without_child_signals_it_is_the_same() {
    let dir = Scratch::maildir("signal", 300);
    let built = list("trap '' CHLD", &dir.0, "later");
    assert!(dir.0.join("tinmail-index").exists());
    assert_eq!(built, list("true", &dir.0, ""));
}

#[test]
fn a_child_that_dies_costs_only_the_index() {
    let dir = Scratch::maildir("death", 300);
    let built = list("true", &dir.0, "");
    dir.forget(&["tinmail-index"]);
    // Whoever writes to a file is killed (SIGXFSZ).
    assert_eq!(list("ulimit -c 0; ulimit -f 0", &dir.0, ""), built);
    assert!(!dir.0.join("tinmail-index").exists() && !dir.0.join("tinmail-index.tmp").exists());
    assert_eq!(list("true", &dir.0, ""), built);
}
