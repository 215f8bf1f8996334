//! Whole logins over files of the test's own.

mod challenges;

use super::*;
use crate::auth::crypt::{Spent, Work};
use crate::auth::testing::Scratch;
use crate::sys::child::Credentials;

/// `mk pass` by mkpasswd, cheap where the test is not about cost.
const YES: &str = "$y$j75$6oA7iE9hyHwpvjMoafvjj1$zaHrdj8xCPJNxp9016OvOEwlYkdrgQzc1RCwybdsVJ5";
const MD5: &str = "$1$uAm.IxEX$yiAmqibZ3zXunsYMqDmDk1";
const SHA: &str = "$5$mB2Vh7oAMyv2fHNG$.OS6rpk3hGLDtcctS4dYbG/4TYLWvKpbZeGPIkkg3M6";
const TODAY: u64 = 20_000;

const PASSWD: &str = "root:x:0:0:root:/root:/bin/bash\ndaemon:x:1:1::/:/usr/sbin/nologin\n\
    anna:x:1000:1000:Anna:/home/anna:/usr/sbin/nologin\nbert:x:1001:1001::/home/bert:/bin/sh\n\
    old:x:1002:1002::/home/old:/bin/sh\nlock:x:1003:1003::/home/lock:/bin/sh\nstar:x:1004:1004::/home/star:/bin/sh\n\
    none:x:1005:1005::/home/none:/bin/sh\nhigh:x:60000:60000::/home/high:/bin/sh\nhomeless:x:1006:1006:::\n\
    nogroup:x:1007:0::/home/nogroup:/bin/sh\nodd:x:1008:1008::/home/odd:/bin/sh\nvmail:x:5000:5001::/var/mail:/bin/false\n";

struct Site {
    scratch: Scratch,
    settings: Settings,
    me: Credentials,
}

fn site(passdbs: &[&str]) -> Site {
    let scratch = Scratch::new();
    let shadow = format!(
        "root:{YES}:1::::::\ndaemon:*:1::::::\nanna:{YES}:19000:0:99999:7:::\nbert:{YES}:19000:0:99999:7:::\n\
         old:{YES}:19000:0:100:7:30::\nlock:!{YES}:19000:0:99999:7:::\nstar:*:19000:0:99999:7:::\n\
         none::19000:0:99999:7:::\nhigh:{YES}:19000::::::\nhomeless:{YES}:1::::::\nnogroup:{YES}:1::::::\n\
         ghost:{YES}:1::::::\nodd:$gy$j9T$abc$def:1::::::\n"
    );
    let files = Files {
        passwd: scratch.file("passwd", PASSWD),
        shadow: scratch.file("shadow", shadow),
        group: scratch.file("group", "root:x:0:anna\nstaff:x:50:anna,bert\nvmail:x:5001:\n"),
        machine_id: scratch.file("machine-id", "0123456789abcdef\n"),
    };
    let parse = |text: &&str| text.replace("DIR", scratch.path().to_str().unwrap()).parse().unwrap();
    let settings = Settings {
        passdbs: passdbs.iter().map(parse).collect(),
        files,
        last_valid_uid: 59_999,
        today: Some(TODAY),
        ..Settings::default()
    };
    Site { scratch, settings, me: Credentials { uid: 0, gid: 0 } }
}

impl Site {
    fn users(self, content: &str) -> Site {
        self.scratch.file("users", content);
        self
    }

    fn authenticator(&self) -> Authenticator {
        let connection = Connection { protocol: "pop3", remote: "192.0.2.7".parse().ok(), local: None };
        let mut authenticator = Authenticator::new(self.settings.clone(), connection);
        authenticator.me = self.me;
        authenticator
    }

    fn plain(&self, user: &str, password: &str) -> Result<Account, Refusal> {
        self.plain_and_work(user, "", password).0
    }

    fn plain_and_work(
        &self,
        user: &str,
        authzid: &str,
        password: &str,
    ) -> (Result<Account, Refusal>, Vec<Spent>) {
        let mut authenticator = self.authenticator();
        let password = Secret::new(password.as_bytes().to_vec());
        let result = authenticator.plain(user.as_bytes(), authzid.as_bytes(), &password);
        (result, authenticator.work().spent().to_vec())
    }
}

