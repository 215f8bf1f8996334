use super::*;
use crate::testing::Scratch;
use common::config::Config;
use common::config::value::Text;
use std::fs::Permissions;
use std::os::unix::fs::PermissionsExt;

/// A host with users anna, bert and a passwd-file's vera.
struct Host {
    scratch: Scratch,
    config: Config,
}

impl Host {
    fn new(aliases: &str) -> Host {
        let scratch = Scratch::new();
        std::fs::set_permissions(scratch.path(), Permissions::from_mode(0o755)).unwrap();
        let config = crate::rules::tests_config(&scratch);
        scratch.file("aliases", aliases.replace("@DIR@", scratch.path().to_str().unwrap()));
        Host { scratch, config }
    }

    fn with(mut self, change: impl FnOnce(&mut Config)) -> Host {
        change(&mut self.config);
        self
    }

    fn directory(&self) -> Directory {
        Directory::new(&self.config).unwrap()
    }

    fn ask(&self, address: &str) -> String {
        shown(expand(&mut self.directory(), &parse(address)))
    }

    fn forward(&self, entries: &[&str]) -> String {
        shown(self.forwarded(entries))
    }

    fn forwarded(&self, entries: &[&str]) -> Result<Vec<Recipient>, Status> {
        let target = Target::Mailbox { user: "anna".into(), extension: String::new(), direct: false };
        let address = parse("anna@here.example");
        let recipient = Recipient::new(address, target);
        let entries: Vec<String> = entries.iter().map(|&entry| entry.to_owned()).collect();
        forward(&mut self.directory(), &recipient, "anna", &entries)
    }
}

fn parse(address: &str) -> Address {
    Address::parse(address.as_bytes()).unwrap()
}

/// `anna`, `anna+ext`, `anna!` (direct), `->a@b`, `file(owner)`, `|words(owner)`, each with `^owner` of the list.
fn shown(found: Result<Vec<Recipient>, Status>) -> String {
    let one = |one: &Recipient| {
        let by =
            |owner: &Option<String>| owner.as_ref().map(|owner| format!("({owner})")).unwrap_or_default();
        let target = match &one.target {
            Target::Remote(address) => format!("->{address}"),
            Target::Mailbox { user, extension, direct } => {
                let plus = if extension.is_empty() { String::new() } else { format!("+{extension}") };
                format!("{user}{plus}{}", if *direct { "!" } else { "" })
            }
            Target::File { path, owner } => format!("{path}{}", by(owner)),
            Target::Command { words, owner } => format!("|{}{}", words.join(" "), by(owner)),
            Target::Expanded { .. } => "expanded".to_owned(),
        };
        format!("{target}{}", one.owner.as_ref().map(|owner| format!("^{owner}")).unwrap_or_default())
    };
    match found {
        Ok(all) => all.iter().map(one).collect::<Vec<_>>().join(", "),
        Err(status) => format!("{} {}", status.code, status.enhanced),
    }
}

#[test]
fn virtual_mailboxes_by_their_map() {
    let maps = "inline:{vera@virtual.example=x/, wilma@virtual.example=x/, wilma+own@virtual.example=x/, @all.example=x/}";
    let (us, group) = common::sys::process::user_and_group();
    let (uid, gid) = if us == 0 { (5000, 5000) } else { (us, group) };
    for owned in [false, true] {
        let host = Host::new("").with(|config| {
            config.virtual_mailbox_domains = "virtual.example all.example".into();
            config.virtual_mailbox_maps = maps.into();
            config.recipient_delimiter = "+".into();
            if owned {
                config.virtual_mailbox_base = "/srv".into();
                config.virtual_uid_maps = format!("static:{uid}").into();
                config.virtual_gid_maps = format!("static:{gid}").into();
            }
        });
        // Where the map says nothing of mailboxes, the user must be in a passdb as well: vera is.
        let in_passdb = |name: &'static str| if owned { name } else { "550 5.1.1" };
        for (address, want) in [
            ("Vera@Virtual.example", "vera@virtual.example!"),
            ("vera+ext@virtual.example", "vera@virtual.example+ext!"),
            ("wilma@virtual.example", in_passdb("wilma@virtual.example!")),
            ("wilma+own@virtual.example", in_passdb("wilma+own@virtual.example!")),
            ("wilma+x@virtual.example", in_passdb("wilma@virtual.example+x!")),
            ("zoe@virtual.example", "550 5.1.1"),
            ("zoe+x@virtual.example", "550 5.1.1"),
            ("zoe+x@all.example", in_passdb("zoe+x@all.example!")),
        ] {
            assert_eq!(host.ask(address), want, "{address} {owned}");
        }
    }
}

