use super::*;
use crate::testing::Scratch;

/// A host with a user database of its own; the users are this process's uid, so that they may get mail.
pub(crate) fn config(scratch: &Scratch) -> Config {
    let (uid, gid) = common::sys::process::user_and_group();
    let (uid, gid) = if uid == 0 { (1000, 1000) } else { (uid, gid) };
    let line = |name: &str| format!("{name}:x:{uid}:{gid}::{}/{name}:\n", scratch.path().display());
    let passwd = format!("root:x:0:0::/root:\n{}{}{}", line("anna"), line("bert"), line("a+b"));
    let virtual_users = format!("vera@virtual.example:{{PLAIN}}x:{uid}:{gid}::/srv/vera\n");
    let path = |path: std::path::PathBuf| path.to_str().unwrap().to_owned();
    let pairs = [
        format!("passwd_path={}", path(scratch.file("passwd", passwd))),
        format!("passdb=shadow passwd-file:{}", path(scratch.file("users", virtual_users))),
        "first_valid_uid=1".to_owned(),
    ];
    let program = common::cli::Program { name: "smtpd", version: "0", summary: "SMTP server", flags: &[] };
    let config = Config::from_pairs(&program, pairs.iter().map(String::as_str)).unwrap();
    Config {
        myhostname: "mail.here.example".into(),
        mydestination: "here.example, $myhostname, localhost".into(),
        mynetworks: "192.0.2.0/24, [2001:db8::]/32".into(),
        relay_domains: "relay.example".into(),
        virtual_mailbox_domains: "virtual.example".into(),
        alias_maps: format!("hash:{}", path(scratch.file("aliases", "postmaster: anna\n"))).into(),
        recipient_delimiter: "+".into(),
        ..config
    }
}

fn stranger() -> Client<'static> {
    Client { address: "198.51.100.7".parse().ok(), helo: "x.example", ..Client::default() }
}

fn address(text: &str) -> Address {
    Address::parse(text.as_bytes()).unwrap()
}

fn ask(rules: &mut Rules, client: &Client<'_>, recipient: &str) -> String {
    let path = address(recipient);
    rules.recipient(client, &None, &path).map_or_else(
        |status| status.to_string(),
        |found| found.iter().map(|one| format!("{:?}", one.target)).collect::<Vec<_>>().join("; "),
    )
}

/// Nothing that a stranger can say makes this host send mail to another.
#[test]
fn never_an_open_relay() {
    let scratch = Scratch::new();
    let mut rules = Rules::load(&config(&scratch)).unwrap();
    for recipient in [
        "x@other.example",
        "x@OTHER.EXAMPLE",
        "x@[192.0.2.1]",
        "x@[IPv6:2001:db8::1]",
        "x%other.example@here.example",
        "x%other.example@localhost",
        "x%other.example@[127.0.0.1]",
        "x%other.example@mail.here.example",
        "x%other.example%third.example@here.example",
        "other.example!x@here.example",
        "here.example!other.example!x@here.example",
        "other.example!x@relay.example",
        "x%other.example@relay.example",
        "\"x@other.example\"@here.example",
        "\"x@other.example\"@[127.0.0.1]",
        "\"x%other.example\"@here.example",
        "\"x@other.example\"@relay.example",
        "\"anna@here.example\"@other.example",
        "\"vera@virtual.example\"@other.example",
        "anna@here.example.other.example",
        "anna@otherhere.example",
        "anna@sub.here.example",
        "anna@relay.example.other.example",
        "anna@notrelay.example",
        "\"@other.example:x\"@here.example",
        "\"|/bin/sh\"@here.example",
        "\"/etc/passwd\"@here.example",
        "\":include:/etc/passwd\"@here.example",
        "\"\\\\anna\"@other.example",
        "\" anna\"@here.example",
        "\"anna \"@here.example",
        "\"\"@here.example",
    ] {
        let answer = ask(&mut rules, &stranger(), recipient);
        assert!(answer.starts_with("550 5.7.1") || answer.starts_with("550 5.1.1"), "{recipient}: {answer}");
    }
    // What is no address at all: NULs, source routes in the raw form, dots at the end.
    for text in [
        "anna@here.example\0",
        "anna\0@here.example",
        "@relay.example:x@other.example",
        "x@other.example.",
        "<x@other.example>",
    ] {
        assert!(Address::parse(text.as_bytes()).is_err(), "{text:?}");
    }
    let trusted = [
        Client { address: "192.0.2.9".parse().ok(), ..stranger() },
        Client { address: "::ffff:192.0.2.9".parse().ok(), ..stranger() },
        Client { address: "2001:db8::9".parse().ok(), ..stranger() },
        Client { login: Some("anna"), ..stranger() },
        Client { address: None, local_uid: Some(7), ..stranger() },
    ];
    for client in &trusted {
        assert!(ask(&mut rules, client, "x@other.example").starts_with("Remote("), "{client:?}");
    }
    let strangers = [
        Client { address: "192.0.3.9".parse().ok(), ..stranger() },
        Client { address: "::192.0.2.9".parse().ok(), ..stranger() },
        Client { address: "64:ff9b::192.0.2.9".parse().ok(), ..stranger() },
        Client { address: None, ..stranger() },
        Client { name: "localhost", helo: "localhost", tls: true, submission: true, ..stranger() },
        Client { lmtp: true, address: "192.0.2.9".parse().ok(), login: Some("anna"), ..stranger() },
    ];
    for client in &strangers {
        assert!(ask(&mut rules, client, "x@other.example").contains("Relaying denied"), "{client:?}");
    }
}