fn wrong<T>(cause: Cause) -> Result<T, Refusal> {
    Err(Refusal::Credentials(cause))
}

#[test]
fn a_system_user_logs_in() {
    let site = site(&["shadow"]);
    let account = site.plain("Anna", "mk pass").unwrap();
    assert_eq!((account.name.as_str(), account.uid, account.gid), ("anna", 1000, 1000));
    assert_eq!(account.home, PathBuf::from("/home/anna"));
    assert_eq!(account.groups, [50]);
    assert_eq!((account.mail, account.master), (None, None));
}

#[test]
fn every_refusal_costs_the_same() {
    let site = site(&["shadow"]);
    let (_, expected) = site.plain_and_work("anna", "", "mk pass");
    assert_eq!(expected, [Spent { scheme: "yescrypt", cost: 1024 * 8 }]);
    for (user, password, result) in [
        ("anna", "wrong", wrong(Cause::Mismatch)),
        ("nobody", "mk pass", wrong(Cause::UnknownUser)),
        ("ghost", "mk pass", wrong(Cause::UnknownUser)),
        ("lock", "mk pass", wrong(Cause::Locked)),
        ("star", "mk pass", wrong(Cause::Locked)),
        ("none", "mk pass", wrong(Cause::Locked)),
        ("old", "mk pass", Err(Refusal::Expired(Ageing::PasswordExpired))),
        ("old", "wrong", wrong(Cause::Mismatch)),
        ("root", "wrong", wrong(Cause::Mismatch)),
        ("root", "mk pass", Err(Refusal::BadId("root may not log in".to_owned()))),
        ("nogroup", "mk pass", Err(Refusal::BadId("root may not log in".to_owned()))),
        ("high", "mk pass", Err(Refusal::BadId("uid 60000 is above last_valid_uid".to_owned()))),
    ] {
        assert_eq!(site.plain_and_work(user, "", password), (result, expected.clone()), "{user}");
    }
}

#[test]
fn what_is_never_hashed() {
    let site = site(&["shadow"]);
    let long = "x".repeat(1025);
    for (user, password, cause) in [
        ("anna", "", Cause::Password),
        ("none", "", Cause::Password),
        ("anna", "mk\0pass", Cause::Password),
        ("anna", long.as_str(), Cause::Password),
        ("", "mk pass", Cause::Name(NameError::Empty)),
        ("an na", "mk pass", Cause::Name(NameError::Character)),
    ] {
        assert_eq!(site.plain_and_work(user, "", password), (wrong(cause), vec![]), "{user}");
    }
}

#[test]
fn an_unusable_hash_costs_what_an_unknown_user_costs() {
    let users = format!(
        "anna:{MD5}:5000:5000::/h\nbert:{MD5}:5000:5000::/h\nodd:{{DES-CRYPT}}ab:5000:5000::/h\n\
         des:abJnggxhB/yWI:5000:5000::/h\ncut:$1$salt:5000:5000::/h\nline:x::::::=y\n\
         big:{{ARGON2ID}}$argon2id$v=19$m=65537,t=1,p=1$qpU47aLjiyM8z0XeWvXlZg$sLGfD4cRw+0t/SQ3TdKeA56n1KvnwdBdb6Dxp0zJICg:1:1::/\n\
         two:{{NTLM}}x:5000:5000::/h\ntwo:{MD5}:5000:5000::/h\n"
    );
    let shadow = format!(
        "anna:{MD5}:1::::::\nodd:$gy$j9T$abc$def:1::::::\nold:garbage:1::::::\nlock:$1$salt:1::::::\n"
    );
    for (passdb, names) in [
        (
            "passwd-file:DIR/users",
            &["odd {DES-CRYPT}", "des prefix", "cut damaged", "line without a name", "big memory"][..],
        ),
        ("shadow", &["odd $gy$", "old prefix", "lock damaged"]),
    ] {
        let mut site = site(&[passdb]).users(&users);
        site.settings.files.shadow = site.scratch.file("shadow", &shadow);
        let (result, expected) = site.plain_and_work("nobody", "", "mk pass");
        assert_eq!(result, wrong(Cause::UnknownUser));
        assert!(!expected.is_empty() && expected.iter().all(|spent| spent.scheme == "md5-crypt"));
        for (name, what) in names.iter().filter_map(|row| row.split_once(' ')) {
            let mut authenticator = site.authenticator();
            let refusal = authenticator.plain(name.as_bytes(), b"", &Secret::new(b"mk pass".to_vec()));
            assert_eq!(refusal, wrong(Cause::Locked), "{name}");
            assert_eq!(authenticator.work().spent(), expected, "{name}");
            let warnings = authenticator.take_warnings().join("\n");
            assert!(warnings.contains(&format!(": user {name}: ")) && warnings.contains(what), "{warnings}");
            assert!(!warnings.contains("mk pass") && !warnings.contains("garbage"), "{warnings}");
        }
        if passdb != "shadow" {
            // One damaged password does not take away the other, and costs no more than two wrong ones.
            assert!(site.plain("two", "mk pass").is_ok());
            assert_eq!(site.plain_and_work("two", "", "wrong"), (wrong(Cause::Mismatch), expected));
        }
    }
}