#[test]
fn users() {
    let host = Host::new("postmaster: anna\n");
    for (address, want) in [
        ("anna@here.example", "anna"),
        ("ANNA@HERE.example", "anna"),
        ("anna+lists@here.example", "anna+lists"),
        ("a+b@here.example", "a+b"),
        ("nobody@here.example", "550 5.1.1"),
        ("root@here.example", "550 5.2.1"),
        ("vera@virtual.example", "vera@virtual.example!"),
        ("Vera+x@Virtual.example", "vera@virtual.example+x!"),
        ("anna@virtual.example", "550 5.1.1"),
        ("vera@here.example", "550 5.1.1"),
        ("\"vera@virtual.example\"@here.example", "550 5.1.1"),
        ("x@relay.example", "->x@relay.example"),
        ("x@other.example", "->x@other.example"),
        ("\"an:na\"@here.example", "550 5.1.1"),
    ] {
        assert_eq!(host.ask(address), want, "{address}");
    }
}

#[test]
fn aliases_of_all_kinds() {
    let host = Host::new(
        "postmaster: root\nroot: anna, bert\nself: self\nanna: anna, x@other.example\nown: \\bert, \\Bert+x\n\
         file: /var/mail/archive\nprog: \"|/bin/cat -n\", |/bin/cat\nnull: /dev/null\n\
         staff: :include:@DIR@/staff\nowner-staff: bert\nempty:\nbad: x y\nlost: nobody, bert\nall-lost: nobody, nobody-either\n\
         outside: vera@virtual.example, Bert B. <bert@HERE.example>, bert\nplus+x: bert\na: b\nb: c\nc: a\nmaster: postmaster\n",
    );
    host.scratch.file("staff", "# members\nbert, x@other.example\n\n nobody\nx y\n");
    for (address, want) in [
        ("postmaster@here.example", "anna, ->x@other.example, bert"),
        ("POSTMASTER@here.example", "anna, ->x@other.example, bert"),
        ("root@here.example", "anna, ->x@other.example, bert"),
        ("root+x@here.example", "anna, ->x@other.example, bert"),
        ("anna@here.example", "anna, ->x@other.example"),
        ("own@here.example", "bert!, bert+x!"),
        ("file@here.example", "/var/mail/archive"),
        ("prog@here.example", "|/bin/cat -n, |/bin/cat"),
        ("null@here.example", "/dev/null"),
        (
            "staff@here.example",
            "bert^owner-staff@here.example, ->x@other.example^owner-staff@here.example, \
             nobody!^owner-staff@here.example",
        ),
        ("owner-staff@here.example", "bert"),
        ("empty@here.example", "550 5.1.1"),
        ("bad@here.example", "451 4.3.5"),
        ("lost@here.example", "bert, nobody!"),
        ("all-lost@here.example", "550 5.1.1"),
        ("outside@here.example", "vera@virtual.example!, bert"),
        ("plus+x@here.example", "bert"),
        ("plus+y@here.example", "550 5.1.1"),
        ("a@here.example", "554 5.4.6"),
        ("self@here.example", "550 5.1.1"),
        ("master@localhost", "anna, ->x@other.example, bert"),
    ] {
        assert_eq!(host.ask(address), want, "{address}");
    }
    let mut directory = host.directory();
    let found = expand(&mut directory, &parse("staff@here.example")).unwrap();
    assert!(found.iter().all(|one| one.original == parse("staff@here.example")));
    assert_eq!(found[0].address, parse("bert@here.example"));
    assert!(directory.take_warnings().iter().any(|line| line.contains("x y")));
}

