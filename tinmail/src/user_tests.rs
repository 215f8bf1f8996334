use super::*;
use common::cli::CommandLine;
use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt};

struct Users(PathBuf);

impl Users {
    fn new(name: &str, text: Option<&str>) -> Users {
        let directory = std::env::temp_dir().join(format!("tinmail-users-{}-{name}", std::process::id()));
        let _ = fs::remove_dir_all(&directory);
        fs::create_dir(&directory).unwrap();
        let users = Users(directory);
        if let Some(text) = text {
            fs::write(users.file(), text).unwrap();
        }
        users
    }

    fn file(&self) -> PathBuf {
        self.0.join("users")
    }

    fn text(&self) -> String {
        fs::read_to_string(self.file()).unwrap()
    }

    fn run(&self, words: &[&str], password: &str) -> Result<String, Failed> {
        let mut line = CommandLine::default();
        line.config_file = Some("/dev/null".into());
        line.overrides.push(format!("passdb=passwd-file:{}", self.file().display()));
        let config = Config::load(&smtpd::PROGRAM.line, &line).unwrap();
        let mut out = Vec::new();
        let mut ask = || Ok(Zeroizing::new(password.as_bytes().to_vec()));
        run(&config, words, &mut ask, &mut out).map(|()| String::from_utf8(out).unwrap())
    }

    fn refused(&self, words: &[&str]) -> String {
        match self.run(words, "x").unwrap_err() {
            Failed::Usage(what) | Failed::Said(what) => what,
        }
    }
}

impl Drop for Users {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

const TEXT: &str = "# comment\n\nanna:{PLAIN}old:1000:100:Anna A.:/home/anna::userdb_mail=maildir:~/x nodelay\nbert:{PLAIN}one\nbert:{PLAIN}two\n:odd\ncarla";

#[test]
fn only_the_line_that_is_meant_changes() {
    let users = Users::new("change", Some(TEXT));
    fs::set_permissions(users.file(), fs::Permissions::from_mode(0o640)).unwrap();
    // As long as it is open nobody else gets its inode.
    let open = fs::File::open(users.file()).unwrap();
    let before = open.metadata().unwrap();
    assert_eq!(users.run(&["list"], "").unwrap(), "anna\nbert\ncarla\n");
    users.run(&["password", "Anna"], "new").unwrap();
    let text = users.text();
    let hash = text.split("anna:{SHA512-CRYPT}").nth(1).unwrap().split(':').next().unwrap().to_owned();
    assert_eq!(text, TEXT.replace("{PLAIN}old", &format!("{{SHA512-CRYPT}}{hash}")));
    assert!(hash.starts_with("$6$rounds="));
    users.run(&["password", "carla"], "new").unwrap();
    assert!(users.text().contains("\n:odd\ncarla:{SHA512-CRYPT}$6$"));
    users.run(&["add", "-u", "vmail", "-g", "8", "-d", "/var/vmail/d", "dora@Example.org"], "x").unwrap();
    let last = users.text().lines().last().unwrap().to_owned();
    assert!(
        last.starts_with("dora@example.org:{SHA512-CRYPT}$6$") && last.ends_with(":vmail:8::/var/vmail/d"),
        "{last}"
    );
    users.run(&["delete", "bert"], "").unwrap();
    assert_eq!(users.run(&["list"], "").unwrap(), "anna\ncarla\ndora@example.org\n");
    let after = fs::metadata(users.file()).unwrap();
    assert_ne!(after.ino(), before.ino(), "readers see the old file or the new one");
    assert_eq!((after.mode(), after.uid(), after.gid()), (before.mode(), before.uid(), before.gid()));
    assert_eq!(fs::read_dir(&users.0).unwrap().count(), 1);
}

#[test]
fn what_is_refused_changes_nothing() {
    let users = Users::new("refused", Some(TEXT));
    for (words, why) in [
        (&["add", "anna"][..], "there already"),
        (&["password", "bert"], "has 2 passwords"),
        (&["password", "dora"], "there is no dora"),
        (&["delete", "dora"], "there is no dora"),
        (&["add", "a:b"], "character"),
        (&["add", "a b"], "character"),
        (&["add", ""], "empty"),
        (&["add", "-d", "/a:b", "dora"], "no colon"),
        (&["add", "-u", "0\n", "dora"], "no control"),
        (&["add", "-d", "relative", "dora"], "from / on"),
        (&["list", "-u", "0"], "-u is for add"),
        (&["add"], "want add NAME"),
        (&["add", "dora", "secret"], "want add NAME"),
        (&["add", "-p", "x", "dora"], "unknown option"),
        (&["list", "-f"], "needs a value"),
        (&["list", "-f", "/nonexistent/users"], "/nonexistent/users: "),
        (&["list", "-f", "/dev/null"], "it is no passwd-file"),
    ] {
        assert!(users.refused(words).contains(why), "{words:?}: {}", users.refused(words));
    }
    for password in ["", "a\0b"] {
        assert!(matches!(users.run(&["add", "dora"], password), Err(Failed::Said(_))), "{password:?}");
    }
    assert_eq!(users.text(), TEXT);
}

#[test]
fn a_new_file_is_nobody_elses() {
    let users = Users::new("new", None);
    assert!(matches!(users.run(&["list"], ""), Err(Failed::Said(_))));
    users.run(&["add", "anna"], "x").unwrap();
    assert_eq!(fs::metadata(users.file()).unwrap().mode() & 0o7777, 0o600);
    // By way of a link, what it leads to is changed.
    let link = users.0.join("link");
    std::os::unix::fs::symlink(users.file(), &link).unwrap();
    users.run(&["add", "-f", link.to_str().unwrap(), "bert"], "x").unwrap();
    assert!(link.symlink_metadata().unwrap().is_symlink());
    assert_eq!(users.run(&["list"], "").unwrap(), "anna\nbert\n");
}

#[test]
fn several_at_once_lose_nothing() {
    let users = Users::new("several", Some(""));
    std::thread::scope(|scope| {
        for worker in 0..4 {
            let users = &users;
            scope.spawn(move || {
                for number in 0..5 {
                    users.run(&["add", &format!("u{worker}{number}")], "x").unwrap();
                }
            });
        }
    });
    assert_eq!(users.run(&["list"], "").unwrap().lines().count(), 20);
}