#[test]
fn what_the_server_is_to_blame_for() {
    let mut site = site(&["shadow"]);
    // A busy lock meets everybody, so everybody may hear of it.
    let holder = std::fs::File::open(&site.settings.files.shadow).unwrap();
    assert!(crate::sys::fs::try_flock(&holder).unwrap());
    site.settings.limits.wait = Duration::ZERO;
    for user in ["anna", "nobody", "odd"] {
        assert_eq!(site.plain(user, "mk pass").unwrap_err().wire(), Wire::Temporary, "{user}");
    }
    drop(holder);
    site.settings.limits.memory = 1 << 19;
    assert_eq!(site.plain("anna", "mk pass"), wrong(Cause::Locked));
    assert_eq!(site.plain("nobody", "mk pass"), wrong(Cause::UnknownUser));
    site.settings.files.passwd = site.scratch.path().join("gone");
    assert_eq!(site.plain("anna", "mk pass").unwrap_err().wire(), Wire::Temporary);
    site.settings.files.shadow = site.scratch.path().join("gone");
    assert_eq!(site.plain("anna", "mk pass").unwrap_err().wire(), Wire::Temporary);
}

#[test]
fn a_wrong_password_is_never_taken_for_a_date_or_a_rule() {
    let users = format!("anna:{MD5}:1000:1000::/h::nologin reason=moved\nlow:{MD5}:10:10::/h\n");
    let site = site(&["passwd-file:DIR/users"]).users(&users);
    assert_eq!(site.plain("anna", "mk pass"), Err(Refusal::Disabled("moved".to_owned())));
    assert_eq!(site.plain("anna", "wrong").unwrap_err().wire(), Wire::Failed);
    assert_eq!(site.plain("low", "mk pass").unwrap_err().to_string(), "uid 10 is below first_valid_uid");
    assert_eq!(site.plain("low", "mk pass").unwrap_err().wire(), Wire::Failed);
}

#[test]
fn hashes_in_etc_passwd() {
    let mut site = site(&["passwd"]);
    let content = format!("{PASSWD}here:{MD5}:1100:1100::/home/here:\n");
    site.settings.files.passwd = site.scratch.file("passwd2", content);
    assert_eq!(site.plain("here", "mk pass").unwrap().uid, 1100);
    let spent = [Spent { scheme: "md5-crypt", cost: 1000 }];
    for (user, cause) in [("here", Cause::Mismatch), ("anna", Cause::Locked), ("nobody", Cause::UnknownUser)]
    {
        assert_eq!(site.plain_and_work(user, "", "wrong"), (wrong(cause), spent.to_vec()));
    }
}