#[test]
fn who_may_name_files_and_programs() {
    let aliases = "file: /x\nprog: |/bin/cat\nlist: :include:@DIR@/list\n";
    let host = Host::new(aliases);
    host.scratch.file("list", "|/bin/cat\n");
    assert_eq!(host.ask("prog@here.example"), "|/bin/cat");
    assert_eq!(host.ask("list@here.example"), "451 4.3.5");
    let host = host.with(|config| {
        config.allow_mail_to_commands = value("include");
        config.allow_mail_to_files = value("");
    });
    assert_eq!(host.ask("prog@here.example"), "451 4.3.5");
    assert_eq!(host.ask("file@here.example"), "451 4.3.5");
    assert_eq!(host.ask("list@here.example"), "|/bin/cat");
    // Whoever can write to the file names addresses only.
    let host = Host::new("prog: |/bin/cat\nfile: /x\nname: anna\n");
    let path = host.scratch.path().join("aliases");
    std::fs::set_permissions(path, Permissions::from_mode(0o666)).unwrap();
    for (address, want) in [("prog", "451 4.3.5"), ("file", "451 4.3.5"), ("name", "anna")] {
        assert_eq!(host.ask(&format!("{address}@here.example")), want, "{address}");
    }
}

fn value<T: common::config::value::Value>(text: &str) -> T {
    T::read(text).unwrap()
}

/// A list may lead neither to files that others put there nor to those that only root can read.
#[test]
fn lists_that_others_could_have_written() {
    let host =
        Host::new("list: :include:@DIR@/sub/list\nfifo: :include:@DIR@/fifo\nself: :include:@DIR@/self\n");
    let path = host.scratch.file("sub/list", "bert\n");
    let sub = host.scratch.path().join("sub");
    std::fs::set_permissions(&sub, Permissions::from_mode(0o755)).unwrap();
    let ask = || host.ask("list@here.example");
    assert_eq!(ask(), "bert");
    for (path, mode) in [(&path, 0o666), (&path, 0o664), (&sub, 0o777), (&sub, 0o775)] {
        let before = std::fs::metadata(path).unwrap().permissions();
        std::fs::set_permissions(path, Permissions::from_mode(mode)).unwrap();
        assert_eq!(ask(), "451 4.3.5", "{path:?} {mode:o}");
        std::fs::set_permissions(path, before).unwrap();
    }
    assert_eq!(ask(), "bert");
    std::fs::remove_file(&path).unwrap();
    assert_eq!(ask(), "451 4.3.5");
    host.scratch.file("self", format!(":include:{}/self\n", host.scratch.path().display()));
    assert_eq!(host.ask("self@here.example"), "554 5.4.6");
}

#[test]
fn a_user_s_list_in_a_user_s_directory() {
    if common::sys::process::user_and_group().0 != 0 {
        return;
    }
    use std::os::unix::fs::{chown, symlink};
    let host = Host::new("list: :include:@DIR@/home/list\n");
    let path = host.scratch.file("home/list", "bert\n");
    let home = host.scratch.path().join("home");
    std::fs::set_permissions(&home, Permissions::from_mode(0o755)).unwrap();
    chown(&home, Some(1000), Some(1000)).unwrap();
    let ask = || host.ask("list@here.example");
    assert_eq!(ask(), "bert");
    chown(&path, Some(1000), Some(1000)).unwrap();
    assert_eq!(ask(), "bert");
    chown(&path, Some(1001), None).unwrap();
    assert_eq!(ask(), "451 4.3.5");
    // Secrets that the user can lead to but not read.
    let secret = host.scratch.file("secret", "anna\n");
    std::fs::set_permissions(&secret, Permissions::from_mode(0o600)).unwrap();
    std::fs::remove_file(&path).unwrap();
    symlink(&secret, &path).unwrap();
    assert_eq!(ask(), "451 4.3.5");
    std::fs::remove_file(&path).unwrap();
    std::fs::hard_link(&secret, &path).unwrap();
    assert_eq!(ask(), "451 4.3.5");
    std::fs::remove_file(&path).unwrap();
    std::fs::remove_dir(&home).unwrap();
    symlink(host.scratch.path(), &home).unwrap();
    host.scratch.file("list", "anna\n");
    std::os::unix::fs::lchown(&home, Some(1000), None).unwrap();
    assert_eq!(ask(), "451 4.3.5");
}