/// What is for a whole domain takes no stranger's word for where it goes on.
#[test]
fn catch_alls_are_no_relay() {
    let scratch = Scratch::new();
    let mut rules = Rules::load(&Config {
        virtual_alias_domains: "alias.example".into(),
        virtual_alias_maps: "inline:{@alias.example=@inner.example, @here.example=@inner.example}".into(),
        ..config(&scratch)
    })
    .unwrap();
    assert!(ask(&mut rules, &stranger(), "x@alias.example").starts_with("Remote("));
    let luser = Config {
        luser_relay: "$local@inner.example".into(),
        local_recipient_maps: "".into(),
        ..config(&scratch)
    };
    let mut luser = Rules::load(&luser).unwrap();
    assert!(ask(&mut luser, &stranger(), "nobody@here.example").starts_with("Remote("));
    for local in ["x%other.example", "other.example!x", "\"x@other.example\""] {
        for (rules, domain) in [(&mut rules, "alias.example"), (&mut luser, "here.example")] {
            let answer = ask(rules, &stranger(), &format!("{local}@{domain}"));
            assert!(answer.starts_with("550 5.7.1"), "{local}@{domain}: {answer}");
        }
    }
}

/// The keys are those of Postfix.
#[test]
fn who_may_send_as_whom() {
    let scratch = Scratch::new();
    let mut rules = Rules::load(&Config {
        smtpd_sender_restrictions: "reject_sender_login_mismatch".into(),
        smtpd_sender_login_maps: "inline:{anna=anna, info=bert, vera@virtual.example=vera}".into(),
        ..config(&scratch)
    })
    .unwrap();
    for (login, sender, is_refused) in [
        (Some("anna"), "anna@here.example", false),
        (Some("anna"), "anna+x@here.example", false),
        (Some("anna"), "anna@other.example", true),
        (Some("anna"), "info@here.example", true),
        (Some("bert"), "info@here.example", false),
        (Some("vera"), "vera+x@virtual.example", false),
        (None, "info@other.example", false),
        (None, "anna@other.example", false),
        (None, "anna+x@here.example", true),
        (None, "vera+x@virtual.example", true),
    ] {
        let client = Client { login, ..stranger() };
        let said = rules.recipient(&client, &Some(address(sender)), &address("anna@here.example"));
        assert_eq!(said.is_err(), is_refused, "{login:?} {sender}: {said:?}");
    }
}

#[test]
fn configurations_that_would_be_an_open_relay_do_not_start() {
    let scratch = Scratch::new();
    let base = || config(&scratch);
    for config in [
        Config { smtpd_relay_restrictions: "".into(), ..base() },
        Config { smtpd_relay_restrictions: "permit_mynetworks".into(), ..base() },
        Config { smtpd_relay_restrictions: "permit, reject_unauth_destination".into(), ..base() },
        Config { smtpd_relay_restrictions: "warn_if_reject reject_unauth_destination".into(), ..base() },
        Config { mynetworks: "0.0.0.0/0".into(), ..base() },
        Config { mynetworks: "127.0.0.0/8 ::/0".into(), ..base() },
    ] {
        let error = Rules::load(&config).err().map(|error| error.to_string()).unwrap_or_default();
        assert!(error.contains("open relay"), "{error}");
    }
    // As older Postfix had it.
    let old = Config {
        smtpd_relay_restrictions: "".into(),
        smtpd_recipient_restrictions: "permit_mynetworks, reject_unauth_destination".into(),
        ..base()
    };
    let mut rules = Rules::load(&old).unwrap();
    assert!(ask(&mut rules, &stranger(), "x@other.example").contains("Relaying denied"));
    assert!(ask(&mut rules, &stranger(), "anna@here.example").starts_with("Mailbox"));
    for wrong in [
        Config { smtpd_client_restrictions: "reject_rbl_client x".into(), ..base() },
        Config { mydestination: "$nothing".into(), ..base() },
        Config { mynetworks: "localhost".into(), ..base() },
    ] {
        assert!(Rules::load(&wrong).is_err());
    }
}

