//! A file system that is full or read-only: known messages stay usable, unknown ones are not given UIDs that would
//! change. Needs root for a private mount; passed over with a note otherwise.
#![allow(clippy::print_stdout, clippy::unwrap_used, clippy::panic)]

use std::os::unix::fs::MetadataExt;
use std::process::Command;

/// Runs a shell script in a mount namespace of its own, on an empty 256 KiB file system with a Maildir; `$list` is the
/// example program.
fn on_a_small_disk(name: &str, script: &str) -> Option<String> {
    if std::fs::metadata("/proc/self").unwrap().uid() != 0 {
        println!("not root: nothing mounted");
        return None;
    }
    let example = std::env::current_exe().unwrap().with_file_name("../examples/maildir_list");
    if !example.exists() {
        let build = ["build", "--package", "common", "--example", "maildir_list"];
        assert!(Command::new(env!("CARGO")).args(build).status().unwrap().success());
    }
    let mount = std::env::temp_dir().join(format!("tinmail-full-{name}-{}", std::process::id()));
    std::fs::create_dir_all(&mount).unwrap();
    let script = format!(
        "set -e; mount -t tmpfs -o size=256k,nr_inodes=200,mode=700 tmpfs {0}; cd {0}\n\
         mkdir -p m/cur m/new m/tmp; list='{1} m'\n\
         fill() {{ dd if=/dev/zero of=fill bs=4096 2>/dev/null || true; }}\n{2}",
        mount.display(),
        example.display(),
        script
    );
    let output = Command::new("unshare").args(["-m", "sh", "-c", &script]).output().unwrap();
    std::fs::remove_dir(&mount).unwrap();
    assert!(output.status.success(), "{output:?}");
    Some(String::from_utf8(output.stdout).unwrap())
}

fn count(text: &str, part: &str) -> usize {
    text.matches(part).count()
}

#[test]
fn full_with_known_messages() {
    // Ends with its block, so that not even one line more finds room.
    let start = "3 V5 N3 G0123456789abcdef0123456789abcdef X";
    let lines = "\n1 W5 :1.a\n2 W5 :2.b\n";
    let list = format!("{start}{}{lines}", "x".repeat(4096 - start.len() - lines.len()));
    let script = format!(
        "echo one > m/cur/1.a:2,; echo two > m/new/2.b; printf '%s\\n' '{}' > m/dovecot-uidlist
        echo three > m/new/3.c; fill; $list
        $list quiet remove 1 > /dev/null; echo after removing; ls m/cur
        rm fill; echo with room; $list; ls m; wc -l m/dovecot-uidlist",
        list.trim_end()
    );
    let script = &script;
    let Some(text) = on_a_small_disk("known", script) else { return };
    let (full, rest) = text.split_once("after removing").unwrap();
    assert!(full.starts_with("incomplete "), "{text}");
    assert_eq!(
        (count(full, "1 5 - 1.a:2,"), count(full, "2 5 - 2.b"), count(full, "3.c")),
        (1, 1, 0),
        "{text}"
    );
    let (removed, room) = rest.split_once("with room").unwrap();
    assert_eq!(count(removed, "1.a"), 0, "{text}");
    assert_eq!(
        (count(room, "incomplete"), count(room, "2 5 - 2.b"), count(room, "3 7 - 3.c")),
        (0, 1, 1),
        "{text}"
    );
    assert!(!room.contains(".lock") && !room.contains(".tmp"), "{text}");
}

#[test]
fn full_without_any_known_message() {
    let script = "echo one > m/new/2.b; echo two > m/new/1.a; fill; $list; rm fill; echo; $list";
    let Some(text) = on_a_small_disk("unknown", script) else { return };
    let (full, room) = text.split_once("\n\n").unwrap();
    assert_eq!((count(full, "ENOMEM-"), count(full, " 1.a"), count(full, "2.b")), (1, 1, 0), "{text}");
    assert_eq!(
        (count(room, "1 5 - 1.a"), count(room, "2 5 - 2.b"), count(room, "incomplete")),
        (1, 1, 0),
        "{text}"
    );
}

#[test]
fn full_with_many_messages() {
    let script = "
        i=0; while [ $i -lt 150 ]; do : > m/cur/$((1000 + i)).a:2,; i=$((i + 1)); done
        $list quiet; rm m/tinmail-index; fill; $list quiet later; ls m; rm fill; $list quiet; ls m/tinmail-index";
    let Some(text) = on_a_small_disk("many", script) else { return };
    let (full, room) = text.split_once("dovecot-uidlist").unwrap();
    assert_eq!((count(full, " 150 0\n"), count(room, " 150 0\n")), (2, 1), "{text}");
    assert!(!text.contains(".tmp") && !text.contains("incomplete"), "{text}");
    assert_eq!(count(room, "m/tinmail-index"), 1, "{text}");
}

#[test]
fn read_only() {
    let script = "
        echo one > m/cur/1.a:2,; $list > /dev/null; echo two > m/new/2.b
        mount -o remount,ro tmpfs .; $list";
    let Some(text) = on_a_small_disk("read-only", script) else { return };
    assert!(text.starts_with("incomplete "), "{text}");
    assert_eq!((count(&text, "1 5 - 1.a:2,"), count(&text, "2.b")), (1, 0), "{text}");
}