#[test]
fn postmaster_always_is_somebody() {
    assert_eq!(Host::new("root: bert\n").ask("postmaster@here.example"), "bert");
    assert_eq!(Host::new("").ask("postmaster@here.example"), "450 4.3.5");
    assert_eq!(Host::new("").ask("root@here.example"), "550 5.2.1");
    for nobody in ["postmaster: root\n", "postmaster: root\nroot: root\n", "postmaster: zoe\n"] {
        let host = Host::new(nobody).with(|config| config.virtual_mailbox_domains = "virtual.example".into());
        assert_eq!(host.ask("postmaster@here.example"), "450 4.3.5", "{nobody}");
        assert_eq!(host.ask("postmaster@virtual.example"), "450 4.3.5", "{nobody}");
    }
    for (aliases, who) in [("", "anna"), ("root: bert\n", "bert")] {
        let host = Host::new(aliases).with(|config| {
            config.luser_relay = "anna".into();
            config.local_recipient_maps = "".into();
        });
        assert_eq!(host.ask("postmaster@here.example"), who);
    }
    let host = Host::new("postmaster: bert\n").with(|config| config.local_recipient_maps = "static:x".into());
    assert_eq!(host.ask("postmaster@here.example"), "bert");
    let host = Host::new("postmaster: bert\n").with(|config| {
        config.virtual_alias_domains = "alias.example".into();
        config.virtual_mailbox_domains = "virtual.example own.example".into();
        config.virtual_mailbox_maps = "inline:{vera@virtual.example=x/}".into();
        config.virtual_alias_maps = "inline:{postmaster@own.example=vera@virtual.example}".into();
    });
    for (address, want) in [
        ("Postmaster@virtual.example", "bert"),
        ("postmaster@alias.example", "bert"),
        ("postmaster@own.example", "vera@virtual.example!"),
        ("webmaster@virtual.example", "550 5.1.1"),
    ] {
        assert_eq!(host.ask(address), want, "{address}");
    }
}

#[test]
fn local_recipient_maps_and_luser_relay() {
    let set = |maps: &str, relay: &str| {
        let (maps, relay): (Text, Text) = (maps.to_owned().into(), relay.to_owned().into());
        Host::new("list: bert\n").with(|config| {
            config.local_recipient_maps = maps;
            config.luser_relay = relay;
        })
    };
    for (maps, relay, address, want) in [
        ("unix:passwd.byname", "", "list@here.example", "550 5.1.1"),
        ("$alias_maps", "", "list@here.example", "bert"),
        ("$alias_maps", "", "anna@here.example", "550 5.1.1"),
        ("inline:{anna=x}", "", "anna+y@here.example", "anna+y"),
        ("inline:{@here.example=x}", "", "bert@here.example", "bert"),
        ("inline:{anna=x}", "", "bert@here.example", "550 5.1.1"),
        ("unix:passwd.byname", "anna", "nobody@here.example", "550 5.1.1"),
        ("", "", "nobody@here.example", "550 5.1.1"),
        ("", "anna", "nobody@here.example", "anna"),
        ("", "anna+$local", "nobody@here.example", "anna+nobody"),
        ("", "$user@other.example", "nobody+x@here.example", "->nobody@other.example"),
        ("", "${extension}@$domain.other.example", "no+x@here.example", "->x@here.example.other.example"),
        ("", "nobody-either", "nobody@here.example", "550 5.1.1"),
        ("", "$local@other.example", "\"x@y.example,\"@here.example", "550 5.1.1"),
        ("", "$local@other.example", "\"x y\"@here.example", "->\"x y\"@other.example"),
    ] {
        assert_eq!(set(maps, relay).ask(address), want, "{maps} {relay} {address}");
    }
}