#[test]
fn limits_that_would_refuse_everybody() {
    let scratch = Scratch::new();
    let config = || config(&scratch);
    for (name, config) in [
        ("smtpd_recipient_limit", Config { smtpd_recipient_limit: 0, ..config() }),
        ("smtpd_timeout", Config { smtpd_timeout: std::time::Duration::ZERO, ..config() }),
    ] {
        let why = Rules::load(&config).err().map(|error| error.to_string());
        assert_eq!(why, Some(format!("{name} = 0 would refuse everybody")));
    }
}

#[test]
fn every_list_may_refuse() {
    let scratch = Scratch::new();
    let reject: common::config::value::Text = "reject".into();
    for config in [
        Config { smtpd_client_restrictions: reject.clone(), ..config(&scratch) },
        Config { smtpd_helo_restrictions: reject.clone(), ..config(&scratch) },
        Config { smtpd_sender_restrictions: reject.clone(), ..config(&scratch) },
        Config { smtpd_recipient_restrictions: reject.clone(), ..config(&scratch) },
    ] {
        let mut rules = Rules::load(&config).unwrap();
        assert!(ask(&mut rules, &stranger(), "anna@here.example").starts_with("554 5.7.1"));
    }
    let mut rules = Rules::load(&Config {
        smtpd_data_restrictions: "reject_multi_recipient_bounce".into(),
        ..config(&scratch)
    })
    .unwrap();
    let named =
        [Address::new("anna", "here.example").unwrap(), Address::new("bert", "here.example").unwrap()];
    assert!(
        rules.data(&stranger(), &None, &named).is_err()
            && rules.data(&stranger(), &None, &named[..1]).is_ok()
    );
    // What is asked about a recipient can be asked about one.
    let mut rules = Rules::load(&Config {
        smtpd_data_restrictions: "check_recipient_access inline:{anna@here.example=REJECT}".into(),
        ..config(&scratch)
    })
    .unwrap();
    assert!(
        rules.data(&stranger(), &None, &named).is_ok()
            && rules.data(&stranger(), &None, &named[..1]).is_err()
    );
}

#[test]
fn lmtp_and_submission() {
    let scratch = Scratch::new();
    let mut rules = Rules::load(&config(&scratch)).unwrap();
    let lmtp = Client { lmtp: true, address: None, ..stranger() };
    assert!(ask(&mut rules, &lmtp, "vera@virtual.example").starts_with("Mailbox"));
    assert!(ask(&mut rules, &lmtp, "x@relay.example").contains("Relaying denied"));
    let submission = Client { submission: true, ..stranger() };
    assert_eq!(rules.sender(&submission, &None).unwrap_err().code, 530);
    assert!(rules.sender(&Client { login: Some("anna"), ..submission }, &None).is_ok());
    assert!(rules.sender(&stranger(), &None).is_ok());
    assert_eq!(rules.qualified("postmaster"), Some(address("postmaster@mail.here.example")));
}

#[test]
fn whom_the_writer_becomes() {
    let scratch = Scratch::new();
    let mut rules = Rules::load(&config(&scratch)).unwrap();
    let [one] = &rules.expand(&address("anna+x@here.example")).unwrap()[..] else { panic!() };
    let target = Target::Mailbox { user: "anna".into(), extension: "x".into(), direct: false };
    assert_eq!((&one.target, rules.account(one).unwrap().name.as_str()), (&target, "anna"));
    let with = |target| Recipient { target, ..one.clone() };
    let mailbox = |user: &str| Target::Mailbox { user: user.into(), extension: String::new(), direct: true };
    assert_eq!(rules.account(&with(mailbox("root"))).unwrap_err().code, 550);
    assert_eq!(rules.account(&with(mailbox("nobody-such"))).unwrap_err().code, 550);
    assert!(rules.account(&with(Target::Remote(address("a@b")))).is_err());
    let command = |owner| Target::Command { words: vec!["/bin/true".into()], owner };
    assert_eq!(rules.account(&with(command(Some("bert".into())))).unwrap().name, "bert");
    assert_ne!(rules.account(&with(command(None))).map(|account| account.uid).unwrap_or(1), 0);
    assert!(rules.take_warnings().iter().any(|line| line.contains("alias root to somebody")));
}