#[test]
fn virtual_users() {
    let users = format!(
        "# comment\nanna@example.org:{MD5}:vmail:vmail:A:/srv/anna::userdb_mail=maildir:~/M userdb_quota_rule=*:storage=1G x=y\n\
         num:{{PLAIN}}mk pass:5000:5001::/srv/num\ndefault:{{SHA256-CRYPT}}{SHA}::::/srv/default\n\
         mailonly:{MD5}:::::: userdb_mail=maildir:/srv/m\nunknown:{MD5}:nosuch:5::/h\nbadnets:{MD5}:5000:5000::/h::allow_nets=x\n\
         bare\nempty:\nempty2:{{PLAIN}}:5000:5000::/h\nlocked:!{MD5}:5000:5000::/h\nrelative:{MD5}:5000:5000::srv\n"
    );
    let mut site = site(&["passwd-file:DIR/users"]).users(&users);
    let anna = site.plain("Anna@Example.org", "mk pass").unwrap();
    assert_eq!((anna.uid, anna.gid, anna.mail.as_deref()), (5000, 5001, Some("maildir:~/M")));
    assert_eq!(site.plain("num", "mk pass").unwrap().gid, 5001);
    assert_eq!(site.plain("num", "mk pas"), wrong(Cause::Mismatch));
    assert!(
        matches!(site.plain("default", "mk pass"), Err(Refusal::Temporary(text)) if text.contains("mail_uid"))
    );
    (site.settings.mail_uid, site.settings.mail_gid) = (Some(5000), Some(5001));
    assert_eq!(site.plain("default", "mk pass").unwrap().uid, 5000);
    assert_eq!(site.plain("mailonly", "mk pass").unwrap().home, PathBuf::from("/nonexistent"));
    for user in ["unknown", "badnets", "relative"] {
        assert_eq!(site.plain(user, "mk pass").unwrap_err().wire(), Wire::Temporary, "{user}");
    }
    for user in ["bare", "empty", "locked"] {
        assert_eq!(site.plain(user, "mk pass"), wrong(Cause::Locked), "{user}");
    }
    assert_eq!(site.plain("empty2", "x"), wrong(Cause::Mismatch));
    // Without root: only our own id, whatever the file says about the group.
    site.me = Credentials { uid: 5000, gid: 77 };
    assert_eq!(site.plain("num", "mk pass").unwrap().gid, 77);
    site.me = Credentials { uid: 5002, gid: 77 };
    assert!(
        matches!(site.plain("num", "mk pass"), Err(Refusal::Temporary(text)) if text.contains("not root"))
    );
    (site.settings.mail_uid, site.settings.mail_gid) = (None, None);
    assert_eq!(site.plain("default", "mk pass").unwrap().uid, 5002);
}

#[test]
fn several_passwords_of_one_user() {
    let users = "anna:{PLAIN}main:5000:5001::/a\nanna:{PLAIN}phone:5000:5001::/a::proto=imap\n\
         anna:{PLAIN}here:5000:5001::/a::allow_nets=192.0.2.0/24 proto=pop3\n\
         anna:{PLAIN}there:5000:5001::/a::allow_nets=10.0.0.0/8 nodelay\nbert:{PLAIN}x:5000:5001::/b\nodd:{NTLM}x:5000:5001::/o\n";
    let site = site(&["passwd-file:DIR/users"]).users(users);
    assert!(site.plain("anna", "main").is_ok());
    assert!(site.plain("anna", "here").is_ok());
    assert_eq!(site.plain("anna", "phone"), Err(Refusal::NotAllowed("not allowed for pop3".to_owned())));
    assert_eq!(site.plain("anna", "there"), Err(Refusal::NotAllowed("allow_nets check failed".to_owned())));
    for (user, password) in [("anna", "no"), ("bert", "no"), ("nobody", "no"), ("bert", "main")] {
        let (result, work) = site.plain_and_work(user, "", password);
        assert_eq!(result.unwrap_err().wire(), Wire::Failed);
        assert_eq!(work.len(), 4, "{user}");
    }
    assert_eq!(site.plain("odd", "x"), wrong(Cause::Locked));
    let mut authenticator = site.authenticator();
    let _ = authenticator.plain(b"anna", b"", &Secret::new(b"there".to_vec()));
    assert!(authenticator.nodelay());
    let _ = authenticator.plain(b"anna", b"", &Secret::new(b"no".to_vec()));
    assert!(!authenticator.nodelay());
}

