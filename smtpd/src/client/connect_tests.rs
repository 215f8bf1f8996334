use super::*;
use crate::dns::testing::{Zone, resolver};
use common::config::keyword::InetProtocols;
use std::io::{BufRead, BufReader, Write};
use std::net::TcpListener;
use std::thread;

/// Lets servers on these addresses, all with one port, greet everybody with these words. The port.
fn servers(greetings: &[(&str, &'static str)]) -> u16 {
    'port: loop {
        let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let mut listeners = Vec::new();
        for (address, greeting) in greetings {
            match TcpListener::bind((*address, port)) {
                Ok(listener) => listeners.push((listener, *greeting)),
                Err(_) => continue 'port,
            }
        }
        for (listener, greeting) in listeners {
            thread::spawn(move || {
                for mut client in listener.incoming().flatten() {
                    let _ = client.write_all(format!("{greeting}\r\n").as_bytes());
                    for line in BufReader::new(client.try_clone().unwrap()).lines() {
                        let answer = if line.is_ok_and(|line| line.starts_with("EHLO")) {
                            "250 x\r\n"
                        } else {
                            "502 ?\r\n"
                        };
                        let _ = client.write_all(answer.as_bytes());
                    }
                }
            });
        }
        return port;
    }
}

fn client(zone: Zone, more: Config) -> Client {
    let mut client = Client::new(&Config { smtp_helo_name: "me.test".into(), ..more });
    client.resolver = resolver(zone, InetProtocols::All);
    client
}

fn connect(zone: Zone, hop: &str, more: Config) -> Result<String, (u16, String)> {
    let result = client(zone, more).connect(&NextHop::parse(hop).unwrap());
    result
        .map(|connection| connection.remote().name.clone())
        .map_err(|status| (status.code, status.enhanced.to_string()))
}

const ZONE: Zone = &[
    ("d.test", "10 refuses.test"),
    ("d.test", "20 busy.test"),
    ("d.test", "30 good.test"),
    ("refuses.test", "127.0.0.9"),
    ("busy.test", "127.0.0.2"),
    ("good.test", "127.0.0.3"),
    ("no.test", "127.0.0.4"),
    ("two.test", "10 no.test"),
    ("two.test", "20 refuses.test"),
    ("only.test", "10 nowhere.test"),
    ("mixed.test", "10 nowhere.test"),
    ("mixed.test", "20 bad.test"),
    ("bad.test", "!"),
    ("dumb.test", "10 bad.test"),
    ("dumb.test", "20 bad.test"),
    ("dumb.test", "30 good.test"),
];

#[test]
fn hosts_are_tried_in_turn() {
    let port = servers(&[("127.0.0.2", "421 Busy"), ("127.0.0.3", "220 x"), ("127.0.0.4", "554 5.7.1 No")]);
    let failed = |code, enhanced: &str| Err((code, enhanced.to_owned()));
    for (hop, want) in [
        ("d.test", Ok("good.test".to_owned())),
        ("[good.test]", Ok("good.test".to_owned())),
        ("good.test", Ok("good.test".to_owned())),
        ("[127.0.0.3]", Ok("127.0.0.3".to_owned())),
        ("[busy.test]", failed(421, "4.0.0")),
        ("[no.test]", failed(451, "4.7.1")),
        // Permanent there, temporary here: it is tried again.
        ("two.test", failed(451, "4.4.1")),
        ("only.test", failed(451, "4.4.4")),
        ("mixed.test", failed(451, "4.4.3")),
        ("[nowhere.test]", failed(451, "4.4.4")),
        ("nowhere.test", failed(451, "4.1.2")),
        ("bad.test", failed(451, "4.4.3")),
    ] {
        assert_eq!(connect(ZONE, &format!("{hop}:{port}"), Config::DEFAULT), want, "{hop}");
    }
    let hop = format!("d.test:{port}");
    let limits = |addresses, sessions| Config {
        smtp_mx_address_limit: addresses,
        smtp_mx_session_limit: sessions,
        ..Config::DEFAULT
    };
    assert_eq!(connect(ZONE, &hop, limits(1, 0)), failed(451, "4.4.1"));
    assert_eq!(connect(ZONE, &hop, limits(0, 1)), failed(421, "4.0.0"));
    assert_eq!(connect(ZONE, &hop, limits(0, 0)), Ok("good.test".to_owned()));
    // A host whose addresses nobody tells is one that was tried.
    let dumb = format!("dumb.test:{port}");
    assert_eq!(connect(ZONE, &dumb, limits(2, 0)), failed(451, "4.4.3"));
    assert_eq!(connect(ZONE, &dumb, limits(3, 0)), Ok("good.test".to_owned()));
}

#[test]
fn who_has_not_taken_it_is_not_asked_again() {
    let port = servers(&[("127.0.0.2", "220 x"), ("127.0.0.3", "220 x"), ("127.0.0.4", "421 Busy")]);
    const ZONE: Zone = &[
        ("d.test", "10 one.test"),
        ("d.test", "20 busy.test"),
        ("d.test", "30 two.test"),
        ("one.test", "127.0.0.2"),
        ("busy.test", "127.0.0.4"),
        ("two.test", "127.0.0.3"),
    ];
    let address = |last| SocketAddr::new([127, 0, 0, last].into(), port);
    for (sessions, except, want) in [
        (2, &[][..], Some(2)),
        (0, &[2], Some(3)),
        (3, &[2], Some(3)),
        // Two have answered and not taken it.
        (2, &[2], None),
        (1, &[2], None),
        (0, &[2, 3], None),
    ] {
        let config = Config { smtp_mx_session_limit: sessions, ..Config::DEFAULT };
        let hop = NextHop::parse(&format!("d.test:{port}")).unwrap();
        let except: Vec<SocketAddr> = except.iter().map(|&last| address(last)).collect();
        let got = client(ZONE, config).connect_as(&hop, None, &except, Duration::MAX);
        let got = got.ok().and_then(|connection| connection.remote().address);
        assert_eq!(got, want.map(address), "{sessions} {except:?}");
    }
}

#[test]
fn who_is_hurried_may_have_wanted_more_time() {
    let port = servers(&[("127.0.0.2", "220-x"), ("127.0.0.3", "220 x"), ("127.0.0.4", "421 Busy")]);
    const ZONE: Zone = &[
        ("slow.test", "10 busy.test"),
        ("slow.test", "20 endless.test"),
        ("slow.test", "30 good.test"),
        ("late.test", "10 endless.test"),
        ("late.test", "20 good.test"),
        ("endless.test", "127.0.0.2"),
        ("good.test", "127.0.0.3"),
        ("busy.test", "127.0.0.4"),
        ("gone.test", "127.0.0.5"),
    ];
    let patience = Duration::from_secs(2);
    let in_settings = Config { smtp_helo_timeout: patience / 20, ..Config::DEFAULT };
    // `None`: there is a connection.
    for (name, config, want) in [
        // The one behind it is not asked.
        ("slow.test", Config::DEFAULT, Some(true)),
        ("endless.test", Config::DEFAULT, Some(true)),
        // It had all the time that the settings give it.
        ("endless.test", in_settings.clone(), Some(false)),
        ("busy.test", Config::DEFAULT, Some(false)),
        ("gone.test", Config::DEFAULT, Some(false)),
        ("late.test", in_settings, None),
    ] {
        let hop = NextHop::parse(&format!("{name}:{port}")).unwrap();
        let got = client(ZONE, config).connect_as(&hop, None, &[], patience);
        assert_eq!(got.err().map(|failed| failed.hurried), want, "{name}");
    }
}

#[test]
fn the_name_in_ehlo() {
    for (set, name) in [("", "mx.own"), ("$myhostname", "mx.own"), ("a.b", "a.b"), ("$nothing", "mx.own")] {
        let config = Config { myhostname: "mx.own".into(), smtp_helo_name: set.into(), ..Config::DEFAULT };
        assert_eq!(Client::new(&config).name, name, "{set}");
    }
}

#[test]
fn a_relayhost_that_is_not_there_returns_no_mail() {
    let relay = |text: &str| Config {
        relayhost: common::config::next_hop::RelayHost::To(NextHop::parse(text)),
        ..Config::DEFAULT
    };
    for hop in ["[nowhere.test]:1", "nowhere.test"] {
        assert_eq!(connect(ZONE, hop, relay(hop)).unwrap_err().0, 451);
        // That of one sender, or of one domain.
        assert_eq!(connect(ZONE, hop, Config::DEFAULT).unwrap_err().0, 451);
    }
    for (domain, enhanced) in [("nowhere.test", Enhanced(5, 1, 2)), ("only.test", Enhanced(5, 4, 4))] {
        let status = client(ZONE, relay(domain)).connect(&NextHop::of_domain(domain)).err().unwrap();
        assert_eq!((status.code, status.enhanced), (550, enhanced));
    }
}

#[test]
fn tls_that_is_not_offered() {
    let port = servers(&[("127.0.0.3", "220 x")]);
    for (level, want) in
        [(TlsLevel::May, Ok("good.test".to_owned())), (TlsLevel::Encrypt, Err((451, "4.7.4".to_owned())))]
    {
        let config = Config { smtp_tls_security_level: level, ..Config::DEFAULT };
        assert_eq!(connect(ZONE, &format!("[good.test]:{port}"), config), want);
    }
    let config = Config { smtp_tls_wrappermode: true, ..Config::DEFAULT };
    let (code, enhanced) = connect(ZONE, &format!("[good.test]:{port}"), config).unwrap_err();
    assert_eq!((code, &*enhanced), (454, "4.7.5"));
}

#[test]
fn no_name_server_makes_us_our_own_client() {
    const OWN: Zone = &[
        ("two.own", "10 h.two.own"),
        ("h.two.own", "127.0.0.2"),
        ("none.own", "0.0.0.0"),
        ("odd.own", "0.0.0.1"),
        ("six.own", "::"),
        ("one.own", "::1"),
        ("mapped.own", "::ffff:127.0.0.7"),
    ];
    let client = client(OWN, Config::DEFAULT);
    // With the code that returns mail, where nobody's settings name it.
    let looped = |client: &mut Client, hop: &NextHop| {
        let status = client.connect(hop).err().filter(|status| status.text.contains("loops back"));
        status.is_some_and(|status| {
            let code = if hop.is_of_settings() { (451, Enhanced(4, 4, 6)) } else { (554, Enhanced(5, 4, 6)) };
            assert_eq!((status.code, status.enhanced), code);
            true
        })
    };
    let mut client = client;
    for domain in
        ["two.own", "none.own", "odd.own", "six.own", "one.own", "mapped.own", "[127.0.0.3]", "[IPv6:::1]"]
    {
        assert!(looped(&mut client, &NextHop::of_domain(domain)), "{domain}");
    }
    for own in own_addresses() {
        let literal = if own.is_ipv6() { format!("[IPv6:{own}]") } else { format!("[{own}]") };
        assert!(looped(&mut client, &NextHop::of_domain(&literal)), "{own}");
    }
    // What the administrator names may be this host, where something else listens.
    for hop in ["[127.0.0.2]", "127.0.0.2", "[h.two.own]"] {
        assert!(!looped(&mut client, &NextHop::parse(hop).unwrap()), "{hop}");
    }
    client.config.relayhost = common::config::next_hop::RelayHost::To(NextHop::parse("two.own"));
    assert!(!looped(&mut client, &NextHop::parse("two.own").unwrap()));
    assert!(looped(&mut client, &NextHop::of_domain("two.own")));
}