#[test]
fn virtual_aliases() {
    let host = Host::new("list: bert\n").with(|config| {
        config.virtual_alias_domains = "alias.example".into();
        config.virtual_alias_maps = "inline:{info@alias.example=anna, two@alias.example=anna bert@here.example, \
            {three@alias.example=anna, x@other.example}, @alias.example=bert, chain@other.example=info@alias.example, \
            anna@here.example=anna@here.example, both@other.example=both@other.example, @moved.example=@other.example, \
            c1@other.example=c2@other.example, c2@other.example=c1@other.example, bad@other.example=|/bin/cat, \
            list@here.example=list}"
            .into();
        config.mydestination = "here.example, mail.here.example".into();
    });
    for (address, want) in [
        ("info@alias.example", "anna"),
        ("INFO@Alias.example", "anna"),
        ("info+x@alias.example", "anna+x"),
        ("three@alias.example", "anna, ->x@other.example"),
        ("anything@alias.example", "bert"),
        ("chain@other.example", "anna"),
        ("chain+y@other.example", "anna+y"),
        ("anna@here.example", "anna"),
        ("both@other.example", "->both@other.example"),
        ("x@moved.example", "->x@other.example"),
        ("c1@other.example", "->c1@other.example"),
        ("bad@other.example", "451 4.3.5"),
        ("list@here.example", "bert"),
    ] {
        assert_eq!(host.ask(address), want, "{address}");
    }
    let host =
        host.with(|config| config.virtual_alias_maps = "inline:{x@alias.example=y@alias.example}".into());
    assert_eq!(host.ask("y@alias.example"), "550 5.1.1");
    assert_eq!(host.ask("x@alias.example"), "550 5.1.1");
}

#[test]
fn dot_forward() {
    let host = Host::new("list: bert\nanna: anna, bert\nroot: bert\n");
    for (entries, want) in [
        (&["anna"][..], "anna!"),
        (&["\\anna"], "anna!"),
        (&["Anna@HERE.example"], "anna!"),
        (&["anna+x"], "anna+x!"),
        (&["\\anna", "x@other.example"], "anna!, ->x@other.example"),
        (&["bert"], "bert"),
        (&["list"], "bert"),
        (&["/home/anna/archive"], "/home/anna/archive(anna)"),
        (&["\"|/usr/bin/procmail -f-\""], "|/usr/bin/procmail -f-(anna)"),
        (&["nobody"], "550 5.1.1"),
        (&["bert", "nobody"], "bert, nobody!"),
        (&["|cat > x"], "451 4.3.5"),
        (&[":include:/etc/passwd"], "451 4.3.5"),
        (&[], "550 5.1.1"),
    ] {
        assert_eq!(host.forward(entries), want, "{entries:?}");
    }
    let many = vec!["bert"; RECIPIENTS_MAX + 1];
    for entries in [&many[..], &["|cat > x"], &[":include:/etc/passwd"]] {
        let status = host.forwarded(entries).unwrap_err().to_string();
        assert_eq!(status, "451 4.3.5 <anna@here.example>: the .forward file is damaged", "{entries:?}");
    }
    let host = host.with(|config| {
        config.allow_mail_to_commands = value("alias");
        config.allow_mail_to_files = value("alias");
    });
    assert_eq!(host.forward(&["|/bin/cat"]), "451 4.3.5");
    assert_eq!(host.forward(&["/x"]), "451 4.3.5");
}

#[test]
fn a_forward_that_names_a_list_with_its_own_user() {
    let aliases = "list: anna, bert\nanna-club: carl, bert\nclub: |/bin/cat\n";
    let host = Host::new(aliases).with(|config| config.recipient_delimiter = "+-".into());
    for (entries, want) in [
        (&["list"][..], "anna!, bert"),
        (&["list", "x@other.example"], "anna!, bert, ->x@other.example"),
        // An alias of its own, however it looks.
        (&["anna-club"], "bert, carl!"),
        (&["anna-other"], "anna+other!"),
        (&["club"], "|/bin/cat"),
    ] {
        assert_eq!(host.forward(entries), want, "{entries:?}");
    }
}

