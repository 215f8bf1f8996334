use super::*;
use crate::address::Address;
use crate::aliases::item;
use crate::testing::Scratch;
use proptest::prelude::*;
use std::fs::{self, Permissions};
use std::os::unix::fs::{PermissionsExt, symlink};

struct Home {
    scratch: Scratch,
    config: Config,
}

impl Home {
    fn new() -> Home {
        let scratch = Scratch::new();
        fs::set_permissions(scratch.path(), Permissions::from_mode(0o755)).unwrap();
        Home { scratch, config: Config { recipient_delimiter: "+-".into(), ..Config::DEFAULT } }
    }

    fn account(&self) -> Account {
        let (uid, gid) = common::sys::process::user_and_group();
        let home = self.scratch.path().to_owned();
        Account { name: "anna".into(), uid, gid, groups: vec![], home, mail: None, master: None }
    }

    fn ask(&self, local: &str) -> (Result<Option<Vec<String>>, Status>, Vec<String>) {
        let address = Address::new(local, "example.org").unwrap();
        let cut = local.split_once(['+', '-']);
        let extension = cut.map(|(_, extension)| extension.to_owned()).unwrap_or_default();
        let target = Target::Mailbox { user: "anna".into(), extension, direct: false };
        let recipient = Recipient::new(address, target);
        let mut warnings = Vec::new();
        let read = read(&self.config, &self.account(), &recipient, &mut |line| warnings.push(line));
        (read, warnings)
    }

    fn entries(&self, local: &str) -> Option<Vec<String>> {
        self.ask(local).0.unwrap()
    }
}

#[test]
fn the_file_s_entries() {
    let home = Home::new();
    assert_eq!(home.entries("anna"), None);
    home.scratch
        .file(".forward", "# mine\nbert@x.example, \\anna\n \"|/usr/bin/vacation anna\"\n/home/anna/a b\n");
    let want = ["bert@x.example", "\\anna", "\"|'/usr/bin/vacation' 'anna'\"", "\"/home/anna/a b\""];
    assert_eq!(home.entries("anna").unwrap(), want);
    for empty in ["", "\n\n", "# nothing\n"] {
        home.scratch.file(".forward", empty);
        assert_eq!(home.entries("anna"), None);
    }
    let list = home.scratch.file("list", "a@x.example\nb@x.example # not a comment\n");
    home.scratch.file(".forward", format!(":include:{}", list.display()));
    assert!(home.ask("anna").0.unwrap_err().is_temporary());
    home.scratch.file("list", "a@x.example\nb@x.example\n");
    assert_eq!(home.entries("anna").unwrap(), ["a@x.example", "b@x.example"]);
}

#[test]
fn extensions_have_files_of_their_own() {
    let home = Home::new();
    home.scratch.file(".forward", "plain@x.example");
    home.scratch.file(".forward+lists", "lists@x.example");
    home.scratch.file(".forward-lists", "minus@x.example");
    home.scratch.file(".forward+_.._secret", "odd@x.example");
    home.scratch.file("secret", "secret@x.example");
    for (local, want) in [
        ("anna", "plain@x.example"),
        ("anna+lists", "lists@x.example"),
        ("anna-lists", "minus@x.example"),
        ("anna+other", "plain@x.example"),
        ("anna+/../secret", "odd@x.example"),
    ] {
        assert_eq!(home.entries(local).unwrap(), [want], "{local}");
    }
}

#[test]
fn what_others_could_have_written_is_not_followed() {
    let home = Home::new();
    let path = home.scratch.file(".forward", "x@x.example");
    let refused = |why: &str| {
        let (entries, warnings) = home.ask("anna");
        assert_eq!(entries.unwrap(), None, "{why}");
        assert!(warnings.iter().any(|line| line.contains(why)), "{warnings:?}");
    };
    for mode in [0o664, 0o646] {
        fs::set_permissions(&path, Permissions::from_mode(mode)).unwrap();
        refused("can be written to by others");
    }
    fs::set_permissions(&path, Permissions::from_mode(0o600)).unwrap();
    for mode in [0o775, 0o757] {
        fs::set_permissions(home.scratch.path(), Permissions::from_mode(mode)).unwrap();
        refused("can be written to by others");
    }
    fs::set_permissions(home.scratch.path(), Permissions::from_mode(0o700)).unwrap();
    assert!(home.entries("anna").is_some());
    fs::remove_file(&path).unwrap();
    fs::create_dir(&path).unwrap();
    refused("no regular file");
    fs::remove_dir(&path).unwrap();
    fs::write(&path, vec![b'#'; SIZE_MAX as usize + 1]).unwrap();
    refused("too large");
    fs::write(&path, b"\xff").unwrap();
    refused("not UTF-8");
    if common::sys::process::user_and_group().0 == 0 {
        std::os::unix::fs::chown(&path, Some(1234), None).unwrap();
        refused("somebody else");
        std::os::unix::fs::chown(home.scratch.path(), Some(1234), None).unwrap();
        fs::remove_file(&path).unwrap();
        fs::write(home.scratch.path().join("other"), "x@x.example").unwrap();
        symlink(home.scratch.path().join("other"), &path).unwrap();
        refused("belongs to somebody else");
    }
}

