use super::super::testing::{Place, shown};
use super::*;
use crate::maildir::testing::TempDir;
use std::os::unix::fs::PermissionsExt;

/// Ann's mailboxes, public ones, and those of Bob and of Eve, who lets nobody in.
struct Office {
    dir: TempDir,
    namespaces: Namespaces,
}

fn office(settings: &[&str]) -> Office {
    let dir = TempDir::new();
    for path in ["ann/m", "ann/m/.Public.mine", "ann/m/.own", "public", "public/.lists.rust", "public/.news"]
    {
        maildir(&dir, path);
    }
    for path in
        ["users/ann/m", "users/bob/m", "users/bob/m/.Sent", "users/eve/m", "users/a.b/m", "users/.x/m"]
    {
        maildir(&dir, path);
    }
    fs::create_dir_all(dir.path().join("users/nomail")).unwrap();
    fs::set_permissions(dir.path().join("users/eve/m"), fs::Permissions::from_mode(0o000)).unwrap();
    let path = dir.path().to_str().unwrap();
    let public = format!("namespace_public_location=maildir:{path}/public");
    let shared = format!("namespace_shared_location=maildir:{path}/users/%%n/m:INDEX=~/i/%%u");
    let program = crate::cli::Program { name: "imapd", version: "0", summary: "", flags: &[] };
    let pairs = [&*public, &*shared].into_iter().chain(settings.iter().copied());
    let config = Config::from_pairs(&program, pairs).unwrap();
    let home = dir.path().join("ann");
    let user = User { name: "ann", home: &home };
    let namespaces = Namespaces::new(Location::parse("maildir:~/m", user).unwrap(), &config, user).unwrap();
    Office { namespaces, dir }
}

fn maildir(dir: &TempDir, path: &str) {
    for name in ["cur", "new", "tmp"] {
        fs::create_dir_all(dir.path().join(path).join(name)).unwrap();
    }
}

impl Office {
    fn locate(&self, visible: &str) -> Located {
        self.namespaces.locate(visible.as_bytes()).unwrap()
    }

    /// Below the scratch directory.
    fn path(&self, visible: &str) -> String {
        let maildir = self.locate(visible).open().unwrap();
        maildir.path().strip_prefix(self.dir.path()).unwrap().to_str().unwrap().to_owned()
    }

    fn listed(&self) -> Vec<String> {
        let subscriptions = self.namespaces.subscriptions().unwrap();
        let listing = self.namespaces.listing(Some(&subscriptions)).unwrap();
        listing.iter().map(|entry| shown(&entry)).collect()
    }
}

/// Root may look everywhere.
fn listed_of_eve(office: &Office) -> bool {
    fs::read_dir(office.dir.path().join("users/eve/m")).is_ok()
}

#[test]
fn all_namespaces_are_one_tree() {
    let office = office(&[]);
    let mut want = vec![
        "INBOX",
        "Public-+",
        "Public.INBOX",
        "Public.lists-+",
        "Public.lists.rust",
        "Public.news",
        "own",
    ];
    want.extend(["shared-+", "shared.bob-+", "shared.bob.INBOX", "shared.bob.Sent"]);
    if listed_of_eve(&office) {
        want.extend(["shared.eve-+", "shared.eve.INBOX"]);
    }
    assert_eq!(office.listed(), want);
    // What has the prefix of another namespace is there and cannot be reached.
    assert!(
        matches!(office.locate("Public.mine").open(), Err(error) if error.kind == crate::maildir::ErrorKind::NotFound)
    );
}

#[test]
fn names_lead_to_directories() {
    let office = office(&[]);
    for (visible, want) in [
        ("INBOX", "ann/m"),
        ("own", "ann/m/.own"),
        ("Public.news", "public/.news"),
        ("Public.inbox", "public"),
        ("shared.bob.INBOX", "users/bob/m"),
        ("shared.bob.Sent", "users/bob/m/.Sent"),
    ] {
        assert_eq!(office.path(visible), want);
        assert_eq!(office.locate(visible).visible(), visible.replace("inbox", "INBOX").as_bytes());
    }
    let index = office.locate("shared.bob.Sent").open().unwrap();
    assert_eq!(index.index().unwrap(), office.dir.path().join("ann/i/bob/.Sent"));
    for visible in ["shared.ann.INBOX", "shared.", "shared..x", "shared.&AC8-.x", "shared.\u{1}"] {
        assert!(office.namespaces.locate(visible.as_bytes()).is_err(), "{visible}");
    }
    for visible in ["shared.nobody.INBOX", "shared.nomail.INBOX", "shared.bob.None", "Public.None"] {
        assert!(!office.locate(visible).hierarchy.exists(&office.locate(visible).name).unwrap(), "{visible}");
        assert!(office.locate(visible).open().is_err(), "{visible}");
    }
    assert!(!office.dir.path().join("users/nobody").exists());
}