#[test]
fn passdbs_are_tried_in_their_order() {
    let users =
        "anna:{PLAIN}app:5000:5001::/a\nvirtual:{PLAIN}v:5000:5001::/v\nlock:{PLAIN}l:5000:5001::/l\n";
    let site = site(&["shadow", "passwd-file:DIR/users"]).users(users);
    assert_eq!(site.plain("anna", "mk pass").unwrap().uid, 1000);
    assert_eq!(site.plain("anna", "app").unwrap().uid, 5000);
    assert_eq!(site.plain("virtual", "v").unwrap().uid, 5000);
    assert_eq!(site.plain("lock", "l").unwrap().uid, 5000);
    let work = |user| site.plain_and_work(user, "", "wrong");
    let (result, spent) = work("nobody");
    assert_eq!((result, spent.len()), (wrong(Cause::UnknownUser), 2));
    for user in ["anna", "virtual", "lock"] {
        assert_eq!(work(user), (wrong(Cause::Mismatch), spent.clone()));
    }
    // A passdb that is broken makes what the others do not know temporary, and hides nobody whom they know.
    std::fs::remove_file(site.scratch.path().join("users")).unwrap();
    assert!(site.plain("anna", "mk pass").is_ok());
    assert_eq!(site.plain("virtual", "v").unwrap_err().wire(), Wire::Temporary);
}

#[test]
fn certificates_need_no_password_and_keep_all_other_rules() {
    let site = site(&["shadow", "passwd-file:DIR/users"]).users(
        "virtual:!:1001:1001::/home/virtual::\noff:{PLAIN}x:1001:1001::/home/off::nologin\n\
         far:{PLAIN}x:1001:1001::/home/far::allow_nets=10.0.0.0/8\n",
    );
    let external = |user: &str, authzid: &str| {
        let mut authenticator = site.authenticator();
        let result = authenticator.external(user, authzid.as_bytes());
        assert_eq!(authenticator.work().spent(), [], "nothing is hashed");
        result
    };
    // Locked, never set and old passwords are only passwords.
    for (user, uid) in [("anna", 1000), ("ANNA", 1000), ("lock", 1003), ("star", 1004), ("old", 1002)] {
        assert_eq!(
            external(user, "").map(|account| (account.uid, account.master)),
            Ok((uid, None)),
            "{user}"
        );
    }
    assert_eq!(external("virtual", "virtual").map(|account| account.uid), Ok(1001));
    assert!(external("anna", "Anna").is_ok());
    assert!(matches!(external("anna", "bert"), Err(Refusal::NotAllowed(_))));
    assert_eq!(external("anna", "b\0"), wrong(Cause::Name(NameError::Character)));
    assert_eq!(external("nobody", ""), wrong(Cause::UnknownUser));
    assert_eq!(external("an na", ""), wrong(Cause::Name(NameError::Character)));
    assert!(matches!(external("root", ""), Err(Refusal::BadId(_))));
    assert!(matches!(external("daemon", ""), Err(Refusal::BadId(_))));
    assert!(matches!(external("off", ""), Err(Refusal::Disabled(_))));
    assert!(matches!(external("far", ""), Err(Refusal::NotAllowed(_))));
}

#[test]
fn the_name_in_a_certificate_stands_for_the_one_that_is_said() {
    let mut site =
        site(&["shadow", "passwd-file:DIR/users"]).users("cram:{PLAIN}secret:1001:1001::/home/cram::\n");
    site.settings.master_passdb = Some(site.scratch.file("masters", "boss:{PLAIN}m\n"));
    site.settings.username.master_separator = Some('*');
    let certified = |name: &str| {
        let mut authenticator = site.authenticator();
        authenticator.take_user_from_certificate(name.to_owned());
        authenticator
    };
    let plain = |certificate: &str, user: &[u8], password: &str| {
        let password = Secret::new(password.as_bytes().to_vec());
        certified(certificate).plain(user, b"", &password).map(|account| (account.name, account.master))
    };
    assert_eq!(plain("anna", b"bert", "mk pass"), Ok(("anna".to_owned(), None)));
    assert_eq!(plain("nobody", b"anna", "mk pass"), Err(Refusal::Credentials(Cause::UnknownUser)));
    // It is the master's certificate.
    assert_eq!(plain("boss", b"anna*other", "m"), Ok(("anna".to_owned(), Some("boss".to_owned()))));
    assert!(plain("bert", b"anna*boss", "m").is_err());
    // Without the master's password it opens nobody else's mail.
    let acting = certified("boss").external("boss", b"anna");
    assert!(matches!(acting, Err(Refusal::NotAllowed(_))));
    let digest = crate::auth::cram::cram_md5(b"secret", b"<1@x>");
    let digest: String = digest.iter().map(|octet| format!("{octet:02x}")).collect();
    assert!(certified("cram").cram_md5(b"anna", b"<1@x>", digest.as_bytes()).is_ok());
    assert!(certified("anna").cram_md5(b"cram", b"<1@x>", digest.as_bytes()).is_err());
}