#[test]
fn circles_and_damage() {
    let home = Home::new();
    let path = home.scratch.path().join(".forward");
    home.scratch.file(".forward", format!(":include:{}", path.display()));
    let (read, warnings) = home.ask("anna");
    let damaged = "451 4.3.5 The .forward file is damaged";
    assert!(read.unwrap_err().to_string() == damaged && warnings[0].contains("circle"));
    home.scratch.file(".forward", "|cat > x\n");
    assert_eq!(home.ask("anna").0.unwrap_err().to_string(), damaged);
    home.scratch.file(".forward", "a@x.example,".repeat(RECIPIENTS_MAX + 1));
    assert_eq!(home.ask("anna").0.unwrap_err().to_string(), damaged);
}

#[test]
fn one_that_the_system_does_not_give_waits() {
    let mut home = Home::new();
    home.config.forward_path = format!("$home/{}", "x".repeat(300)).into();
    let (read, warnings) = home.ask("anna");
    assert_eq!(read.unwrap_err().to_string(), "451 4.3.0 The .forward file cannot be read now");
    assert!(warnings[0].contains("File name too long"), "{warnings:?}");
}

#[test]
fn many_files_that_include_many_have_an_end() {
    let home = Home::new();
    let include = |name: &str| format!(":include:{}", home.scratch.path().join(name).display());
    // 30 files of each level include 30 of the next: some 700 million for the lowest.
    for level in 0..6 {
        for number in 0..30 {
            let next: Vec<String> = (0..30).map(|next| include(&format!("{}-{next}", level + 1))).collect();
            home.scratch.file(&format!("{level}-{number}"), next.join("\n"));
        }
    }
    (0..30).for_each(|number| drop(home.scratch.file(&format!("6-{number}"), "# nobody\n")));
    home.scratch.file(".forward", include("0-0"));
    let (read, warnings) = home.ask("anna");
    assert!(read.unwrap_err().is_temporary() && warnings[0].contains("too many files"), "{warnings:?}");
    // Few files, but large ones.
    home.scratch.file("large", "#".repeat(SIZE_MAX as usize));
    home.scratch.file(".forward", format!("{}\n", include("large")).repeat(5));
    assert!(home.ask("anna").0.unwrap_err().is_temporary());
    // What people have.
    home.scratch.file("friend", "x@x.example\n");
    home.scratch.file(".forward", format!("{}\n", include("friend")).repeat(FILES_MAX - 1));
    assert_eq!(home.entries("anna").unwrap().len(), FILES_MAX - 1);
}

#[test]
fn words_of_forward_path_get_values() {
    let values =
        [("recipient_delimiter", "+"), ("extension", "$user"), ("user", "anna"), ("home", "/h/anna")];
    for (word, want) in [
        ("$home/.forward${recipient_delimiter}${extension}", "/h/anna/.forward+$user"),
        ("${home}/.forward", "/h/anna/.forward"),
        ("/etc/forwards/$user.forward", "/etc/forwards/anna.forward"),
        ("/etc/$users/${user}s}", "/etc/annas/annas"),
        ("/$domain/${domain}/$", "/$domain/$domain/$"),
        ("$$home${{user}", "$/h/anna${user"),
        ("", ""),
    ] {
        assert_eq!(with_values(word, &values), want, "{word}");
    }
}

proptest! {
    #[test]
    fn entries_are_handed_over_as_they_were(words in proptest::collection::vec("[ -~]{1,10}", 1..4)) {
        let mut words = words;
        words[0] = "/bin/x".to_owned();
        let command = Item::Command(words);
        prop_assert_eq!(item(&printed(&command)), Ok(command));
    }

    #[test]
    fn paths_are_handed_over_as_they_were(path in "/[ -~]{1,20}") {
        let file = Item::File(path);
        prop_assert_eq!(item(&printed(&file)), Ok(file));
    }
}

#[test]
fn only_what_the_file_names_is_done_in_the_user_s_name() {
    let home = Home::new();
    home.scratch.file(".forward", "\"|/usr/bin/vacation anna\", /home/anna/all\n");
    home.scratch.file(".forward+list", "|/usr/bin/filter\n");
    let command = |words: &[&str]| Target::Command {
        words: words.iter().map(|word| (*word).to_owned()).collect(),
        owner: Some("anna".into()),
    };
    let file = |path: &str| Target::File { path: path.into(), owner: Some("anna".into()) };
    let table = [
        ("anna", command(&["/usr/bin/vacation", "anna"]), true),
        ("anna", command(&["/usr/bin/vacation", "bert"]), false),
        ("anna", command(&["/usr/bin/vacation"]), false),
        ("anna", command(&["/bin/sh", "-c", "id"]), false),
        ("anna", command(&["/usr/bin/filter"]), false),
        ("anna+list", command(&["/usr/bin/filter"]), true),
        ("Anna+LIST", command(&["/usr/bin/filter"]), true),
        ("anna", file("/home/anna/all"), true),
        ("anna", file("/home/anna/.ssh/authorized_keys"), false),
    ];
    for (local, target, want) in table {
        let address = Address::new(local, "example.org").unwrap();
        let what = format!("{local} {target:?}");
        let recipient = Recipient::new(address, target);
        let got = names(&home.config, &home.account(), &recipient, &mut |_| ());
        assert_eq!(got, Ok(want), "{what}");
    }
}