#[test]
fn mailboxes_are_made_renamed_and_deleted_in_their_namespace() {
    let office = office(&[]);
    office.locate("Public.a.b").create(&[]).unwrap();
    assert!(office.dir.path().join("public/.a.b/cur").is_dir());
    office.namespaces.rename(&office.locate("Public.a"), &office.locate("Public.c")).unwrap();
    assert_eq!(office.path("Public.c.b"), "public/.c.b");
    let elsewhere = office.namespaces.rename(&office.locate("Public.c"), &office.locate("c"));
    assert!(matches!(elsewhere, Err(HierarchyError::Name(_))));
    office.locate("Public.c.b").delete().unwrap();
    assert!(office.locate("Public.c.b").open().is_err());
    let used = office.locate("Public.Sent").create(&[SpecialUse::Sent]);
    assert!(matches!(used, Err(HierarchyError::UseRefused)), "{used:?}");
}

#[test]
fn subscriptions_are_the_user_s_own() {
    for prefix in [&[][..], &["namespace_prefix=INBOX."]] {
        let office = office(prefix);
        let own = if prefix.is_empty() { "own" } else { "INBOX.own" };
        for visible in [own, "Public.lists.rust", "shared.bob.INBOX"] {
            office.namespaces.subscribe(&office.locate(visible)).unwrap();
        }
        let none = office.namespaces.subscribe(&office.locate("Public.None"));
        assert!(matches!(none, Err(HierarchyError::NotFound)));
        let text = office.dir.read("ann/m/subscriptions");
        assert_eq!(text, "V\t2\n\nown\nPublic\tlists\trust\nshared\tbob\tINBOX\n");
        let subscriptions = office.namespaces.subscriptions().unwrap();
        let listing = office.namespaces.subscribed(&subscriptions).unwrap();
        let names: Vec<String> =
            listing.iter().filter(|entry| entry.subscribed).map(|entry| shown(&entry)).collect();
        assert_eq!(names.iter().filter(|name| name.contains("Public.lists.rust")).count(), 1, "{names:?}");
        assert!(
            office.listed().contains(&format!("{own}s"))
                && office.listed().contains(&"shared.bob.INBOXs".to_owned())
        );
        office.namespaces.unsubscribe(&office.locate("Public.lists.rust")).unwrap();
        assert!(!office.dir.read("ann/m/subscriptions").contains("Public"));
    }
}

#[test]
fn with_a_slash_users_may_have_dots() {
    let office = office(&["namespace_separator=/", "namespace_shared_prefix=#shared/"]);
    assert_eq!(office.path("#shared/a.b/INBOX"), "users/a.b/m");
    assert!(office.listed().contains(&"#shared/a.b/INBOX".to_owned()), "{:?}", office.listed());
    assert!(office.namespaces.subscribe(&office.locate("#shared/a.b/INBOX")).is_err());
    office.namespaces.subscribe(&office.locate("#shared/bob/Sent")).unwrap();
    assert!(office.listed().contains(&"#shared/bob/Sents".to_owned()));
}

#[test]
fn two_namespaces_cannot_be_one() {
    let place = Place::new();
    let user = User { name: "ann", home: place.dir.path() };
    for pairs in [
        &["namespace_public_location=maildir:/p", "namespace_prefix=Public/"][..],
        &[
            "namespace_shared_location=maildir:/%%u",
            "namespace_public_location=maildir:/p",
            "namespace_public_prefix=shared",
        ],
        &["namespace_public_location=maildir:/p/%d"],
    ] {
        let program = crate::cli::Program { name: "imapd", version: "0", summary: "", flags: &[] };
        let config = Config::from_pairs(&program, pairs.iter().copied()).unwrap();
        let location = Location::parse("maildir:~/m", user).unwrap();
        assert!(Namespaces::new(location, &config, user).is_err(), "{pairs:?}");
    }
}

#[test]
fn owners_are_put_in_place() {
    for (owner, want) in [
        ("bob", "maildir:/m/bob/bob/:INDEX=~/%d"),
        ("bob@example.org", "maildir:/m/bob@example.org/bob/example.org:INDEX=~/%d"),
        ("100%", "maildir:/m/100%%/100%%/:INDEX=~/%d"),
    ] {
        assert_eq!(with_owner("maildir:/m/%%u/%%n/%%d:INDEX=~/%d", owner), want);
    }
}