/// The runner asks again whether a program or file with a user's rights is named. What a `~/.forward` reaches through
/// somebody else's alias or list is named there.
#[test]
fn what_a_forward_reaches_through_an_alias_is_found_again() {
    if common::sys::process::user_and_group().0 != 0 {
        return;
    }
    let aliases = "prog: |/bin/cat -n\nlist: :include:@DIR@/home/list\nouter: list\n";
    let host = Host::new(aliases).with(|config| {
        config.allow_mail_to_commands = value("alias,forward,include");
        config.allow_mail_to_files = value("alias,forward,include");
        // Only who comes from outside is looked up there.
        config.local_recipient_maps = "inline:{anna=x}".into();
    });
    let list = host.scratch.file("home/list", "|/bin/cat\n/home/bert/archive\n");
    let home = host.scratch.path().join("home");
    std::fs::set_permissions(&home, Permissions::from_mode(0o755)).unwrap();
    for path in [&home, &list, &host.scratch.path().join("aliases")] {
        std::os::unix::fs::chown(path, Some(1000), Some(1000)).unwrap();
    }
    for (entry, want, address) in [
        ("prog", "|/bin/cat -n(anna)", "prog@here.example"),
        ("list", "|/bin/cat(anna), /home/bert/archive(anna)", "list@here.example"),
        ("outer", "|/bin/cat(anna), /home/bert/archive(anna)", "list@here.example"),
    ] {
        let found = host.forwarded(&[entry]).unwrap();
        assert_eq!(shown(Ok(found.clone())), want, "{entry}");
        for one in found {
            assert_eq!(one.address.to_string(), address);
            assert_eq!(names(&mut host.directory(), &one), Ok(true), "{entry}");
            let other = Target::Command { words: vec!["/bin/sh".into()], owner: Some("anna".into()) };
            assert_eq!(names(&mut host.directory(), &Recipient { target: other, ..one }), Ok(false));
        }
    }
}

#[test]
fn many_files_of_addresses_have_an_end() {
    let host = Host::new("list: :include:@DIR@/0\nfew: :include:@DIR@/few\n");
    let include = |name: &str| format!(":include:{}\n", host.scratch.path().join(name).display());
    for level in 0..4 {
        host.scratch.file(
            &level.to_string(),
            (0..50).map(|n| include(&format!("{}.{n}", level + 1))).collect::<String>(),
        );
        for n in 0..50 {
            host.scratch.file(&format!("{level}.{n}"), include(&(level + 1).to_string()));
        }
    }
    host.scratch.file("4", "bert\n");
    assert_eq!(host.ask("list@here.example"), "451 4.3.5");
    host.scratch.file("one", "bert\n");
    host.scratch.file("few", include("one").repeat(INCLUDES_MAX - 1));
    assert_eq!(host.ask("few@here.example"), "bert");
}

#[test]
fn too_many_and_too_deep() {
    let chain: String = (0..80).map(|n| format!("n{n}: n{}\n", n + 1)).collect();
    let ask = |aliases: &str, name: &str| {
        let host = Host::new(aliases);
        expand(&mut host.directory(), &parse(&format!("{name}@here.example"))).unwrap_err().to_string()
    };
    assert_eq!(Host::new(&chain).ask("n0@here.example"), "554 5.4.6");
    // Each of twenty names the next twice: a million ways to the last.
    let tree: String = (0..20).map(|n| format!("n{n}: n{0}, n{0}\n", n + 1)).collect();
    assert_eq!(ask(&format!("{tree}n20: bert\n"), "n0"), "554 5.4.6 Too many recipients behind this address");
    let wide: String = (0..RECIPIENTS_MAX + 2).map(|n| format!("x{n}@other.example, ")).collect();
    assert_eq!(ask(&format!("wide: {wide}\n"), "wide"), "554 5.4.6 Too many recipients behind this address");
}

#[test]
fn tables_that_cannot_be_read_are_temporary() {
    let host = Host::new("");
    let mut directory = host.directory();
    std::fs::remove_file(host.scratch.path().join("aliases")).unwrap();
    let ask =
        |directory: &mut Directory| expand(directory, &parse("anna@here.example")).unwrap_err().to_string();
    assert_eq!(ask(&mut directory), "451 4.3.0 Temporary lookup failure");
    std::fs::write(host.scratch.path().join("aliases"), "").unwrap();
    std::fs::remove_file(host.scratch.path().join("passwd")).unwrap();
    assert_eq!(ask(&mut directory), "451 4.3.0 The user database cannot be read now");
    assert_eq!(directory.take_warnings().len(), 2);
}

#[path = "changes_tests.rs"]
mod changes;