#[test]
fn masters() {
    let mut site = site(&["shadow"]).users("");
    let path = site.scratch.file("masters", "boss:{PLAIN}m\nfar:{PLAIN}m::::::allow_nets=10.0.0.0/8\n");
    let plain = |site: &Site, authcid: &str, authzid: &str| site.plain_and_work(authcid, authzid, "m").0;
    assert!(matches!(plain(&site, "boss", "anna"), Err(Refusal::NotAllowed(_))));
    assert_eq!(plain(&site, "anna*boss", ""), wrong(Cause::Name(NameError::Character)));
    site.settings.master_passdb = Some(path);
    site.settings.username.master_separator = Some('*');
    for (authcid, authzid) in [("anna*boss", ""), ("boss", "anna"), ("ANNA*Boss", "anna")] {
        let account = plain(&site, authcid, authzid).unwrap();
        assert_eq!(
            (account.name.as_str(), account.uid, account.master.as_deref()),
            ("anna", 1000, Some("boss"))
        );
    }
    // A locked user's mail can be looked after; root's cannot; an expired account's not either.
    assert_eq!(plain(&site, "lock*boss", "").unwrap().uid, 1003);
    assert!(plain(&site, "old*boss", "").is_ok());
    assert!(matches!(plain(&site, "root*boss", ""), Err(Refusal::BadId(_))));
    assert_eq!(plain(&site, "nobody*boss", ""), wrong(Cause::UnknownUser));
    assert_eq!(plain(&site, "anna*far", ""), Err(Refusal::NotAllowed("allow_nets check failed".to_owned())));
    assert_eq!(plain(&site, "anna*bert", ""), wrong(Cause::UnknownUser));
    assert!(matches!(plain(&site, "anna*boss", "bert"), Err(Refusal::NotAllowed(_))));
    // An ordinary user is no master, with the right password either.
    assert_eq!(site.plain_and_work("bert", "anna", "mk pass").0, wrong(Cause::UnknownUser));
    assert_eq!(site.plain_and_work("anna*boss", "", "wrong").0, wrong(Cause::Mismatch));
    // A master is not himself a user.
    assert_eq!(plain(&site, "boss", ""), wrong(Cause::UnknownUser));
    assert_eq!(site.plain_and_work("anna", "anna", "mk pass").0.unwrap().master, None);
}

#[test]
fn settings_are_read() {
    for text in ["shadow", "passwd", "passwd-file:/etc/users", "checkpassword:/usr/bin/checkpw"] {
        assert_eq!(text.parse::<Passdb>().unwrap().to_string(), text);
    }
    for text in [
        "",
        "pam",
        "shadow:/x",
        "passwd-file",
        "passwd-file:",
        "passwd-file:users",
        "checkpassword:x",
        "checkpassword:/bin/x y",
        "ldap:/x",
    ] {
        assert!(text.parse::<Passdb>().is_err(), "{text}");
    }
}

#[test]
fn challenges_differ() {
    let (one, two) = (challenge("mail.example.org").unwrap(), challenge("a>b\r\n@c").unwrap());
    assert!(one.starts_with('<') && one.ends_with("@mail.example.org>"), "{one}");
    assert!(two.ends_with("@abc>"), "{two}");
    assert_ne!(challenge("x").unwrap(), challenge("x").unwrap());
}

#[test]
fn a_hundred_thousand_users() {
    let mut content = String::new();
    for n in 0..100_000 {
        content.push_str(&format!("user{n}:{MD5}:{}:5000::/srv/{n}\n", 1000 + n));
    }
    let mut site = site(&["passwd-file:DIR/users"]).users(&content);
    site.settings.last_valid_uid = 0;
    assert_eq!(site.plain("user99999", "mk pass").unwrap().uid, 100_999);
    let (result, work) = site.plain_and_work("nobody", "", "mk pass");
    assert_eq!((result, work.len()), (wrong(Cause::UnknownUser), 1));
}
